"""Reading: from the evidence of an image to ranks, maps and scores of concepts.

Giulivi & Boracchi, "Concept Visualization: Explaining the CLIP Multi-modal Embedding Using WordNet",
arXiv 2405.14563. With v a patch's unit embedding, t_s the embedding of concept s and S the bank::

    rank(v, c) = #{ s in S : v . t_s > max over d in sub(c) of v . t_d }
    map(c)     = 1 - minmax( mean over the patches that cover a cell of score(v, c) )

where the score is the rank (the paper), ``log(1 + rank)`` or the negated similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..kernels.contract import Kernels
from ..kernels.csr import Lists
from ..timings import Timings
from .evidence import Evidence
from .layout import OCCLUSION
from .patches import PatchGrid
from .result import ConceptMap, Explanation, View
from .targets import Target

FloatArray = npt.NDArray[np.float32]
SCORES = ("log-rank", "rank", "similarity")
AGGREGATES = ("best-then-mean", "mean-then-best")
SCALE_WEIGHTS = ("area", "equal")
_CONSTANT_SPAN = 1e-10  # as in the kernel that makes maps: means this close, next to the largest value, are equal
_VALUES_AT_ONCE = 4_000_000  # of the members of a wide subtree, so that memory is bounded
_MOST_KEPT = 100_000_000  # products of patches and concepts that are kept with the evidence: 400 MB
_MAX_WORK = 10**12  # products of mean-then-best: some minutes
_FINER = 4


@dataclass(frozen=True)
class Reading:
    """How the evidence of an image becomes a map.

    Attributes
    ----------
    score : {"log-rank", "rank", "similarity"}
        What is averaged over patches: ``log(1 + rank)``, the rank itself (the reference), or the negated cosine.
    aggregate : {"best-then-mean", "mean-then-best"}
        Best of the subtree at each patch, then the mean over patches (the reference's map code); or the mean of each
        member over patches, then the best member (the paper's web interface).
    scale_weights : {"area", "equal"}
        Patch sizes count by area (the reference's code), or equally (the paper's text).
    sizes : tuple of int
        Patch sizes that count, among those of the evidence; () means all.
    inside : bool
        Whether patches that hang over the edge are left out.
    strides : tuple of int
        One stride per size, multiples of those of the evidence; () means all patches.
    smooth : bool
        Whether maps are interpolated between the centres of cells (bilinear), four times as fine.

    Raises
    ------
    InputError
        If a choice is unknown.
    """

    score: str = "log-rank"
    aggregate: str = "best-then-mean"
    scale_weights: str = "area"
    sizes: tuple[int, ...] = ()
    inside: bool = False
    strides: tuple[int, ...] = ()
    smooth: bool = False

    def __post_init__(self) -> None:
        choices = {"score": SCORES, "aggregate": AGGREGATES, "scale_weights": SCALE_WEIGHTS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        if self.strides and len(self.strides) != len(self.sizes):
            raise InputError(f"one stride per patch size is needed, got {self.sizes} and {self.strides}")

    def keywords(self) -> dict[str, str]:
        """The choices that ``Engine.explain`` takes, by keyword."""
        return {"score": self.score, "aggregate": self.aggregate, "scale_weights": self.scale_weights}

    def describe(self) -> str:
        """The choices in one line."""
        steps = [f"/{stride}" for stride in self.strides] or [""] * len(self.sizes)
        sizes = "+".join(f"{size}{step}" for size, step in zip(self.sizes, steps, strict=True)) or "all sizes"
        place = ", inside" if self.inside else ""
        return f"{sizes}{place}, {self.score}, {self.aggregate}, {self.scale_weights}{', smooth' * self.smooth}"


class Columns(NamedTuple):
    """Rank (int32) and similarity (float32) at n rows of k concepts, both (n, k), on the device."""

    ranks: Any
    similarities: Any

    def score(self, name: str) -> Any:
        """What is averaged over patches; low is salient."""
        if name == "rank":
            return self.ranks
        if name == "log-rank":
            return np.log1p(self.ranks.astype(np.float32))
        return -self.similarities.astype(np.float32)

    def take(self, rows: Any) -> Columns:
        """Some of the rows."""
        return Columns(self.ranks.take(rows, axis=0), self.similarities.take(rows, axis=0))


class Reader:
    """The concepts of one question, ranked once at every place of an image, to be read in any number of ways.

    Parameters
    ----------
    evidence : Evidence
    targets : sequence of Target
        k concepts; not empty.
    bank : (N, d) float32, or what ``kernels.prepare_bank`` makes of it
        Unit rows of the concepts that ranks count over.
    kernels : Kernels
        The backend of the device that holds the evidence. Only maps come back from it.
    num_threads : int, optional
    keep : bool
        Whether the evidence keeps the products of its patches and the bank, so that the next question costs a few
        milliseconds; not where that is more than 400 MB.
    """

    def __init__(
        self,
        evidence: Evidence,
        targets: Sequence[Target],
        bank: Any,
        kernels: Kernels,
        num_threads: int | None = None,
        keep: bool = False,
    ) -> None:
        self._evidence, self._targets, self._bank = evidence, tuple(targets), bank
        self._kernels, self._threads = kernels, num_threads
        self._sign = -1 if evidence.layout.mode == OCCLUSION else 1  # its rows are of the image without a place
        self._rows = kernels.upload(evidence.rows)
        columns = self._best_of_subtrees((kept_rows if keep else all_rows)(evidence, bank, kernels, num_threads))
        self._patches = Columns(columns.ranks[:-1], columns.similarities[:-1])
        self._whole = Columns(*(kernels.to_host(values[-1]) for values in columns))

    def maps(self, reading: Reading) -> FloatArray:
        """Maps of all concepts.

        Returns
        -------
        (k, h, w) float32 in [0, 1]
            1 is most salient. All ones where a concept is equally strong everywhere, and only there.

        Raises
        ------
        InputError
            If the evidence has no patches of a size or stride.
        Uncovered
            If the chosen patches leave a part of the image out.
        """
        grid, chosen = self._evidence.grid.select(reading.sizes, reading.inside, reading.strides)
        if reading.aggregate == "best-then-mean":
            everything = len(chosen) == len(self._evidence.grid)
            patches = self._patches if everything else self._patches.take(self._kernels.upload(chosen))
            patch_values = self._sign * patches.score(reading.score)
            weights = grid.weights(reading.scale_weights)
            maps = self._kernels.saliency_maps(patch_values, grid.cells, weights, grid.shape, num_threads=self._threads)
            cells: FloatArray = self._kernels.to_host(maps.maps)
        else:
            self._check_work(grid)
            rows = self._kernels.upload(chosen)
            cells = np.stack([self._best_of_means(target, rows, grid, reading) for target in self._targets])
        return smoothed(cells) if reading.smooth else cells

    def _check_work(self, grid: PatchGrid) -> None:
        members = sum(1 if target.members is None else len(target.members) for target in self._targets)
        cells = grid.shape[0] * grid.shape[1]
        if cells * len(grid) * (members + 10 * len(self._targets)) > _MAX_WORK:  # how cells are covered costs, too
            raise InputError(
                f'aggregate="mean-then-best" over {members:,} concepts, {len(grid):,} patches and {cells:,} cells '
                "takes too long; use larger sizes and strides, narrower concepts, or best-then-mean"
            )

    def explanation(self, reading: Reading, timings: Timings) -> Explanation:
        """Maps, scores and ranks of all concepts, with the image they lie on; the stage ``maps`` is timed, too."""
        evidence = self._evidence
        with timings.stage("maps"):
            cells = self.maps(reading)
        view = View(evidence.image, evidence.region, evidence.grid.shape_in_pixels)
        count = self._bank.shape[0]
        concepts = tuple(
            ConceptMap(
                concept=target.concept,
                name=target.name,
                note=target.note,
                cells=cells[index],
                constant=bool(cells[index].min() == 1.0),
                score=1.0 - rank / count,
                rank=rank,
                similarity=float(self._whole.similarities[index]),
                view=view,
            )
            for index, (target, rank) in enumerate(zip(self._targets, self._whole.ranks.tolist(), strict=True))
        )
        options = {**vars(evidence.layout), **reading.keywords()}
        return Explanation(concepts, options.pop("mode"), options, timings)

    def _best_of_subtrees(self, rows: Any) -> Columns:
        """Best rank and similarity of every concept, in the order of the targets, subtrees or phrases."""
        subtrees = [target.members for target in self._targets if target.members is not None]
        phrases = [target.embedding for target in self._targets if target.members is None]
        columns = self._ranked(rows, subtrees, np.stack(phrases) if phrases else None)  # type: ignore[arg-type]
        in_bank = np.array([target.members is not None for target in self._targets])
        places = np.where(in_bank, np.cumsum(in_bank) - 1, len(subtrees) + np.cumsum(~in_bank) - 1)
        if (places == np.arange(len(places))).all():
            return columns
        order = self._kernels.upload(places)
        return Columns(*(values.take(order, axis=1) for values in columns))

    def _ranked(self, rows: Any, groups: Sequence[npt.NDArray[np.int32]], queries: FloatArray | None = None) -> Columns:
        subtrees = Lists.of(groups)
        ranks = self._kernels.subtree_ranks(rows, self._bank, *subtrees, queries, num_threads=self._threads)
        return Columns(ranks.ranks, ranks.similarities)

    def _best_of_means(self, target: Target, rows: Any, grid: PatchGrid, reading: Reading) -> FloatArray:
        """Mean over patches of each member of the subtree, then the best member at every cell; one stretched map."""
        embeddings, cells = self._rows.take(rows, axis=0), grid.shape[0] * grid.shape[1]
        members = [] if target.members is None else [np.array([member], np.int32) for member in target.members]
        members_at_once = max(1, _VALUES_AT_ONCE // max(len(grid), cells))
        cells_at_once = max(1, _VALUES_AT_ONCE // len(grid))
        best, largest = np.full(cells, np.inf), 0.0
        for first in range(0, max(len(members), 1), members_at_once):
            queries = None if target.embedding is None else target.embedding[None]
            columns = self._ranked(embeddings, members[first : first + members_at_once], queries)
            values = columns.score(reading.score).astype(np.float64)
            largest = max(largest, -float(values.min()), float(values.max()))
            for start in range(0, cells, cells_at_once):
                block = slice(start, min(start + cells_at_once, cells))
                means = self._kernels.upload(cover(grid, reading.scale_weights, block)) @ values
                best[block] = np.minimum(best[block], self._kernels.to_host(means.min(axis=1)))
        best *= self._sign
        low, high = best.min(), best.max()
        if high - low <= _CONSTANT_SPAN * largest:
            return np.ones(grid.shape, np.float32)
        stretched: FloatArray = (1.0 - (best - low) / (high - low)).astype(np.float32).reshape(grid.shape)
        return stretched


def all_rows(evidence: Evidence, bank: Any, kernels: Kernels, num_threads: int | None = None) -> Any:
    """Embeddings of all patches, then of the whole image, on the device, (n + 1, d)."""
    return np.concatenate([kernels.upload(evidence.rows), kernels.upload(evidence.whole)])


def kept_rows(evidence: Evidence, bank: Any, kernels: Kernels, num_threads: int | None = None) -> Any:
    """The same, prepared for further questions to a bank and kept with the evidence; but not if that takes 400 MB."""
    if (len(evidence) + 1) * bank.shape[0] > _MOST_KEPT:
        return all_rows(evidence, bank, kernels)

    def make() -> Any:
        return kernels.prepare_patches(all_rows(evidence, bank, kernels), bank, num_threads=num_threads)

    return evidence.kept.of(bank, "patches", make)


def read(
    evidence: Evidence,
    targets: Sequence[Target],
    bank: Any,
    reading: Reading,
    kernels: Kernels,
    num_threads: int | None = None,
    keep: bool = False,
) -> Explanation:
    """Saliency maps of any number of concepts from the evidence of one image; see :class:`Reader`."""
    timings = Timings(evidence.timings_ms)  # the result's own: evidence is read again
    with timings.stage("ranks"):
        reader = Reader(evidence, targets, bank, kernels, num_threads, keep)
    return reader.explanation(reading, timings)


def cover(grid: PatchGrid, scale_weights: str, block: slice) -> npt.NDArray[np.float64]:
    """How much each patch counts in the mean at some cells, as a matrix whose rows add up to one.

    Parameters
    ----------
    grid : PatchGrid
        Of n patches that cover every cell.
    scale_weights : {"area", "equal"}
    block : slice
        m cells in reading order.

    Returns
    -------
    (m, n) float64

    Examples
    --------
    >>> two = PatchGrid((1, 2), 8, 0, np.array([[0, 0, 8, 8], [0, 0, 16, 8]], np.int32), {8: 8, 16: 8})
    >>> cover(two, "area", slice(0, 2)).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    down, across = np.divmod(np.arange(block.start, block.stop)[:, None], grid.shape[1])
    x0, y0, x1, y1 = grid.cells.T
    weights = grid.weights(scale_weights) * ((x0 <= across) & (across < x1) & (y0 <= down) & (down < y1))
    counts: npt.NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return counts


def smoothed(maps: FloatArray) -> FloatArray:
    """Maps on a grid four times as fine, bilinear between the centres of cells, stretched to [0, 1] again.

    Parameters
    ----------
    maps : (k, h, w) float32

    Returns
    -------
    (k, 4 h, 4 w) float32

    Examples
    --------
    >>> smoothed(np.array([[[0.0, 1.0]]], np.float32))[0, 0].round(2)[2:6]
    array([0.12, 0.38, 0.62, 0.88], dtype=float32)
    """
    from PIL import Image

    size = (maps.shape[2] * _FINER, maps.shape[1] * _FINER)
    fine = np.stack([np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.BILINEAR)) for cells in maps])
    low, high = fine.min(axis=(1, 2), keepdims=True), fine.max(axis=(1, 2), keepdims=True)
    return np.where(high > low, (fine - low) / np.where(high > low, high - low, 1), 1).astype(np.float32)

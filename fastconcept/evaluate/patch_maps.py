"""Maps of any concepts and any choice of score out of one set of patch embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engine import Engine
from ..errors import InputError
from ..saliency.explain import patch_values
from ..saliency.patches import PatchGrid
from ..saliency.targets import Target
from .patch_embeddings import PatchEmbeddings

FloatArray = npt.NDArray[np.float32]
Columns = tuple[Any, Any]  # ranks int32 and similarities float32, on the engine's device
_FINER = 4


@dataclass(frozen=True)
class Reading:
    """How patch embeddings are read into a map; the defaults are those of ``explain``.

    Attributes
    ----------
    sizes : tuple of int
        Patch sizes that count, among those that were embedded; () means all.
    inside : bool
        Leave out patches that hang over the edge.
    aggregate, scale_weights, score
        As in :class:`~fastconcept.saliency.explain.Options`.
    smooth : bool
        Interpolate between the centres of cells (bilinear) instead of taking the cells as they are.
    strides : tuple of int
        Which strides count, one per size and multiples of those that were embedded; () means all patches.
    """

    sizes: tuple[int, ...] = ()
    inside: bool = False
    aggregate: str = "best-then-mean"
    scale_weights: str = "area"
    score: str = "rank"
    smooth: bool = False
    strides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.score not in ("rank", "log-rank", "similarity"):
            raise InputError(f"score must be rank, log-rank or similarity, got {self.score!r}")
        if self.strides and len(self.strides) != len(self.sizes):
            raise InputError(f"one stride per patch size is needed, got {self.sizes} and {self.strides}")
        if self.aggregate not in ("best-then-mean", "mean-then-best"):
            raise InputError(f"aggregate must be best-then-mean or mean-then-best, got {self.aggregate!r}")

    def describe(self) -> str:
        """The choices in one line."""
        steps = [f"/{stride}" for stride in self.strides] or [""] * len(self.sizes)
        sizes = "+".join(f"{size}{step}" for size, step in zip(self.sizes, steps, strict=True)) or "all sizes"
        place = ", inside" if self.inside else ""
        return f"{sizes}{place}, {self.score}, {self.aggregate}, {self.scale_weights}{', smooth' * self.smooth}"


class PatchScores:
    """Ranks and similarities of concepts at every patch of an image, computed once and read in many ways.

    The patches go up to the engine's device once, and only maps come back.

    Parameters
    ----------
    engine : Engine
    embedded : PatchEmbeddings
    targets : sequence of Target
        k concepts.
    bank : optional
        What ranks count over, as ``engine.kernels.prepare_bank`` makes it; by default the engine's own.
    """

    def __init__(self, engine: Engine, embedded: PatchEmbeddings, targets: Sequence[Target], bank: Any = None) -> None:
        self._embedded, self._targets = embedded, list(targets)
        self._bank = engine.prepared_bank if bank is None else bank
        self._place, self._kernels, self._threads = engine.place, engine.kernels, engine.num_threads
        self._by_member: dict[str, Columns] = {}
        with self._place:
            self._rows = self._kernels.upload(embedded.rows)
            columns = [self._best(target) for target in self._targets]
            self._ranks = np.concatenate([ranks for ranks, _ in columns], axis=1)
            self._similarities = np.concatenate([similarities for _, similarities in columns], axis=1)

    def _best(self, target: Target) -> Columns:
        """The best rank and similarity of a concept's subtree at every patch, (n, 1) each."""
        if target.members is None:
            return self._columns([], np.ascontiguousarray(target.embedding, np.float32)[None])
        return self._columns([target.members])

    def _columns(self, groups: Sequence[npt.NDArray[np.int32]], queries: FloatArray | None = None) -> Columns:
        indptr = np.cumsum([0, *map(len, groups)], dtype=np.int64)
        indices = np.concatenate([np.zeros(0, np.int32), *groups]).astype(np.int32)
        found = self._kernels.subtree_ranks(self._rows, self._bank, indptr, indices, queries, num_threads=self._threads)
        return found.ranks, found.similarities

    def maps(self, reading: Reading) -> FloatArray:
        """Maps of all concepts, (k, h, w) float32 in [0, 1], high is salient; ones where a map is constant."""
        steps = self._embedded.coarsened(reading.sizes, reading.strides)
        chosen = self._embedded.chosen(reading.sizes, reading.inside, reading.strides)
        grid = self._embedded.subgrid(chosen, reading.scale_weights, steps)
        with self._place:
            rows = self._kernels.upload(np.flatnonzero(chosen))
            if reading.aggregate == "best-then-mean":
                values = self._values((self._ranks, self._similarities), rows, reading.score)
                maps = self._kernels.to_host(self._saliency(values, grid).maps)
            else:
                maps = np.stack([self._best_of_means(target, rows, grid, reading.score) for target in self._targets])
        return smoothed(maps) if reading.smooth else maps

    def _values(self, columns: Columns, rows: Any, score: str) -> Any:
        """What is averaged over some patches, (n, k)."""
        return patch_values(columns[0].take(rows, axis=0), columns[1].take(rows, axis=0), score)

    def _saliency(self, values: Any, grid: PatchGrid) -> Any:
        return self._kernels.saliency_maps(values, grid.cells, grid.weights, grid.shape, num_threads=self._threads)

    def _members(self, target: Target) -> Columns:
        """Rank and similarity of every member of a concept's subtree at every patch, (n, members) each."""
        if target.name not in self._by_member:
            members = [] if target.members is None else [np.array([member], np.int32) for member in target.members]
            queries = None if target.embedding is None else np.ascontiguousarray(target.embedding, np.float32)[None]
            self._by_member[target.name] = self._columns(members, queries)
        return self._by_member[target.name]

    def _best_of_means(self, target: Target, rows: Any, grid: PatchGrid, score: str) -> FloatArray:
        """Mean over patches for each member of the subtree, then the best member of every cell."""
        found = self._saliency(self._values(self._members(target), rows, score), grid)
        low, high = found.low[:, None, None], found.high[:, None, None]
        means = (high - found.maps * (high - low)).astype(np.float32)  # what the maps were stretched from
        best: FloatArray = self._kernels.to_host(means.min(axis=0))
        low, high = best.min(), best.max()
        return 1 - (best - low) / (high - low) if high > low else np.ones_like(best)


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

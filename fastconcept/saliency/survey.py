"""Survey: which concepts of a whole bank does an image show, without being asked for any?

Under ConVis a concept with m members in a bank of N reaches rank r by chance with a probability of about m (r + 1) / N:
the broader it is, the easier. The *surprise* of a rank sets that off, so that broad and narrow concepts compare::

    surprise(v, c) = max(0, log( N / (m (rank(v, c) + 1)) ))
    score(c)       = surprise(whole image, c) + mean over patches v of surprise(v, c)

in nats: 0 is what any concept reaches by chance, log N what only a single synset at rank 0 can. Patches count by the
part of them that lies in the image, and not at all if that is less than half: what surrounds the image shows nothing.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from ..concepts.bank import ConceptBank
from ..doors import position
from ..errors import ConceptError, InputError
from ..kernels.contract import Kernels
from ..kernels.forks import native_calls
from ..timings import Timings
from .evidence import Evidence
from .layout import OCCLUSION
from .patches import PatchGrid

Float = npt.NDArray[np.float64]
_LEAST_VISIBLE = 0.5  # part of a patch that lies in the image
_RANKS_AT_ONCE = 16_000_000  # patches times concepts, so that memory is bounded


@dataclass(frozen=True)
class SeenConcept:
    """One concept that an image shows.

    Attributes
    ----------
    name : str
        Synset name, or phrase.
    definition : str
        What was encoded for it.
    score : float
        Surprise in nats: of the whole image and, on average, of its patches.
    rank : int
        Whole image: how many concepts of the bank fit better than the best of its subtree.
    similarity : float
        Whole image: cosine of the best of its subtree.
    patches : float in [0, 1]
        Share of the patches, by their weight, where the best of its subtree is the best of the bank.
    """

    name: str
    definition: str
    score: float
    rank: int
    similarity: float
    patches: float


@dataclass(frozen=True)
class SeenConcepts:
    """The concepts that an image shows, best first; iterate over it or index it by position."""

    concepts: tuple[SeenConcept, ...]
    timings_ms: Timings = field(default_factory=Timings, repr=False, compare=False)

    @property
    def names(self) -> list[str]:
        """Names, best first."""
        return [concept.name for concept in self.concepts]

    def __len__(self) -> int:
        return len(self.concepts)

    def __iter__(self) -> Iterator[SeenConcept]:
        return iter(self.concepts)

    @overload
    def __getitem__(self, index: SupportsIndex) -> SeenConcept: ...
    @overload
    def __getitem__(self, index: slice) -> SeenConcepts: ...
    def __getitem__(self, index: SupportsIndex | slice) -> SeenConcept | SeenConcepts:
        """A concept by position; for a slice, some of them."""
        if isinstance(index, slice):
            return replace(self, concepts=self.concepts[index])
        return self.concepts[position(index, len(self))]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: one entry per concept, timings."""
        return {"concepts": [asdict(concept) for concept in self.concepts], "timings_ms": dict(self.timings_ms)}

    def __repr__(self) -> str:
        listed = ", ".join(f"{concept.name} {concept.score:.2f}" for concept in self.concepts[:5])
        return f"<SeenConcepts of {len(self)}: {listed}{', ...' if len(self) > 5 else ''}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(concept.name)}</td><td>{concept.score:.2f}</td>"
            f"<td>{html.escape(concept.definition)}</td></tr>"
            for concept in self.concepts
        )
        return f"<table><tr><th>concept</th><th>score</th><th>definition</th></tr>{rows}</table>"


class BankScores(NamedTuple):
    """What a survey says of every concept of a bank, all (N,).

    ``scores`` and ``patches`` are float64, ``ranks`` int32 and ``similarities`` float32, as in :class:`SeenConcept`;
    similarities are those of the concepts themselves, not of their subtrees.
    """

    scores: Float
    patches: Float
    ranks: npt.NDArray[np.int32]
    similarities: npt.NDArray[np.float32]

    def of(self, nodes: Sequence[int], bank: ConceptBank) -> tuple[SeenConcept, ...]:
        """These concepts of the bank, in this order."""
        seen = []
        for node in nodes:
            subtree = [node] if bank.taxonomy is None else bank.taxonomy.subtree(node)
            score, rank = float(self.scores[node]), int(self.ranks[node])
            similarity, patches = float(self.similarities[subtree].max()), float(self.patches[node])
            seen.append(SeenConcept(bank.names[node], bank.texts[node], score, rank, similarity, patches))
        return tuple(seen)


def survey(
    evidence: Evidence,
    bank: ConceptBank,
    prepared: Any,
    kernels: Kernels,
    top: int,
    below: str | None = None,
    num_threads: int | None = None,
    place: tuple[float, float] | None = None,
) -> SeenConcepts:
    """The concepts of a bank that fit an image and its parts best.

    Parameters
    ----------
    evidence : Evidence
    bank : ConceptBank
    prepared : PreparedBank
        The same as ``kernels.prepare_bank`` makes it.
    kernels : Kernels
    top : int
        Number of concepts; none of them lies above or below another.
    below : str, optional
        Only concepts below this one.
    num_threads : int, optional
    place : (x, y), optional
        Pixels of the original image. Then only the patches that cover this place count, and not the whole image.

    Returns
    -------
    SeenConcepts

    Raises
    ------
    ConceptError
        If ``below`` is not in the bank.
    InputError
        If the place is outside the image.
    """
    timings = Timings(evidence.timings_ms)  # the result's own: evidence is read again
    with timings.stage("ranks"):
        scores = bank_scores(evidence, bank, prepared, kernels, num_threads, place)
    chosen = _best_apart(scores.scores, bank, _candidates(bank, below), top)
    return SeenConcepts(scores.of(chosen, bank), timings)


def bank_scores(
    evidence: Evidence,
    bank: ConceptBank,
    prepared: Any,
    kernels: Kernels,
    num_threads: int | None = None,
    place: tuple[float, float] | None = None,
) -> BankScores:
    """The survey of every concept of a bank; that of the whole image is kept with the evidence."""
    weights = _visible(evidence.grid) if place is None else _covering(evidence, place)

    def make() -> BankScores:
        return _bank_scores(evidence, bank, prepared, kernels, num_threads, weights, whole_counts=place is None)

    return evidence.kept.of(prepared, "survey", make) if place is None else make()


def _visible(grid: PatchGrid) -> Float:
    """Weight of every patch in a survey of the image."""
    shares = grid.visible_shares()
    weights = np.where(shares >= _LEAST_VISIBLE, shares, 0)
    return weights if weights.any() else np.ones(len(shares))


def _covering(evidence: Evidence, place: tuple[float, float]) -> Float:
    """Weight of every patch in a survey of one place: that of its map there.

    Raises
    ------
    InputError
        If the place is not a point of the image that was looked at.
    """
    x0, y0, x1, y1 = evidence.region
    try:
        x, y = map(float, place)
    except (TypeError, ValueError, OverflowError):
        raise InputError("place must be two numbers, x and y in pixels") from None
    if evidence.layout.mode == OCCLUSION:
        raise InputError("evidence by occlusion does not say what is seen at a place; use another mode")
    if not (x0 <= x < x1 and y0 <= y < y1):
        raise InputError(f"place ({x:g}, {y:g}) is outside the part that was looked at, ({x0}, {y0}) to ({x1}, {y1})")
    height, width = evidence.grid.shape
    across, down = int((x - x0) / (x1 - x0) * width), int((y - y0) / (y1 - y0) * height)
    left, top, right, bottom = evidence.grid.cells.T
    covers = (left <= across) & (across < right) & (top <= down) & (down < bottom)
    return np.where(covers, evidence.grid.weights(), 0)


def _bank_scores(
    evidence: Evidence,
    bank: ConceptBank,
    prepared: Any,
    kernels: Kernels,
    num_threads: int | None,
    weights: Float,
    whole_counts: bool,
) -> BankScores:
    edges = _edges(bank)
    members = np.ones(len(bank), np.int64) if bank.taxonomy is None else bank.taxonomy.subtree_sizes
    chance = np.log(len(bank) / members).astype(np.float32)

    def ranks_at(rows: Any) -> npt.NDArray[np.int32]:
        ranks: npt.NDArray[np.int32] = kernels.to_host(
            kernels.all_ranks(rows, prepared, *edges, num_threads=num_threads)
        )
        return ranks

    places = np.flatnonzero(weights)
    weights = weights[places] / weights[places].sum()
    rows = kernels.upload(evidence.rows).take(kernels.upload(places), axis=0)
    whole = ranks_at(kernels.upload(evidence.whole))[0]
    surprise, wins = np.zeros(len(bank)), np.zeros(len(bank))
    step = max(1, _RANKS_AT_ONCE // len(bank))
    for start in range(0, len(places), step):
        ranks, share = ranks_at(rows[start : start + step]), weights[start : start + step]
        with native_calls.one():
            surprise += share @ np.maximum(chance - np.log1p(ranks.astype(np.float32)), 0)
            wins += share @ (ranks == 0)
    scores = np.maximum(chance - np.log1p(whole), 0) + surprise if whole_counts else surprise
    with native_calls.one():
        cosines = kernels.to_host(evidence.whole)[0] @ bank.embeddings.T
    return BankScores(scores, wins, whole, cosines)


def _edges(bank: ConceptBank) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Children of every concept in compressed rows, and an order with children before parents."""
    if bank.taxonomy is None:
        return np.zeros(len(bank) + 1, np.int64), np.zeros(0, np.int32), np.arange(len(bank), dtype=np.int32)
    return bank.taxonomy.child_indptr, bank.taxonomy.child_indices, bank.taxonomy.order


def _candidates(bank: ConceptBank, below: str | None) -> npt.NDArray[np.bool_]:
    allowed = np.ones(len(bank), bool)
    if below is None:
        return allowed
    node = root_of(bank, below)
    allowed[:] = False
    allowed[bank.subtree(bank.names[node])] = True
    allowed[node] = bank.taxonomy is None
    return allowed


def root_of(bank: ConceptBank, below: str) -> int:
    """The row of the concept below which a survey looks.

    Raises
    ------
    ConceptError
        If the bank does not have it.
    """
    node = bank.resolve(below).index
    if node is None:
        raise ConceptError(f"{below!r} is not one of the {len(bank):,} concepts of this bank; see `fastconcept search`")
    return node


def _best_apart(scores: Float, bank: ConceptBank, allowed: npt.NDArray[np.bool_], top: int) -> list[int]:
    """The best of the allowed concepts, no two of them one above the other; ties go to the earlier concept."""
    chosen: list[int] = []
    left = allowed.copy()
    for node in np.argsort(-scores, kind="stable").tolist():
        if len(chosen) == top:
            break
        if not left[node]:
            continue
        chosen.append(node)
        left[node] = False
        if bank.taxonomy is not None:
            left[bank.taxonomy.subtree(node)] = False
            left[bank.taxonomy.closure([node])] = False
    return chosen

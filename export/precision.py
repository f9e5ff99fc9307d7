"""The gate for encoders of reduced precision: their embeddings, ranks and maps must be close enough to float32."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ExportError, InputError

MIN_MEAN_COSINE = 0.9995
MIN_COSINE = 0.999
MIN_MAP_SPEARMAN = 0.99

Rows = npt.NDArray[Any]  # of floating-point numbers


@dataclass(frozen=True)
class PrecisionReport:
    """How far an encoder is from its float32 original, over the same images."""

    images: int
    mean_cosine: float
    min_cosine: float
    mean_rank_change: float | None  # of concept ranks, as a share of the number of concepts
    map_spearman: float | None  # mean over the maps

    def problems(self) -> list[str]:
        """Every measure that fails, in words; empty where the gate is passed."""
        problems = []
        if not self.mean_cosine >= MIN_MEAN_COSINE:
            problems.append(f"mean cosine {self.mean_cosine:.6f} is below {MIN_MEAN_COSINE}")
        if not self.min_cosine >= MIN_COSINE:
            problems.append(f"smallest cosine {self.min_cosine:.6f} is below {MIN_COSINE}")
        if self.map_spearman is not None and not self.map_spearman >= MIN_MAP_SPEARMAN:
            problems.append(f"rank correlation of maps {self.map_spearman:.4f} is below {MIN_MAP_SPEARMAN}")
        return problems

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare(
    expected: Rows,
    measured: Rows,
    ranks: tuple[Rows, Rows, int] | None = None,
    maps: tuple[Rows, Rows] | None = None,
) -> PrecisionReport:
    """Compare embeddings, and optionally ranks and maps, with those of float32.

    Parameters
    ----------
    expected, measured : (n, d)
        Embeddings of the same n >= 1 images, from float32 and from the candidate.
    ranks : tuple, optional
        Concept ranks from float32 and from the candidate, same shape, and the number of concepts ranked.
    maps : tuple, optional
        Maps (k, h, w) from float32 and from the candidate.

    Returns
    -------
    PrecisionReport

    Raises
    ------
    InputError
        If shapes disagree or there is nothing to compare.
    """
    if expected.shape != measured.shape or expected.ndim != 2 or len(expected) == 0:
        raise InputError(f"embeddings of the same images are needed, got {expected.shape} and {measured.shape}")
    a, b = expected.astype(np.float64), measured.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    cosines = np.where(np.isfinite(cosines), cosines, -1.0)
    change = None
    if ranks is not None:
        change = float(np.abs(ranks[0].astype(np.float64) - ranks[1]).mean() / ranks[2])
    spearman = None if maps is None else map_spearman(*maps)
    return PrecisionReport(len(a), float(cosines.mean()), float(cosines.min()), change, spearman)


def compare_concepts(
    expected: npt.NDArray[np.float32],
    measured: npt.NDArray[np.float32],
    bank: npt.NDArray[np.float32],
    indptr: npt.NDArray[np.integer],
    indices: npt.NDArray[np.integer],
) -> PrecisionReport:
    """Compare embeddings, the ranks of some concepts at them, and the maps they make side by side as cells.

    Parameters
    ----------
    expected, measured : (n, d) float32
        Unit rows of the same images (n >= 2), from float32 and from the candidate.
    bank, indptr, indices
        Concept embeddings and subtrees, as :meth:`fastconcept.kernels.contract.Kernels.subtree_ranks` takes them.
    """
    from ..kernels import cpu

    ranks = [np.asarray(cpu.subtree_ranks(rows, bank, indptr, indices).ranks) for rows in (expected, measured)]
    column = np.arange(len(expected))
    cells = np.stack([column, 0 * column, column + 1, 0 * column + 1], axis=1)
    weights, shape = np.ones(len(column)), (1, len(column))
    maps = [np.asarray(cpu.saliency_maps(each, cells, weights, shape).maps) for each in ranks]
    return compare(expected, measured, (ranks[0], ranks[1], len(bank)), (maps[0], maps[1]))


def map_spearman(expected: Rows, measured: Rows) -> float:
    """Mean rank correlation (ties share their mean rank) of maps; constant pairs count as 1, half-constant as 0.

    Examples
    --------
    >>> maps = np.arange(8.0).reshape(2, 2, 2)
    >>> map_spearman(maps, maps**3)
    1.0
    """
    if expected.shape != measured.shape or expected.ndim != 3 or len(expected) == 0:
        raise InputError(f"maps (k, h, w) of the same concepts are needed, got {expected.shape} and {measured.shape}")
    scores = []
    for one, other in zip(expected.reshape(len(expected), -1), measured.reshape(len(measured), -1), strict=True):
        a, b = _mean_ranks(one), _mean_ranks(other)
        a, b = a - a.mean(), b - b.mean()
        spread = float(np.sqrt((a @ a) * (b @ b)))
        scores.append(float(a @ b) / spread if spread > 0 else float(not (a.any() or b.any())))
    return float(np.mean(scores))


def _mean_ranks(values: Rows) -> npt.NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = (ends - (counts - 1) / 2.0)[place]
    return ranks


def require_precision(report: PrecisionReport, what: str) -> None:
    """Refuse an encoder that fails the gate.

    Raises
    ------
    ExportError
        With every measure that fails and what to try.
    """
    problems = report.problems()
    if problems:
        raise ExportError(f"{what} is refused: {'; '.join(problems)}. Try bfloat16, or keep float32")

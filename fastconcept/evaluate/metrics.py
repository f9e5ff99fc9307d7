"""Numbers that say how well scores separate, rank and retrieve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import InputError

Float = npt.NDArray[np.float64]


def auroc(positive: npt.ArrayLike, negative: npt.ArrayLike) -> float:
    """Chance that a positive scores above a negative, ties counting half: the area under the ROC curve.

    Parameters
    ----------
    positive, negative : (n,) and (m,) float
        Scores; high means positive.

    Raises
    ------
    InputError
        If a side is empty or a score is not finite.

    Examples
    --------
    >>> auroc([3, 2], [1, 2])
    0.875
    """
    high, low = _scores(positive, negative)
    below = np.searchsorted(low, high, side="left") + np.searchsorted(low, high, side="right")
    return float(below.mean() / (2 * len(low)))


def fpr_at_tpr(positive: npt.ArrayLike, negative: npt.ArrayLike, rate: float = 0.95) -> float:
    """Part of the negatives that pass the highest threshold which at least ``rate`` of the positives pass.

    FPR95 of the out-of-distribution literature, with positives in-distribution.

    Examples
    --------
    >>> fpr_at_tpr([4, 3, 2, 1], [0, 1, 5, 0], rate=0.75)
    0.25
    """
    high, low = _scores(positive, negative)
    needed = int(np.ceil(rate * len(high) - 1e-9))
    threshold = high[len(high) - needed]
    return float((low >= threshold).mean())


def _scores(positive: npt.ArrayLike, negative: npt.ArrayLike) -> tuple[Float, Float]:
    sides = []
    for name, values in (("positive", positive), ("negative", negative)):
        scores = np.sort(np.asarray(values, np.float64).ravel())
        if not len(scores) or not np.isfinite(scores).all():
            raise InputError(f"there must be at least one {name} score and all must be finite")
        sides.append(scores)
    return sides[0], sides[1]


def true_ranks(scores: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """How many wrong choices score at least as high as the right one (0 is best; ties count against).

    Parameters
    ----------
    scores : (n, k) float
    labels : (n,) integers in [0, k)

    Returns
    -------
    (n,) int64

    Examples
    --------
    >>> true_ranks([[0.9, 0.1, 0.5], [0.2, 0.2, 0.1]], [2, 0])
    array([1, 1])
    """
    table, right = np.asarray(scores), np.asarray(labels, np.int64)
    ranks: npt.NDArray[np.int64] = (table >= table[np.arange(len(table)), right][:, None]).sum(axis=1) - 1
    return ranks


def recall_at(ranks: npt.ArrayLike, k: int) -> float:
    """Part of the ranks below k: top-k accuracy, or recall@k where every query has one best rank.

    Examples
    --------
    >>> recall_at([0, 3, 12], 10)
    0.6666666666666666
    """
    return float((np.asarray(ranks) < k).mean())

"""Numbers that say how well scores separate, rank and retrieve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .libraries import library

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
    return float(library("sklearn.metrics").roc_auc_score(*_labelled(positive, negative)))


def fpr_at_tpr(positive: npt.ArrayLike, negative: npt.ArrayLike, rate: float = 0.95) -> float:
    """Part of the negatives that pass the highest threshold which at least ``rate`` of the positives pass.

    FPR95 of the out-of-distribution literature, with positives in-distribution.

    Examples
    --------
    >>> fpr_at_tpr([4, 3, 2, 1], [0, 1, 5, 0], rate=0.75)
    0.25
    """
    truth, scores = _labelled(positive, negative)
    false, true, _ = library("sklearn.metrics").roc_curve(truth, scores, drop_intermediate=False)
    return float(false[np.argmax(true >= rate - 1e-9)])


def _labelled(positive: npt.ArrayLike, negative: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], Float]:
    """Truth and scores of both sides, one after the other."""
    sides = [np.asarray(values, np.float64).ravel() for values in (positive, negative)]
    for name, scores in zip(("positive", "negative"), sides, strict=True):
        if not len(scores) or not np.isfinite(scores).all():
            raise InputError(f"there must be at least one {name} score and all must be finite")
    return np.arange(len(sides[0]) + len(sides[1])) < len(sides[0]), np.concatenate(sides)


def weighted_auroc(
    positive: npt.NDArray[np.floating], negative: npt.NDArray[np.floating], drawn: Float, others: Float
) -> Float:
    """AUROC of many bootstrap samples at once.

    scikit-learn takes one vector of weights a call, which is about a thousand times as slow.

    Parameters
    ----------
    positive, negative : (n,) and (m,) float
        Scores; high means positive.
    drawn, others : (r, n) and (r, m) float64
        How often each positive and each negative is in each of r samples.

    Returns
    -------
    (r,) float64

    Examples
    --------
    >>> weighted_auroc(np.array([3, 2]), np.array([1, 2]), np.array([[1.0, 1.0], [0.0, 2.0]]), np.ones((2, 2)))
    array([0.875, 0.75 ])
    """
    order = np.argsort(negative)
    below = np.concatenate([np.zeros((len(others), 1)), others[:, order].cumsum(axis=1)], axis=1)
    left, right = (np.searchsorted(negative[order], positive, side) for side in ("left", "right"))
    above: Float = ((below[:, left] + below[:, right]) / 2 * drawn).sum(axis=1)
    areas: Float = above / (drawn.sum(axis=1) * others.sum(axis=1))
    return areas


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

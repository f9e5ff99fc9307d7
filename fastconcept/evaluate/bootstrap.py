"""How sure a number is: bootstrap intervals, permutation tests, and the control of false discoveries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..errors import InputError

Float = npt.NDArray[np.float64]


def resamples(groups: Sequence[object], repeats: int, seed: int) -> Float:
    """How often each of n cases is drawn in each bootstrap sample; cases of one group are drawn together.

    Parameters
    ----------
    groups : (n,) sequence
        Which cases belong together, such as the objects of one image.
    repeats : int
    seed : int

    Returns
    -------
    (repeats, n) float64

    Examples
    --------
    >>> resamples(["a", "a", "b"], 2, seed=0).tolist()
    [[0.0, 0.0, 2.0], [1.0, 1.0, 1.0]]
    """
    names: dict[object, int] = {}
    members = np.array([names.setdefault(group, len(names)) for group in groups], np.int64)
    generator = np.random.default_rng(seed)
    drawn = np.zeros((repeats, len(names)))
    for row in drawn:
        row += np.bincount(generator.integers(0, len(names), len(names)), minlength=len(names))
    return drawn[:, members]


def interval(values: npt.ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The middle ``level`` of bootstrap values (percentile interval)."""
    low, high = np.quantile(np.asarray(values, np.float64), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_bootstrap(
    ours: Float,
    theirs: Float,
    groups: Sequence[object] | None = None,
    statistic: Callable[[Float], Float] | None = None,
    repeats: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Difference of a statistic between two methods on the same cases, with its 95 % interval.

    Parameters
    ----------
    ours, theirs : (n, t) float
        One row per case: a success or score at each of t thresholds (t may be 1).
    groups : sequence of n, optional
        Cases that are resampled together.
    statistic : callable, optional
        Means (r, t) to r numbers; by default the largest over the thresholds, as in MaxBoxAcc.
    repeats, seed : int

    Returns
    -------
    difference, low, high : float
        The threshold is chosen anew in every sample, for both methods.

    Examples
    --------
    >>> [round(number, 3) for number in paired_bootstrap(np.ones((20, 1)), np.zeros((20, 1)))]
    [1.0, 1.0, 1.0]
    """
    if ours.shape[0] != theirs.shape[0] or not len(ours):
        raise InputError(f"paired cases are needed, got {len(ours)} and {len(theirs)}")
    best = statistic or (lambda means: means.max(axis=1))
    counts = resamples(list(range(len(ours))) if groups is None else groups, repeats, seed)
    counts /= counts.sum(axis=1, keepdims=True)
    differences = best(counts @ ours) - best(counts @ theirs)
    observed = best(ours.mean(axis=0)[None])[0] - best(theirs.mean(axis=0)[None])[0]
    return float(observed), *interval(differences)


def permutation_p(observed: Float, permuted: Float) -> Float:
    """Two-sided p-values: how often a permuted statistic is at least as far from zero as the observed one.

    Parameters
    ----------
    observed : (k,) float
    permuted : (r, k) float

    Returns
    -------
    (k,) float64
        ``(1 + hits) / (1 + r)``, never zero.

    Examples
    --------
    >>> permutation_p(np.array([2.0, 0.0]), np.array([[1.0, 1.0], [-3.0, 0.5], [0.0, -1.0]]))
    array([0.5, 1. ])
    """
    hits = (np.abs(permuted) >= np.abs(observed) - 1e-12).sum(axis=0)
    values: Float = (1.0 + hits) / (1.0 + len(permuted))
    return values


def benjamini_hochberg(p: npt.ArrayLike) -> Float:
    """Adjusted p-values q: rejecting all with q <= alpha keeps the expected false discovery rate at alpha.

    Benjamini & Hochberg, *J. R. Statist. Soc. B* 57 (1995), for independent or positively dependent tests.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.5]).round(4)
    array([0.04  , 0.0533, 0.0533, 0.5   ])
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values)
    stepped = values[order] * len(values) / np.arange(1, len(values) + 1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.minimum.accumulate(stepped[::-1])[::-1], 1.0)
    return adjusted

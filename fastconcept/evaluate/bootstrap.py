"""How sure a number is: bootstrap intervals, permutation tests and false-discovery control, all by :mod:`scipy.stats`.

What is here lets SciPy draw indices of cases instead of the cases themselves. A statistic then sees how often each case
was drawn, so that many columns (thresholds, words) are resampled by one matrix product, the objects of one image are
drawn together, and several samples or methods share their draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .libraries import library

Float = npt.NDArray[np.float64]
_MOST = 2**24  # drawn indices in memory at a time


def bootstrap(
    statistic: Callable[..., Float], *sizes: int, repeats: int = 2000, seed: int = 0
) -> tuple[Float, Float, Float]:
    """A statistic of one or more samples with its 95 % percentile interval.

    Parameters
    ----------
    statistic : callable
        Receives an (r, n) float64 array for each sample: how often each of its n members is in each of r bootstrap
        samples. Returns (r,) or (r, k) float64; ``weights @ values / n`` is the mean of each bootstrap sample.
    *sizes : int
        Number of members of each sample; samples are resampled independently of each other.
    repeats, seed : int
        Number of bootstrap samples, and the seed that decides them.

    Returns
    -------
    value, low, high : () or (k,) float64
        The statistic of the samples as they are, and the ends of its interval.

    Examples
    --------
    >>> values = np.array([1.0, 2.0, 6.0])
    >>> [float(end.round(2)) for end in bootstrap(lambda weights: weights @ values / 3, 3)]
    [3.0, 1.0, 6.0]
    """
    value = statistic(*(np.ones((1, size)) for size in sizes))[0]
    several = [k for k, size in enumerate(sizes) if size > 1]  # SciPy refuses a sample of one, which never changes
    if not several:
        return value, value, value

    def drawn_statistic(*drawn: npt.NDArray[np.int64], axis: int) -> Float:
        weights = [np.ones((len(drawn[0]), size)) for size in sizes]
        for k, indices in zip(several, drawn, strict=True):
            weights[k] = _counts(indices, sizes[k])
        return np.moveaxis(statistic(*weights), 0, -1)

    result = library("scipy.stats").bootstrap(
        [np.arange(sizes[k]) for k in several],
        drawn_statistic,
        n_resamples=repeats,
        batch=max(1, _MOST // sum(sizes)),
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = (np.asarray(end, np.float64) for end in result.confidence_interval)
    return value, low, high


def _counts(drawn: npt.NDArray[np.int64], size: int) -> Float:
    """How often each of ``size`` members occurs in each row of drawn indices (r, n): (r, size)."""
    apart = drawn + size * np.arange(len(drawn))[:, None]
    counts = np.bincount(apart.ravel(), minlength=size * len(drawn))
    return counts.reshape(len(drawn), size).astype(np.float64)


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
        Group of each case, such as its image; the cases of a group are drawn together.
    statistic : callable, optional
        Maps means (r, t) to r numbers; the default is the largest over the thresholds, as in MaxBoxAcc.
    repeats, seed : int
        Number of bootstrap samples, and the seed that decides them.

    Returns
    -------
    difference, low, high : float
        The threshold is chosen anew in every sample, for both methods.

    Raises
    ------
    InputError
        If there is no case, or the numbers of cases differ.

    Examples
    --------
    >>> [round(number, 3) for number in paired_bootstrap(np.ones((20, 1)), np.zeros((20, 1)))]
    [1.0, 1.0, 1.0]
    """
    if ours.shape[0] != theirs.shape[0] or not len(ours):
        raise InputError(f"paired cases are needed, got {len(ours)} and {len(theirs)}")
    best = statistic or (lambda means: means.max(axis=1))
    index: dict[object, int] = {}
    owners = [index.setdefault(group, len(index)) for group in (range(len(ours)) if groups is None else groups)]
    sizes = np.bincount(owners)
    sums = [np.zeros((len(index), ours.shape[1])) for _ in range(2)]
    for total, cases in zip(sums, (ours, theirs), strict=True):
        np.add.at(total, owners, cases)

    def difference(weights: Float) -> Float:
        cases = (weights @ sizes)[:, None]
        return best(weights @ sums[0] / cases) - best(weights @ sums[1] / cases)

    value, low, high = bootstrap(difference, len(index), repeats=repeats, seed=seed)
    return float(value), float(low), float(high)


class Permutation(NamedTuple):
    """Result of :func:`permutation_test` for k statistics.

    Attributes
    ----------
    observed : (k,) float64
    p, q : (k,) float64
        Two-sided p-values, and the same adjusted after Benjamini & Hochberg: rejecting every q <= alpha keeps the
        expected part of false discoveries at alpha.
    by_chance : float
        Mean number of discoveries (q <= rate) when the labels are permuted.
    """

    observed: Float
    p: Float
    q: Float
    by_chance: float


def permutation_test(
    statistic: Callable[[Float], Float], labels: Float, rate: float = 0.05, repeats: int = 2000, seed: int = 0
) -> Permutation:
    """Are statistics of labelled items farther from zero than if the labels were assigned at random?

    Parameters
    ----------
    statistic : callable
        Maps labels (r, n) to (r, k) float64; zero means no effect.
    labels : (n,) float64
        Label of each item, such as its group or its position in time.
    rate : float
        False discovery rate that ``by_chance`` is counted at.
    repeats, seed : int
        Number of permutations, and the seed that decides them. Where there are not that many, all are taken.

    Returns
    -------
    Permutation

    Examples
    --------
    >>> values = np.arange(8.0)[:, None]
    >>> test = permutation_test(lambda labels: labels @ (values - 3.5), np.arange(8.0))
    >>> float(test.observed[0]), bool(test.p[0] < 0.01)
    (42.0, True)
    """
    stats = library("scipy.stats")

    def distance(drawn: Float, axis: int) -> Float:
        values: Float = np.abs(statistic(np.atleast_2d(drawn))).round(12)  # equal but for the order of summation
        return values if drawn.ndim > 1 else values.reshape(-1)

    result = stats.permutation_test(
        (labels,),
        distance,
        permutation_type="pairings",
        alternative="greater",
        vectorized=True,
        n_resamples=repeats,
        batch=max(1, _MOST // len(labels)),
        rng=np.random.default_rng(seed),
    )
    distances = result.null_distribution
    shares = stats.rankdata(-distances, method="max", axis=0) / len(distances)  # the p-value of every permutation
    discoveries = (stats.false_discovery_control(shares, axis=1) <= rate).sum(axis=1)
    q = stats.false_discovery_control(result.pvalue)
    return Permutation(statistic(labels[None])[0], result.pvalue, q, float(discoveries.mean()))

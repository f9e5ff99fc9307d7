"""The nonnegative lasso in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import arguments
from ..contract import Array, PreparedDictionary
from ..csr import SparseCodes

Vector = npt.NDArray[np.float64]
_DEPENDENT = 1e-12  # a row closer than this (squared, relative) to the span of the support is in the span
_SMALLEST_PENALTY = 1e-4  # the path ends at this share of the penalty at which it begins


class Prepared:
    """Checked rows of a dictionary; other backends keep their converted copies here."""

    def __init__(self, rows: object) -> None:
        self.rows = arguments.rows("dictionary", rows)
        self.shape: tuple[int, int] = (self.rows.shape[0], self.rows.shape[1])


def prepare_dictionary(rows: Array, *, num_threads: int | None = None) -> Prepared:
    """The rows, checked."""
    return Prepared(rows)


@dataclass
class _Code:
    """One solved problem."""

    support: list[int]
    weights: Vector
    l1_penalty: float
    rounds: int


def nnlasso(
    dictionary: Array | PreparedDictionary,
    targets: Array,
    l1_penalty: float | Array,
    warm_start: SparseCodes | None = None,
    *,
    signed: bool = False,
    tolerance: float = 1e-6,
    num_threads: int | None = None,
) -> SparseCodes:
    """The active-set method of Lawson and Hanson (Solving Least Squares Problems, 1974, chapter 23), ties by index."""
    prepared = dictionary if isinstance(dictionary, Prepared) else Prepared(dictionary)
    targets = arguments.rows("targets", targets, prepared.shape[1])
    penalties = arguments.l1_penalty(l1_penalty, len(targets))
    warm = arguments.warm_start(warm_start, len(targets), prepared.shape[0], signed)
    tolerance = arguments.tolerance(tolerance)
    rows, z64 = _directions(prepared, signed), targets.astype(np.float64)
    codes = [
        _solve(rows, z, float(penalty), words.tolist(), tolerance)
        for z, penalty, words in zip(z64, penalties, warm.rows(), strict=True)
    ]
    return _certified(prepared, z64, codes, signed)


def nnlasso_l0(
    dictionary: Array | PreparedDictionary,
    targets: Array,
    l0: int,
    *,
    signed: bool = False,
    tolerance: float = 1e-6,
    num_threads: int | None = None,
) -> SparseCodes:
    """The path, one event after another."""
    prepared = dictionary if isinstance(dictionary, Prepared) else Prepared(dictionary)
    targets = arguments.rows("targets", targets, prepared.shape[1])
    l0, tolerance = arguments.l0(l0), arguments.tolerance(tolerance)
    rows, z64 = _directions(prepared, signed), targets.astype(np.float64)
    return _certified(prepared, z64, [_follow_path(rows, z, l0) for z in z64], signed)


def _directions(prepared: Prepared, signed: bool) -> Vector:
    """The rows in float64, followed by their mirror images where weights may be negative."""
    rows = prepared.rows.astype(np.float64)
    return np.concatenate([rows, -rows]) if signed else rows


def _solve(rows: Vector, z: Vector, penalty: float, warm: list[int], tolerance: float) -> _Code:
    """Active set: solve on the support, step back to the boundary, add the most violating row, until none is left."""
    support, weights = _descend(rows, z, penalty, sorted(set(warm)), np.zeros(len(set(warm))))
    slack = 0.5 * tolerance * penalty  # a violation of 2 c_j . r <= lambda by this much costs half the tolerance
    rounds, limit = 0, 50 + 10 * len(rows)
    while rounds < limit:
        rounds += 1
        violations = 2 * rows @ (z - weights @ rows[support]) - penalty
        violations[support] = -np.inf
        worst = int(violations.argmax()) if len(violations) else -1
        if worst < 0 or violations[worst] <= slack:
            break
        support, weights = _descend(rows, z, penalty, [*support, worst], np.append(weights, 0.0))
    return _Code(support, weights, penalty, rounds)


def _descend(rows: Vector, z: Vector, penalty: float, support: list[int], weights: Vector) -> tuple[list[int], Vector]:
    """Minimise over the support, dropping words on the way whenever one reaches zero."""
    while support:
        chosen = rows[support]
        independent = _independent(chosen)
        extra = [i for i in range(len(support)) if i not in independent]
        step = np.zeros(len(support))
        basis = chosen[independent]
        if extra:
            # c_e = sum_p beta_p c_p: moving along e - beta leaves the residual, and lowers sum(w) if sum(beta) > 1.
            beta = np.linalg.lstsq(basis.T, chosen[extra[0]], rcond=None)[0]
            sign = 1.0 if beta.sum() > 1 + 1e-9 else -1.0
            step[extra[0]], step[independent] = sign, -sign * beta
            reach = np.inf
        else:
            gram = basis @ basis.T
            step = np.linalg.solve(gram, basis @ z - penalty / 2) - weights
            reach = 1.0
        shrinking = np.flatnonzero(step < 0)
        limits = weights[shrinking] / -step[shrinking]
        if len(limits) == 0 or limits.min() >= reach:
            # strictly inside (or an extra row with nowhere to go, which a nonnegative beta makes impossible)
            weights = weights + step if reach == 1.0 else weights
            break
        first = shrinking[limits.argmin()]
        weights = np.maximum(weights + limits.min() * step, 0.0)
        support, weights = support[:first] + support[first + 1 :], np.delete(weights, first)
    keep = [i for i in range(len(support)) if weights[i] > 0]
    return [support[i] for i in keep], weights[keep]


def _independent(chosen: Vector) -> list[int]:
    """Greedy maximal independent subset of rows, earliest first."""
    basis: list[Vector] = []
    kept = []
    for i, row in enumerate(chosen):
        rest = row.copy()
        for _ in range(2):  # once more for orthogonality to rounding
            for direction in basis:
                rest -= (direction @ rest) * direction
        norm = rest @ rest
        if norm > _DEPENDENT * (row @ row):
            basis.append(rest / np.sqrt(norm))
            kept.append(i)
    return kept


def _follow_path(rows: Vector, z: Vector, l0: int) -> _Code:
    """Homotopy in lambda: on each segment w = alpha - lambda * beta on the support."""
    correlations = rows @ z
    penalty = 2 * float(correlations.max(initial=0.0))
    if penalty <= 0:
        return _Code([], np.zeros(0), 0.0, 1)
    floor = _SMALLEST_PENALTY * penalty
    support, barred, rounds, limit = [int(correlations.argmax())], -1, 0, 100 + 20 * l0
    while rounds < limit:
        rounds += 1
        chosen = rows[support]
        gram = chosen @ chosen.T
        alpha, beta = np.linalg.solve(gram, np.stack([chosen @ z, np.full(len(support), 0.5)], axis=1)).T
        # c_j . r = p_j + lambda * q_j reaches lambda / 2 at p_j / (1/2 - q_j)
        p, slope = correlations - rows @ (alpha @ chosen), 0.5 - rows @ (beta @ chosen)
        slope[support if barred < 0 else [*support, barred]] = 0.0  # who just left does not come back at once
        enters = np.where(slope > 1e-9, p / np.where(slope > 1e-9, slope, 1.0), -np.inf)
        enters = np.minimum(enters, penalty)
        leaves = np.where(beta < 0, alpha / np.where(beta < 0, beta, 1.0), -np.inf)
        leaves = np.minimum(leaves, penalty)
        next_penalty = max(float(enters.max()), float(leaves.max()), floor)
        weights = np.maximum(alpha - next_penalty * beta, 0.0)
        entering = next_penalty == enters.max() and enters.max() > leaves.max()
        penalty, barred = next_penalty, -1
        if penalty <= floor or (entering and len(support) >= l0):
            break
        if entering:
            support.append(int(enters.argmax()))
        else:
            barred = support.pop(int(leaves.argmax()))
    keep = np.flatnonzero(weights > 1e-12 * weights.max(initial=0.0))
    return _Code([support[i] for i in keep], weights[keep], penalty, rounds)


def _certified(prepared: Prepared, targets: Vector, codes: list[_Code], signed: bool) -> SparseCodes:
    """CSR arrays with the duality gap and the KKT residual of every code."""
    rows, pairs = prepared.rows.astype(np.float64), []
    for code in codes:
        support = np.asarray(code.support, np.int32)
        words, order = support % max(len(rows), 1), np.argsort(support % max(len(rows), 1))
        pairs.append((words[order], np.where(support < len(rows), code.weights, -code.weights)[order]))
    certificates = [
        certificate(rows, z, *pair, code.l1_penalty, signed)
        for z, pair, code in zip(targets, pairs, codes, strict=True)
    ]
    return SparseCodes.of(
        pairs,
        np.array([code.l1_penalty for code in codes], np.float64),
        np.array([gap for gap, _ in certificates], np.float64),
        np.array([kkt for _, kkt in certificates], np.float64),
        np.array([code.rounds for code in codes], np.int32),
    )


def certificate(
    rows: Vector,
    target: Vector,
    indices: npt.NDArray[np.int32],
    values: Vector,
    l1_penalty: float,
    signed: bool = False,
) -> tuple[float, float]:
    """Relative duality gap and KKT residual of one code.

    Parameters
    ----------
    rows : (N, d) float64
    target : (d,) float64
    indices, values : (m,) int32 and float64
        The code.
    l1_penalty : float
    signed : bool
        The code is one of the lasso without ``w >= 0``.

    Returns
    -------
    gap, kkt : float
        ``(P - D) / P`` (0 where P is 0), and the largest of ``max(2 c_j . r - lambda, 0)`` over all rows and
        ``|2 c_j . r - lambda|`` over the support; for signed codes, ``|c_j . r|`` and ``sign(w_j) c_j . r``.

    Examples
    --------
    >>> certificate(np.eye(2), np.array([1.0, 0.0]), np.array([0], np.int32), np.array([0.5]), 1.0)
    (0.0, 0.0)
    """
    residual = target - values @ rows[indices]
    square = float(residual @ residual)
    primal = square + l1_penalty * float(np.abs(values).sum())
    correlations = rows @ residual
    on_support = np.sign(values) * correlations[indices]
    largest = float((np.abs(correlations) if signed else correlations).max(initial=0.0))
    kkt = max(2 * largest - l1_penalty, float(np.abs(2 * on_support - l1_penalty).max(initial=0.0)), 0.0)
    if primal == 0:
        return 0.0, kkt
    alignment = float(target @ residual)
    scale = alignment / square if square > 0 else 0.0
    scale = max(min(scale, l1_penalty / (2 * largest) if largest > 0 else np.inf), 0.0)
    dual = 2 * scale * alignment - scale**2 * square
    return max(primal - dual, 0.0) / primal, kkt

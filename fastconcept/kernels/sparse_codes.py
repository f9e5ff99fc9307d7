"""The result of the sparse solvers and the checks of their input, shared by every backend.

The problem, for a dictionary C (N, d) and a target z (d,):

    minimise over w >= 0:   P(w) = ||z - C^T w||^2 + lambda * sum(w)

With the residual r = z - C^T w, w is optimal exactly when ``2 c_j . r <= lambda`` for every row c_j, with equality
where ``w_j > 0``. Scaling r until it satisfies the inequalities gives a lower bound of P (the dual objective
``2 s z . r - s^2 ||r||^2`` for ``0 <= s <= lambda / (2 max_j c_j . r)``), and with it a certificate.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError


class SparseCodes(NamedTuple):
    """Sparse codes of n problems in CSR layout, each with its certificate.

    Problem i has words ``indices[indptr[i]:indptr[i + 1]]`` (ascending) with weights ``values[...]`` > 0.
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    l1_penalty: npt.NDArray[np.float64]  # (n,) lambda of each problem
    gap: npt.NDArray[np.float64]  # (n,) duality gap divided by the primal objective
    kkt: npt.NDArray[np.float64]  # (n,) largest violation of the optimality conditions, on the scale of lambda
    rounds: npt.NDArray[np.int32]  # (n,) products with the whole dictionary that were needed


def check_rows(rows: object, name: str) -> npt.NDArray[np.float32]:
    """A float32 C-contiguous finite (n, d) array with d >= 1, or an error that names what it is instead.

    Raises
    ------
    InputError
        If it is anything else. Nothing is converted silently.

    Examples
    --------
    >>> check_rows(np.ones((2, 3), np.float32), "targets").shape
    (2, 3)
    """
    if not isinstance(rows, np.ndarray) or rows.dtype != np.float32 or rows.ndim != 2:
        given = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise InputError(f"{name} must be a float32 array of shape (n, d), got {given}; try np.asarray(x, np.float32)")
    if rows.shape[1] < 1 or rows.shape[1] > 65536:
        raise InputError(f"{name} must have from 1 to 65536 columns, got shape {rows.shape}")
    if rows.shape[0] >= 2**31:
        raise InputError(f"{name} must have fewer than 2**31 rows, got shape {rows.shape}")
    if not rows.flags.c_contiguous:
        raise InputError(f"{name} must be C-contiguous; try np.ascontiguousarray(x)")
    finite = np.isfinite(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    if not finite.all():
        raise InputError(f"{name} has NaN or infinite values in row {int(np.flatnonzero(~finite)[0])}")
    return rows


def check_targets(targets: object, dimension: int) -> npt.NDArray[np.float32]:
    """Targets as :func:`check_rows` wants them, with as many columns as the dictionary."""
    rows = check_rows(targets, "targets")
    if rows.shape[1] != dimension:
        raise InputError(f"targets have {rows.shape[1]} columns but the dictionary has {dimension}")
    return rows


def check_l1_penalty(l1_penalty: object, problems: int) -> npt.NDArray[np.float64]:
    """One positive finite penalty per problem, from a number or an array of that length.

    Raises
    ------
    InputError
        If it is anything else.

    Examples
    --------
    >>> check_l1_penalty(0.25, 2)
    array([0.25, 0.25])
    """
    try:
        penalties = np.asarray(l1_penalty, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"l1_penalty must be a number or one number per target, got {l1_penalty!r}") from None
    if penalties.shape not in ((), (problems,)):
        raise InputError(f"l1_penalty must be a number or have shape ({problems},), got shape {penalties.shape}")
    if not (np.isfinite(penalties).all() and (penalties > 0).all()):
        raise InputError(f"l1_penalty must be positive and finite, got {l1_penalty!r}")
    return np.array(np.broadcast_to(penalties, (problems,)))


def check_l0(l0: object) -> int:
    """A positive number of words.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if isinstance(l0, bool) or not isinstance(l0, (int, np.integer)) or not 1 <= l0 < 2**31:
        raise InputError(f"l0 must be a positive integer (a number of words), got {l0!r}")
    return int(l0)


def check_tolerance(tolerance: object) -> float:
    """A relative duality gap from 1e-12 to 1.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if not isinstance(tolerance, (int, float)) or not 1e-12 <= tolerance <= 1:
        raise InputError(f"tolerance must be a number from 1e-12 to 1, got {tolerance!r}")
    return float(tolerance)


def check_warm_start(
    warm_start: SparseCodes | None, problems: int, words: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """The support (indptr, indices) to start from: that of ``warm_start``, or an empty one for None.

    Raises
    ------
    InputError
        If it belongs to another number of problems or to a larger dictionary.
    """
    if warm_start is None:
        return np.zeros(problems + 1, np.int64), np.zeros(0, np.int32)
    indptr = np.ascontiguousarray(warm_start.indptr, np.int64)
    indices = np.ascontiguousarray(warm_start.indices, np.int32)
    if indptr.shape != (problems + 1,) or indices.ndim != 1:
        raise InputError(f"warm_start holds {len(indptr) - 1} problems, but there are {problems} targets")
    if indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
        raise InputError("warm_start.indptr must rise from 0 to the number of indices")
    if len(indices) and (indices.min() < 0 or indices.max() >= words):
        raise InputError(f"warm_start has indices outside the dictionary of {words} words")
    return indptr, indices

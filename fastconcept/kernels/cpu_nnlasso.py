"""The compiled nonnegative lasso; import it from :mod:`fastconcept.kernels.cpu`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from . import _cpu
from .sparse_codes import (
    SparseCodes,
    check_l0,
    check_l1_penalty,
    check_rows,
    check_targets,
    check_tolerance,
    check_warm_start,
)
from .threads import check_num_threads

_LEFT_OUT = 1e-4  # length, on average over unit rows, of what a narrower basis may leave of a row
_BLOCK = 4096  # rows converted to float64 at a time
_WORTHWHILE = 0.75  # a basis narrower than this share of the dimension pays


class Dictionary:
    """Rows of a dictionary with the 16-bit copy that the solver screens them by.

    Preparing costs a few milliseconds per thousand rows; do it once where the dictionary is used again. Rows that
    span fewer dimensions than they are wide (a model with a narrow text tower) are kept in a basis of that span,
    which halves the work or better; results do not depend on it.

    Parameters
    ----------
    rows : (N, d) float32
        C-contiguous and finite; kept by reference, so leave them unchanged. N may be 0.
    num_threads : int, optional
        Threads for the preparation.

    Raises
    ------
    InputError
        If the rows have another dtype, shape or layout, or are not finite.

    Examples
    --------
    >>> Dictionary(np.eye(3, dtype=np.float32)).shape
    (3, 3)
    """

    def __init__(self, rows: npt.NDArray[np.float32], *, num_threads: int | None = None) -> None:
        self.rows = check_rows(rows, "dictionary")
        self.shape: tuple[int, int] = (rows.shape[0], rows.shape[1])
        self._native = _cpu.NnlassoDictionary(self.rows, _narrow_basis(self.rows), check_num_threads(num_threads))

    def screen(
        self, targets: npt.NDArray[np.float32], least: float, *, num_threads: int | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """The product by which the solver screens rows, alone: which rows may correlate with a target by ``least``.

        Parameters
        ----------
        targets : (n, d) float32
        least : float
        num_threads : int, optional

        Returns
        -------
        indptr, rows : (n + 1,) int64 and int32
            ``rows[indptr[i]:indptr[i + 1]]`` (ascending) holds every row c with ``c . z_i >= least``, and the few below
            it that the 16-bit copy cannot tell from those.

        Raises
        ------
        InputError
            If the targets have another dtype, shape or layout, or are not finite.

        Examples
        --------
        >>> Dictionary(np.eye(3, dtype=np.float32)).screen(np.array([[1.0, 0.5, 0.1]], np.float32), 0.4)
        (array([0, 2]), array([0, 1], dtype=int32))
        """
        targets = check_targets(targets, self.shape[1])
        return _cpu.nnlasso_screen(self._native, targets, float(least), check_num_threads(num_threads))


def nnlasso(
    dictionary: Dictionary | npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    l1_penalty: float | npt.NDArray[np.float64],
    warm_start: SparseCodes | None = None,
    *,
    tolerance: float = 1e-6,
    num_threads: int | None = None,
) -> SparseCodes:
    """Sparse nonnegative codes: ``min over w >= 0 of ||C^T w - z||^2 + lambda * sum(w)`` for every target z.

    Arguments, result and errors are those of :func:`fastconcept.kernels.reference.nnlasso`. Results are the same to
    the last bit for any number of threads, and for a target alone or within a batch. The method stands in
    ``csrc/cpu/nnlasso.h``.

    Examples
    --------
    >>> words = Dictionary(np.eye(3, dtype=np.float32))
    >>> codes = nnlasso(words, np.array([[1.0, 0.5, 0.1]], np.float32), 0.4)
    >>> codes.indices, codes.values.round(6)
    (array([0, 1], dtype=int32), array([0.8, 0.3]))
    """
    threads = check_num_threads(num_threads)
    native, dimension = _native(dictionary, threads)
    targets = check_targets(targets, dimension)
    penalties = check_l1_penalty(l1_penalty, len(targets))
    indptr, indices = check_warm_start(warm_start, len(targets), native.shape[0])
    return SparseCodes(*_cpu.nnlasso(native, targets, penalties, indptr, indices, check_tolerance(tolerance), threads))


def nnlasso_l0(
    dictionary: Dictionary | npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    l0: int,
    *,
    tolerance: float = 1e-6,
    num_threads: int | None = None,
) -> SparseCodes:
    """Codes of ``l0`` words: the point of the regularisation path where the next word is about to enter.

    Arguments, result and errors are those of :func:`fastconcept.kernels.reference.nnlasso_l0`, which also says what
    happens at ties. The method stands in ``csrc/cpu/nnlasso_path.cpp``.

    Examples
    --------
    >>> codes = nnlasso_l0(np.eye(3, dtype=np.float32), np.array([[1.0, 0.5, 0.25]], np.float32), 2)
    >>> codes.indices, codes.values.round(6), codes.l1_penalty
    (array([0, 1], dtype=int32), array([0.75, 0.25]), array([0.5]))
    """
    threads = check_num_threads(num_threads)
    native, dimension = _native(dictionary, threads)
    targets = check_targets(targets, dimension)
    return SparseCodes(*_cpu.nnlasso_l0(native, targets, check_l0(l0), check_tolerance(tolerance), threads))


def _native(dictionary: Dictionary | npt.NDArray[np.float32], num_threads: int) -> tuple[_cpu.NnlassoDictionary, int]:
    """The prepared dictionary; an array is prepared for this call alone, without looking for a narrower basis."""
    if isinstance(dictionary, Dictionary):
        return dictionary._native, dictionary.shape[1]
    rows = check_rows(dictionary, "dictionary")
    return _cpu.NnlassoDictionary(rows, None, num_threads), rows.shape[1]


def _narrow_basis(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
    """Orthonormal columns (d, rank) that span the rows almost entirely, or None where that takes most of d."""
    count, dimension = rows.shape
    if count < dimension or dimension < 64:
        return None
    # In float64: float32 would spread rounding over every direction and hide that most of them are empty.
    blocks = (rows[begin : begin + _BLOCK].astype(np.float64) for begin in range(0, count, _BLOCK))
    energies, vectors = np.linalg.eigh(np.asarray(sum(block.T @ block for block in blocks)))
    left = np.cumsum(np.maximum(energies, 0.0)) / max(float(energies.sum()), np.finfo(np.float64).tiny)
    rank = dimension - int(np.searchsorted(left, _LEFT_OUT**2, side="right"))
    if rank > _WORTHWHILE * dimension:
        return None
    return np.ascontiguousarray(vectors[:, dimension - max(rank, 1) :][:, ::-1], np.float32)

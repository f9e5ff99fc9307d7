"""The nonnegative lasso on the CPU (``csrc/cpu/nnlasso.h`` describes the method)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import _cpu, arguments
from ..contract import Array, PreparedDictionary
from ..csr import Lists, SparseCodes
from ..forks import native_calls
from ..threads import check_num_threads

_LEFT_OUT = 1e-4  # length, on average over unit rows, of what a narrower basis may leave of a row
_BLOCK = 4096  # rows converted to float64 at a time
_WORTHWHILE = 0.75  # a basis narrower than this share of the dimension pays


class Prepared:
    """Rows of a dictionary with the 16-bit copy that the solver screens them by."""

    def __init__(self, rows: object, num_threads: int | None) -> None:
        self.rows = arguments.rows("dictionary", rows)
        self.shape: tuple[int, int] = (self.rows.shape[0], self.rows.shape[1])
        self._native = _cpu.NnlassoDictionary(self.rows, _narrow_basis(self.rows), check_num_threads(num_threads))

    def screen(self, targets: npt.NDArray[np.float32], least: float, *, num_threads: int | None = None) -> Lists:
        """The product by which the solver screens rows, alone: which rows may correlate with a target by ``least``.

        Parameters
        ----------
        targets : (n, d) float32
        least : float
        num_threads : int, optional

        Returns
        -------
        Lists
            List i (ascending) holds every row c with ``c . z_i >= least``, and the few below it that the 16-bit copy
            cannot tell from those.

        Raises
        ------
        InputError
            If the targets have another dtype, shape or layout, or are not finite.

        Examples
        --------
        >>> words = prepare_dictionary(np.eye(3, dtype=np.float32))
        >>> words.screen(np.array([[1.0, 0.5, 0.1]], np.float32), 0.4)
        Lists(indptr=array([0, 2]), indices=array([0, 1], dtype=int32))
        """
        rows = arguments.rows("targets", targets, self.shape[1])
        return Lists(*_cpu.nnlasso_screen(self._native, rows, float(least), check_num_threads(num_threads)))


def prepare_dictionary(rows: Array, *, num_threads: int | None = None) -> Prepared:
    """Rows with a 16-bit copy to screen them by, a few milliseconds of work per thousand rows.

    Rows that span fewer dimensions than they are wide (a model with a narrow text tower) are kept in a basis of that
    span, too, which halves the work or better; results do not depend on it.
    """
    return Prepared(rows, num_threads)


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
    """Codes equal to the last bit for any number of threads, and for a target alone or within a batch."""
    threads = check_num_threads(num_threads)
    native, dimension = _native(dictionary, threads)
    rows = arguments.rows("targets", targets, dimension)
    penalties = arguments.l1_penalty(l1_penalty, len(rows))
    warm = arguments.warm_start(warm_start, len(rows), native.shape[0], signed)
    return SparseCodes(*_cpu.nnlasso(native, rows, penalties, *warm, signed, arguments.tolerance(tolerance), threads))


def nnlasso_l0(
    dictionary: Array | PreparedDictionary,
    targets: Array,
    l0: int,
    *,
    signed: bool = False,
    tolerance: float = 1e-6,
    num_threads: int | None = None,
) -> SparseCodes:
    """The path of ``csrc/cpu/nnlasso_path.cpp``."""
    threads = check_num_threads(num_threads)
    native, dimension = _native(dictionary, threads)
    rows = arguments.rows("targets", targets, dimension)
    return SparseCodes(
        *_cpu.nnlasso_l0(native, rows, arguments.l0(l0), signed, arguments.tolerance(tolerance), threads)
    )


def _native(dictionary: object, num_threads: int) -> tuple[_cpu.NnlassoDictionary, int]:
    """The prepared dictionary; an array is prepared for this call alone, without looking for a narrower basis."""
    if isinstance(dictionary, Prepared):
        return dictionary._native, dictionary.shape[1]
    rows = arguments.rows("dictionary", dictionary)
    return _cpu.NnlassoDictionary(rows, None, num_threads), rows.shape[1]


def _narrow_basis(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
    """Orthonormal columns (d, rank) that span the rows almost entirely, or None where that takes most of d."""
    count, dimension = rows.shape
    if count < dimension or dimension < 64:
        return None
    # In float64: float32 would spread rounding over every direction and hide that most of them are empty.
    blocks = (rows[begin : begin + _BLOCK].astype(np.float64) for begin in range(0, count, _BLOCK))
    with native_calls.one():
        energies, vectors = np.linalg.eigh(np.asarray(sum(block.T @ block for block in blocks)))
    left = np.cumsum(np.maximum(energies, 0.0)) / max(float(energies.sum()), np.finfo(np.float64).tiny)
    rank = dimension - int(np.searchsorted(left, _LEFT_OUT**2, side="right"))
    if rank > _WORTHWHILE * dimension:
        return None
    return np.ascontiguousarray(vectors[:, dimension - max(rank, 1) :][:, ::-1], np.float32)

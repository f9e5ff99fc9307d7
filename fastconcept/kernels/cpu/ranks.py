"""Ranks on the CPU (``csrc/cpu/ranks.cpp``, ``csrc/cpu/all_ranks.cpp``)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from .. import _cpu, arguments
from ..contract import Array, PreparedBank, PreparedPatches, SubtreeRanks
from ..threads import check_num_threads


class Bank:
    """Concept embeddings with their norms and, up to 64 MB, a copy in the order in which products read them.

    Parameters
    ----------
    rows : (N, d) float32
        Kept by reference, so leave them unchanged.
    num_threads : int, optional
    """

    def __init__(self, rows: npt.NDArray[np.float32], num_threads: int | None = None) -> None:
        self.rows = rows
        self.native = _cpu.Bank(rows, check_num_threads(num_threads))

    @property
    def shape(self) -> tuple[int, ...]:
        """N and d."""
        return self.rows.shape

    @property
    def nbytes(self) -> int:
        """Memory of the rows and the copy, in bytes."""
        return self.native.nbytes


def prepare_bank(rows: Array) -> Bank:
    """A millisecond of work per thousand rows, which every question would repeat, and twice the memory of the rows."""
    return Bank(arguments.embeddings("bank", rows))


def _opened(bank: object) -> tuple[npt.NDArray[np.float32], _cpu.Bank]:
    """The rows of a bank, and the bank as the core takes it."""
    if isinstance(bank, Bank):
        return bank.rows, bank.native
    rows = arguments.embeddings("bank", bank)
    return rows, _cpu.Bank(rows, None)


class Patches:
    """Patch embeddings with their similarities to the rows of one bank.

    Parameters
    ----------
    rows : (n, d) float32
    bank : (N, d) float32
        Kept by reference, so leave it unchanged.
    similarities : (n, N) float32
    """

    def __init__(
        self, rows: npt.NDArray[np.float32], bank: npt.NDArray[np.float32], similarities: npt.NDArray[np.float32]
    ) -> None:
        self.rows, self.bank, self.similarities = rows, bank, similarities

    @property
    def shape(self) -> tuple[int, ...]:
        """n and d."""
        return self.rows.shape

    @property
    def nbytes(self) -> int:
        """Memory of rows and similarities, in bytes."""
        return self.rows.nbytes + self.similarities.nbytes


def prepare_patches(patches: Array, bank: Array | PreparedBank, *, num_threads: int | None = None) -> Patches:
    """Their similarities to the bank in float32; near ties are compared in float64 when ranks are counted."""
    bank_rows, native = _opened(bank)
    rows = arguments.embeddings("patches", patches, bank_rows.shape[1])
    return Patches(rows, bank_rows, _cpu.multiply_all(rows, native, check_num_threads(num_threads)))


def subtree_ranks(
    patches: Array | PreparedPatches,
    bank: Array | PreparedBank,
    indptr: Array,
    indices: Array,
    queries: Array | None = None,
    *,
    num_threads: int | None = None,
) -> SubtreeRanks:
    """Ranks of exact arithmetic: concepts too close for float32 to tell apart are compared in float64.

    Memory beyond arguments and results: at most 84 MB, and 3 MB and 32 bytes per concept for each thread.
    """
    rows, native = _opened(bank)
    plain: object = patches
    known: npt.NDArray[np.float32] | None = None
    dims = rows.shape[1]
    if isinstance(patches, Patches):
        if patches.bank is not rows:
            raise InputError("patches were prepared for another bank; prepare them for this one")
        plain, known = patches.rows, patches.similarities
    return SubtreeRanks(
        *_cpu.subtree_ranks(
            arguments.embeddings("patches", plain, dims),
            native,
            arguments.integers("indptr", indptr),
            arguments.integers("indices", indices),
            rows[:0] if queries is None else arguments.embeddings("queries", queries, dims),
            known,
            check_num_threads(num_threads),
        )
    )


def all_ranks(
    patches: Array,
    bank: Array | PreparedBank,
    child_indptr: Array,
    child_indices: Array,
    order: Array,
    *,
    num_threads: int | None = None,
) -> npt.NDArray[np.int32]:
    """Ranks of similarities in float32; equal rows tie exactly.

    A rank is off by the concepts that come within rounding (d * 2^-24 of unit rows) of it, one place in 0.03 % of the
    ranks at 7,082 concepts. Memory beyond arguments and results: at most 84 MB, and 16 bytes per concept and thread.
    """
    rows, native = _opened(bank)
    return _cpu.all_ranks(
        arguments.embeddings("patches", patches, rows.shape[1]),
        native,
        arguments.integers("child_indptr", child_indptr, len(rows) + 1, "N + 1"),
        arguments.integers("child_indices", child_indices),
        arguments.integers("order", order, len(rows), "N"),
        check_num_threads(num_threads),
    )

"""Ranks on the CPU (``csrc/cpu/ranks.cpp``, ``csrc/cpu/all_ranks.cpp``)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import _cpu, arguments
from ..contract import Array, PreparedBank, SubtreeRanks
from ..threads import check_num_threads


def subtree_ranks(
    patches: Array,
    bank: Array | PreparedBank,
    indptr: Array,
    indices: Array,
    queries: Array | None = None,
    *,
    num_threads: int | None = None,
) -> SubtreeRanks:
    """Ranks of exact arithmetic: concepts too close for float32 to tell apart are compared in float64.

    Memory beyond arguments and results: at most 84 MB, and 1.2 MB per thread where subtrees are small.
    """
    rows = arguments.embeddings("bank", bank)
    dims = rows.shape[1]
    return SubtreeRanks(
        *_cpu.subtree_ranks(
            arguments.embeddings("patches", patches, dims),
            rows,
            arguments.integers("indptr", indptr),
            arguments.integers("indices", indices),
            rows[:0] if queries is None else arguments.embeddings("queries", queries, dims),
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
    rows = arguments.embeddings("bank", bank)
    return _cpu.all_ranks(
        arguments.embeddings("patches", patches, rows.shape[1]),
        rows,
        arguments.integers("child_indptr", child_indptr, len(rows) + 1, "N + 1"),
        arguments.integers("child_indices", child_indices),
        arguments.integers("order", order, len(rows), "N"),
        check_num_threads(num_threads),
    )

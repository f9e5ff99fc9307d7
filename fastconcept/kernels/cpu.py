"""The kernels on the CPU: argument checks in Python, work in ``csrc/cpu`` without the GIL.

The definitions are in :mod:`fastconcept.kernels.contract`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _cpu, checks
from .contract import Array, PreparedBank, SaliencyMaps, SubtreeRanks
from .cpu_device import (
    beside,
    check_rows,
    empty,
    noise,
    open_device,
    place,
    prepare_bank,
    resize_image,
    to_host,
    upload,
)
from .cpu_nnlasso import nnlasso, nnlasso_l0, prepare_dictionary
from .threads import check_num_threads

__all__ = [
    "all_ranks",
    "beside",
    "check_rows",
    "empty",
    "nnlasso",
    "nnlasso_l0",
    "noise",
    "open_device",
    "place",
    "prepare_bank",
    "prepare_dictionary",
    "resize_image",
    "resize_patches",
    "saliency_maps",
    "subtree_ranks",
    "to_host",
    "upload",
]


def _load_blas() -> Any:
    """Hand the core the BLAS of scipy-openblas32, set to one thread (we thread over tiles ourselves)."""
    import scipy_openblas32

    library = ctypes.CDLL(f"{scipy_openblas32.get_lib_dir()}/lib{scipy_openblas32.get_library()}.so")
    library.scipy_openblas_set_num_threads(1)
    names = ("scipy_cblas_sgemm", "scipy_cblas_sgemv")
    sgemm, sgemv = (ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names)
    _cpu.set_blas(sgemm or 0, sgemv or 0)
    return library


_BLAS = _load_blas()  # kept alive: the core holds addresses inside it


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
    bank = checks.embeddings("bank", bank)
    dims = bank.shape[1]
    return SubtreeRanks(
        *_cpu.subtree_ranks(
            checks.embeddings("patches", patches, dims),
            bank,
            checks.integers("indptr", indptr),
            checks.integers("indices", indices),
            bank[:0] if queries is None else checks.embeddings("queries", queries, dims),
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
    bank = checks.embeddings("bank", bank)
    return _cpu.all_ranks(
        checks.embeddings("patches", patches, bank.shape[1]),
        bank,
        checks.integers("child_indptr", child_indptr, len(bank) + 1, "N + 1"),
        checks.integers("child_indices", child_indices),
        checks.integers("order", order, len(bank), "N"),
        check_num_threads(num_threads),
    )


def saliency_maps(
    values: Array,
    boxes: Array,
    weights: Array,
    shape: tuple[int, int],
    *,
    num_threads: int | None = None,
) -> SaliencyMaps:
    """Sums in float64, as in the reference."""
    values = checks.array("values", values, (None, None), [np.float32, np.int32], "n, k")
    height, width = checks.sides("shape", shape, checks.MAX_CELLS, area=checks.MAX_CELLS)
    return SaliencyMaps(
        *_cpu.saliency_maps(
            values,
            checks.boxes(boxes, len(values)),
            checks.array("weights", weights, (len(values),), [np.float64]),
            height,
            width,
            check_num_threads(num_threads),
        )
    )


def resize_patches(
    image: Array,
    boxes: Array,
    size: tuple[int, int],
    mean: Sequence[float] | Array,
    std: Sequence[float] | Array,
    interpolation: str = "bicubic",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Pillow's pixels, to the last bit."""
    pixels, corners, means, deviations, out = checks.resize_arguments(image, boxes, size, mean, std, interpolation, out)
    threads = check_num_threads(num_threads)
    _cpu.resize_patches(pixels, corners, means, deviations, interpolation == "bicubic", out, threads)
    return out

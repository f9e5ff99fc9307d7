"""The kernels on the CPU: argument checks in Python, work in ``csrc/cpu`` without the GIL.

Same names, arguments and results as :mod:`fastconcept.kernels.reference`, which holds the definitions.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _cpu, checks
from .cpu_device import Device, beside, check_rows, empty, noise, place, prepare_bank, resize_image, to_host, upload
from .cpu_nnlasso import Dictionary, nnlasso, nnlasso_l0
from .reference import FloatArray, IntArray, SaliencyMaps, SubtreeRanks
from .sparse_codes import SparseCodes
from .threads import check_num_threads

__all__ = [
    "Device",
    "Dictionary",
    "SaliencyMaps",
    "SparseCodes",
    "SubtreeRanks",
    "all_ranks",
    "beside",
    "check_rows",
    "empty",
    "nnlasso",
    "nnlasso_l0",
    "noise",
    "place",
    "prepare_bank",
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
    patches: FloatArray,
    bank: FloatArray,
    indptr: IntArray,
    indices: IntArray,
    queries: FloatArray | None = None,
    *,
    num_threads: int | None = None,
) -> SubtreeRanks:
    """Best rank of each concept's subtree at each patch; see :func:`fastconcept.kernels.reference.subtree_ranks`.

    Ranks are those of exact arithmetic: concepts too close for float32 to tell apart are compared in float64.
    Memory beyond arguments and results: at most 84 MB, and 1.2 MB per thread where subtrees are small.

    Examples
    --------
    >>> axes = np.eye(3, dtype=np.float32)
    >>> subtree_ranks(axes[:1], axes, np.array([0, 1, 3]), np.array([0, 1, 2])).ranks
    array([[0, 1]], dtype=int32)
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
    patches: FloatArray,
    bank: FloatArray,
    child_indptr: IntArray,
    child_indices: IntArray,
    order: IntArray,
    *,
    num_threads: int | None = None,
) -> npt.NDArray[np.int32]:
    """Best rank of every concept's subtree at each patch; see :func:`fastconcept.kernels.reference.all_ranks`.

    Similarities are float32: a rank is off by the concepts that come within rounding (d * 2^-24 of unit rows) of it,
    one place in 0.03 % of the ranks at 7,082 concepts; equal rows tie exactly. Memory beyond arguments and results:
    at most 84 MB, and 16 bytes per concept and thread.

    Examples
    --------
    >>> axes = np.eye(3, dtype=np.float32)  # 0 is the parent of 1 and 2
    >>> all_ranks(axes[2:], axes, np.array([0, 2, 2, 2]), np.array([1, 2]), np.array([1, 2, 0]))
    array([[0, 1, 0]], dtype=int32)
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
    values: FloatArray | IntArray,
    boxes: IntArray,
    weights: FloatArray,
    shape: tuple[int, int],
    *,
    num_threads: int | None = None,
) -> SaliencyMaps:
    """One map per concept from one value per patch; see :func:`fastconcept.kernels.reference.saliency_maps`.

    Examples
    --------
    >>> two_halves = np.array([[0, 0, 1, 1], [1, 0, 2, 1]])
    >>> saliency_maps(np.array([[3], [7]], np.int32), two_halves, np.ones(2), (1, 2)).maps
    array([[[1., 0.]]], dtype=float32)
    """
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
    image: npt.NDArray[np.uint8],
    boxes: IntArray,
    size: tuple[int, int],
    mean: Sequence[float] | FloatArray,
    std: Sequence[float] | FloatArray,
    interpolation: str = "bicubic",
    *,
    out: npt.NDArray[np.float32] | None = None,
    num_threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Cut boxes out of one image, resize and normalise; see :func:`fastconcept.kernels.reference.resize_patches`.

    Examples
    --------
    >>> white = np.full((8, 8, 3), 255, np.uint8)
    >>> resize_patches(white, np.array([[0, 0, 4, 4]]), (2, 2), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).shape
    (1, 3, 2, 2)
    """
    pixels, corners, means, deviations, out = checks.resize_arguments(image, boxes, size, mean, std, interpolation, out)
    threads = check_num_threads(num_threads)
    _cpu.resize_patches(pixels, corners, means, deviations, interpolation == "bicubic", out, threads)
    return out

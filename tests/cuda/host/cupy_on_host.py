"""The part of CuPy that fastconcept.kernels uses, over NumPy arrays in host memory.

With the kernels built for the host (host_emulation.h) it lets all of ``fastconcept.kernels.cuda`` run without a GPU.
The product reads its arguments as cuBLAS does, by address and column by column, so that a wrong transpose or leading
dimension shows.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np

_TYPES = {2: np.float16, 0: np.float32, 1: np.float64}


class DeviceArray(np.ndarray):
    """A NumPy array that looks like CuPy's: it has an address, and is not taken for a host array."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return dict(self.__array_interface__)


ndarray = DeviceArray


def _device(array: Any) -> Any:
    return np.asarray(array).view(DeviceArray)


def _aligned(count: int, dtype: Any) -> np.ndarray:
    """Memory at a 256-byte boundary, as device allocators give it."""
    size = int(count) * np.dtype(dtype).itemsize
    raw = np.empty(size + 256, np.uint8)
    start = -raw.ctypes.data % 256
    return raw[start : start + size].view(dtype)


def empty(shape: Any, dtype: Any = np.float64) -> Any:
    """Poisoned, so that a result nobody wrote does not pass for one."""
    array = _aligned(int(np.prod(shape)), dtype)
    array.view(np.uint8)[...] = 0xFF
    return _device(array.reshape(shape))


def full(shape: Any, value: Any, dtype: Any = np.float64) -> Any:
    array = empty(shape, dtype)
    array[...] = value
    return array


def zeros(shape: Any, dtype: Any = np.float64) -> Any:
    return full(shape, 0, dtype)


def asarray(value: Any) -> Any:
    if isinstance(value, DeviceArray):
        return value
    value = np.asarray(value)
    array = empty(value.shape, value.dtype)
    array[...] = value
    return array


def asnumpy(value: Any) -> np.ndarray:
    return np.array(value, copy=True, subok=False)


def ascontiguousarray(value: Any) -> Any:
    return _device(np.ascontiguousarray(value))


def arange(count: int, dtype: Any = np.int64) -> Any:
    return asarray(np.arange(count, dtype=dtype))


def flatnonzero(value: Any) -> Any:
    return _device(np.flatnonzero(np.asarray(value)))


def cumsum(value: Any, dtype: Any = None) -> Any:
    return _device(np.cumsum(np.asarray(value), dtype=dtype))


def isfinite(value: Any) -> Any:
    return _device(np.isfinite(np.asarray(value)))


def concatenate(values: Any) -> Any:
    return asarray(np.concatenate([np.asarray(value) for value in values]))


def _columns(address: int, dtype: Any, rows: int, columns: int, leading: int) -> np.ndarray:
    """A column-major matrix at an address, without copying it."""
    length = leading * (columns - 1) + rows
    buffer = (ctypes.c_char * (length * np.dtype(dtype).itemsize)).from_address(address)
    flat = np.frombuffer(buffer, dtype)
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (flat.itemsize, leading * flat.itemsize))


def gemm_ex(
    handle: int, transpose_a: int, transpose_b: int, m: int, n: int, k: int, alpha: int, a: int, a_type: int,
    lda: int, b: int, b_type: int, ldb: int, beta: int, c: int, c_type: int, ldc: int, compute: int, algorithm: int,
) -> None:  # fmt: skip
    """``C = alpha * op(A) @ op(B) + beta * C``, summed in float64 and rounded once."""
    assert min(m, n, k) > 0 and lda >= (k if transpose_a else m) and ldb >= (n if transpose_b else k) and ldc >= m
    left = _columns(a, _TYPES[a_type], *((k, m) if transpose_a else (m, k)), lda).astype(np.float64)
    right = _columns(b, _TYPES[b_type], *((n, k) if transpose_b else (k, n)), ldb).astype(np.float64)
    factor = ctypes.c_double if compute == 70 else ctypes.c_float
    scale, old = factor.from_address(alpha).value, factor.from_address(beta).value
    assert old == 0
    # einsum and not a BLAS: equal columns give equal sums wherever they stand
    result = np.einsum("ik,kj->ij", left.T if transpose_a else left, right.T if transpose_b else right)
    _columns(c, _TYPES[c_type], m, n, ldc)[...] = scale * result


class _Device:
    id = 0
    attributes = {"MultiProcessorCount": 2, "MaxSharedMemoryPerBlockOptin": 1 << 18}  # noqa: RUF012


cuda = SimpleNamespace(
    get_current_stream=lambda: SimpleNamespace(ptr=0, synchronize=lambda: None),
    Device=_Device,
    cublas=SimpleNamespace(gemmEx=gemm_ex),
    device=SimpleNamespace(get_cublas_handle=lambda: 1),
)

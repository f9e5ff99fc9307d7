"""The dense product, through cuBLAS."""

from __future__ import annotations

import numpy as np

from .arrays import pointer
from .device import DeviceArray

# Of cuBLAS (library_types.h, cublas_api.h).
_TYPES = {"float16": 2, "float32": 0, "float64": 1}
_COMPUTE = {"float16": 68, "float32": 69, "float64": 70}  # fp32 for halves; fp32 without tf32; fp64
_NO_TRANSPOSE, _TRANSPOSE, _DEFAULT_ALGORITHM = 0, 1, -1


def product(left: DeviceArray, right: DeviceArray, out: DeviceArray, scale: float = 1.0) -> None:
    """``out[:, :m] = scale * left @ right.T`` through cuBLAS, on the current stream.

    Parameters
    ----------
    left, right : (n, k) and (m, k)
        Both float16 (summed in float32), float32 (true float32, no tf32) or float64; rows contiguous.
    out : (n, pitch)
        pitch >= m; float32 for float16 input, else of the same type.
    scale : float
        Factor of the result.
    """
    from cupy.cuda import cublas, device

    (rows, depth), columns = left.shape, right.shape[0]
    if rows == 0 or columns == 0:
        return
    if right.shape[1] != depth or out.shape[0] != rows or out.shape[1] < columns:
        raise ValueError(f"product of {left.shape} and {right.shape} into {out.shape}")
    factors = np.array([scale, 0.0], np.float64 if left.dtype == np.float64 else np.float32)
    kind, result = _TYPES[left.dtype.name], _TYPES[out.dtype.name]
    # cuBLAS counts in columns: our rows are its columns, so the factors change places.
    cublas.gemmEx(
        device.get_cublas_handle(),
        _TRANSPOSE,
        _NO_TRANSPOSE,
        columns,
        rows,
        depth,
        factors[:1].ctypes.data,
        pointer(right),
        kind,
        depth,
        pointer(left),
        kind,
        depth,
        factors[1:].ctypes.data,
        pointer(out),
        result,
        out.shape[1],
        _COMPUTE[left.dtype.name],
        _DEFAULT_ALGORITHM,
    )

"""Arrays on a CUDA device: uploads, downloads, and the arguments of kernels."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from .. import arguments, host
from ..contract import Array
from .device import DeviceArray, require, stream

_KEPT_TABLES = 256
_TABLE_BYTES = 1 << 16
_KEPT_NOISE = 8  # seeds and streams; one or two megabytes each
_noise: dict[tuple[int, int, int], DeviceArray] = {}  # the last used comes last
_noise_lock = threading.Lock()


def upload(array: Array) -> DeviceArray:
    """A CuPy array; the copy is queued on the current stream."""
    xp = require()
    return xp.asarray(array)


def table(array: npt.NDArray[Any]) -> DeviceArray:
    """A device array to read from: small ones are kept, for each stream, because the same come back with every image.

    A copy of a few bytes costs the host as much time as a kernel.
    """
    xp = require()
    if array.nbytes > _TABLE_BYTES:
        return xp.asarray(array)
    return _table(array.tobytes(), array.dtype.str, array.shape, int(xp.cuda.Device().id), stream())


@functools.lru_cache(maxsize=_KEPT_TABLES)
def _table(content: bytes, dtype: str, shape: tuple[int, ...], device: int, queue: int) -> DeviceArray:
    xp = require()
    return xp.asarray(np.frombuffer(content, dtype).reshape(shape))


def staged(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """In page-locked memory, which the device reads itself; CuPy copies other arrays there before they go up."""
    xp = require()
    count = int(np.prod(shape))
    memory = xp.cuda.alloc_pinned_memory(count * np.dtype(np.float32).itemsize)
    return np.frombuffer(memory, np.float32, count).reshape(shape)


def upload_staged(array: npt.NDArray[np.float32]) -> DeviceArray:
    """A CuPy array; waits for the copy."""
    xp = require()
    stream_, there = xp.cuda.get_current_stream(), xp.empty(array.shape, array.dtype)
    there.set(array, stream=stream_)
    stream_.synchronize()
    return there


def beside(rows: Array, array: Array) -> Array:
    """The array, or what :func:`upload` makes of it."""
    return array if host.is_host(rows) else upload(array)


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
    """CuPy's."""
    xp = require()
    return xp.empty(shape, dtype)


def noise(shape: tuple[int, ...], seed: int) -> DeviceArray:
    """A copy of noise that is drawn on the host once and kept on the device: every image takes the start of it."""
    xp = require()
    count = int(np.prod(shape))
    key = (seed, int(xp.cuda.Device().id), stream())  # what another stream reads would have to wait, and be waited for
    with _noise_lock:
        kept = _noise.pop(key, None)
        if kept is None or kept.size < count:
            kept = upload(host.noise((1 << max(count - 1, 0).bit_length(),), seed))
        _noise[key] = kept
        while len(_noise) > _KEPT_NOISE:
            del _noise[next(iter(_noise))]
    return kept[:count].reshape(shape).copy()


def check_rows(rows: object, name: str) -> Array:
    """:func:`fastconcept.kernels.arguments.rows` on either side."""
    xp = require()
    if host.is_host(rows):
        return arguments.rows(name, rows)
    array: Array = device_array(name, rows, (None, None), [np.float32], "n, d")
    arguments.rows_shape(name, array.shape)
    if not bool(xp.isfinite(array).all()):
        raise InputError(f"{name} has NaN or infinite values")
    return array


def download(array: object) -> npt.NDArray[Any]:
    """A NumPy array of a device array; waits for it."""
    xp = require()
    result: npt.NDArray[Any] = xp.asnumpy(_adopt("array", array))
    return result


def back(result: Array, on_host: bool) -> Array:
    """A result as the caller gets it: copied to the host if the input was there."""
    return host.to_host(result) if on_host else result


def device_array(
    name: str, value: object, shape: Sequence[int | None], dtypes: Sequence[npt.DTypeLike], expected: str = ""
) -> DeviceArray:
    """Check one array argument and return it on the device.

    A NumPy array is uploaded; anything with ``__cuda_array_interface__`` or DLPack is taken without a copy.

    Raises
    ------
    InputError
        If it is no C-contiguous array of such a type and shape.
    """
    xp = require()
    if host.is_host(value):
        return xp.asarray(arguments.array(name, value, shape, dtypes, expected))
    array = _adopt(name, value)
    names = " or ".join(np.dtype(t).name for t in dtypes)
    axes = expected or ", ".join("any" if size is None else str(size) for size in shape)
    fits = array.ndim == len(shape) and all(s in (None, have) for s, have in zip(shape, array.shape, strict=True))
    if not fits or array.dtype not in [np.dtype(t) for t in dtypes] or not array.flags.c_contiguous:
        layout = "" if array.flags.c_contiguous else "strided "
        raise InputError(
            f"{name} must be a C-contiguous {names} array of shape ({axes}), "
            f"got {layout}{array.dtype} of shape {array.shape}"
        )
    return array


def _adopt(name: str, value: Any) -> DeviceArray:
    """A CuPy view of an array on the device."""
    xp = require()
    try:
        return xp.asarray(value) if hasattr(value, "__cuda_array_interface__") else xp.from_dlpack(value)
    except Exception as error:  # CuPy, DLPack and the producers raise errors without a common base
        raise InputError(f"{name} cannot be used on the device: {error}") from None


def pointer(array: DeviceArray) -> int:
    """Address of the first element on the device; 0 for an empty array."""
    return int(array.data.ptr) if array.size else 0


class Tables:
    """Device arrays that a kernel takes as a group of addresses."""

    def __init__(self, *arrays: npt.NDArray[Any]) -> None:
        self._arrays = tuple(map(table, arrays))

    def pointers(self) -> tuple[int, ...]:
        """Addresses, in the order of the arrays."""
        return tuple(pointer(array) for array in self._arrays)

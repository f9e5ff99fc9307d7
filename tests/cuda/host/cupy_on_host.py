"""The part of CuPy that fastconcept uses, over memory of the host.

With the kernels built for the host (host_emulation.h) it lets everything that runs on a GPU run without one. As on a
device, NumPy cannot look into an array here: what comes back passes :func:`asnumpy` (or a conversion to a Python
number) and is written down in ``downloads``; what goes up is written down in ``uploads``. The product reads its
arguments as cuBLAS does, by address and column by column, so that a wrong transpose or leading dimension shows.
Streams and devices keep the order of entering and leaving. Every array remembers the stream it was made on, and using
it on another one is an error unless that stream was waited for since: by the host, or through an event.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

_TYPES = {2: np.float16, 0: np.float32, 1: np.float64}
_UFUNCS = {"add", "subtract", "multiply", "divide", "negative", "log1p", "sqrt", "maximum", "minimum", "matmul"}
_UFUNCS |= {
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "invert",
    "bitwise_and",
    "isfinite",
    "rint",
}

downloads: list[tuple[tuple[int, ...], str]] = []  # (shape, dtype) of what came back
uploads: list[tuple[tuple[int, ...], str]] = []  # and of what went up
pinned: list[np.ndarray] = []  # page-locked memory


_time = itertools.count()
_waited: dict[tuple[int | None, int], int] = {}  # who (None: the host) has waited for which stream, and until when


def _tick() -> int:
    return next(_time)


def _check_order(array: Any) -> None:
    """An array of another stream may be used once that stream was waited for."""
    here = _current().ptr
    known = max(_waited.get((who, array.stream), -1) for who in (None, here))
    assert array.stream == here or known > array._made, f"{array.shape} of stream {array.stream:#x} is not yet written"


class DeviceArray(NDArrayOperatorsMixin):
    """Memory that only this module reads."""

    def __init__(self, memory: np.ndarray, like: Any = None) -> None:
        self._memory = memory
        self.stream, self._made = (_current().ptr, _tick()) if like is None else (like.stream, like._made)

    shape = property(lambda self: self._memory.shape)
    dtype = property(lambda self: self._memory.dtype)
    size = property(lambda self: self._memory.size)
    ndim = property(lambda self: self._memory.ndim)
    nbytes = property(lambda self: self._memory.nbytes)
    flags = property(lambda self: self._memory.flags)

    @property
    def data(self) -> Any:
        _check_order(self)
        return SimpleNamespace(ptr=self._memory.ctypes.data)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return dict(self._memory.__array_interface__)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if method != "__call__" or ufunc.__name__ not in _UFUNCS:
            return NotImplemented
        result = ufunc(*map(_memory_of, inputs), **options)
        if out is None:
            return _device(result)
        out[0]._memory[...] = result
        return out[0]

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        if function not in _FUNCTIONS or not all(issubclass(kind, DeviceArray) for kind in types):
            return NotImplemented
        return _FUNCTIONS[function](*arguments, **options)

    def __len__(self) -> int:
        return len(self._memory)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        found = self._memory[_key(key)]
        if isinstance(found, np.ndarray) and np.shares_memory(found, self._memory):
            return DeviceArray(found, like=self)  # a view: nothing was queued
        _check_order(self)
        return _device(found)

    def __setitem__(self, key: Any, value: Any) -> None:
        _check_order(self)
        self._memory[_key(key)] = _memory_of(value)

    def _scalar(self) -> Any:
        if self.size != 1:
            raise TypeError("only arrays of one element can be converted to Python numbers")
        return asnumpy(self).reshape(-1)[0]

    __bool__ = lambda self: bool(self._scalar())  # noqa: E731
    __int__ = lambda self: int(self._scalar())  # noqa: E731
    __float__ = lambda self: float(self._scalar())  # noqa: E731

    def set(self, value: np.ndarray, stream: Any) -> None:
        """Queued: the memory is read when the stream is waited for."""
        assert (value.shape, value.dtype) == (self.shape, self.dtype) and stream is _current()
        uploads.append((value.shape, value.dtype.name))
        stream.copies.append((self._memory, value))

    def sum(self, axis: Any = None) -> Any:
        return _device(self._memory.sum(axis))

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        return _device(self._memory.astype(dtype, copy=copy))

    def copy(self) -> Any:
        return _device(self._memory.copy())

    def transpose(self, *axes: int) -> Any:
        return _device(self._memory.transpose(*axes))

    def reshape(self, *shape: Any) -> Any:
        return _device(self._memory.reshape(*shape))

    def take(self, indices: Any, axis: int | None = None) -> Any:
        return _device(self._memory.take(_memory_of(indices), axis))

    def any(self, axis: Any = None) -> Any:
        return _device(self._memory.any(axis))

    def all(self, axis: Any = None) -> Any:
        return _device(self._memory.all(axis))

    def min(self, axis: Any = None) -> Any:
        return _device(self._memory.min(axis))

    def max(self, axis: Any = None) -> Any:
        return _device(self._memory.max(axis))

    def mean(self, axis: Any = None) -> Any:
        return _device(self._memory.mean(axis))


ndarray = DeviceArray


def _memory_of(value: Any) -> Any:
    """What an argument of an operation holds; NumPy arrays are refused, as CuPy refuses them."""
    if isinstance(value, DeviceArray):
        _check_order(value)
        return value._memory
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def _key(key: Any) -> Any:
    return tuple(map(_key, key)) if isinstance(key, tuple) else key._memory if isinstance(key, DeviceArray) else key


def _device(memory: Any) -> Any:
    return DeviceArray(np.asarray(memory))


def _aligned(count: int, dtype: Any) -> np.ndarray:
    """Memory at a 256-byte boundary, as device allocators give it."""
    size = int(count) * np.dtype(dtype).itemsize
    raw = np.empty(size + 256, np.uint8)
    start = -raw.ctypes.data % 256
    return raw[start : start + size].view(dtype)


def empty(shape: Any, dtype: Any = np.float64) -> Any:
    """Poisoned, so that a result nobody wrote does not pass for one."""
    memory = _aligned(int(np.prod(shape)), dtype)
    memory.view(np.uint8)[...] = 0xFF
    return _device(memory.reshape(shape))


def full(shape: Any, value: Any, dtype: Any = np.float64) -> Any:
    array = empty(shape, dtype)
    array._memory[...] = value
    return array


def zeros(shape: Any, dtype: Any = np.float64) -> Any:
    return full(shape, 0, dtype)


def asarray(value: Any, dtype: Any = None) -> Any:
    if isinstance(value, DeviceArray):
        return value if dtype in (None, value.dtype) else value.astype(dtype)
    value = np.asarray(value, dtype)
    uploads.append((value.shape, value.dtype.name))
    array = empty(value.shape, value.dtype)
    array._memory[...] = value
    return array


def asnumpy(value: Any) -> np.ndarray:
    if not isinstance(value, DeviceArray):
        return np.asarray(value)
    _check_order(value)
    downloads.append((value.shape, value.dtype.name))
    _current().synchronize()
    return value._memory.copy()


def ascontiguousarray(value: Any) -> Any:
    return _device(np.ascontiguousarray(value._memory))


def arange(count: int, dtype: Any = np.int64) -> Any:
    return _device(np.arange(count, dtype=dtype))


def flatnonzero(value: Any) -> Any:
    return _device(np.flatnonzero(value._memory))


def cumsum(value: Any, dtype: Any = None) -> Any:
    return _device(np.cumsum(value._memory, dtype=dtype))


def isfinite(value: Any) -> Any:
    return _device(np.isfinite(value._memory))


def concatenate(values: Any, axis: int = 0) -> Any:
    return _device(np.concatenate([_memory_of(value) for value in values], axis))


def stack(values: Any, axis: int = 0) -> Any:
    return _device(np.stack([_memory_of(value) for value in values], axis))


def where(condition: Any, first: Any, second: Any) -> Any:
    return _device(np.where(*map(_memory_of, (condition, first, second))))


def _norm(value: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return _device(np.linalg.norm(value._memory, axis=axis, keepdims=keepdims))


_FUNCTIONS = {np.concatenate: concatenate, np.stack: stack, np.where: where, np.linalg.norm: _norm}


def _columns(address: int, dtype: Any, rows: int, columns: int, leading: int) -> np.ndarray:
    """A column-major matrix at an address, without copying it."""
    length = leading * (columns - 1) + rows
    buffer = (ctypes.c_char * (length * np.dtype(dtype).itemsize)).from_address(address)
    flat = np.frombuffer(buffer, dtype)
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (flat.itemsize, leading * flat.itemsize))


def at_address(address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """What lies at an address, C-contiguous: for stand-ins of libraries that are handed addresses."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * count).from_address(address), dtype).reshape(shape)


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


class _Event:
    stream, time = 0, -1

    def record(self, stream: Any = None) -> None:
        self.stream, self.time = (stream or _current()).ptr, _tick()

    def synchronize(self) -> None:
        _waited[None, self.stream] = self.time


class Stream:
    """Work happens at once; only entering and leaving is kept."""

    _entered: list[Any] = []  # noqa: RUF012
    _made = 0

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        Stream._made += 1
        self.ptr = 0 if null else 0x1000 + Stream._made
        self.copies: list[tuple[np.ndarray, np.ndarray]] = []

    def __enter__(self) -> Any:
        self._entered.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._entered.pop() is self, "streams are left in another order than they were entered"

    def synchronize(self) -> None:
        for there, here in self.copies:
            there[...] = here
        self.copies.clear()
        _waited[None, self.ptr] = _tick()

    def record(self, event: Any = None) -> Any:
        event = event or _Event()
        event.record(self)
        return event

    def wait_event(self, event: Any) -> None:
        _waited[self.ptr, event.stream] = event.time

    enqueued: Any = None  # what a library queued last

    def begin_capture(self) -> None:
        Stream.enqueued = None

    def end_capture(self) -> Any:
        work = Stream.enqueued
        return SimpleNamespace(launch=lambda stream: work())


_NULL_STREAM = Stream(null=True)


def _current() -> Stream:
    return Stream._entered[-1] if Stream._entered else _NULL_STREAM


class _Device(contextlib.nullcontext):  # type: ignore[type-arg]
    attributes = {"MultiProcessorCount": 2, "MaxSharedMemoryPerBlockOptin": 1 << 18}  # noqa: RUF012
    compute_capability = "90"

    def __init__(self, index: int = 0) -> None:
        super().__init__(self)
        self.id = index


def _alloc_pinned_memory(nbytes: int) -> memoryview:
    pinned.append(np.empty(nbytes, np.uint8))
    return memoryview(pinned[-1])


cuda = SimpleNamespace(
    alloc_pinned_memory=_alloc_pinned_memory,
    get_current_stream=_current,
    Device=_Device,
    Stream=Stream,
    Event=_Event,
    get_elapsed_time=lambda start, stop: 1.0,
    cublas=SimpleNamespace(gemmEx=gemm_ex),
    device=SimpleNamespace(get_cublas_handle=lambda: 1),
    runtime=SimpleNamespace(
        getDeviceCount=lambda: 1, driverGetVersion=lambda: 13000, CUDARuntimeError=type("E", (RuntimeError,), {})
    ),
)

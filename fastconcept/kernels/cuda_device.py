"""What the CUDA kernels stand on: is there a device, arrays on it without copies, and the dense product.

CuPy is imported inside the functions, so that this module imports anywhere.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import DeviceError, InputError
from . import checks, cpu_device, sparse_codes
from .contract import Array

# Of cuBLAS (library_types.h, cublas_api.h).
_TYPES = {"float16": 2, "float32": 0, "float64": 1}
_COMPUTE = {"float16": 68, "float32": 69, "float64": 70}  # fp32 for halves; fp32 without tf32; fp64
_KEPT_NOISE = 8  # seeds and streams; one or two megabytes each
_noise: dict[tuple[int, int, int], Any] = {}  # the last used comes last
_noise_lock = threading.Lock()
_NO_TRANSPOSE, _TRANSPOSE, _DEFAULT_ALGORITHM = 0, 1, -1


class Availability(NamedTuple):
    """Whether the CUDA kernels can run here: true or false, and as a string the reason when false."""

    reason: str | None

    def __bool__(self) -> bool:
        return self.reason is None

    def __str__(self) -> str:
        return self.reason or "available"


@functools.lru_cache(maxsize=1)
def availability() -> Availability:
    """Whether the extension, CuPy and a device are there; looked up once.

    Returns
    -------
    Availability
        False names the first thing that is missing.

    Examples
    --------
    >>> bool(availability()) == (str(availability()) == "available")
    True
    """
    if importlib.util.find_spec(f"{__package__}._cuda") is None:
        return Availability("the extension was not built: install with a CUDA toolkit (nvcc) and FASTCONCEPT_CUDA=1")
    try:
        from . import _cuda  # noqa: F401
    except ImportError as error:
        return Availability(f"the extension does not load: {error}")
    try:
        import cupy
    except ImportError:
        return Availability("cupy is not installed: pip install 'fastconcept[gpu]'")
    try:
        if cupy.cuda.runtime.getDeviceCount() > 0:
            return Availability(None)
        return Availability("no CUDA device is visible")
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return Availability(f"no CUDA device is visible ({error})")


def require() -> tuple[Any, Any]:
    """CuPy and the extension, or an error that says what is missing.

    Raises
    ------
    DeviceError
        If the kernels cannot run here.
    """
    available = availability()
    if not available:
        raise DeviceError(f"the CUDA kernels cannot run here: {available}")
    import cupy

    from . import _cuda

    return cupy, _cuda


class Device:
    """One GPU with a stream of its own: what is done inside ``with`` is queued there, in order.

    Parameters
    ----------
    name : str
        ``"cuda"`` or ``"cuda:N"``.

    Raises
    ------
    DeviceError
        If the kernels cannot run here, or there is no such device.
    """

    def __init__(self, name: str) -> None:
        xp, _ = require()
        index = name.partition(":")[2] or "0"
        count = int(xp.cuda.runtime.getDeviceCount())
        if not index.isdecimal() or int(index) >= count:
            raise DeviceError(f"there is no device {name!r}; visible are cuda:0 to cuda:{count - 1}")
        self.index = int(index)
        self.name = f"cuda:{self.index}"
        with xp.cuda.Device(self.index):
            self._stream = xp.cuda.Stream(non_blocking=True)
        self._entered = threading.local()  # the current device and stream are each thread's own

    @property
    def stream(self) -> int:
        """Address of the stream."""
        return int(self._stream.ptr)

    @property
    def compute_capability(self) -> str:
        """Such as ``"90"``."""
        xp, _ = require()
        return str(xp.cuda.Device(self.index).compute_capability)

    def __enter__(self) -> Device:
        xp, _ = require()
        with contextlib.ExitStack() as opened:
            opened.enter_context(xp.cuda.Device(self.index))
            opened.enter_context(self._stream)
            self._stack().append(opened.pop_all())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack().pop().close()

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """As ``with device``, for arrays of the stream that is current outside: each of the two waits for the other."""
        xp, _ = require()
        caller = xp.cuda.get_current_stream()
        if int(caller.ptr) == self.stream:
            with self:
                yield
            return
        given = caller.record()
        with self:
            self._stream.wait_event(given)
            yield
            done = self._stream.record()
        caller.wait_event(done)

    def _stack(self) -> list[contextlib.ExitStack]:
        if not hasattr(self._entered, "stack"):
            self._entered.stack = []
        stack: list[contextlib.ExitStack] = self._entered.stack
        return stack


def open_device(name: str) -> Device:
    """The device with a stream of its own."""
    return Device(name)


def place() -> str:
    """Of CuPy's current device."""
    xp, _ = require()
    return f"cuda:{int(xp.cuda.Device().id)}"


def upload(array: Array) -> Any:
    """A CuPy array; the copy is queued on the current stream."""
    xp, _ = require()
    return xp.asarray(array)


def beside(rows: Array, array: Array) -> Array:
    """The array, or what :func:`upload` makes of it."""
    return array if is_host(rows) else upload(array)


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
    """CuPy's."""
    xp, _ = require()
    return xp.empty(shape, dtype)


def noise(shape: tuple[int, ...], seed: int) -> Any:
    """A copy of noise that is drawn on the host once and kept on the device: every image takes the start of it."""
    xp, _ = require()
    count = int(np.prod(shape))
    key = (seed, int(xp.cuda.Device().id), stream())  # what another stream reads would have to wait, and be waited for
    with _noise_lock:
        kept = _noise.pop(key, None)
        if kept is None or kept.size < count:
            kept = upload(cpu_device.noise((1 << max(count - 1, 0).bit_length(),), seed))
        _noise[key] = kept
        while len(_noise) > _KEPT_NOISE:
            del _noise[next(iter(_noise))]
    return kept[:count].reshape(shape).copy()


def check_rows(rows: object, name: str) -> Any:
    """:func:`fastconcept.kernels.sparse_codes.check_rows` on either side."""
    xp, _ = require()
    if is_host(rows):
        return sparse_codes.check_rows(rows, name)
    array = device_array(name, rows, (None, None), [np.float32], "n, d")
    if not 1 <= array.shape[1] <= 65536 or array.shape[0] >= 2**31:
        raise InputError(f"{name} must have from 1 to 65536 columns and fewer than 2**31 rows, got {array.shape}")
    if not bool(xp.isfinite(array).all()):
        raise InputError(f"{name} has NaN or infinite values")
    return array


def is_host(value: object) -> bool:
    """Whether an argument lives in host memory, and results should be given back there."""
    if hasattr(value, "__cuda_array_interface__"):
        return False
    return isinstance(value, np.ndarray) or not hasattr(value, "__dlpack__")


def to_host(value: Any) -> Any:
    """A NumPy array of a device array (waits for it), or the value itself if it is none."""
    if is_host(value):
        return value
    xp, _ = require()
    return xp.asnumpy(_adopt(xp, "array", value))


def back(result: Array, host: bool) -> Array:
    """A result as the caller gets it: copied to the host if the input was there."""
    return to_host(result) if host else result


def device_array(
    name: str, value: object, shape: Sequence[int | None], dtypes: Sequence[npt.DTypeLike], expected: str = ""
) -> Any:
    """Check one array argument and return it on the device.

    A NumPy array is uploaded; anything with ``__cuda_array_interface__`` or DLPack is taken without a copy.

    Raises
    ------
    InputError
        If it is no C-contiguous array of such a type and shape.
    """
    xp, _ = require()
    if is_host(value):
        return xp.asarray(checks.array(name, value, shape, dtypes, expected))
    array = _adopt(xp, name, value)
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


def _adopt(xp: Any, name: str, value: Any) -> Any:
    """A CuPy view of an array on the device."""
    try:
        return xp.asarray(value) if hasattr(value, "__cuda_array_interface__") else xp.from_dlpack(value)
    except Exception as error:  # CuPy, DLPack and the producers raise errors without a common base
        raise InputError(f"{name} cannot be used on the device: {error}") from None


def pointer(array: Any) -> int:
    """Address of the first element on the device; 0 for an empty array."""
    return int(array.data.ptr) if array.size else 0


def stream() -> int:
    """Address of CuPy's current stream."""
    xp, _ = require()
    return int(xp.cuda.get_current_stream().ptr)


def finish_uploads() -> None:
    """Wait until what was queued on the current stream is done: for arrays that other streams will read."""
    xp, _ = require()
    xp.cuda.get_current_stream().synchronize()


def device_limit(name: str) -> int:
    """A number of the current device: ``MultiProcessorCount``, ``MaxSharedMemoryPerBlockOptin``, ..."""
    xp, _ = require()
    return int(_attributes(int(xp.cuda.Device().id))[name])


@functools.lru_cache(maxsize=64)
def _attributes(device: int) -> Any:
    """Attributes of a device; reading them all takes longer than a kernel."""
    xp, _ = require()
    return xp.cuda.Device(device).attributes


def product(left: Any, right: Any, out: Any, scale: float = 1.0) -> None:
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

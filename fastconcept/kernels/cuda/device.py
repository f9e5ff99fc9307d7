"""Which CUDA device is there, which one is current, and its stream."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from ...errors import DeviceError

DeviceArray: TypeAlias = Any  # cupy.ndarray; CuPy has no types


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
    if importlib.util.find_spec(".._cuda", __package__) is None:
        return Availability("the extension was not built: install with a CUDA toolkit (nvcc) and FASTCONCEPT_CUDA=1")
    try:
        from .. import _cuda  # noqa: F401
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


def require() -> Any:
    """CuPy (which has no types), or an error that says what is missing for the kernels.

    Raises
    ------
    DeviceError
        If the kernels cannot run here.
    """
    available = availability()
    if not available:
        raise DeviceError(f"the CUDA kernels cannot run here: {available}")
    import cupy

    return cupy


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
        xp = require()
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
        xp = require()
        return str(xp.cuda.Device(self.index).compute_capability)

    def __enter__(self) -> Device:
        xp = require()
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
        xp = require()
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
    xp = require()
    return f"cuda:{int(xp.cuda.Device().id)}"


def stream() -> int:
    """Address of CuPy's current stream."""
    xp = require()
    return int(xp.cuda.get_current_stream().ptr)


def finish_uploads() -> None:
    """Wait until what was queued on the current stream is done: for arrays that other streams will read."""
    xp = require()
    xp.cuda.get_current_stream().synchronize()


def device_limit(name: str) -> int:
    """A number of the current device: ``MultiProcessorCount``, ``MaxSharedMemoryPerBlockOptin``, ..."""
    xp = require()
    return int(_attributes(int(xp.cuda.Device().id))[name])


@functools.lru_cache(maxsize=64)
def _attributes(device: int) -> dict[str, int]:
    """Attributes of a device; reading them all takes longer than a kernel."""
    xp = require()
    return dict(xp.cuda.Device(device).attributes)

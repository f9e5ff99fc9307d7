"""ONNX Runtime's sessions, made safe for forks and for the exit of the interpreter, and kept from sending telemetry."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from typing import Any

from ..errors import DeviceError, MissingDependencyError
from ..kernels.forks import native_calls, renew_after_fork


def onnxruntime() -> Any:
    """The package, with its telemetry turned off.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    DeviceError
        If it is, and cannot be imported: a library of its own is missing.
    """
    try:
        import onnxruntime as package
    except ModuleNotFoundError:
        raise MissingDependencyError("onnxruntime", "cpu") from None
    except ImportError as error:
        if error.__cause__ is not None and not isinstance(error.__cause__, Exception):
            raise error.__cause__ from None  # Ctrl-C or a signal; a native module reports it as an ImportError
        raise DeviceError(f"onnxruntime is installed but cannot be imported: {error}") from None
    if hasattr(package, "disable_telemetry_events"):
        package.disable_telemetry_events()
    return package


class _Package:
    """ONNX Runtime itself, in a forked child."""

    def renew(self) -> None:
        """Have the child leave without the package's exit handlers, which wait for threads that it does not have.

        The handlers of C run last registered first: these two write what is left in buffers and leave.
        """
        libc = ctypes.CDLL(None)
        if "onnxruntime" in sys.modules and hasattr(libc, "on_exit"):
            for handler in (libc._exit, libc.fcloseall):
                libc.on_exit(handler, None)


_package = _Package()
renew_after_fork(_package)


class Session:
    """A session that a forked child opens anew when it first needs it.

    The threads of ONNX Runtime do not live on in a child, and closing a session there would wait for them for ever:
    the parent's session is left alone in the child.

    Parameters
    ----------
    make : callable
        Returns an ``onnxruntime.InferenceSession``.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._lock = make, threading.Lock()
        with native_calls.one():
            self._native = make()
        renew_after_fork(self)

    def renew(self) -> None:
        """In a forked child: forget the parent's session, without closing it."""
        self._lock = threading.Lock()
        if self._native is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._native))  # it is never closed in this process
            self._native = None

    @property
    def native(self) -> Any:
        """The session of this process."""
        with self._lock:
            if self._native is None:
                with native_calls.one():
                    self._native = self._make()
            return self._native

    def run(self, *arguments: Any) -> Any:
        """As of ``onnxruntime.InferenceSession``."""
        native = self.native
        with native_calls.one():
            return native.run(*arguments)

    def run_with_iobinding(self, binding: Any) -> None:
        """As of ``onnxruntime.InferenceSession``."""
        native = self.native
        with native_calls.one():
            native.run_with_iobinding(binding)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_native", "_make", "_lock"):
            raise AttributeError(name)
        return getattr(self.native, name)

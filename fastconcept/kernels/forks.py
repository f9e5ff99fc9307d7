"""What a forked child has to make anew, and native code that no fork and no exit of the interpreter may cut in two."""

from __future__ import annotations

import atexit
import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

Value = TypeVar("Value")
_PATIENCE = 30.0  # seconds that a fork and the exit of the interpreter wait for the last calls


class Renewable(Protocol):
    """Something that has to be made anew in a forked child."""

    def renew(self) -> None:
        """Called in the child, before anything else runs there."""


_living: WeakSet[Renewable] = WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Have ``thing.renew()`` called in every forked child, for as long as the thing lives."""
    _living.add(thing)


class cached_property(functools.cached_property[Value]):
    """As in ``functools``, for processes that fork.

    In Python 3.10 and 3.11 the values of all objects of a class are made under one lock. Where another thread of the
    parent is making one, the child would wait for it for ever.
    """

    def __init__(self, function: Callable[[Any], Value]) -> None:
        super().__init__(function)
        if hasattr(self, "lock"):
            renew_after_fork(self)

    def renew(self) -> None:
        """A lock of this process."""
        self.lock = threading.RLock()


class _NativeCalls:
    """How many calls of ONNX Runtime, tokenizers and NumPy's BLAS run; none begins in a fork or at the exit.

    A daemon thread that comes back from native code while the interpreter shuts down would abort the process: C++ and
    Rust do not survive the way Python ends such a thread. So the exit waits for calls, and threads that come later wait
    for ever. A fork waits for them because a child would find locks of theirs taken for ever, and because OpenBLAS ends
    its threads before a fork, also those that a product in another thread waits for.
    """

    def __init__(self) -> None:
        self._change, self._count, self._forks, self._closing = threading.Condition(), 0, 0, False

    def renew(self) -> None:
        """In a forked child, which has only one thread."""
        self.__init__()  # type: ignore[misc]

    def close(self) -> None:
        """At the exit of the interpreter."""
        with self._change:
            self._closing = True
            self._change.wait_for(lambda: self._count == 0, _PATIENCE)

    def before_fork(self) -> None:
        """In the process that forks."""
        with self._change:
            self._forks += 1
            self._change.wait_for(lambda: self._count == 0, _PATIENCE)

    def after_fork(self) -> None:
        """In the process that has forked."""
        with self._change:
            self._forks -= 1
            self._change.notify_all()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around a call; calls inside one another would wait for each other."""
        with self._change:
            if self._closing and threading.current_thread() is not threading.main_thread():
                self._change.wait_for(lambda: False)
            self._change.wait_for(lambda: not self._forks)
            self._count += 1
        try:
            yield
        finally:
            with self._change:
                self._count -= 1
                self._change.notify_all()


def _renew_all() -> None:
    for thing in list(_living):
        thing.renew()


native_calls = _NativeCalls()
renew_after_fork(native_calls)
atexit.register(native_calls.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=native_calls.before_fork, after_in_parent=native_calls.after_fork)
    os.register_at_fork(after_in_child=_renew_all)

"""Values by key, bounded in bytes: the least recently used one goes first. Threads may share one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any


class Lru:
    """A memory of values that are expensive to make.

    Parameters
    ----------
    max_bytes : int
        Sum of the sizes of all values; what is larger by itself is not kept.

    Examples
    --------
    >>> squares = Lru(max_bytes=16)
    >>> [squares.remember(n, lambda n=n: n * n, size_of=lambda value: 8) for n in (1, 2, 3, 3)]
    [1, 4, 9, 9]
    >>> squares.get(1), squares.get(3), squares.bytes
    (None, 9, 16)
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._making: dict[Hashable, Future[Any]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> Any:
        """The value, which counts as a use of it; None if it is not remembered."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Remember a value of ``size`` bytes."""
        with self._lock:
            self.bytes -= self._values.pop(key, (None, 0))[1]
            if size > self.max_bytes:
                return
            self._values[key] = (value, size)
            self.bytes += size
            while self.bytes > self.max_bytes:
                self.bytes -= self._values.popitem(last=False)[1][1]

    def remember(self, key: Hashable, make: Callable[[], Any], size_of: Callable[[Any], int]) -> Any:
        """The value, made if it is not remembered. Threads that ask for it meanwhile wait for the one that makes it.

        An error of ``make`` is raised in all of them and not remembered.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            others, mine = self._making.get(key), Future[Any]()
            if others is None:
                self._making[key] = mine
        if others is not None:
            return others.result()
        try:
            value = make()
            self.put(key, value, size_of(value))
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(value)
            return value
        finally:
            with self._lock:
                self._making.pop(key, None)

"""Milliseconds per stage of a call."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class Timings(dict[str, float]):
    """Stage name to the milliseconds spent in it so far; a stage entered twice adds up.

    A GPU works on while Python goes to the next stage: there a stage's time is that of queueing its work and of
    waiting for what it needs.

    Examples
    --------
    >>> timings = Timings()
    >>> with timings.stage("decode"):
    ...     pass
    >>> list(timings), timings["decode"] >= 0
    (['decode'], True)
    """

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self[name] = self.get(name, 0.0) + (time.perf_counter() - began) * 1e3

    def each(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with the time that they take to come added to a stage."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                item = next(iterator, _END)
            if item is _END:
                return
            yield item  # type: ignore[misc]


_END = object()

"""Progress of long work on a terminal, and silence in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stages:
    """Named stages of an export, their bars on stderr where it is a terminal, and how long each took.

    Parameters
    ----------
    show : bool
        False: never draw.

    Examples
    --------
    >>> stages = Stages(show=False)
    >>> with stages.stage("counting") as advance:
    ...     advance(3, 10)
    >>> list(stages.seconds)
    ['counting']
    """

    def __init__(self, show: bool = True) -> None:
        self.seconds: dict[str, float] = {}
        self._show = show and sys.stderr.isatty()

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Run a stage; what it yields is called as ``advance(done, total)``."""
        start = time.perf_counter()
        if self._show:
            with self._bar() as bar:
                task = bar.add_task(name, total=None)
                yield lambda done, total: bar.update(task, completed=done, total=total)
                bar.update(task, completed=1, total=1)
        else:
            yield lambda done, total: None
        self.seconds[name] = time.perf_counter() - start

    def _bar(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, console=Console(stderr=True))

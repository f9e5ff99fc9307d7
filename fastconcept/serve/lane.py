"""A bounded queue before worker threads: the event loop goes on while they work, and jobs may be done in batches."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from .refusals import DrainingError, OverloadedError

Job = TypeVar("Job")
Result = TypeVar("Result")


class Observer(Protocol):
    """Who is told what happens in a lane."""

    def waiting(self, lane: str, count: int) -> None:
        """So many jobs wait now."""

    def batch(self, lane: str, count: int, waited: float, worked: float) -> None:
        """So many jobs were done together; seconds that the first of them waited, and that they took."""


@dataclass(eq=False)
class _Entry(Generic[Job, Result]):
    job: Job
    answer: asyncio.Future[Result]
    came: float = field(default=0.0)


class Lane(Generic[Job, Result]):
    """Jobs of one kind, done in the order in which they come.

    A job whose caller is cancelled (its client has gone, its time is up) leaves the queue; one that is being worked on
    cannot be stopped, and nobody gets its result.

    Parameters
    ----------
    name : str
    work : callable
        From a list of jobs to as many results, in a worker thread. A result that is an exception is raised where its
        job came from; one that is raised, for all of them.
    threads : int
        Worker threads.
    max_batch : int
        Jobs that ``work`` gets at once, at most.
    window : float
        Seconds that a job waits for others to come, while a thread is free and the batch is not full.
    max_waiting : int
        Jobs that may wait; further ones are refused.
    observer : Observer, optional

    Examples
    --------
    >>> async def main():
    ...     lane = Lane("squares", lambda jobs: [job * job for job in jobs], max_batch=4)
    ...     return await asyncio.gather(*map(lane.run, range(5)))
    >>> asyncio.run(main())
    [0, 1, 4, 9, 16]
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[Job]], Sequence[Result | BaseException]],
        *,
        threads: int = 1,
        max_batch: int = 1,
        window: float = 0.0,
        max_waiting: int = 256,
        observer: Observer | None = None,
    ) -> None:
        self.name, self._work, self.threads = name, work, threads
        self.max_batch, self.window, self.max_waiting = max_batch, window, max_waiting
        self._observer = observer
        self._executor = ThreadPoolExecutor(threads, f"fastconcept-{name}")
        self._waiting: dict[_Entry[Job, Result], None] = {}  # in order; a job in the middle can leave
        self._busy, self._closed = 0, False
        self._timer: asyncio.TimerHandle | None = None
        self._seconds = 0.1  # of a batch, smoothed

    def __len__(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    async def run(self, job: Job) -> Result:
        """The result of a job.

        Raises
        ------
        OverloadedError
            If too many jobs wait.
        DrainingError
            If the lane is closed.
        """
        if self._closed:
            raise DrainingError("the server is shutting down")
        if len(self._waiting) >= self.max_waiting:
            raise OverloadedError(f"{len(self._waiting)} jobs wait already; try again later", self._retry_after())
        loop = asyncio.get_running_loop()
        entry: _Entry[Job, Result] = _Entry(job, loop.create_future(), loop.time())
        self._waiting[entry] = None
        self._start()
        try:
            return await entry.answer
        finally:
            if entry in self._waiting:  # the caller is cancelled
                del self._waiting[entry]
                self._tell_waiting()

    def close(self) -> None:
        """Take no further jobs; those that came are done."""
        self._closed = True
        self._executor.shutdown(wait=False)

    def _retry_after(self) -> int:
        batches = len(self._waiting) / (self.max_batch * self.threads)
        return max(1, min(60, math.ceil(batches * self._seconds)))

    def _start(self) -> None:
        """Give free threads what waits."""
        loop = asyncio.get_running_loop()
        while self._waiting and self._busy < self.threads:
            left = next(iter(self._waiting)).came + self.window - loop.time()
            if self.window and left > 0 and len(self._waiting) < self.max_batch:
                if self._timer is None:
                    self._timer = loop.call_later(left, self._window_over)
                break
            batch = list(islice(self._waiting, self.max_batch))
            for entry in batch:
                del self._waiting[entry]
            self._busy += 1
            began = loop.time()
            done = loop.run_in_executor(self._executor, self._work, [entry.job for entry in batch])
            done.add_done_callback(lambda done, batch=batch, began=began: self._finish(batch, began, done))  # type: ignore[misc]
        self._tell_waiting()

    def _window_over(self) -> None:
        self._timer = None
        self._start()

    def _finish(self, batch: list[_Entry[Job, Result]], began: float, done: asyncio.Future[Any]) -> None:
        self._busy -= 1
        worked = asyncio.get_running_loop().time() - began
        self._seconds += 0.2 * (worked - self._seconds)
        error = done.exception()
        results = [error] * len(batch) if error is not None else done.result()
        for entry, result in zip(batch, results, strict=True):
            if entry.answer.done():  # cancelled meanwhile
                continue
            if isinstance(result, BaseException):
                entry.answer.set_exception(result)
            else:
                entry.answer.set_result(result)
        if self._observer is not None:
            self._observer.batch(self.name, len(batch), began - batch[0].came, worked)
        self._start()

    def _tell_waiting(self) -> None:
        if self._observer is not None:
            self._observer.waiting(self.name, len(self._waiting))

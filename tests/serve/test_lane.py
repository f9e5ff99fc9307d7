"""Queues: order, batches, bounds, and callers who go away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fastconcept.serve.lane import Lane
from fastconcept.serve.refusals import DrainingError, OverloadedError


class Held:
    """Work that waits until it is released, and notes its batches."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, jobs: list[Any]) -> list[Any]:
        self.batches.append(jobs)
        self.begun.set()
        assert self.go.wait(30)
        return [error if isinstance(error, Exception) else error * 10 for error in jobs]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    while not condition():
        await asyncio.sleep(0.001)


def test_jobs_that_wait_are_done_together() -> None:
    work = Held()

    async def main() -> list[Any]:
        lane = Lane("test", work, max_batch=4)
        first = asyncio.ensure_future(lane.run(0))
        await until(work.begun.is_set)
        others = [asyncio.ensure_future(lane.run(job)) for job in range(1, 7)]
        await until(lambda: len(lane) == 6)
        work.go.set()
        return [await job for job in (first, *others)]

    assert asyncio.run(main()) == [0, 10, 20, 30, 40, 50, 60]
    assert work.batches == [[0], [1, 2, 3, 4], [5, 6]]


def test_the_first_job_waits_for_others_no_longer_than_the_window() -> None:
    work = Held()
    work.go.set()

    async def main() -> None:
        lane = Lane("test", work, max_batch=3, window=0.2)
        await asyncio.gather(*(lane.run(job) for job in range(3)))  # full: at once
        await asyncio.gather(*(lane.run(job) for job in range(2)))  # not full: together, after the window

    asyncio.run(main())
    assert work.batches == [[0, 1, 2], [0, 1]]


def test_a_job_whose_caller_has_gone_leaves_the_queue() -> None:
    work = Held()

    async def main() -> None:
        lane = Lane("test", work)
        first = asyncio.ensure_future(lane.run(0))
        await until(work.begun.is_set)
        gone, stays = asyncio.ensure_future(lane.run(1)), asyncio.ensure_future(lane.run(2))
        await until(lambda: len(lane) == 2)
        gone.cancel()
        await until(lambda: len(lane) == 1)
        first.cancel()  # is being worked on: its result is for nobody
        work.go.set()
        assert await stays == 20

    asyncio.run(main())
    assert work.batches == [[0], [2]]


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    work = Held()

    async def main() -> None:
        lane = Lane("test", work, max_waiting=2)
        jobs = [asyncio.ensure_future(lane.run(job)) for job in range(3)]
        await until(lambda: len(lane) == 2 and work.begun.is_set())
        with pytest.raises(OverloadedError, match="2 jobs wait") as refused:
            await lane.run(3)
        assert 1 <= int(refused.value.headers["Retry-After"]) <= 60
        work.go.set()
        assert await asyncio.gather(*jobs) == [0, 10, 20]
        assert await lane.run(4) == 40

    asyncio.run(main())


def test_an_error_belongs_to_its_job_alone() -> None:
    work = Held()

    async def main() -> list[Any]:
        lane = Lane("test", work, max_batch=3, window=1)
        work.go.set()
        return await asyncio.gather(*(lane.run(job) for job in (1, ValueError("two"), 3)), return_exceptions=True)

    one, two, three = asyncio.run(main())
    assert (one, str(two), three) == (10, "two", 30)


def test_what_fails_as_a_whole_fails_for_all_and_the_lane_goes_on() -> None:
    def fail(jobs: list[int]) -> list[int]:
        if 2 in jobs:
            raise RuntimeError("broken")
        return jobs

    async def main() -> None:
        lane = Lane("test", fail, max_batch=2, window=1)
        failed = await asyncio.gather(lane.run(1), lane.run(2), return_exceptions=True)
        assert [str(error) for error in failed] == ["broken", "broken"]
        assert await asyncio.gather(lane.run(3), lane.run(4)) == [3, 4]
        lane.close()
        with pytest.raises(DrainingError):
            await lane.run(5)

    asyncio.run(main())

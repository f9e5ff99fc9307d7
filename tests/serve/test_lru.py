"""What is remembered is bounded in bytes, and made once however many ask."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastconcept.serve.lru import Lru


def test_the_least_recently_used_goes_first() -> None:
    memory = Lru(30)
    for key in "abc":
        memory.put(key, key, 10)
    assert memory.get("a") == "a"
    memory.put("d", "d", 10)
    assert [memory.get(key) for key in "abcd"] == ["a", None, "c", "d"]
    assert memory.bytes == 30


def test_what_is_larger_than_the_memory_is_not_kept_and_drives_nothing_out() -> None:
    memory = Lru(30)
    memory.put("a", 1, 10)
    memory.put("b", 2, 31)
    assert memory.get("a") == 1
    assert memory.get("b") is None
    memory.put("a", 3, 31)
    assert (memory.get("a"), memory.bytes, len(memory)) == (None, 0, 0)


def test_threads_that_ask_at_once_get_the_one_value_that_is_made() -> None:
    memory, made, begin = Lru(100), [], threading.Barrier(8)
    asked = threading.Semaphore(0)

    def make() -> object:
        for _ in range(7):
            asked.acquire()
        made.append(object())
        return made[-1]

    def ask() -> object:
        begin.wait()
        threading.Timer(0.05, asked.release).start()
        return memory.remember("key", make, lambda value: 1)

    with ThreadPoolExecutor(8) as pool:
        answers = [future.result() for future in [pool.submit(ask) for _ in range(8)]]
    assert len(made) == 1
    assert all(answer is made[0] for answer in answers)


def test_an_error_is_raised_and_not_remembered() -> None:
    memory = Lru(100)

    def fail() -> int:
        raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        memory.remember("key", fail, lambda value: 1)
    assert memory.remember("key", lambda: 7, lambda value: 1) == 7

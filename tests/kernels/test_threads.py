"""The number of threads changes the time a kernel takes and nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconcept.errors import InputError
from fastconcept.kernels import cpu
from fastconcept.kernels.threads import cgroup_cpu_quota, check_num_threads, default_num_threads


def unit_rows(rows: int, dims: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, dims)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


PATCHES, BANK = unit_rows(500, 64, 0), unit_rows(1500, 64, 1)
IMAGE = np.random.default_rng(2).integers(0, 256, (200, 300, 3), dtype=np.uint8)
BOXES = np.array([[x, y, x + s, y + s] for s in (64, 100) for x in range(0, 200, 40) for y in range(0, 100, 20)])
CALLS: dict[str, Callable[[int], Any]] = {
    "subtree_ranks": lambda n: cpu.subtree_ranks(
        PATCHES, BANK, np.array([0, 3, 90]), np.arange(90), BANK[:3].copy(), num_threads=n
    ),
    "all_ranks": lambda n: cpu.all_ranks(
        PATCHES, BANK, np.array([0, *[1499] * 1500]), np.arange(1, 1500), np.arange(1500)[::-1].copy(), num_threads=n
    ),
    "saliency_maps": lambda n: cpu.saliency_maps(
        unit_rows(50, 333, 3), BOXES // 20, np.linspace(0.1, 2, 50), (9, 13), num_threads=n
    ),
    "resize_patches": lambda n: cpu.resize_patches(
        IMAGE, BOXES, (56, 72), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), num_threads=n
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_results_are_the_same_bytes_for_any_number_of_threads(name: str) -> None:
    def flat(result: Any) -> list[bytes]:
        return [part.tobytes() for part in (result if isinstance(result, tuple) else (result,))]

    alone = flat(CALLS[name](1))
    for threads in (2, 3, 16):
        assert flat(CALLS[name](threads)) == alone


def test_kernels_release_the_gil() -> None:
    """While a kernel works on one thread, Python runs on another."""
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    patches, bank = unit_rows(400, 512, 4), unit_rows(9000, 512, 5)
    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        start = time.perf_counter()
        cpu.subtree_ranks(patches, bank, np.array([0, 1]), np.array([0]), num_threads=1)
        stop = time.perf_counter()
    finally:
        done.set()
        ticker.join()
    assert sum(start < moment < stop for moment in ticks) >= 5


@pytest.mark.parametrize("threads", [0, -1, 1025, 2.0, "2", True, object()])
def test_a_bad_number_of_threads_is_refused(threads: object) -> None:
    with pytest.raises(InputError, match="num_threads"):
        check_num_threads(threads)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense\n"}, None),
        ({"cpu.max": "100000 0\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_the_control_group_counts(tmp_path: Path, files: dict[str, str], expected: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup_cpu_quota(tmp_path) == expected


def test_the_environment_sets_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    default_num_threads.cache_clear()
    monkeypatch.setenv("FASTCONCEPT_NUM_THREADS", "7")
    try:
        assert default_num_threads() == check_num_threads(None) == 7
        default_num_threads.cache_clear()
        monkeypatch.setenv("FASTCONCEPT_NUM_THREADS", "many")
        with pytest.raises(InputError, match="many"):
            default_num_threads()
    finally:
        default_num_threads.cache_clear()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors are chosen on Linux only")
def test_the_processors_of_the_caller_stay_as_they_are() -> None:
    rows, allowed = np.eye(1200, 4, dtype=np.float32), os.sched_getaffinity(0)
    expected = cpu.prepare_patches(rows, rows, num_threads=1).similarities
    try:
        for chosen in (allowed, {min(allowed)}):  # with one processor there is no other for helpers
            os.sched_setaffinity(0, chosen)
            np.testing.assert_array_equal(cpu.prepare_patches(rows, rows, num_threads=3).similarities, expected)
            assert os.sched_getaffinity(0) == chosen
    finally:
        os.sched_setaffinity(0, allowed)

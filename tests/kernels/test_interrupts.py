"""Long kernels stop at Ctrl-C, on one thread and on several, and daemon threads in them do not abort the exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from fastconcept.kernels import cpu


class Stop(Exception):
    pass


@pytest.fixture
def stop_soon() -> Iterator[Callable[[], None]]:
    """Call it for a signal after a moment, whose handler raises Stop, as that of Ctrl-C raises KeyboardInterrupt."""

    def stop(*_: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    yield timer.start
    timer.cancel()
    signal.signal(signal.SIGUSR1, before)


def rows(count: int, width: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize("targets, threads", [(1, 1), (8, 2), (1, 2)])
def test_a_signal_stops_the_solver(stop_soon: Callable[[], None], targets: int, threads: int) -> None:
    dictionary, hard = cpu.prepare_dictionary(rows(8_000, 256, 0), num_threads=2), rows(targets, 256, 1)
    began = time.perf_counter()
    stop_soon()
    with pytest.raises(Stop):
        cpu.nnlasso(dictionary, hard, 1e-9, tolerance=1e-12, num_threads=threads)
    assert time.perf_counter() - began < 20
    easy = cpu.nnlasso(dictionary, rows(2, 256, 1), 0.3, num_threads=threads)  # it can be used as before
    assert (easy.gap <= 1e-6).all()


def test_a_signal_stops_ranks(stop_soon: Callable[[], None]) -> None:
    bank, patches = rows(40_000, 256, 0), rows(1_000, 256, 1)
    nodes = np.arange(len(bank))
    edges = np.zeros(len(bank) + 1, np.int64), np.zeros(0, np.int64)
    began = time.perf_counter()
    stop_soon()
    with pytest.raises(Stop):
        while True:
            cpu.all_ranks(patches, bank, *edges, nodes, num_threads=2)
    assert time.perf_counter() - began < 20


def test_daemon_threads_in_kernels_do_not_abort_the_exit() -> None:
    script = """
        import threading, time, numpy as np
        from fastconcept.kernels import cpu
        words = np.random.default_rng(0).standard_normal((2000, 64)).astype(np.float32)
        words /= np.linalg.norm(words, axis=1, keepdims=True)
        dictionary = cpu.prepare_dictionary(words, num_threads=1)
        def work():
            while True:
                cpu.nnlasso(dictionary, words[:50], 0.3, num_threads=1)
        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.2)
    """
    for _ in range(3):
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, result.stderr

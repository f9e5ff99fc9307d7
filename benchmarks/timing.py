"""Timing functions against each other: in turn, so that a busy moment hits all of them, and by their medians."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

SETTLE_S = 0.1  # BLAS threads look for more work for some 30 ms after a product, on cores the next function needs


def medians_ms(functions: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Median milliseconds of every function over `repetitions` rounds, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repetitions + 1):
        for name, function in functions.items():
            time.sleep(SETTLE_S)
            began = time.perf_counter()
            function()
            times[name].append((time.perf_counter() - began) * 1e3)
    return {name: float(np.median(values[1:])) for name, values in times.items()}

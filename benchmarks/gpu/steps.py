"""Steps that never stop the run: each is done, or says why not."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any


class Missing(Exception):
    """Something this step needs is not on this machine."""


def attempt(name: str, step: Callable[[], Any]) -> dict[str, Any]:
    """Run one step and report it.

    Returns
    -------
    dict
        ``name``, ``status`` ("done", "missing" or "failed"), ``seconds``, and ``result`` or ``reason``.
    """
    start = time.perf_counter()
    report: dict[str, Any] = {"name": name}
    try:
        report.update(status="done", result=step())
    except (Missing, ImportError) as error:
        report.update(status="missing", reason=str(error))
    except Exception as error:  # whatever a driver, a compiler or a library raises is a finding, not an end
        trace = traceback.format_exc(limit=-4)
        report.update(status="failed", reason=f"{type(error).__name__}: {error}"[:2000], trace=trace[-4000:])
    report["seconds"] = round(time.perf_counter() - start, 3)
    print(f"{name}: {report['status']} in {report['seconds']} s {report.get('reason', '')}"[:300], flush=True)
    return report


def median_ms(run: Callable[[], Any], repeat: int = 30, warmup: int = 5) -> dict[str, float]:
    """Median and 90th percentile of a job on CuPy's current stream, timed by events on the device."""
    import cupy

    for _ in range(warmup):
        run()
    times = []
    for _ in range(repeat):
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        run()
        stop.record()
        stop.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, stop))
    times.sort()
    return {"ms": times[len(times) // 2], "p90_ms": times[int(0.9 * (len(times) - 1))]}

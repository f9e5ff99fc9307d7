"""What a user meets first: import, load, explain and decompose with the built-in model, each in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np

BARS = {"import_ms": 300.0, "explain_ms": 600.0, "decompose_ms": 30.0}

_IMPORT = """
import time
began = time.perf_counter()
import fastconcept
print((time.perf_counter() - began) * 1e3)
"""

_VERBS = """
import json, statistics, sys, time
import numpy as np
from skimage import data
import fastconcept as fc

engine = fc.load()
image = np.ascontiguousarray(data.chelsea())
calls = int(sys.argv[1])

def median_ms(function):
    first = time.perf_counter()
    function()
    first = (time.perf_counter() - first) * 1e3
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        function()
        times.append((time.perf_counter() - began) * 1e3)
    return first, statistics.median(times)

seen = []
explain = median_ms(lambda: seen.append(engine.explain(image, "feline.n.01", fit="crop")))
decompose = median_ms(lambda: engine.decompose(image))
print(json.dumps({
    "explain": explain, "decompose": decompose, "concepts": len(engine.bank), "patches": 730,
    "stages": seen[-1].timings_ms, "gap": engine.decompose(image).gap,
}))
"""


def _python(program: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    ).stdout


def run(options: Any) -> list[dict[str, Any]]:
    """One row per thing a user waits for, with its bar."""
    repetitions = 3 if options.quick else 9
    imports = [float(_python(_IMPORT)) for _ in range(repetitions)]
    verbs = json.loads(_python(_VERBS, str(repetitions)))
    rows: list[dict[str, Any]] = [{"case": "import fastconcept", "ours_ms": float(np.median(imports))}]
    for verb in ("explain", "decompose"):
        first, later = verbs[verb]
        rows.append({"case": f"{verb}, built-in model", "ours_ms": later, "first_ms": first})
    rows[1] |= {"patches": verbs["patches"], "concepts": verbs["concepts"], "stages_ms": verbs["stages"]}
    rows[2] |= {"gap": verbs["gap"]}
    for row, bar in zip(rows, BARS.values(), strict=True):
        row |= {"bar_ms": bar, "reached": row["ours_ms"] <= bar}
    return rows


SUITES = {"builtin": run}

"""Peak memory of explain and decompose, and that 200 calls do not make it grow. Each case runs in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.models import teacher_bundle

_PROGRAM = """
import json, resource, sys
import numpy as np
from skimage import data
import fastconcept as fc

bundle, verb, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
engine = fc.load(bundle)
image = np.ascontiguousarray(data.chelsea())

def resident():
    with open("/proc/self/statm") as fields:
        return int(fields.read().split()[1]) * resource.getpagesize() / 2**20

def peak():  # not getrusage: a child inherits its parent's peak there
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

def once():
    if verb == "explain":
        engine.explain(image, ["dog.n.01", "a red ball"], sizes=(128,), stride=64)
    else:
        engine.decompose(image)

for _ in range(calls // 10):
    once()
early = resident()
for _ in range(calls):
    once()
late = resident()
if verb == "explain":
    engine.explain(image, ["dog.n.01", "a red ball"])
print(json.dumps({"early": early, "late": late, "peak": peak()}))
"""


def run(options: Any) -> list[dict[str, Any]]:
    """One row per verb: megabytes at the peak (a faithful explain), and growth over the calls after warming up."""
    path = teacher_bundle(options)
    if path is None:
        return []
    calls = 20 if options.quick else 200
    rows = []
    for verb in ("explain", "decompose"):
        command = [sys.executable, "-c", _PROGRAM, str(path), verb, str(calls)]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append(
            {
                "case": f"{verb}, development model",
                "calls": calls,
                "peak_mb": result["peak"],
                "growth_mb": result["late"] - result["early"],
            }
        )
    return rows


SUITES = {"memory": run}

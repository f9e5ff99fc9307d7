"""Everything about the GPU path on one machine, in one JSON: ``python -m benchmarks.gpu.run --json FILE``.

Builds the extension, checks the kernels, runs the contract tests and compute-sanitizer, and times. Needs no network and
never stops half-way: a step that cannot be done is recorded with its reason.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from .bars import SANITIZERS, judge, rows_of
from .floors import Ceilings, measure_ceilings
from .steps import Missing, attempt

ROOT = Path(__file__).parents[2]
PACKAGES = (
    *("cupy-cuda13x", "torch", "triton", "numpy", "pybind11", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt"),
    *("tensorrt-cu13", "tensorrt-lean-cu13", "pytest", "hypothesis"),
)
STEP_SECONDS = 900


def machine() -> dict[str, Any]:
    """What ran: card, driver, packages, commit."""
    facts: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform()}
    facts["packages"] = {name: version for name in PACKAGES if (version := _version(name))}
    facts["commit"] = _output(["git", "-C", str(ROOT), "rev-parse", "HEAD"])
    facts["nvcc"] = (_output(["nvcc", "--version"]) or "").splitlines()[-1:]
    query = "name,driver_version,memory.total,clocks.max.sm,clocks.max.memory"
    facts["cards"] = (_output(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]) or "").splitlines()
    return facts


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def run_tool(command: list[str], **environment: str) -> dict[str, Any]:
    """Run a program from the repository's root; a non-zero exit is an error with the end of its output."""
    if shutil.which(command[0]) is None:
        raise Missing(f"{command[0]} is not installed")
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=STEP_SECONDS
    )
    tail = (result.stdout + result.stderr)[-1500:]
    if result.returncode != 0:
        raise RuntimeError(f"exit status {result.returncode}: {tail}")
    return {"command": " ".join(command), "tail": tail}


def build() -> dict[str, Any]:
    """The extension, in place, from scratch."""
    return run_tool([sys.executable, "setup.py", "build_ext", "--inplace", "--force"], FASTCONCEPT_CUDA="1")


def verify() -> dict[str, Any]:
    """Every kernel against the reference."""
    from fastconcept.kernels import HAS_CUDA, backend, reference

    from .verify import checks

    if not HAS_CUDA:
        raise Missing(str(HAS_CUDA))
    return checks(backend("cuda"), reference, 5)


def contract() -> dict[str, Any]:
    """The contract tests over the device."""
    for package in ("pytest", "hypothesis"):
        if _version(package) is None:
            raise Missing(f"{package} is not installed")
    plugin = ("-p", "benchmarks.gpu.bare")
    return run_tool([sys.executable, "-m", "pytest", *plugin, "-q", "-rs", "-m", "contract and gpu", "tests/kernels"])


def sanitize(tool: str) -> dict[str, Any]:
    """compute-sanitizer over the checks of verify.py."""
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
    return run_tool([*command, sys.executable, "-m", "benchmarks.gpu.verify", "--scale", "1"])


def failures(steps: list[dict[str, Any]]) -> list[str]:
    """Steps, however deep, that failed, and bars that were missed.

    >>> failures([{"name": "a", "status": "done", "result": [{"name": "b", "status": "failed", "reason": "c"}]}])
    ['b: c']
    """
    failed = [f"{row['name']}: {row['reason']}" for row in rows_of(steps).values() if row.get("status") == "failed"]
    return failed + [f"{line['bar']}: missed" for line in judge(steps) if line["reached"] is False]


def main(arguments: list[str] | None = None) -> int:
    """Run every step and write the document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.run", description=__doc__)
    parser.add_argument("--json", type=Path, default=ROOT / "gpu.json")
    parser.add_argument("--skip", nargs="*", default=[], metavar="STEP", help="steps to leave out")
    given = parser.parse_args(arguments)
    steps: list[dict[str, Any]] = []

    def step(name: str, work: Any) -> dict[str, Any]:
        report = {"name": name, "status": "skipped"} if name in given.skip else attempt(name, work)
        steps.append(report)
        date = datetime.date.today().isoformat()
        document = {"date": date, "machine": facts, "bars": judge(steps), "steps": steps}
        given.json.write_text(json.dumps({**document, "failures": failures(steps)}, indent=1, default=str) + "\n")
        return report

    facts = attempt("machine", machine)
    step("build", build)
    step("verify", verify)
    step("contract", contract)
    for tool in SANITIZERS:
        step(f"sanitize-{tool}", lambda tool=tool: sanitize(tool))
    measured = step("ceilings", measure_ceilings)

    def timed(function: str, needs_ceilings: bool = True) -> Any:
        def work() -> Any:
            from . import measure, measure_encoders

            room = measure_encoders if function == "time_encoders" else measure
            if not needs_ceilings:
                return getattr(room, function)()
            if measured["status"] != "done":
                raise Missing(f"no ceilings were measured: {measured.get('reason', measured['status'])}")
            return getattr(room, function)(Ceilings(**measured["result"]))

        return work

    step("kernels", timed("time_kernels"))
    step("solver", timed("time_solver"))
    step("peers", timed("time_peers", needs_ceilings=False))
    step("encoders", timed("time_encoders"))
    for line in judge(steps):
        verdict = {True: "reached", False: "MISSED", None: line.get("reason")}[line["reached"]]
        print(f"{line['bar']}: {line['measured']} {line['unit']} (target {line['target']}): {verdict}")
    print(f"wrote {given.json}; " + ("; ".join(failures(steps)) or "nothing failed"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

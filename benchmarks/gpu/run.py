"""Everything about the GPU path on one machine, in one JSON: ``python -m benchmarks.gpu.run --json FILE``.

Builds the extension, checks the kernels, times them, and runs the contract tests and compute-sanitizer, what is worth
most first. Needs no network and never stops half-way: a step that cannot be done is recorded with its reason. The file
is written after every step, and a run that was cut off goes on with ``--resume``; on a card that is lent for minutes,
``timeout 360 python -m benchmarks.gpu.run --resume`` twice is a whole run.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from fastconcept.files import whole_file

from .bars import SANITIZERS, judge, rows_of
from .floors import Ceilings, measure_ceilings
from .steps import Missing, attempt

ROOT = Path(__file__).parents[2]
PACKAGES = (
    *("cupy-cuda13x", "torch", "triton", "numpy", "pybind11", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt"),
    *("tensorrt-cu13", "tensorrt-lean-cu13", "pytest", "hypothesis"),
)
MEASURED = ("csrc", "fastconcept", "benchmarks/gpu")
STEP_SECONDS = 300
STEPS = (
    *(
        "build",
        "verify",
        "engine",
        "ceilings",
        "kernels",
        "solver",
        "breakdown",
        "dense",
        "encoders-32",
        "encoders-16",
        "contract",
    ),
    *(f"sanitize-{tool}" for tool in SANITIZERS),
    *("peers", "compiled"),
)


def machine() -> dict[str, Any]:
    """What ran, and where: card, driver, packages, sources."""
    facts: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform()}
    facts["packages"] = {name: version for name in PACKAGES if (version := _version(name))}
    facts["sources"] = sources()
    facts["nvcc"] = (_output(["nvcc", "--version"]) or "").splitlines()[-1:]
    query = "name,driver_version,memory.total,clocks.max.sm,clocks.max.memory"
    facts["cards"] = (_output(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]) or "").splitlines()
    return facts


def sources() -> str:
    """SHA-256 of all that is measured: the kernels, the package and this benchmark."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in MEASURED for path in (ROOT / folder).rglob("*")):
        if path.suffix in (".cpp", ".cu", ".h", ".py"):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


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
    """The extension, in place, from scratch, for the cards of this machine unless FASTCONCEPT_CUDA_ARCHS says which."""
    found = _output(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]) or ""
    here = ";".join(sorted({line.strip().replace(".", "") for line in found.splitlines()}))
    chosen = {"FASTCONCEPT_CUDA_ARCHS": here} if here and "FASTCONCEPT_CUDA_ARCHS" not in os.environ else {}
    command = [sys.executable, "setup.py", "build_ext", "--inplace", "--force", "--parallel", "2"]
    return run_tool(command, FASTCONCEPT_CUDA="1", **chosen)


def verify() -> dict[str, Any]:
    """Every kernel against the reference."""
    from fastconcept.kernels import HAS_CUDA, backend, reference

    from .verify import checks

    if not HAS_CUDA:
        raise Missing(str(HAS_CUDA))
    return checks(backend("cuda"), reference, 5)


def engine() -> dict[str, float]:
    """The engine on the device against the engine on the CPU."""
    from .engine import same_answers

    return same_answers()


def breakdown() -> list[dict[str, Any]]:
    """Where the time of the calls with a target goes."""
    from .breakdown import break_down

    return break_down()


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
    given = ["--scale", "1", *(["--zero-products"] if tool == "initcheck" else [])]
    return run_tool([*command, sys.executable, "-m", "benchmarks.gpu.verify", *given])


def failures(steps: list[dict[str, Any]]) -> list[str]:
    """Steps, however deep, that failed, and bars that were missed.

    >>> failures([{"name": "a", "status": "done", "result": [{"name": "b", "status": "failed", "reason": "c"}]}])
    ['b: c']
    """
    failed = [f"{row['name']}: {row['reason']}" for row in rows_of(steps).values() if row.get("status") == "failed"]
    return failed + [f"{line['bar']}: missed" for line in judge(steps) if line["reached"] is False]


def _timed(function: str, measured: dict[str, Any] | None, **options: Any) -> Any:
    """A timing by its name, with the ceilings of the card where it needs them."""
    from . import measure, measure_encoders

    room = measure_encoders if hasattr(measure_encoders, function) else measure
    if measured is None:
        return getattr(room, function)(**options)
    if measured["status"] != "done":
        raise Missing(f"no ceilings were measured: {measured.get('reason', measured['status'])}")
    return getattr(room, function)(Ceilings(**measured["result"]), **options)


def _done(path: Path, digest: str | None) -> dict[str, dict[str, Any]]:
    """The steps of an earlier run of the same sources that need not be repeated, by name."""
    if digest is None or not path.is_file():
        return {}
    document = json.loads(path.read_text())
    if document["machine"].get("result", {}).get("sources") != digest:
        return {}
    return {step["name"]: step for step in document["steps"] if step["status"] in ("done", "failed")}


def _write(path: Path, facts: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    document = {"date": datetime.date.today().isoformat(), "machine": facts, "bars": judge(steps), "steps": steps}
    with whole_file(path) as stream:
        stream.write(json.dumps({**document, "failures": failures(steps)}, indent=1, default=str).encode() + b"\n")


def main(arguments: list[str] | None = None) -> int:
    """Run every step and write the document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.run", description=__doc__)
    parser.add_argument("--json", type=Path, default=ROOT / "gpu.json")
    parser.add_argument("--only", nargs="*", choices=STEPS, default=STEPS, metavar="STEP", help="steps to run")
    parser.add_argument("--skip", nargs="*", choices=STEPS, default=[], metavar="STEP", help="steps to leave out")
    parser.add_argument("--resume", action="store_true", help="keep what the file has of these sources, and go on")
    given = parser.parse_args(arguments)
    facts = attempt("machine", machine)
    before = _done(given.json, facts.get("result", {}).get("sources")) if given.resume else {}
    steps: list[dict[str, Any]] = []

    def step(name: str, work: Any) -> dict[str, Any]:
        wanted = name in given.only and name not in given.skip
        known = before.pop(name, None)
        report = known or (attempt(name, work) if wanted else {"name": name, "status": "skipped"})
        steps.append(report)
        _write(given.json, facts, [*steps, *before.values()])
        return report

    step("build", build)
    step("verify", verify)
    step("engine", engine)
    measured = step("ceilings", measure_ceilings)
    for name in ("kernels", "solver"):
        step(name, lambda name=name: _timed(f"time_{name}", measured))
    step("breakdown", breakdown)
    step("dense", lambda: _timed("time_dense", measured))
    for patch in (32, 16):
        step(f"encoders-{patch}", lambda patch=patch: _timed("time_encoders", measured, patch=patch))
    step("contract", contract)
    for tool in SANITIZERS:
        step(f"sanitize-{tool}", lambda tool=tool: sanitize(tool))
    step("peers", lambda: _timed("time_peers", None))
    step("compiled", lambda: _timed("time_compiled", measured))
    for line in judge(steps):
        verdict = {True: "reached", False: "MISSED", None: line.get("reason")}[line["reached"]]
        print(f"{line['bar']}: {line['measured']} {line['unit']} (target {line['target']}): {verdict}")
    print(f"wrote {given.json}; " + ("; ".join(failures(steps)) or "nothing failed"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

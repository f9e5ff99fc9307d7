"""What belongs in a bug report, and beside every number that a benchmark prints."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from typing import Any

from . import kernels
from .kernels.threads import cgroup_cpu_quota, default_num_threads

PACKAGES = (
    "fastconcept",
    "numpy",
    "pillow",
    "simplejpeg",
    "onnxruntime",
    "onnxruntime-gpu",
    "scipy-openblas32",
    "tokenizers",
    "cupy-cuda13x",
    "tensorrt",
    "pyarrow",
    "fsspec",
    "ray",
    "torch",
    "open_clip_torch",
)


def environment() -> dict[str, Any]:
    """Versions and hardware, as plain values.

    Returns
    -------
    dict
        ``python``, ``platform``, ``packages`` (name to version, installed ones only), ``cpu``, ``instruction_sets``
        (see :func:`fastconcept.kernels.cpu_features`), ``cpu_quota`` (CPUs that the control group grants, or None),
        ``num_threads`` (the default), ``gpus`` (name, driver version and memory of each, as ``nvidia-smi`` lists
        them), ``cuda_kernels`` ("available", or what is missing) and ``providers`` (of ONNX Runtime).

    Examples
    --------
    >>> environment()["num_threads"] >= 1
    True
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions(),
        "cpu": _cpu_name(),
        "instruction_sets": kernels.cpu_features(),
        "cpu_quota": cgroup_cpu_quota(),
        "num_threads": default_num_threads(),
        "gpus": _gpus(),
        "cuda_kernels": kernels.missing_reason("cuda") or "available",
        "providers": _providers(),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that results may depend on, where they are installed."""
    return {name: version for name in PACKAGES if (version := _version(name))}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listed.splitlines() if line.strip()]


def _providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())

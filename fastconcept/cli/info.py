"""``fastconcept info``: what is installed, what the machine can do, which bundles are found."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from typing import Any

from rich.table import Table

from .. import kernels
from ..bundle import Bundle, find_bundle, installed_bundles
from ..errors import BundleError
from ..kernels.threads import cgroup_cpu_quota, default_num_threads
from . import output
from .options import BundleOption, JsonOption

_PACKAGES = (
    "fastconcept",
    "numpy",
    "pillow",
    "onnxruntime",
    "onnxruntime-gpu",
    "scipy-openblas32",
    "tokenizers",
    "cupy-cuda13x",
    "tensorrt",
    "torch",
    "open_clip_torch",
)


def command(bundle: BundleOption = None, as_json: JsonOption = False) -> None:
    """Show versions, providers, instruction sets and bundles: what belongs in a bug report."""
    facts = environment()
    facts["bundles"] = _bundles(bundle)
    if as_json:
        output.print_json(facts)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for key, value in facts.items():
        if isinstance(value, dict):
            flags = {name: "" if item is True else f" {item}" for name, item in value.items() if item is not False}
            value = ", ".join(f"{name}{item}" for name, item in flags.items())
        elif isinstance(value, list):
            value = "\n".join(_line(item) for item in value) or "none"
        table.add_row(key.replace("_", " "), str(value))
    output.console().print(table)


def environment() -> dict[str, Any]:
    """Versions and hardware, as plain values: the block that every benchmark carries."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "cpu": _cpu_name(),
        "instruction_sets": kernels.cpu_features(),
        "cpu_quota": cgroup_cpu_quota(),
        "num_threads": default_num_threads(),
        "cuda_kernels": kernels.missing_reason("cuda") or "available",
        "providers": _providers(),
    }


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


def _providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def _bundles(named: str | None) -> list[dict[str, Any]]:
    paths = installed_bundles()
    if named is not None:
        chosen = find_bundle(named)
        Bundle(chosen).verify()
        paths = [chosen, *(path for path in paths if path != chosen)]
    entries: list[dict[str, Any]] = []
    for path in paths:
        try:
            manifest = Bundle(path).manifest
        except BundleError as error:
            entries.append({"path": str(path), "error": str(error)})
            continue
        entries.append(
            {
                "path": str(path),
                "model": manifest.model,
                "pretrained": manifest.pretrained,
                "dim": manifest.embedding_dim,
                "banks": list(manifest.banks),
                "dictionaries": list(manifest.dictionaries),
            }
        )
    return entries


def _line(item: object) -> str:
    if isinstance(item, dict):
        return "  ".join(f"{key}={value}" for key, value in item.items())
    return str(item)

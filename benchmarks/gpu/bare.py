"""A pytest plugin for machines without the BLAS of the CPU kernels: ``pytest -p benchmarks.gpu.bare -m gpu``.

The contract tests import the CPU kernels beside those they test. Where ``scipy-openblas32`` is not installed, that
import gets an empty module here; tests of the device never use it, and what would says that it is missing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class Absent(ModuleType):
    """Stands for ``fastconcept.kernels.cpu``."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(f"fastconcept.kernels.cpu.{name}: scipy-openblas32 is not installed")


def pytest_configure() -> None:
    """Put the empty module in place before tests are collected."""
    try:
        import fastconcept.kernels.cpu
    except ModuleNotFoundError:
        import fastconcept.kernels

        absent = Absent("fastconcept.kernels.cpu")
        sys.modules[absent.__name__] = absent
        fastconcept.kernels.cpu = absent

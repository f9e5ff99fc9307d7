"""The contract tests of tests/kernels, unchanged, over the CUDA kernels on host memory."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path


CONTRACT = Path(__file__).parents[1] / "kernels"


def contract_tests() -> dict[str, Callable[..., None]]:
    """Every test of tests/kernels that takes the fixture ``kernels`` and nothing that is not here."""
    found = {}
    for path in sorted(CONTRACT.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"contract_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, test in vars(module).items():
            if name.startswith("test_") and "kernels" in inspect.signature(test).parameters:
                found[f"{name}_{path.stem.removeprefix('test_')}"] = test
    return found


globals().update(contract_tests())

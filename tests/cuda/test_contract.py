"""The contract tests of tests/kernels, unchanged, over the CUDA kernels on host memory."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path

CONTRACT = Path(__file__).parents[1] / "kernels"
# Hundreds of thousands of blocks, one after another, take minutes; test_cuda.py has the same in small.
TOO_MANY_BLOCKS = {
    "test_all_ranks_over_several_tiles",
    "test_equal_rows_tie_exactly_wherever_they_stand",
    "test_subtree_ranks_over_several_tiles",
    "test_the_order_of_the_bank_does_not_matter",
}


def contract_tests() -> dict[str, Callable[..., None]]:
    """Every test of tests/kernels that takes the fixture ``kernels``."""
    found = {}
    for path in sorted(CONTRACT.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"contract_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, test in vars(module).items():
            taken = name.startswith("test_") and "kernels" in inspect.signature(test).parameters
            if taken and name not in TOO_MANY_BLOCKS:
                found[f"{name}_{path.stem.removeprefix('test_')}"] = test
    return found


globals().update(contract_tests())

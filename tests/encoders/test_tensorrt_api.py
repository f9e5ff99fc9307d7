"""Every TensorRT name that we use exists in the bindings of both major versions (recorded in tensorrt_api.json)."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECORD: dict[str, Any] = json.loads((HERE / "tensorrt_api.json").read_text())
USERS = [ROOT / "fastconcept/encoders/tensorrt/encoder.py", ROOT / "export/tensorrt/compile.py"]

# What the expressions before a dot are. Builder classes are not in the lean bindings: their names are looked up among
# the words of the full bindings.
KINDS = {
    "loaded": "ICudaEngine",
    "self._plan": "ICudaEngine",
    "self._runtime": "Runtime",
    "context": "IExecutionContext",
    "bucket.context": "IExecutionContext",
    "profile": "IOptimizationProfile",
    "config.get_timing_cache()": "ITimingCache",
    **{f"trt.{name}": name for name in ("Logger", "TensorIOMode", "DataType", "BuilderFlag", "MemoryPoolType")},
}
BUILDER = {"trt.NetworkDefinitionCreationFlag", "builder", "network", "parser", "config", "network.get_input(0)"}
BUILDER_MODULE = {"Builder", "OnnxParser", "NetworkDefinitionCreationFlag"}


def uses(path: Path) -> list[tuple[str, str]]:
    """(expression, member) of every attribute access on something of TensorRT's."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            base = ast.unparse(node.value)
            if base == "trt" or base in KINDS or base in BUILDER:
                found.append((base, node.attr))
    return found


@pytest.mark.parametrize("version", sorted(RECORD))
@pytest.mark.parametrize("path", USERS, ids=lambda path: path.stem)
def test_every_name_exists(path: Path, version: str) -> None:
    record = RECORD[version]
    for base, member in uses(path):
        if base in BUILDER or (base == "trt" and member in BUILDER_MODULE):
            assert member in record["builder"], f"TensorRT {version}: {base}.{member}"
        elif base == "trt":
            assert member in record["module"], f"TensorRT {version}: trt.{member}"
        else:
            assert member in record["classes"][KINDS[base]], f"TensorRT {version}: {base}.{member}"


def test_the_walk_sees_what_it_should() -> None:
    runner, builder = (set(uses(path)) for path in USERS)
    assert ("self._runtime", "deserialize_cuda_engine") in runner
    assert ("context", "execute_async_v3") in runner
    assert ("self._plan", "get_tensor_profile_shape") in runner
    assert ("builder", "build_serialized_network") in builder
    assert ("profile", "set_shape") in builder


def test_both_major_versions_are_recorded() -> None:
    assert {version.split(".")[0] for version in RECORD} == {"10", "11"}


def test_the_record_is_what_is_installed() -> None:
    """Where lean bindings are installed, they have what was recorded for their version."""
    try:
        trt = importlib.import_module("tensorrt_lean_bindings")
    except ImportError:
        pytest.skip("tensorrt-lean-cu13-bindings is not installed")
    if trt.__version__ not in RECORD:
        pytest.skip(f"TensorRT {trt.__version__} is not recorded")
    for name, members in RECORD[trt.__version__]["classes"].items():
        assert set(members) <= set(dir(getattr(trt, name)))

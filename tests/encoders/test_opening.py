"""Which stored plan fits: model, TensorRT and device; and what is said when none does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastconcept.encoders.opening import check_encoder
from fastconcept.encoders.tensorrt.plans import find_plan_for, plan_directory, stored_plans
from fastconcept.errors import DeviceError, InputError

MODEL = "a" * 64


def keep(folder: Path, name: str, **changes: str) -> Path:
    key = {"model_sha256": MODEL, "precision": "float16", "compute_capability": "90", "tensorrt": "10.16"} | changes
    (folder / f"{name}.plan").write_bytes(b"plan")
    (folder / f"{name}.plan.json").write_text(json.dumps({"key": key}))
    return folder / f"{name}.plan"


def test_the_plan_of_this_model_and_device(tmp_path: Path) -> None:
    full = keep(tmp_path, "a", precision="float32")
    half = keep(tmp_path, "b")
    keep(tmp_path, "c", compute_capability="87")
    keep(tmp_path, "d", model_sha256="b" * 64)
    assert find_plan_for(MODEL, "90", "10.16", tmp_path) == half
    half.unlink()  # notes alone are nothing
    assert find_plan_for(MODEL, "90", "10.16", tmp_path) == full


def test_none_that_fits(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"none of this model.*fastconcept export --tensorrt"):
        find_plan_for(MODEL, "90", "10.16", tmp_path)
    keep(tmp_path, "a", compute_capability="87")
    keep(tmp_path, "b", tensorrt="11.4")
    with pytest.raises(DeviceError, match=r"TensorRT 10\.16 on 87, TensorRT 11\.4 on 90"):
        find_plan_for(MODEL, "90", "10.16", tmp_path)


def test_damaged_notes_are_passed_over(tmp_path: Path) -> None:
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"key": 3}'), ("d", "x" * (2 << 20))):
        keep(tmp_path, name)
        (tmp_path / f"{name}.plan.json").write_text(text)
    assert stored_plans(MODEL, tmp_path) == []


def test_where_plans_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCONCEPT_PLANS", str(tmp_path))
    assert plan_directory() == tmp_path
    monkeypatch.delenv("FASTCONCEPT_PLANS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert plan_directory() == tmp_path / "fastconcept" / "plans"


def test_which_encoders_there_are(tmp_path: Path) -> None:
    plan = tmp_path / "my.plan"
    with pytest.raises(InputError, match=r"no plan at .*my\.plan; build one here"):
        check_encoder(str(plan), "cuda:0")
    plan.touch()
    assert check_encoder("onnx", "cpu") == "onnx" and check_encoder(str(plan), "cuda:0") == str(plan)
    with pytest.raises(InputError, match="onnx, tensorrt or the path"):
        check_encoder("torch", "cuda:0")
    for encoder in ("tensorrt", "my.plan"):
        with pytest.raises(DeviceError, match="runs on a GPU"):
            check_encoder(encoder, "cpu")

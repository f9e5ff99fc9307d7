"""Which kept engine fits: model, TensorRT and device; and what is said when none does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastconcept.encoders.opening import check_encoder
from fastconcept.encoders.tensorrt_cache import cache_directory, find_engine_for, kept_engines
from fastconcept.errors import DeviceError, InputError

MODEL = "a" * 64


def keep(folder: Path, name: str, **changes: str) -> Path:
    key = {"model_sha256": MODEL, "precision": "float16", "compute_capability": "90", "tensorrt": "10.16"} | changes
    (folder / f"{name}.engine").write_bytes(b"plan")
    (folder / f"{name}.engine.json").write_text(json.dumps({"key": key}))
    return folder / f"{name}.engine"


def test_the_engine_of_this_model_and_device(tmp_path: Path) -> None:
    full = keep(tmp_path, "a", precision="float32")
    half = keep(tmp_path, "b")
    keep(tmp_path, "c", compute_capability="87")
    keep(tmp_path, "d", model_sha256="b" * 64)
    assert find_engine_for(MODEL, "90", "10.16", tmp_path) == half
    half.unlink()  # notes alone are nothing
    assert find_engine_for(MODEL, "90", "10.16", tmp_path) == full


def test_none_that_fits(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"none of this model.*fastconcept\.export\.tensorrt"):
        find_engine_for(MODEL, "90", "10.16", tmp_path)
    keep(tmp_path, "a", compute_capability="87")
    keep(tmp_path, "b", tensorrt="11.4")
    with pytest.raises(DeviceError, match=r"TensorRT 10\.16 on 87, TensorRT 11\.4 on 90"):
        find_engine_for(MODEL, "90", "10.16", tmp_path)


def test_damaged_notes_are_passed_over(tmp_path: Path) -> None:
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"key": 3}'), ("d", "x" * (2 << 20))):
        keep(tmp_path, name)
        (tmp_path / f"{name}.engine.json").write_text(text)
    assert kept_engines(MODEL, tmp_path) == []


def test_where_engines_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCONCEPT_ENGINES", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv("FASTCONCEPT_ENGINES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "fastconcept" / "engines"


def test_which_encoders_there_are(tmp_path: Path) -> None:
    engine = tmp_path / "my.engine"
    with pytest.raises(InputError, match=r"no engine file at .*my\.engine; build one here"):
        check_encoder(str(engine), "cuda:0")
    engine.touch()
    assert check_encoder("onnx", "cpu") == "onnx" and check_encoder(str(engine), "cuda:0") == str(engine)
    with pytest.raises(InputError, match="onnx, tensorrt or the path"):
        check_encoder("torch", "cuda:0")
    for encoder in ("tensorrt", "my.engine"):
        with pytest.raises(DeviceError, match="runs on a GPU"):
            check_encoder(encoder, "cpu")

"""Bundles that lie with a true checksum: each costs one BundleError, at the latest when the part is used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.bundle import MANIFEST, Bundle, find_bundle
from fastconcept.concepts.storage import write_tensors
from fastconcept.errors import BundleError
from fastconcept.weight_files import weight_files
from tests.resigned import SOURCE, resign, use

_TOKENIZER = json.loads((SOURCE / "tokenizer.json").read_text(encoding="utf-8"))


def test_a_true_copy_works(tmp_path: Path) -> None:
    use(resign(tmp_path / "b"))


@pytest.mark.parametrize(
    "fields",
    [
        {"logit_scale": int("9" * 400)},
        {"logit_scale": float("nan")},
        {"embedding_dim": int("9" * 400)},
        {"context_length": -1},
        {"model": "\ud800"},
        {"image_encoder": "tokenizer.json"},
        {"preprocess": {"size": [96, 96], "mean": [0, 0, 0], "std": [1, 1, float("inf")]}},
        {"preprocess": {"size": [96, 96], "mean": [0, 0, 1e300], "std": [1, 1, 1]}},
        {"preprocess": {"size": [96, 96], "mean": [0, 0, 0], "std": [1, 1, 1e-300]}},
        {"preprocess": {"size": [96, 96], "mean": [0, 0, int("9" * 400)], "std": [1, 1, 1]}},
        {"preprocess": {"size": [96, 96], "mean": [0, 0, 0], "std": [1, 1, 1], "fill_color": 256}},
    ],
)
def test_fields(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        use(resign(tmp_path / "b", **fields))


@pytest.mark.parametrize("name", [".", "./", "a" * 300, "/".join(["ab"] * 500), "a\nb", "\u202eb", "é" * 200])
def test_names_that_no_file_has(tmp_path: Path, name: str) -> None:
    entry = {"sha256": "0" * 64, "bytes": 1}
    with pytest.raises(BundleError):
        Bundle(resign(tmp_path / "b", files={name: entry}))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t["model"].update(vocab={}),
        lambda t: t.update(normalizer={"type": "Replace", "pattern": {"Regex": "(" * 9}, "content": ""}),
        lambda t: t.update(
            post_processor=None, normalizer={"type": "Replace", "pattern": {"Regex": ".*"}, "content": ""}
        ),
        lambda t: t["post_processor"].update(single=t["post_processor"]["single"] * 50),
        lambda t: t.update(padding={"strategy": "BatchLongest", "direction": "Left", "pad_id": -1, "pad_token": ""}),
        lambda t: t.clear(),
    ],
)
def test_tokenizers(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(json.dumps(_TOKENIZER))
    change(document)
    folder = resign(tmp_path / "b", {"tokenizer.json": json.dumps(document).encode()})
    with pytest.raises(BundleError):
        fc.load(folder).parts.text_encoder.encode(["", "a dog", "word " * 200])


@pytest.mark.parametrize("mean", [np.zeros(255), np.full(256, np.nan), np.arange(256), np.full(256, 9.0), None])
def test_image_means(tmp_path: Path, mean: np.ndarray | None) -> None:
    write_tensors(tmp_path / "m", {"other": np.zeros(256)} if mean is None else {"mean": mean}, {})
    folder = resign(tmp_path / "b", {"image_mean.safetensors": (tmp_path / "m").read_bytes()})
    with pytest.raises(BundleError):
        _ = fc.load(folder).image_mean
    with pytest.raises(BundleError):
        _ = fc.load(resign(tmp_path / "c", {"image_mean.safetensors": b"\xff" * 40})).image_mean


@pytest.mark.parametrize(
    ("name", "tensors", "kind"),
    [
        ("banks/convis.safetensors", {"embeddings": np.zeros((0, 256), np.float32), "names": b""}, "phrases"),
        ("banks/convis.safetensors", {"embeddings": np.zeros((1, 256), np.float32), "names": b"a"}, "phrases"),
        ("banks/convis.safetensors", {"embeddings": np.ones((1, 9), np.float32), "names": b"a"}, "phrases"),
        ("banks/convis.safetensors", {"embeddings": np.ones((1, 256), np.float32), "names": b"\xff"}, "phrases"),
        ("banks/convis.safetensors", {"embeddings": np.zeros((0, 256), np.float32), "offsets": b""}, "synsets"),
        (
            "dictionaries/everyday.safetensors",
            {"embeddings": np.zeros((0, 256), np.float32), "words": b""},
            "dictionary",
        ),
    ],
)
def test_banks_and_dictionaries(tmp_path: Path, name: str, tensors: dict[str, Any], kind: str) -> None:
    arrays = {
        key: np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value for key, value in tensors.items()
    }
    if kind == "synsets":
        arrays["offsets"] = arrays["offsets"].astype(np.int64)
    if kind == "dictionary":
        arrays["mean"] = np.zeros(256, np.float32)
    write_tensors(tmp_path / "t", arrays, {"kind": kind, "wordnet": "3.0"})
    engine = fc.load(resign(tmp_path / "b", {name: (tmp_path / "t").read_bytes()}))
    with pytest.raises(BundleError):
        _ = engine.bank if name.startswith("banks") else engine.dictionary


def image_encoder(
    scale: float, weights: str | None = None, sides: tuple[int | str, int | str] = ("height", "width")
) -> bytes:
    """An image encoder whose rows have the length ``scale``; its factor lies in another file if that is named."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    factor = onnx.numpy_helper.from_array(np.float32([[scale]] * 256).reshape(1, 256) / 16, "factor")
    if weights is not None:
        factor.ClearField("raw_data")
        factor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", weights), ("offset", "0"), ("length", "1024")):
            entry = factor.external_data.add()
            entry.key, entry.value = key, value
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["pixels"], ["top"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["top", "zero"], ["nothing"]),
            helper.make_node("Unsqueeze", ["nothing", "one"], ["column"]),
            helper.make_node("Add", ["column", "factor"], ["embeddings"]),
        ],
        "tower",
        [helper.make_tensor_value_info("pixels", kind, ["batch", 3, *sides])],
        [helper.make_tensor_value_info("embeddings", kind, ["batch", 256])],
        [
            factor,
            onnx.numpy_helper.from_array(np.float32(0), "zero"),
            onnx.numpy_helper.from_array(np.int64([1]), "one"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(("scale", "message"), [(0, "unit length"), (3, "unit length"), (float("nan"), "damaged")])
def test_rows_of_encoders(tmp_path: Path, scale: float, message: str) -> None:
    folder = resign(tmp_path / "b", {"image_encoder.onnx": image_encoder(scale)})
    with pytest.raises(BundleError, match=message):
        fc.load(folder).encode_image(np.zeros((9, 9, 3), np.uint8))


def test_an_encoder_of_another_size(tmp_path: Path) -> None:
    models = {"image_encoder.onnx": image_encoder(1, sides=(96, 96))}
    preprocess = {"size": [64, 64], "mean": [0, 0, 0], "std": [1, 1, 1]}
    with pytest.raises(BundleError, match=r"takes images of \(96, 96\), the manifest says \(64, 64\)"):
        use(resign(tmp_path / "b", models, preprocess=preprocess))
    with pytest.raises(BundleError, match=r"the manifest says \(64, 64\)"):
        use(resign(tmp_path / "c", models, preprocess={**preprocess, "size": [96, 96], "patch_size": [64, 64]}))


def test_weights_in_another_file_are_listed_and_verified(tmp_path: Path) -> None:
    weights = (np.ones(256, np.float32) / 16).tobytes()
    models = {"image_encoder.onnx": image_encoder(1, "a.bin"), "a.bin": weights}
    folder = resign(tmp_path / "b", models)
    assert weight_files(folder / "image_encoder.onnx") == ["a.bin"]
    assert weight_files(folder / "text_encoder.onnx") == []
    rows = fc.load(folder).encode_image(np.zeros((9, 9, 3), np.uint8))
    np.testing.assert_allclose(rows, 1 / 16)
    (folder / "a.bin").write_bytes(weights[::-1])
    with pytest.raises(BundleError, match=r"a\.bin is damaged"):
        fc.load(folder).encode_image(np.zeros((9, 9, 3), np.uint8))
    for name in ("b.bin", "../a.bin", "/etc/passwd"):
        (folder / "b.bin").write_bytes(weights)
        resign(folder, {"image_encoder.onnx": image_encoder(1, name)})
        with pytest.raises(BundleError, match="not in the manifest"):
            fc.load(folder).encode_image(np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize("content", [b"location", b"\xff" * 30 + b"location", b"\x3a\xff\xff\x03location"])
def test_files_that_are_no_onnx_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(BundleError, match="not an ONNX model"):
        weight_files(tmp_path / "m.onnx")


def hub_cache(root: Path, source: Path) -> Path:
    """The bundle as huggingface_hub's cache holds it: files in ``blobs``, links to them in ``snapshots``."""
    repository, revision = root / "models--me--nano", "a" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(revision)
    (repository / "blobs").mkdir()
    snapshot = repository / "snapshots" / revision
    for path in sorted(path for path in source.rglob("*") if path.is_file() and path.suffix != ".py"):
        blob = repository / "blobs" / hashlib.sha256(str(path).encode()).hexdigest()
        shutil.copyfile(path, blob)
        (snapshot / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        target = snapshot / path.relative_to(source)
        target.symlink_to(os.path.relpath(blob, target.parent))
    return snapshot


def test_the_cache_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = (np.ones(256, np.float32) / 16).tobytes()
    models = {"image_encoder.onnx": image_encoder(1, "image_encoder.onnx.data"), "image_encoder.onnx.data": weights}
    snapshot = hub_cache(tmp_path / "hub", resign(tmp_path / "b", models))
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_bundle("hf-hub:me/nano") == snapshot
    assert find_bundle("hf-hub:me/nano@main") == find_bundle(f"hf-hub:me/nano@{'a' * 40}") == snapshot
    use(snapshot)
    with pytest.raises(BundleError, match="hf-hub:me/other cannot be had"):
        find_bundle("hf-hub:me/other")
    for name in ("parity.json", MANIFEST):
        outside = tmp_path / f"outside-{name}"
        outside.write_bytes((snapshot / name).read_bytes())
        (snapshot / name).unlink()
        (snapshot / name).symlink_to(outside)
        with pytest.raises(BundleError, match=f"{name} is a link out of"):
            Bundle(snapshot)


@pytest.mark.parametrize("name", ["", " ", "a" * 5000, "a\0b", 7, b"nano"])
def test_names_that_are_no_bundle(name: Any) -> None:
    with pytest.raises(BundleError):
        Bundle(find_bundle(name))


def test_a_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "b").mkdir()
    assert find_bundle("~/b") == tmp_path / "b"


def test_a_manifest_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resign(tmp_path / "b")

    def refuse(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied", MANIFEST)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(BundleError, match="Permission denied"):
        Bundle(folder)

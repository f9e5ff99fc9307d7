"""Compact encoders: smaller files, nearly the same rows, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastconcept.bundle import Bundle
from fastconcept.concepts.bank import ConceptBank
from fastconcept.errors import ExportError
from fastconcept.weight_files import weight_files

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from fastconcept.export.compact import compact  # noqa: E402


def rows_of(path: Path, feed: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: feed})[0]


@pytest.mark.parametrize("encoder", ["image_encoder.onnx", "text_encoder.onnx"])
def test_rows_stay_and_files_shrink(tiny_bundle: Path, tmp_path: Path, encoder: str) -> None:
    original, path = tiny_bundle / encoder, tmp_path / encoder
    onnx.save(onnx.load(str(original)), str(path))  # with its weights inside, as it was before files shared them
    counts = compact(path)
    onnx.checker.check_model(str(path))
    assert counts["after"] == path.stat().st_size < 0.6 * counts["before"]
    assert counts["half"] > 0 and counts["bytes"] == (encoder == "text_encoder.onnx")
    draw = np.random.default_rng(0)
    if encoder == "image_encoder.onnx":
        shape = onnx.load(str(original)).graph.input[0].type.tensor_type.shape.dim
        feed = draw.normal(size=(4, *(d.dim_value for d in shape[1:]))).astype(np.float32)
    else:
        feed = draw.integers(1, 400, (4, 8))
    before, after = rows_of(original, feed), rows_of(path, feed)
    assert 0.999 < (before * after).sum(1).min() < 1.0001
    assert not np.array_equal(before, after)


def model_with(values: np.ndarray, external: bool = False) -> object:
    weight = onnx.numpy_helper.from_array(values, "w")
    if external:
        weight.data_location = onnx.TensorProto.EXTERNAL
    shape = [None, len(values)]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [weight],
    )
    return onnx.helper.make_model(graph)


@pytest.mark.parametrize("value", [np.nan, 1e6])
def test_weights_that_float16_cannot_hold(tmp_path: Path, value: float) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model_with(np.full((64, 64), value, np.float32)), str(path))
    content = path.read_bytes()
    with pytest.raises(ExportError, match="'w' is not a number or beyond float16"):
        compact(path)
    assert path.read_bytes() == content


def test_weights_elsewhere_and_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model_with(np.ones((64, 64), np.float32), external=True).SerializeToString())
    with pytest.raises(ExportError, match="another file"):
        compact(path)
    path.write_bytes(b"not a model")
    with pytest.raises(ExportError, match="cannot be read as ONNX"):
        compact(path)
    with pytest.raises(ExportError, match="cannot be read as ONNX"):
        compact(tmp_path / "missing.onnx")


def size_with_weights(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, *(path.parent / name for name in weight_files(path))))


def test_a_compact_bundle(tiny_checkpoint: str, tiny_bundle: Path, tmp_path: Path, finished_towers: None) -> None:
    from fastconcept.export import Contents, export_open_clip

    contents = Contents(roots=["feline.n.01"], vocabulary_size=50)
    options = {"dense": (), "compact": True, "progress": False}
    bundle = export_open_clip(tiny_checkpoint, tmp_path / "small", contents=contents, **options)
    bundle.verify()
    assert 0.999 <= bundle.manifest.parity["min_cosine"] <= 1
    for encoder in (bundle.manifest.image_encoder, bundle.manifest.text_encoder):
        assert size_with_weights(bundle.path / encoder) < 0.6 * size_with_weights(tiny_bundle / encoder)
    bank, original = ConceptBank.load(bundle.bank()), ConceptBank.load(Bundle(tiny_bundle).bank())
    assert bank.names == original.names
    assert (bank.embeddings * original.embeddings).sum(1).min() > 0.999

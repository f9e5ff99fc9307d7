"""Model repositories for Triton: what is written, and what the backend answers. A real Triton: ``make test-triton``."""

from __future__ import annotations

import json
import re
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.errors import ConceptError, ExportError, ImageError, InputError
from fastconcept.export.triton import export_triton
from fastconcept.export.triton.backend import Asked, TritonPythonModel, answers
from fastconcept.export.triton.repository import _quoted
from fastconcept.protocol.models import MODELS

CONCEPTS = ["cup.n.01", "a spoon"]


@pytest.fixture(scope="module")
def engine() -> fc.Engine:
    """The built-in model."""
    return fc.load()


@pytest.fixture(scope="module")
def image() -> bytes:
    """A photograph of a cup of coffee."""
    return Path(str(files("skimage.data") / "coffee.png")).read_bytes()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the built-in model."""
    folder = tmp_path_factory.mktemp("triton") / "models"
    assert export_triton(folder, max_batch=8, max_delay=0.5) == [*MODELS, "image_encoder"]
    return folder


def test_every_model_has_its_configuration_and_its_file(repository: Path, engine: fc.Engine) -> None:
    for name, model in MODELS.items():
        config = (repository / name / "config.pbtxt").read_text()
        tensors = [*model.inputs, *model.outputs]
        assert re.findall(r'^  name: "(\w+)"', config, re.MULTILINE) == [tensor.name for tensor in tensors]
        assert ("max_batch_size: 8\n" in config) == model.batched
        assert ("max_queue_delay_microseconds: 500 " in config) == model.batched
        assert str(engine.bundle.path) in config
        compile((repository / name / "1/model.py").read_text(), "model.py", "exec")
    assert "dims: [ 256 ]" in (repository / "embed/config.pbtxt").read_text()


def test_the_encoder_is_the_bundles_own(repository: Path, engine: fc.Engine, image: bytes) -> None:
    import onnxruntime

    config = (repository / "image_encoder/config.pbtxt").read_text()
    assert "dims: [ 3, 224, 224 ]" in config
    session = onnxruntime.InferenceSession(
        repository / "image_encoder/1/model.onnx", providers=["CPUExecutionProvider"]
    )
    assert [session.get_inputs()[0].name, session.get_outputs()[0].name] == re.findall(r'  name: "(\w+)"', config)
    rows = session.run(None, {"pixels": np.asarray(engine.preprocess(image)).reshape(1, 3, 224, 224)})[0]
    assert np.allclose(rows / np.linalg.norm(rows), engine.encode_image(image), atol=1e-5)


def test_answers_are_the_engines(engine: fc.Engine, image: bytes) -> None:
    def ask(name: str, parameters: dict[str, Any] | None = None, **inputs: list[bytes]) -> Any:
        return answers(engine, MODELS[name], [Asked(inputs, parameters or {})])[0]

    assert np.array_equal(ask("embed", IMAGE=[image, image])["EMBEDDING"], engine.encode_image([image, image]))
    assert np.array_equal(ask("embed_text", TEXT=[b"a cat"])["EMBEDDING"], engine.encode_text(["a cat"]))
    words = ask("decompose", {"l0": 5}, IMAGE=[image])
    code = engine.decompose(image, l0=5)
    assert words["WORDS"][0].tolist() == [word for word, _ in code.top()]
    options = {"mode": "windows", "stride": "32"}
    seen = engine.explain(image, CONCEPTS, mode="windows", stride=32)
    maps = ask("explain", options, IMAGE=[image], CONCEPTS=[concept.encode() for concept in CONCEPTS])
    assert np.array_equal(maps["MAPS"], seen.maps)
    assert maps["BOXES"].tolist() == np.array([concept.box() for concept in seen], np.float32).tolist()
    names = ask("concepts", {**options, "top": 2}, IMAGE=[image])["NAMES"].tolist()
    assert names == engine.concepts(image, 2, mode="windows", stride=32).names


def test_an_error_belongs_to_its_request_alone(engine: fc.Engine, image: bytes) -> None:
    def kinds(name: str, *requests: Asked) -> list[type]:
        return [type(answer) for answer in answers(engine, MODELS[name], requests)]

    good, bad = Asked({"IMAGE": [image]}, {}), Asked({"IMAGE": [b"no image"]}, {})
    assert kinds("decompose", good, bad, Asked({"IMAGE": [image]}, {"l2": 1}), good) == [
        dict,
        ImageError,
        InputError,
        dict,
    ]
    assert kinds("explain", Asked({"IMAGE": [image], "CONCEPTS": [b"dgo.n.01"]}, {})) == [ConceptError]
    assert kinds("explain", Asked({"IMAGE": [image], "CONCEPTS": [b"\xff"]}, {})) == [InputError]
    assert kinds("concepts", Asked({"IMAGE": [image, image]}, {})) == [InputError]


def test_the_class_that_triton_calls(monkeypatch: pytest.MonkeyPatch, image: bytes) -> None:
    """As Triton does, with stand-ins for the objects of its Python backend."""

    class TritonError(Exception):
        INVALID_ARG = 3

    def response(tensors: Any = (), error: Any = None) -> Any:
        return SimpleNamespace(tensors=dict(tensors), error=error)

    def input_of(request: Any, name: str) -> Any:
        return SimpleNamespace(as_numpy=lambda: np.array([[request.image]], object))

    utils = ModuleType("triton_python_backend_utils")
    stand_ins = {"TritonError": TritonError, "InferenceResponse": response, "get_input_tensor_by_name": input_of}
    vars(utils).update(stand_ins, Tensor=lambda name, array: (name, array))
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    model = TritonPythonModel()
    parameters = {name: {"string_value": value} for name, value in {"bundle": "", "device": "cpu"}.items()}
    config = {"parameters": {**parameters, "method": {"string_value": "decompose"}}}
    model.initialize({"model_config": json.dumps(config), "model_instance_device_id": "0"})
    asked = [
        SimpleNamespace(image=image, parameters=lambda: '{"l0": 3}'),
        SimpleNamespace(image=b"x", parameters=lambda: ""),
    ]
    good, bad = model.execute(asked)
    assert all(isinstance(word, bytes) for word in good.tensors["WORDS"][0])
    assert bad.error.args == ("the image is not an image of a format that is read here: " + _formats(), 3)


def _formats() -> str:
    from fastconcept.encoders.decode import FORMATS

    return ", ".join(FORMATS)


def test_nothing_else_is_overwritten(tmp_path: Path, repository: Path) -> None:
    with pytest.raises(ExportError, match="use --overwrite"):
        export_triton(repository)
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(ExportError, match="holds other things"):
        export_triton(tmp_path, overwrite=True)
    with pytest.raises(ExportError, match="create it first"):
        export_triton(tmp_path / "a" / "b")
    with pytest.raises(InputError, match="device must be cpu or cuda"):
        export_triton(tmp_path / "new", device="cuda:1")
    with pytest.raises(InputError, match="max_batch"):
        export_triton(tmp_path / "new", max_batch=0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    export_triton(repository, overwrite=True, instances=2)
    assert "count: 2" in (repository / "embed/config.pbtxt").read_text()


def test_strings_of_configurations_are_quoted() -> None:
    assert _quoted('a "b" \\ é\n') == r'"a \042b\042 \134 \303\251\012"'

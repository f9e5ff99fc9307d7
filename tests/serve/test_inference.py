"""The open inference protocol, spoken with NVIDIA's own client over a real connection."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import fastconcept as fc
from fastconcept.serve.app import make_app

triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
CONCEPTS = ["cup.n.01", "a spoon"]


@pytest.fixture
def remote(engine: fc.Engine, served: Callable[..., str]) -> Any:
    """A client of a server over the built-in model."""
    with triton.InferenceServerClient(served(make_app(engine)).removeprefix("http://")) as client:
        yield client


def tensor(name: str, values: list[Any], binary: bool = True) -> Any:
    """An input of elements of bytes or strings."""
    array = np.empty(len(values), object)
    array[:] = values
    made = triton.InferInput(name, list(array.shape), "BYTES")
    made.set_data_from_numpy(array, binary_data=binary)
    return made


@pytest.mark.parametrize("binary", [True, False])
def test_a_client_of_triton_gets_what_the_engine_gives(
    remote: Any, engine: fc.Engine, picture: bytes, binary: bool
) -> None:
    assert remote.is_server_live()
    assert remote.is_server_ready()
    assert remote.is_model_ready("embed")
    assert remote.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    content = picture if binary else base64.b64encode(picture).decode()

    def wanted(*names: str) -> list[Any]:
        return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]

    image = tensor("IMAGE", [content, content], binary)
    rows = remote.infer("embed", [image], outputs=wanted("EMBEDDING")).as_numpy("EMBEDDING")
    assert np.array_equal(rows, engine.encode_image([picture, picture]))

    answer = remote.infer("decompose", [image], outputs=wanted("WORDS", "WEIGHTS"), parameters={"l0": 4})
    code = engine.decompose(picture, l0=4)
    words = [word if isinstance(word, str) else word.decode() for word in answer.as_numpy("WORDS")[0]]
    assert words == [word for word, _ in code.top()]
    assert np.allclose(answer.as_numpy("WEIGHTS")[0], [weight for _, weight in code.top()], rtol=1e-6, atol=0)

    inputs = [tensor("IMAGE", [content], binary), tensor("CONCEPTS", CONCEPTS, binary)]
    options = {"mode": "windows", "sizes": "128,64", "stride": 32}
    answer = remote.infer("explain", inputs, outputs=wanted("MAPS", "SCORES", "BOXES"), parameters=options)
    seen = engine.explain(picture, CONCEPTS, mode="windows", stride=32)
    assert np.array_equal(answer.as_numpy("MAPS"), seen.maps)
    assert np.allclose(answer.as_numpy("SCORES"), [concept.score for concept in seen], rtol=1e-6, atol=0)
    assert np.allclose(answer.as_numpy("BOXES"), [concept.box() for concept in seen], rtol=1e-6, atol=0)


def test_every_model_describes_itself_and_answers_without_named_outputs(
    remote: Any, engine: fc.Engine, picture: bytes
) -> None:
    inputs = {
        "IMAGE": tensor("IMAGE", [picture]),
        "TEXT": tensor("TEXT", ["a cat"]),
        "CONCEPTS": tensor("CONCEPTS", CONCEPTS),
    }
    for name in ("embed", "embed_text", "decompose", "explain", "concepts"):
        described = remote.get_model_metadata(name)
        options = {"mode": "windows", "stride": 32} if name in ("explain", "concepts") else None
        asked = [inputs[entry["name"]] for entry in described["inputs"]]
        answer = remote.infer(name, asked, request_id="seven", parameters=options)
        assert answer.get_response()["id"] == "seven"
        for entry in described["outputs"]:
            shape = answer.as_numpy(entry["name"]).shape
            assert len(shape) == len(entry["shape"])
            assert all(said in (-1, side) for said, side in zip(entry["shape"], shape, strict=True))


def test_errors_reach_the_client_as_messages(remote: Any, picture: bytes) -> None:
    def error(model: str, inputs: list[Any], **options: Any) -> tuple[str, str]:
        with pytest.raises(triton.InferenceServerException) as refused:
            remote.infer(model, inputs, **options)
        return str(refused.value.status()), str(refused.value.message())

    image = tensor("IMAGE", [picture])
    assert error("explain", [image, tensor("CONCEPTS", ["dgo.n.01"])])[0] == "422"
    assert "did you mean dog.n.01" in error("explain", [image, tensor("CONCEPTS", ["dgo.n.01"])])[1]
    assert error("nothing", [image])[0] == "404"
    assert error("embed", [tensor("TEXT", ["x"])]) == ("422", "embed takes IMAGE, got TEXT")
    assert error("embed", [tensor("IMAGE", [b"x"])])[0] == "422"
    assert "no parameter 'l2'" in error("decompose", [image], parameters={"l2": 1})[1]
    unknown = [triton.InferRequestedOutput("NOTHING")]
    assert "no output 'NOTHING'" in error("embed", [image], outputs=unknown)[1]


ONE = b'{"inputs": [{"name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": %d}}]}'


@pytest.mark.parametrize(
    ("head", "tail", "length"),
    [
        (b"{}", b"", None),
        (b'{"inputs": {}}', b"", None),
        (b'{"inputs": [3]}', b"", None),
        (b'{"inputs": [{"name": "IMAGE", "datatype": "FP32", "shape": [1], "data": [1.0]}]}', b"", None),
        (b'{"inputs": [{"name": "IMAGE", "datatype": "BYTES", "shape": [-1], "data": []}]}', b"", None),
        (b'{"inputs": [{"name": "IMAGE", "datatype": "BYTES", "shape": [2], "data": ["a"]}]}', b"", None),
        (b'{"inputs": [{"name": "IMAGE", "datatype": "BYTES", "shape": [1], "data": [1]}]}', b"", None),
        (b'{"inputs": [{"name": "IMAGE", "datatype": "BYTES", "shape": [1], "data": ["\xff"]}]}', b"", None),
        (b'{"inputs": [{"name": "IMAGE", "datatype": "BYTES", "shape": [1e9]}]}', b"", None),
        (ONE % 8, struct.pack("<I", 4) + b"abcd", "9999"),
        (ONE % 8, struct.pack("<I", 4) + b"abcd", "-1"),
        (ONE % 8, struct.pack("<I", 1 << 31) + b"abcd", "right"),
        (ONE % 9, struct.pack("<I", 4) + b"abcd", "right"),
        (ONE % -1, b"", "right"),
        (ONE % 3, b"abc", "right"),
        (ONE % 8, struct.pack("<I", 4) + b"abcd and more", "right"),
    ],
)
def test_hostile_tensors_are_400(client: TestClient, head: bytes, tail: bytes, length: str | None) -> None:
    headers = (
        {} if length is None else {"Inference-Header-Content-Length": str(len(head)) if length == "right" else length}
    )
    answer = client.post("/v2/models/embed/infer", content=head + tail, headers=headers)
    assert answer.status_code == 400, answer.text
    assert isinstance(answer.json()["error"], str)

"""Requests to the server with bodies, headers and options of any kind: each has an answer, and none is an accident."""

from __future__ import annotations

import base64
import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.engines import colours
from tests.fuzz.properties import changed_bytes, changed_document, inputs, odd_values, only_our_errors

pytest.importorskip("starlette")
from starlette.testclient import TestClient

from fastconcept.serve.app import make_app
from fastconcept.serve.limits import Limits

CLIENT = TestClient(make_app(colours(), limits=Limits(max_store=1)), raise_server_exceptions=False)
_stream = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 30, 3), np.uint8)).save(_stream, "PNG")
PICTURE = _stream.getvalue()
CODED = base64.b64encode(PICTURE).decode()

EXPLAIN = {"image": [CODED], "concepts": ["red", "blue"], "stride": 16, "sizes": [16], "seed": 1}
DECOMPOSE = {"image": [CODED], "texts": ["red"], "l0": 2}
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + PICTURE + b"\r\n"
    b'--b\r\nContent-Disposition: form-data; name="concept"\r\n\r\nred\r\n--b--\r\n'
)
ROUTES = ("/v1/explain", "/v1/concepts", "/v1/decompose", "/v1/embed", "/v1/encode", "/v1/search")
INFER = [f"/v2/models/{name}/infer" for name in ("embed", "explain", "decompose", "concepts")]
TYPES = (
    "multipart/form-data; boundary=b",
    "multipart/form-data; boundary=b; charset=none",
    "multipart/form-data",
    "application/json",
    "application/x-www-form-urlencoded",
    "image/png",
    "application/octet-stream",
    "",
)


def check(path: str, content: bytes, headers: dict[str, Any]) -> None:
    with only_our_errors():
        answer = CLIENT.post(path, content=content, headers=headers)
        assert answer.status_code < 500, (answer.status_code, answer.text[:500])
        if answer.status_code >= 400:
            assert json.loads(answer.content)


@given(
    st.sampled_from([*ROUTES, *INFER]),
    changed_bytes([FORM, PICTURE, json.dumps(EXPLAIN).encode(), b"image=sha256:0&concept=red"]),
    st.sampled_from(TYPES),
    st.dictionaries(
        st.sampled_from(["concept", "stride", "l0", "sizes", "below", "x"]), st.text("0r-,e.\0é", max_size=5)
    ),
)
@inputs(15, 0.01)
def test_bodies(path: str, content: bytes, kind: str, query: dict[str, str]) -> None:
    from urllib.parse import urlencode

    check(f"{path}?{urlencode(query)}" if query else path, content, {"Content-Type": kind})


@given(st.sampled_from(ROUTES), changed_document(EXPLAIN) | changed_document(DECOMPOSE) | odd_values)
@inputs(20, 0.02)
def test_documents(path: str, document: Any) -> None:
    check(path, json.dumps(document).encode(), {"Content-Type": "application/json"})


def tensors(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


SIZED = tensors(PICTURE)
REQUEST = {
    "id": "1",
    "inputs": [
        {"name": "IMAGE", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(SIZED)}},
        {"name": "CONCEPTS", "shape": [2], "datatype": "BYTES", "data": ["red", "blue"]},
    ],
    "outputs": [{"name": "EMBEDDING", "parameters": {"binary_data": True}}],
    "parameters": {"l0": 2},
}


@given(st.sampled_from(INFER), changed_document(REQUEST), changed_bytes([SIZED]), st.data())
@inputs(20, 0.02)
def test_tensors(path: str, document: Any, tail: bytes, data: st.DataObject) -> None:
    head = json.dumps(document).encode()
    odd = st.integers(-3, 10**6).map(str) | st.sampled_from([b"\xb2", "9" * 5000, "", "1e3", "+5", " 7"])
    length = data.draw(st.just(str(len(head))) | odd)
    check(path, head + tail, {"Inference-Header-Content-Length": length})

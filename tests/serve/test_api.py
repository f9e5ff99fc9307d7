"""Every way of asking gives what the engine gives, as the documents that the command line prints."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from typer.testing import CliRunner

import fastconcept as fc
from fastconcept.cli import app as command_line
from fastconcept.saliency.layout import BORDERS, Layout
from fastconcept.serve.app import make_app
from fastconcept.serve.limits import Limits

QUICK = {"mode": "windows", "stride": "32"}
CONCEPTS = ["cup.n.01", "a wooden table"]


def without_times(document: Any) -> Any:
    """A document without what differs from call to call, and without what only the server adds."""
    if isinstance(document, dict):
        left = {"timings_ms", "hash", "bundle", "image"}
        return {name: without_times(value) for name, value in document.items() if name not in left}
    return [without_times(item) for item in document] if isinstance(document, list) else document


def command(*arguments: str) -> Any:
    """What a verb prints under ``--json``."""
    result = CliRunner().invoke(command_line, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return without_times(json.loads(result.output))


@pytest.fixture(scope="module")
def file(picture: bytes, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The photograph as a file, for the command line."""
    path = tmp_path_factory.mktemp("pictures") / "coffee.png"
    path.write_bytes(picture)
    return str(path)


def test_explain_is_what_the_command_line_prints_however_it_is_asked(
    client: TestClient, picture: bytes, file: str
) -> None:
    expected = command("explain", file, "-c", CONCEPTS[0], "-c", CONCEPTS[1], "--mode", "windows", "--stride", "32")
    coded = base64.b64encode(picture).decode()
    form = client.post("/v1/explain", files={"image": ("c.png", picture)}, data={"concept": CONCEPTS, **QUICK})
    body = client.post("/v1/explain", json={"image": coded, "concepts": CONCEPTS, "mode": "windows", "stride": 32})
    raw = client.post(
        "/v1/explain",
        params={"concept": CONCEPTS, **QUICK},
        content=picture,
        headers={"Content-Type": "image/png"},
    )
    again = client.post("/v1/explain", data={"image": body.json()["images"][0]["hash"], "concept": CONCEPTS, **QUICK})
    for answer in (form, body, raw, again):
        assert answer.status_code == 200, answer.text
        assert without_times(answer.json()) == expected
    assert form.json()["images"][0]["image"] == "c.png"


def test_explain_without_concepts_maps_what_is_seen_best(client: TestClient, picture: bytes, file: str) -> None:
    answer = client.post("/v1/explain", files={"image": picture}, data=QUICK)
    assert without_times(answer.json()) == command("explain", file, "--mode", "windows", "--stride", "32")


def test_concepts_is_what_the_command_line_prints(client: TestClient, picture: bytes, file: str) -> None:
    answer = client.post("/v1/concepts", files={"image": picture}, data={"top": "3", "below": "artifact.n.01", **QUICK})
    arguments = ("--top", "3", "--below", "artifact.n.01", "--mode", "windows", "--stride", "32")
    assert without_times(answer.json()) == command("concepts", file, *arguments)


@pytest.mark.parametrize("options", [{}, {"l1_penalty": 0.2}, {"l0": 5}])
def test_decompose_is_what_the_command_line_prints(
    client: TestClient, picture: bytes, file: str, options: dict[str, float]
) -> None:
    arguments = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    answer = client.post("/v1/decompose", files={"image": picture}, data=options)
    assert without_times(answer.json()) == command("decompose", file, *arguments)


def test_texts_are_decomposed_and_embedded(client: TestClient, engine: fc.Engine) -> None:
    texts = ["a cat", "a red ball"]
    answer = client.post("/v1/decompose", json={"texts": texts, "l0": 4}).json()
    codes = engine.decompose(texts=texts, l0=4)
    assert [entry["words"] for entry in answer["texts"]] == [code.to_dict()["words"] for code in codes]
    rows = client.post("/v1/embed", data={"text": texts}).json()["texts"]
    assert np.array_equal(np.array([row["embedding"] for row in rows], np.float32), engine.encode_text(texts))


def test_arrays_and_pictures_by_accept(client: TestClient, engine: fc.Engine, picture: bytes) -> None:
    def ask(path: str, media: str, **data: Any) -> bytes:
        answer = client.post(path, files={"image": picture}, data=data, headers={"Accept": media})
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == media
        return answer.content

    seen = engine.explain(picture, CONCEPTS, mode="windows", stride=32)
    maps = np.load(BytesIO(ask("/v1/explain", "application/x-npy", concept=CONCEPTS, **QUICK)), allow_pickle=False)
    assert np.array_equal(maps, seen.maps)
    drawn = Image.open(BytesIO(ask("/v1/explain", "image/png", concept=CONCEPTS, box="1", **QUICK)))
    assert np.array_equal(np.asarray(drawn), np.asarray(seen.overlay(box=True)))
    assert Image.open(BytesIO(ask("/v1/decompose", "image/png"))).size[0] > 100
    row = np.load(BytesIO(ask("/v1/embed", "application/x-npy")), allow_pickle=False)
    assert np.array_equal(row, engine.encode_image(picture))
    assert client.post("/v1/embed", files={"image": picture}, headers={"Accept": "text/html"}).status_code == 406


WRONG = {
    "no photograph": ("/v1/explain", {"data": {"concept": "cup.n.01"}}, "has no image"),
    "an unknown concept": ("/v1/explain", {"data": {"concept": "dgo.n.01"}}, "did you mean dog.n.01"),
    "an empty concept": ("/v1/explain", {"data": {"concept": " "}}, "empty"),
    "an unknown option": ("/v1/explain", {"data": {"strid": "8"}}, "did you mean stride"),
    "a word for a number": ("/v1/concepts", {"data": {"top": "ten"}}, "top must be an integer, got 'ten'"),
    "a number out of range": ("/v1/concepts", {"data": {"top": "0"}}, "top must be from 1 to 1000"),
    "an unknown root": ("/v1/concepts", {"data": {"below": "nothing.n.09"}}, "nothing.n.09"),
    "an option twice": ("/v1/concepts", {"data": {"top": ["1", "2"]}}, "top is given twice"),
    "two penalties": ("/v1/decompose", {"data": {"l0": "3", "l1_penalty": "0.2"}}, "l0"),
    "a negative penalty": ("/v1/decompose", {"data": {"l1_penalty": "-1"}}, "l1_penalty"),
    "not a number": ("/v1/decompose", {"data": {"l1_penalty": "nan"}}, "l1_penalty"),
    "too many patches": ("/v1/explain", {"data": {"stride": "1", "concept": "cup.n.01"}}, "patches"),
    "a choice that is none": ("/v1/explain", {"data": {"border": "none", "concept": "cup.n.01"}}, "border must be one"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_422_and_named(client: TestClient, picture: bytes, name: str) -> None:
    path, request, message = WRONG[name]
    files = {} if name == "no photograph" else {"files": {"image": picture}}
    answer = client.post(path, **request, **files)  # type: ignore[arg-type]
    assert answer.status_code == 422, answer.text
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, None])
@pytest.mark.parametrize("path", ["/v1/explain", "/v1/concepts", "/v1/decompose", "/v1/embed"])
def test_a_photograph_that_cannot_be_read_is_422(
    client: TestClient, picture: bytes, content: bytes | None, path: str
) -> None:
    answer = client.post(path, files={"image": picture[:-300] if content is None else content})
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "ImageError")


def test_a_bad_photograph_does_not_spoil_the_batch(client: TestClient, engine: fc.Engine, picture: bytes) -> None:
    app = make_app(engine, limits=Limits(batch_window=200, max_batch=2))
    with TestClient(app) as batching:
        answer = batching.post("/v1/embed", files=[("image", picture), ("image", b"not an image")])
        assert answer.status_code == 422
        assert batching.post("/v1/embed", files={"image": picture}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"image": "?"}', 422),
        (b'{"image": 3}', 422),
        (b'{"image": "sha256:00"}', 422),
        (b'{"image": "sha256:' + b"0" * 64 + b'"}', 404),
        (b'{"image": "", "l1_penalty": NaN}', 400),
        (b'{"image": "", "l1_penalty": "0.2"}', 422),
        (b'{"texts": [3]}', 422),
        (b'{"texts": {"a": 1}}', 422),
        (b'{"texts": []}', 422),
        (b'{"texts": ["' + b"a" * 30 + b'"], "l0": 1' + b"0" * 5000 + b"}", 400),
        (b"[" * 100_000, 400),
        (b'{"texts": ["\\ud800"]}', 422),
    ],
)
def test_hostile_json(client: TestClient, body: bytes, status: int) -> None:
    answer = client.post("/v1/decompose", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n", 400),
        ("text/plain", b"hello", 415),
        ("", b"hello", 415),
    ],
)
def test_hostile_forms(client: TestClient, kind: str, body: bytes, status: int) -> None:
    answer = client.post("/v1/decompose", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (status, 422), answer.text


def test_a_request_may_have_so_many_photographs_and_no_more(client: TestClient, picture: bytes) -> None:
    assert len(client.post("/v1/embed", files=[("image", picture)] * 16).json()["images"]) == 16
    answer = client.post("/v1/embed", files=[("image", picture)] * 17)
    assert (answer.status_code, "may have 16 images" in answer.text) == (422, True)


def test_evidence_is_made_once(client: TestClient, picture: bytes) -> None:
    def lookups(result: str) -> float:
        text = client.get("/metrics").text
        name = f'fastconcept_cache_lookups_total{{kind="evidence",result="{result}"}}'
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    data = {"mode": "windows", "stride": "32", "seed": "7"}
    before = lookups("miss")
    for concept in ("dog.n.01", "cup.n.01", "a spoon"):
        answer = client.post("/v1/explain", files={"image": picture}, data={"concept": concept, **data})
        assert answer.status_code == 200
    assert lookups("miss") == before + 1


def test_the_server_says_nothing_of_its_paths(client: TestClient, picture: bytes) -> None:
    text = client.post("/v1/embed", files={"image": picture}).text
    assert str(Path(fc.__file__).parent) not in text
    assert json.loads(text)["bundle"] == "builtin"


def test_the_openapi_document_has_every_route_with_the_engines_own_keywords(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    operation = document["paths"]["/v1/explain"]["post"]
    options = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(vars(Layout())) < set(options)
    assert tuple(options["border"]["enum"]) == BORDERS
    assert options["seed"]["default"] == 0 and "default" not in options["stride"]
    assert all("description" in schema for name, schema in options.items() if name != "image")
    assert set(document["paths"]) == {
        "/v1/explain",
        "/v1/concepts",
        "/v1/decompose",
        "/v1/embed",
        "/health",
        "/metrics",
    }

"""The server of a study: what it keeps, what it refuses, and what it does not tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

import fastconcept as fc
from fastconcept.evaluate.answers import AnswerBook
from fastconcept.evaluate.study import Question, Questions
from fastconcept.saliency.layout import Layout
from fastconcept.serve.app import make_app
from fastconcept.serve.explorer.opening import add_study

CAPTIONS = ("a cup of coffee", "a cat", "a rocket", "a woman")


@pytest.fixture
def folder(photographs: list[Path], tmp_path: Path) -> Path:
    """A directory with the questions of a study."""
    Image.open(photographs[0]).resize((90, 60)).save(tmp_path / "cat.png")
    Questions("Cats", (Question(str(tmp_path / "cat.png"), CAPTIONS, 1),) * 2, {}).save(tmp_path / "questions.json")
    return tmp_path


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    """Asks the server of the study."""
    app = make_app(fc.load(), api=False)
    add_study(app, folder / "questions.json", folder / "answers.sqlite", Layout(mode="windows", stride=32))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def answer(client: TestClient, **changes: Any) -> Any:
    given = {"person": "Ada", "question": 1, "choice": 1, "seconds": 3.5, "path": []} | changes
    return client.post("/api/study/answers", content=json.dumps(given))


def test_maps_are_shown_and_neither_the_photograph_nor_the_answer(client: TestClient, folder: Path) -> None:
    assert client.get("/").status_code == 200 and client.get("/api/study").json()["count"] == 2
    question = client.get("/api/study/questions/1").json()
    assert question == {"question": 1, "captions": list(CAPTIONS), "width": 90, "height": 60}
    level = client.get("/api/photographs/1/level", params={"top": 3})
    maps = client.get("/api/photographs/1/maps", params={"concept": "cat.n.01"})
    assert len(level.json()["concepts"]) == 3 and len(maps.json()["concepts"]) == 1
    for text in (level.text, maps.text, client.get("/api/study").text):
        assert "cat.png" not in text and str(folder) not in text
    for path in ("photographs/1/picture", "photographs/1/words", "photographs/1/place?x=1&y=1", "about"):
        assert client.get(f"/api/{path}").status_code == 404
    for path in ("/v1/explain", "/v1/decompose", "/v2/models/concepts/infer"):
        assert client.post(path, json={"image": (folder / "cat.png").read_bytes().hex()}).status_code == 404
    assert client.get("/openapi.json").status_code == 404
    assert client.get("/api/study/questions/3").status_code == 400
    assert client.get("/api/photographs/cat.png/level").status_code == 400


def test_answers_are_kept_once_and_people_go_on_where_they_were(client: TestClient, folder: Path) -> None:
    steps = [{"ms": 5, "kind": "map", "concept": "cat.n.01"}, "no step", {"ms": "soon", "kind": "map", "concept": "x"}]
    assert answer(client, path=steps).json() == {"kept": True, "answered": [1]}
    assert answer(client, choice=0).json() == {"kept": False, "answered": [1]}
    assert client.get("/api/study", params={"person": "Ada"}).json()["answered"] == [1]
    assert client.get("/api/study", params={"person": "Bob"}).json()["answered"] == []
    (kept,) = AnswerBook(folder / "answers.sqlite").all()
    assert (kept.person, kept.choice, kept.correct, kept.seconds, kept.path) == ("Ada", 1, True, 3.5, steps[:1])


@pytest.mark.parametrize(
    "changes",
    [
        {"person": ""},
        {"person": "(all)"},
        {"person": "x" * 65},
        {"person": 7},
        {"question": 0},
        {"question": 3},
        {"question": True},
        {"choice": 4},
        {"choice": -1},
        {"choice": "1"},
        {"seconds": -1},
        {"seconds": None},
        {"seconds": 1e400},
    ],
)
def test_what_is_no_answer_is_refused(client: TestClient, folder: Path, changes: dict[str, Any]) -> None:
    refused = answer(client, **changes)
    assert refused.status_code == 400 and refused.json()["error"]["message"]
    assert AnswerBook(folder / "answers.sqlite").all() == []


def test_answers_that_are_no_json_are_refused(client: TestClient) -> None:
    for body in (b"", b"[]", b"{", b"\xff", b"[" * 100_000):
        assert client.post("/api/study/answers", content=body).status_code == 400

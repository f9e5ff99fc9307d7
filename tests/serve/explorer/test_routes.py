"""What the explorer's page asks for, asked without a browser."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import fastconcept as fc
from fastconcept.saliency.layout import Layout
from fastconcept.serve.app import make_app
from fastconcept.serve.explorer.explorer import Explorer
from fastconcept.serve.explorer.levels import next_level
from fastconcept.serve.explorer.opening import add_explorer
from fastconcept.serve.limits import Limits

LAYOUT = Layout(mode="windows", stride=32)


@pytest.fixture(scope="module")
def engine() -> fc.Engine:
    """The built-in model."""
    return fc.load()


@pytest.fixture(scope="module")
def folder(photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three small photographs in two classes."""
    paths = []
    for source, label in zip(photographs[:3], ("cat", "cup", "cup"), strict=True):
        path = tmp_path_factory.getbasetemp() / "explorer" / label / source.with_suffix(".png").name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(source).resize((90, 60)).save(path)
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def opened(engine: fc.Engine, folder: list[Path]) -> Iterator[tuple[TestClient, Explorer]]:
    """A client of an explorer over the folder, which is embedded."""
    app = make_app(engine)
    explorer = add_explorer(app, folder, LAYOUT)
    with TestClient(app, raise_server_exceptions=False) as client:
        explorer.folder.start()
        explorer.folder._thread.join()
        yield client, explorer


@pytest.fixture
def client(opened: tuple[TestClient, Explorer]) -> TestClient:
    """Asks the explorer."""
    return opened[0]


@pytest.fixture
def cat(opened: tuple[TestClient, Explorer]) -> str:
    """The photograph of a cat."""
    return opened[1].photographs.listed[0].digest


def get(client: TestClient, path: str, status: int = 200, **parameters: Any) -> Any:
    answer = client.get(f"/api/{path}", params=parameters)
    assert answer.status_code == status, answer.text
    return answer.json()


def cells(entry: dict[str, Any]) -> np.ndarray:
    packed = entry["cells"]
    return np.frombuffer(base64.b64decode(packed["values"]), "<f4").reshape(packed["height"], packed["width"])


def test_maps_are_those_of_explain_to_the_last_bit(
    client: TestClient, cat: str, engine: fc.Engine, folder: list[Path]
) -> None:
    concepts = ["cat.n.01", "a striped face", "nose"]
    seen = engine.explain(folder[0], concepts, **vars(LAYOUT))
    for _ in range(2):  # made, then remembered
        answer = get(client, f"photographs/{cat}/maps", concept=concepts)
        assert answer["mode"] == "windows" and [entry["concept"] for entry in answer["concepts"]] == concepts
        for entry, expected in zip(answer["concepts"], seen, strict=True):
            np.testing.assert_array_equal(cells(entry), expected.cells)
            assert {key: entry[key] for key in expected.to_dict()} == expected.to_dict()


def test_levels_lead_from_the_broadest_to_a_leaf(client: TestClient, cat: str, engine: fc.Engine) -> None:
    below, names, depth = "", set[str](), 0
    for _ in range(12):
        answer = get(client, f"photographs/{cat}/level", below=below, top=24)
        found = answer["concepts"]
        assert answer["path"][-1:] == ([{"name": below, "title": answer["below"]["title"]}] if below else [])
        wide = [entry for entry in found if entry["below"] + 1 >= 0.01 * len(engine.bank)]
        if not below:
            assert [entry["surprise"] for entry in wide] == sorted((e["surprise"] for e in wide), reverse=True)
        if not found:
            break
        assert not names & {entry["name"] for entry in found}
        names |= {entry["name"] for entry in found}
        below, depth = found[0]["name"], depth + 1
    assert 3 <= depth < 11 and answer["count"] == 0


def test_a_level_covers_all_that_is_below(engine: fc.Engine) -> None:
    bank = engine.bank
    taxonomy = bank.taxonomy
    assert taxonomy is not None
    for node in (None, taxonomy.index("animal.n.01"), taxonomy.index("cat.n.01")):
        level = next_level(bank, node)
        below = set().union(*(taxonomy.subtree(row).tolist() for row in level))
        every = range(len(bank)) if node is None else taxonomy.subtree(node).tolist()
        passed_over = set(every) - below - {node}
        assert all(set(taxonomy.children(row).tolist()) <= below | passed_over for row in passed_over)
        assert len(below) > 0.9 * (len(every) - 1) and len(level) < 100


def test_pages_of_a_level_follow_each_other(client: TestClient, cat: str) -> None:
    whole = get(client, f"photographs/{cat}/level", top=10)["concepts"]
    parts = [get(client, f"photographs/{cat}/level", first=first, top=5)["concepts"] for first in (0, 5)]
    assert [entry["name"] for entry in [*parts[0], *parts[1]]] == [entry["name"] for entry in whole]


def test_a_place_and_words(client: TestClient, cat: str, engine: fc.Engine, folder: list[Path]) -> None:
    place = get(client, f"photographs/{cat}/place", x=45, y=30)["concepts"]
    seen = engine.concepts(engine.evidence(folder[0], **vars(LAYOUT)), 6, place=(45, 30))
    assert [entry["name"] for entry in place] == seen.names
    words = get(client, f"photographs/{cat}/words", l1_penalty=0.2)
    decomposed = engine.decompose(folder[0], l1_penalty=0.2)
    assert [word for word, _ in words["words"]] == [word for word, _ in decomposed.top()]
    assert words["around"]["with"] == words["around"]["left"]
    assert words["around"]["with"]["nearest"][0]["id"] == cat
    assert {entry["name"] for entry in words["around"]["with"]["classes"]} == {"cat", "cup"}
    best = decomposed.top(3)
    without = get(client, f"photographs/{cat}/words", l1_penalty=0.2, without=[word for word, _ in best])
    assert without["cosine_left"] == pytest.approx(decomposed.without(*(word for word, _ in best)).cosine)
    near = [without["around"][side]["nearest"][0]["cosine"] for side in ("with", "left")]
    assert near[1] < near[0]


def test_search_completes_words_ids_and_definitions(client: TestClient) -> None:
    def names(text: str) -> list[str]:
        return [entry["name"] for entry in get(client, "search", q=text)["concepts"]]

    assert names("n02121620")[0] == "cat.n.01"
    assert "cat.n.01" in names("cat") and "ice_bear.n.01" in names("polar bear")
    assert names("white bear of Arctic regions")[0] == "ice_bear.n.01"
    assert names("") == names("   ") == []


def test_a_photograph_is_sent_once_and_shown(client: TestClient, folder: list[Path]) -> None:
    content = folder[1].read_bytes()
    sent = client.post("/api/photographs", content=content, headers={"Content-Type": "image/png"}).json()
    assert (sent["width"], sent["height"]) == (90, 60)
    picture = client.get(f"/api/photographs/{sent['id']}/picture")
    assert picture.headers["content-type"] == "image/jpeg" and Image.open(BytesIO(picture.content)).size == (90, 60)


def test_the_page_may_fetch_and_run_only_its_own(client: TestClient) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for name in ("explorer.js", "explorer.css", "icon.svg", "study.html"):
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
        assert "style=" not in answer.text and "onclick=" not in answer.text
    for name in ("none.js", "..%2Froutes.py", "%2e%2e/routes.py"):
        assert client.get(f"/page/{name}").status_code == 404


@pytest.mark.parametrize(
    ("path", "parameters", "status"),
    [
        ("level", {"below": "no.n.01"}, 422),
        ("level", {"top": 25}, 422),
        ("level", {"first": -1}, 422),
        ("level", {"mode": "dreams"}, 422),
        ("level", {"top": "many"}, 400),
        ("maps", {}, 422),
        ("maps", {"concept": ["x"] * 25}, 422),
        ("maps", {"concept": "x" * 301}, 422),
        ("maps", {"concept": "nosuchthing.n.01"}, 422),
        ("place", {"x": 90, "y": 1}, 422),
        ("place", {"x": "nan", "y": 1}, 400),
        ("place", {}, 400),
        ("words", {"l1_penalty": -1}, 422),
        ("words", {"without": "no such word"}, 422),
    ],
)
def test_bad_questions_cost_only_the_error(
    client: TestClient, cat: str, path: str, parameters: dict[str, Any], status: int
) -> None:
    error = get(client, f"photographs/{cat}/{path}", status, **parameters)["error"]
    assert error["message"] and error["type"].endswith("Error")


def test_unknown_and_unreadable_photographs(client: TestClient) -> None:
    assert get(client, f"photographs/{'0' * 64}/level", 404)["error"]["type"] == "UnknownImageError"
    wrong = client.post("/api/photographs", content=b"no image", headers={"Content-Type": "image/png"})
    assert wrong.status_code == 422 and wrong.json()["error"]["type"] == "ImageError"
    assert client.post("/api/photographs", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415


def test_what_is_forgotten_is_read_again(engine: fc.Engine, folder: list[Path]) -> None:
    """Photographs of the command line come back after the memory was needed for others; changed files do not."""
    app = make_app(engine, limits=Limits(max_store=0))
    explorer = add_explorer(app, folder[:1], LAYOUT)
    name = explorer.photographs.listed[0].digest
    with TestClient(app, raise_server_exceptions=False) as client:
        assert len(get(client, f"photographs/{name}/maps", concept="cat.n.01")["concepts"]) == 1
        assert client.get(f"/api/photographs/{name}/picture").status_code == 200
        content = folder[0].read_bytes()
        try:
            folder[0].write_bytes(folder[1].read_bytes())
            assert "has changed" in get(client, f"photographs/{name}/level", 422)["error"]["message"]
        finally:
            folder[0].write_bytes(content)

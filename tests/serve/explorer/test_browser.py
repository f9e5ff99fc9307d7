"""The explorer and a study as people use them, in Debian's Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette

import fastconcept as fc
from fastconcept.evaluate.study import Question, Questions
from fastconcept.saliency.layout import Layout
from fastconcept.serve import run
from fastconcept.serve.app import make_app
from fastconcept.serve.explorer.documents import map_document
from fastconcept.serve.explorer.opening import add_explorer, add_study

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("needs a browser: apt-get install chromium", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")

LAYOUT = Layout(mode="windows", stride=32)  # coarse, so that it takes half the time
WAIT = 60_000  # milliseconds; machines that test are busy


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium; root has to give up its sandbox."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[[], Any]]:
    """Opens a page in a window of its own; whatever it complains about in its console fails the test."""
    complaints: list[str] = []
    contexts = []

    def note(message: Any) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):  # a status of 4xx
            complaints.append(message.text)

    def open_page() -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", note)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """The address of an application that a thread serves."""
    bound = run.bind("127.0.0.1", 0)
    bound.listen()  # who connects before the server has started waits
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield run.url_of(bound)
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def engine() -> fc.Engine:
    """The built-in model."""
    return fc.load()


@pytest.fixture(scope="module")
def explorer(engine: fc.Engine) -> Iterator[str]:
    """The address of an explorer without photographs."""
    app = make_app(engine, hosts=run.LOOPBACK)
    add_explorer(app, layout=LAYOUT)
    with served(app) as url:
        yield url


def drop(page: Any, path: Path) -> None:
    """Drop a file onto a page, as a file manager does."""
    content = path.read_bytes()
    transfer = page.evaluate_handle(
        """([name, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
            return transfer;
        }""",
        [path.name, list(content)],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def maps(page: Any) -> Any:
    return page.locator("#level button.map")


@pytest.fixture(scope="module")
def cat(photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small photograph of a cat."""
    from PIL import Image

    path = tmp_path_factory.mktemp("photographs") / "cat.png"
    Image.open(photographs[0]).resize((180, 120)).save(path)
    return path


@pytest.fixture(scope="module")
def cup(photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small photograph of a cup of coffee."""
    from PIL import Image

    path = tmp_path_factory.mktemp("photographs") / "cup.png"
    Image.open(photographs[1]).resize((180, 120)).save(path)
    return path


def test_a_photograph_is_explored(explorer: str, cat: Path, new_page: Callable[[], Any]) -> None:
    page = new_page()
    page.goto(explorer)
    page.get_by_role("heading", name="What does the model see?").wait_for()
    drop(page, cat)
    page.locator("#word-list li").first.wait_for()
    maps(page).first.wait_for()
    assert maps(page).count() == 12
    assert "windows" in page.locator("#made").inner_text()

    # three levels down by keyboard, and back
    for _ in range(3):
        wider = maps(page).filter(has=page.locator(".chevron")).first
        title = wider.locator("b").inner_text()
        wider.press("Enter")
        page.locator("#level-heading", has_text=re.compile(f"^{re.escape(title)}$")).wait_for()
        assert page.locator("figcaption b").inner_text() == title
    assert page.locator("#path [aria-current=page]").inner_text() == title
    deep = page.url
    page.locator("#path button").nth(-2).click()
    page.wait_for_function("before => location.href !== before", arg=deep)
    page.go_back()
    page.locator("#level-heading", has_text=title).wait_for()

    # a synset by its word, and a phrase
    page.keyboard.press("/")
    page.keyboard.type("egyptian cat")
    page.locator("#found [role=option]", has_text="n02124075").wait_for()
    page.keyboard.press("Enter")
    page.locator("figcaption code", has_text="egyptian_cat.n.01").wait_for()
    page.locator("#query").fill("a striped face")
    page.locator("#found [role=option]", has_text="“a striped face”").click()
    page.locator("figcaption code", has_text="phrase").wait_for()

    # two concepts side by side, values under the pointer, sliders and the box
    page.locator("#level li").first.hover()
    page.locator("#level .beside").first.click()
    page.locator("#pictures.two figure").nth(1).wait_for()
    page.locator("#pictures canvas").first.hover(position={"x": 60, "y": 60})
    assert [0 <= float(value) <= 1 for value in page.locator(".value").all_inner_texts()] == [True, True]
    before = page.evaluate("document.querySelector('#pictures canvas').toDataURL()")
    page.locator("#box").check()
    page.locator("#threshold").fill("0.5")
    page.locator("#opacity").fill("0.4")
    assert page.evaluate("document.querySelector('#pictures canvas').toDataURL()") != before

    # the link brings the same view back, in another window
    other = new_page()
    other.goto(page.url)
    other.locator("#pictures.two figure").nth(1).wait_for()
    assert other.locator("figcaption").all_inner_texts() == page.locator("figcaption").all_inner_texts()
    assert other.locator("#box").is_checked() and other.locator("#opacity").input_value() == "0.4"

    # what is saved: numbers, a picture, and Python that is Python
    for kind, ending in (("json", ".json"), ("png", ".png")):
        page.locator("#save summary").click()
        with page.expect_download() as download:
            page.locator(f"[data-save={kind}]").click()
        saved = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename.endswith(ending)
        if kind == "json":
            assert json.loads(saved)["concepts"][0]["name"] == "a striped face"
        else:
            assert saved.startswith(b"\x89PNG")
    page.locator("#save summary").click()
    page.locator("[data-save=python]").click()
    script = page.locator("#code code").inner_text()
    assert 'engine.read(evidence, ["a striped face", ' in script and compile(script, "saved.py", "exec")


def test_pictures_are_those_of_the_library(
    explorer: str, cat: Path, engine: fc.Engine, new_page: Callable[[], Any]
) -> None:
    """The page draws a map as ``overlay`` does, and boxes as ``box`` does."""
    seen = engine.explain(cat, "cat.n.01", **vars(LAYOUT))[0]
    page = new_page()
    page.goto(explorer)
    drawn, box, value = page.evaluate(
        """async ([map, size, pixels]) => {
            const { paint, boxOf, valueAt, usePalette } = await import("/page/paint.js");
            usePalette((await (await fetch("/api/about")).json()).palette);
            const photograph = new ImageData(Uint8ClampedArray.from(pixels), size.width, size.height);
            const canvas = document.createElement("canvas");
            paint(canvas, photograph, map, size, { opacity: 0.85, threshold: 0, box: false });
            const drawn = canvas.getContext("2d").getImageData(0, 0, size.width, size.height).data;
            return [[...drawn], boxOf(map, 0.5), valueAt(map, 100, 60)];
        }""",
        [
            map_document(seen),
            {"width": 180, "height": 120},
            np.dstack([seen.view.image, np.full((120, 180), 255, np.uint8)]).ravel().tolist(),
        ],
    )
    expected = np.asarray(seen.overlay(), int)
    difference = np.abs(np.reshape(drawn, (120, 180, 4))[..., :3] - expected)
    assert difference.max() <= 2  # levels: the page's palette has 256 colours
    np.testing.assert_allclose(box, seen.box(0.5))
    height, width = seen.cells.shape
    assert value == pytest.approx(float(seen.cells[60 * height // 120, 100 * width // 180]))


def test_a_photograph_may_come_before_the_page_is_ready(explorer: str, cat: Path, new_page: Callable[[], Any]) -> None:
    page, held = new_page(), []
    page.route("**/api/about", lambda route: held.append(route))
    with page.expect_request("**/api/about"):
        page.goto(explorer)
    page.set_input_files("#file", cat)
    held[0].continue_()
    page.locator("#word-list li").first.wait_for()


def test_places_and_words(explorer: str, cat: Path, cup: Path, new_page: Callable[[], Any]) -> None:
    page = new_page()
    page.goto(explorer)
    page.set_input_files("#file", cat)
    page.locator("#word-list li").first.wait_for()
    maps(page).first.wait_for()
    page.locator("#pictures canvas").click(position={"x": 200, "y": 150})
    page.locator("#here li").first.wait_for()
    assert page.locator("#here li").count() == 6
    name = page.locator("#here .word span").first.inner_text()
    page.locator("#here .word").first.click()
    page.locator("figcaption b", has_text=name).wait_for()
    page.locator("#pictures canvas").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator(".value").is_visible()

    word = page.locator("#word-list .word span").first.inner_text()
    page.get_by_role("button", name=f"Take out {word}", exact=True).click()
    page.locator("#words-note", has_text=f"without {word}").wait_for()
    first = page.locator("#words-note").inner_text()
    assert page.locator("#l1").input_value() == "0.5"  # what the bundle says
    page.locator("#l1").fill("0.8")
    page.wait_for_function("before => document.querySelector('#words-note').textContent !== before", arg=first)
    assert int(page.locator("#words-note").inner_text().split()[0]) < int(first.split()[0])
    page.locator("#word-list .word").nth(1).click()
    page.locator("figcaption code").wait_for()
    shown = page.evaluate("document.querySelector('#pictures canvas').toDataURL()")
    page.set_input_files("#file", cup)  # another photograph, with the same concept on it
    page.locator("#strip li").nth(1).wait_for()
    page.locator("#pictures canvas").wait_for()
    page.locator("figcaption code").wait_for()
    assert page.evaluate("document.querySelector('#pictures canvas').toDataURL()") != shown


def test_what_goes_wrong_is_said(explorer: str, tmp_path: Path, new_page: Callable[[], Any]) -> None:
    page = new_page()
    page.goto(f"{explorer}/#photo={'0' * 64}&concept=cat.n.01")
    page.get_by_role("alert").filter(has_text="does not have any more").wait_for()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    with page.expect_response("**/api/photographs"):
        page.set_input_files("#file", tmp_path / "broken.png")
    page.get_by_role("alert").filter(has_text="not an image").wait_for()


def test_a_question_of_a_study(engine: fc.Engine, cat: Path, tmp_path: Path, new_page: Callable[[], Any]) -> None:
    captions = ("a cup of coffee", "a cat that looks at you", "a rocket", "a woman who smiles")
    asked = Questions("Study of a cat", tuple(Question(str(cat), captions, answer) for answer in (1, 0)), {})
    asked.save(tmp_path / "questions.json")
    app = make_app(engine, hosts=run.LOOPBACK, api=False)
    add_study(app, tmp_path / "questions.json", tmp_path / "answers.sqlite", LAYOUT)
    with served(app) as url:
        page = new_page()
        requested: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        page.goto(url)
        page.get_by_label("Your name or number").fill("P 1")
        page.get_by_role("button", name="Begin").click()
        maps(page).first.locator("canvas").wait_for()
        maps(page).first.click()
        page.locator("figcaption b").wait_for()
        page.locator("#query").fill("a striped face")
        page.locator("#found [role=option]", has_text="“a striped face”").click()
        page.locator("figcaption b", has_text="a striped face").wait_for()
        page.get_by_label("a cat that looks at you").check()
        page.get_by_role("button", name="Answer, and go on").click()
        page.locator("#progress", has_text="1 of 2").wait_for()
        page.get_by_label("a rocket").check()
        page.get_by_role("button", name="Answer, and go on").click()
        page.get_by_role("heading", name="Thank you").wait_for()
        assert not any("picture" in address for address in requested)
        assert page.request.get(f"{url}/api/photographs/1/picture").status == 404
    with sqlite3.connect(tmp_path / "answers.sqlite") as database:
        rows = database.execute("SELECT person, question, choice, correct, path FROM answers ORDER BY question")
        (person, number, choice, correct, path), (*_, wrong, _) = rows
    database.close()
    assert (person, number, choice, correct, wrong) == ("P 1", 1, 1, 1, 0)
    assert [step["kind"] for step in json.loads(path)] == ["map", "phrase"]

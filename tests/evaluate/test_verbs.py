"""``fastconcept evaluate`` and ``fastconcept report`` as a user meets them, on the tiny bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastconcept.cli import run

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> Ask:
    monkeypatch.setenv("FASTCONCEPT_BUNDLE", str(tiny_bundle))

    def call(*arguments: object, code: int = 0) -> dict[str, Any]:
        assert run([*map(str, arguments), "--json"]) == code
        captured = capsys.readouterr()
        assert not captured.err
        document = json.loads(captured.out)
        assert isinstance(document, dict)
        return document

    return call


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures of two colours in two directories, one of them unreadable, with boxes, captions and years."""
    generator, records = np.random.default_rng(0), []
    for k in range(12):
        label = "lion.n.01" if k % 2 else "house_cat.n.01"
        pixels = generator.integers(0, 90, (40, 60, 3), dtype=np.uint8)
        pixels[10:30, 20:50, k % 2] += 150
        path = tmp_path / label / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
        records.append(
            {
                "file": f"{label}/{k}.png",
                "label": label,
                "boxes": [[20, 10, 50, 30]],
                "captions": [f"picture {k}"],
                "year": k // 3,
                "place": "field" if k % 4 < 2 else "beach",
            }
        )
    (tmp_path / "lion.n.01/broken.png").write_bytes(b"no image")
    records.append({"file": "lion.n.01/broken.png", "label": "lion.n.01", "boxes": [[0, 0, 5, 5]], "captions": ["?"]})
    (tmp_path / "annotations.json").write_text(json.dumps(records))
    return tmp_path


VERBS: dict[str, tuple[object, ...]] = {
    "localize": (
        "--sizes",
        "128,64",
        "--stride",
        64,
        "--sweep",
        "128",
        "--nulls",
        "random-encoder",
        "--wsol-steps",
        16,
        "--where",
        "label=lion*",
    ),
    "ood": ("--inside", "big_cat.n.01", "--null-seeds", 1),
    "zeroshot": ("--l1-penalties", 0.2, "--templates", "{definition}"),
    "ablate": ("--l0s", 2, "--vocabularies", "random-rows", "--dictionary-sizes", 5),
    "probe": ("--l1-penalties", "0.2", "--folds", 2),
    "retrieval": ("--l1-penalties", "0.2"),
    "concepts": ("--by", "place", "--compare", "field", "--compare", "beach", "--l0", 3),
    "drift": ("--by", "year", "--l0", 3, "--where", "year=?"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_gives_one_document_and_three_files(ask: Ask, photos: Path, tmp_path: Path, verb: str) -> None:
    pytest.importorskip("matplotlib")
    document = ask("evaluate", verb, photos, *VERBS[verb], "-o", tmp_path / "out")
    assert document["task"] == verb and document["finding"] and document["seconds"] >= 0
    assert document == json.loads((tmp_path / f"out/{verb}.json").read_text())
    assert document["settings"]["data"].endswith("(records)")
    bad = document["bad_rows"]
    assert bad["count"] == len(bad["rows"]) == (0 if verb == "drift" else 1)
    assert (tmp_path / f"out/{verb}.md").read_text().startswith("## ")
    assert (tmp_path / f"out/{verb}.html").read_text().startswith("<!doctype html>")
    if verb != "drift":
        error = ask("evaluate", verb, photos, *VERBS[verb], "--strict", code=2)["error"]
        assert error["type"] == "InputError" and "broken.png" in error["message"]


def test_edit_on_image_folders(ask: Ask, photos: Path, tiny_bundle: Path) -> None:
    pytest.importorskip("sklearn")
    from fastconcept import load

    words = load(tiny_bundle).dictionary.words
    verb = ("evaluate", "edit", photos, "-w", words[0], "--nuisance", "place", "--where", "year=?", "--folds", 2)
    document = ask(*verb, "--l0", 4)
    assert [row["embeddings"] for row in document["rows"]] == ["dense", "decomposed", "edited", "random words edited"]
    assert all(0 <= row[key] <= 1 for row in document["rows"] for key in ("target", "worst", "nuisance", "retrained"))
    error = ask("evaluate", "edit", photos, "-w", "notaword", "--nuisance", "place", code=2)["error"]
    assert error["type"] == "ConceptError"


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "localize", "absent"),
        ("evaluate", "localize", "{photos}", "--protocol", "best"),
        ("evaluate", "localize", "{photos}", "--sweep", "64px"),
        ("evaluate", "localize", "{photos}", "--sweep", "64/16+32"),
        ("evaluate", "localize", "{photos}", "--sweep", "64", "--sweep-short-sides", "own"),
        ("evaluate", "localize", "{photos}", "--part", "best"),
        ("evaluate", "localize", "{photos}", "--masks", "absent"),
        ("evaluate", "localize", "{photos}", "--sizes", "64", "--stride", "16,32"),
        ("evaluate", "localize", "{photos}", "--sample", "0"),
        ("evaluate", "localize", "{photos}", "--nulls", "nothing"),
        ("evaluate", "ood", "{photos}"),
        ("evaluate", "ood", "{photos}", "--pairs", "{photos}/annotations.json"),
        ("evaluate", "zeroshot", "{photos}", "--where", "place"),
        ("evaluate", "zeroshot", "{photos}", "--classes", "absent.txt"),
        ("evaluate", "concepts", "{photos}", "--compare", "field"),
        ("evaluate", "drift", "{photos}", "--by", "month"),
        ("evaluate", "dance", "{photos}"),
        ("report", "absent.png"),
    ],
)
def test_wrong_questions_cost_one_error(ask: Ask, photos: Path, arguments: tuple[str, ...]) -> None:
    error = ask(*(argument.format(photos=photos) for argument in arguments), code=2)["error"]
    assert error["type"] and error["message"]


def test_a_report_of_a_directory(ask: Ask, photos: Path, tmp_path: Path) -> None:
    document = ask("report", photos / "lion.n.01", "-o", tmp_path / "page.html", "--stride", 64, "--limit", 3)
    assert [image["image"] for image in document["images"]] == ["1.png", "11.png", "3.png"]
    assert document["left_out"] == 4 and document["images"][0]["words"] and document["images"][0]["levels"]
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>") and page.count("data:image/jpeg;base64,") >= 6
    whole = ask("report", photos / "lion.n.01", "-o", tmp_path / "page.html", "--stride", 64)
    assert [name for name, _ in whole["skipped"]] == ["broken.png"]
    assert ask("report", photos / "lion.n.01", "--strict", "--stride", 64, code=2)["error"]["type"] == "ImageError"


def test_tables_for_people(photos: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    verb = ["evaluate", "zeroshot", str(photos), "--l1", "0.2", "--bundle", str(tiny_bundle), "-o", str(tmp_path / "o")]
    assert run(verb) == 0
    shown = capsys.readouterr().out
    assert "| dense |" in shown and "1 rows skipped" in shown and f"wrote {tmp_path / 'o/zeroshot.json'}" in shown

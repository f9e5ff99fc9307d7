"""The page of results: every bundle beside the others, from the reports of the runs."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import tasks, tasks_page


def test_a_bundle_as_it_is_written() -> None:
    assert tasks.BundleSpec.parse("builtin") == tasks.BundleSpec("builtin", None)
    assert tasks.BundleSpec.parse("teacher") == tasks.BundleSpec("teacher", "teacher")
    big = tasks.BundleSpec.parse("big=some/where,photos=9,scenes=4,stride=32")
    assert big == tasks.BundleSpec("big", "some/where", 9, 4, 32)
    for wrong in ("", "=x", "a=b,c", "a=b,depth=3", "a=b,photos=many"):
        with pytest.raises(argparse.ArgumentTypeError, match="is needed, got"):
            tasks.BundleSpec.parse(wrong)


def test_samples_are_those_of_the_bundle() -> None:
    everything = tasks.runs("data", Path("work"), tasks.BundleSpec("builtin", None))
    some = tasks.runs("data", Path("work"), tasks.BundleSpec.parse("b=x,photos=9,scenes=4,stride=32"))
    assert everything.keys() == some.keys()
    assert "--sample" not in everything["localize-ilsvrc"] and "convis" in everything["localize-ilsvrc-convis"]
    fewer = tasks.runs("data", Path("work"), tasks.BundleSpec("builtin", None), {"dog", "cat", "horse"})
    assert fewer["edit"][-6:] == ["-w", "dog", "-w", "cat", "-w", "horse"] and "dogs" in everything["edit"]
    for run, count in (("localize-ilsvrc", "9"), ("localize-coco", "4")):
        assert some[run][some[run].index("--sample") + 1] == count and "32" in some[run]
    small, swept = some["localize-small"], some["sweep-small"]
    assert small[small.index("--sample") + 1] == "-" + swept[swept.index("--sample") + 1]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Scenes of two small squares, photographs of one kind, and batches, as the development data lays them out."""
    generator, records = np.random.default_rng(0), []
    names = ["lion.n.01", "house_cat.n.01"]
    for k in range(14):
        pixels = generator.integers(0, 255, (192, 240, 3), dtype=np.uint8)
        pixels[24:72, 24:72], pixels[96:144, 120:180] = (220, 20, 20), (20, 220, 20)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        scene = k < 10
        records.append(
            {
                "file": f"{k}.png",
                "label": names[k % 2],
                "subset": "coco" if scene else "ilsvrc_val_227",
                "boxes": [[24, 24, 72, 72], [120, 96, 180, 144]] if scene else [[24, 24, 180, 144]],
                "box_labels": names if scene else [names[k % 2]],
                "captions": [f"picture {k}"],
            }
        )
    (tmp_path / "annotations.json").write_text(json.dumps(records))
    return tmp_path


def test_two_bundles_side_by_side(data: Path, tiny_bundle: Path, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    work, results = tmp_path / "work", tmp_path / "results"
    only = ["zeroshot-definitions", "retrieval"]
    bundles = [f"one={tiny_bundle}", f"two={tiny_bundle},photos=2,scenes=3,stride=64"]
    told = [argument for bundle in bundles for argument in ("--bundle", bundle)]
    where = ["--work", str(work), "--results", str(results)]
    tasks.main([str(data), *told, *where, "--only", *only])
    document = json.loads((results / "tasks.json").read_text())
    assert list(document["bundles"]) == ["one", "two"]
    for runs in document["bundles"].values():
        assert set(runs) == set(only) and runs["retrieval"]["images"] == 10
        assert runs["retrieval"]["command"].startswith("fastconcept evaluate retrieval")
    text = (results / "tasks.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| zeroshot-definitions | top-1 of 2, dense |")]
    assert [row.split(" | ")[2] for row in rows] == ["one", "two"]
    assert "shuffled definitions" in rows[0] and "* one, zeroshot-definitions:" in text
    assert text.count("$ fastconcept evaluate") == 4
    page = (results / "tasks.html").read_text()
    assert page.count("<!doctype html>") == 1 and page.count("<h2>two, ") == 2
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "retrieval.md").write_text("# Retrieval\n\nWhat it is.\n\n```console\n$ old\n```\n\nold output\n")
    (docs / "zeroshot.md").write_text("# Zero-shot\n\n```console\n$ old\n```\n")
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.json")}
    tasks.main([str(data), *told, *where, "--docs", str(docs), "--only"])
    renewed = (docs / "retrieval.md").read_text()
    assert renewed.startswith("# Retrieval\n\nWhat it is.\n\n```console\n$ fastconcept evaluate retrieval ")
    assert "old" not in renewed and "## Text-image retrieval" in renewed and str(tiny_bundle) in renewed
    assert hashlib.sha256((tiny_bundle / "manifest.json").read_bytes()).hexdigest()[:16] in renewed
    assert before == {path: path.stat().st_mtime_ns for path in work.rglob("*.json")}  # nothing is run twice
    capsys.readouterr()


def test_localisation_in_the_short_table(
    data: Path, tiny_bundle: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    coarse = ["--max-area", "0.1", "--sizes", "128", "--stride", "64", "--wsol-steps", "8"]
    monkeypatch.setattr(tasks, "SMALL_OBJECTS", coarse)
    monkeypatch.setattr(tasks, "SWEPT", "4")
    monkeypatch.setattr(tasks, "SWEEP", ["--sweep", "128/64", "--sweep-scores", "log-rank,similarity"])
    arguments = [str(data), "--bundle", f"tiny={tiny_bundle}", "--work", str(tmp_path / "w")]
    tasks.main([*arguments, "--results", str(tmp_path / "r"), "--only", "sweep-small", "localize-small"])
    runs = json.loads((tmp_path / "r/tasks.json").read_text())["bundles"]["tiny"]
    assert runs["sweep-small"]["settings"]["items"] == 4 and runs["localize-small"]["settings"]["items"] == 6
    measures = tasks_page.measures("sweep-small", runs["sweep-small"])
    assert [measure.measure.split(",")[0] for measure in measures] == [
        "MaxBoxAcc", "MaxBoxAccV2", "pointing game", "MaxBoxAcc"
    ]  # fmt: skip
    best = max(row["accuracy"] for row in runs["sweep-small"]["sweep"])
    assert measures[-1].value == best and dict(measures[-1].nulls).keys() == {
        "first row of the sweep", "random concept", "shuffled definitions"
    }  # fmt: skip
    told = tasks_page.against_the_goals("tiny", runs)
    assert len(told) == 2 and all(line.startswith("tiny, localize-small, 12 objects") for line in told)
    capsys.readouterr()

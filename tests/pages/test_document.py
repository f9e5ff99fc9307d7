"""Reports: one JSON document, markdown, and pages that fetch nothing and let no data run as markup."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fastconcept.errors import MissingDependencyError
from fastconcept.pages import plots
from fastconcept.pages.document import Report
from fastconcept.pages.tables import Table
from tests.self_contained import check_self_contained


def report(name: str = "a <b>name</b> & more") -> Report:
    table = Table(
        "A table", ["method", "score", "interval"], [[name, 0.25, (0.1, 0.0, 0.2)], ["x|y", float("nan"), None]]
    )
    plot = ("A plot", plots.bars("scores", [name, "other"], {"one": [0.5, float("nan")], "two": [1.0, 0.0]}))
    values = {"score": float("nan"), "pair": (1, 2.5), "names": [name]}
    return Report(
        "ood", "A title", f"About {name}.", {"data": name, "none": None}, [table], [plot], values, [(name, name)], 1.5
    )


def test_one_json_document(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = report().save(tmp_path / "deep" / "folder")
    assert [path.name for path in paths] == ["ood.json", "ood.md", "ood.html"]
    document = json.loads(paths[0].read_text())
    assert document["score"] is None and document["pair"] == [1, 2.5] and document["bad_rows"]["count"] == 1
    markdown = paths[1].read_text()
    assert "| x\\|y | – | – |" in markdown and "+0.100 [+0.000, +0.200]" in markdown and "1 rows skipped" in markdown


def test_pages_are_self_contained_and_escape_names(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    hostile = "<script>alert(1)</script><img src=http://example.org/x>\"'"
    page = report(hostile).save(tmp_path)[2].read_text()
    check_self_contained(page)
    assert "<script" not in page and "&lt;script&gt;" in page


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [float("nan")], [1e-9, 3e9], [0.3] * 60])
def test_plots_of_any_numbers_are_well_formed(values: list[float]) -> None:
    pytest.importorskip("matplotlib")
    labels = [f"label <{k}> $\\frac{{ 猫 '\"" for k in range(len(values))]
    for plot in (
        plots.bars("t", labels, {"a": values}),
        plots.lines("t", "x", list(range(len(values))), {"a": values}),
    ):
        svg = plot.svg()
        ElementTree.fromstring(svg)
        assert "nan" not in re.sub("title>.*?</title", "", svg)
        assert " id=" not in re.sub(' id="m[0-9a-f]+"', "", svg)  # those of marks are the same for the same mark
        assert svg == plot.svg() and "#000" not in svg and "<style" not in svg


def test_bars_are_as_tall_as_their_numbers() -> None:
    pytest.importorskip("matplotlib")
    svg = ElementTree.fromstring(plots.bars("t", ["a", "b"], {"s": [0.25, 1.0]}).svg())
    tall = {}
    for group in svg.iter("{http://www.w3.org/2000/svg}g"):
        title, path = (group.find(f"{{http://www.w3.org/2000/svg}}{tag}") for tag in ("title", "path"))
        if title is not None and path is not None:
            heights = [float(y) for y in re.findall(r"[ML] \S+ (\S+)", path.get("d", ""))]
            tall[title.text] = max(heights) - min(heights)
    assert list(tall) == ["a, s: 0.250", "b, s: 1.000"]
    assert tall["b, s: 1.000"] == pytest.approx(4 * tall["a, s: 0.250"], abs=0.2)


def test_plots_without_matplotlib_name_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"fastconcept\[evaluate\]"):
        report().save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"ood.json", "ood.md"}

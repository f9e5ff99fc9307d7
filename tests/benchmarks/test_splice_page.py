"""The page of SpLiCE's probes, ablations and curves: claims against intervals, and reports of one bundle's version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import splice


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve small pictures of two classes, laid out as the development data is."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
    names = np.array(["lion.n.01", "house_cat.n.01"])
    np.savez(tmp_path / "cifar10_test_subset.npz", images=pixels, labels=np.arange(12) % 2, synsets=names)
    return tmp_path


def test_the_page(data: Path, tiny_bundle: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")

    def few(_: str, work: Path) -> dict[str, list[str]]:
        cifar = str(work / "cifar10")
        return {
            "probe-cifar10": ["probe", cifar, "--l1-penalties", "0.2", "--folds", "2"],
            "ablate-cifar10": ["ablate", cifar, "--l0s", "10", "--dictionary-sizes", "5", "--vocabularies",
                               "random-rows"],
            "curve-cifar10": ["zeroshot", cifar, "--l1-penalties", "0.2", "--dictionaries", "own:5", "--nulls",
                              "random-vocabulary"],
        }  # fmt: skip

    monkeypatch.setattr(splice, "runs", few)
    where = ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "results")]
    arguments = [str(data), "--bundle", f"tiny={tiny_bundle}", *where]
    splice.main(arguments)
    document = json.loads((tmp_path / "results/splice.json").read_text())
    (digest,) = document["manifests"].values()
    assert set(document["bundles"]["tiny"]) == {"probe-cifar10", "ablate-cifar10", "curve-cifar10"}
    text = (tmp_path / "results/splice.md").read_text()
    assert f"`tiny` {digest}" in text and "* Nonnegativity helps: " in text and "## Accuracy of linear probes" in text
    assert "| nonnegativity helps | signed | top-1 | tiny | ablate-cifar10 |" in text
    assert "| tiny | curve-cifar10 |" in text and "own:5" in text
    page = (tmp_path / "results/splice.html").read_text()
    assert page.count("<!doctype html>") == 1 and "<h2>tiny, probe-cifar10</h2>" in page
    made = tmp_path / "work" / digest / "tiny/probe-cifar10/probe.json"
    before = made.stat().st_mtime_ns
    splice.main([*arguments, "--only"])
    assert made.stat().st_mtime_ns == before
    capsys.readouterr()


def test_verdicts_follow_the_intervals() -> None:
    def row(design: str, low: float, high: float) -> dict[str, Any]:
        lift = [(low + high) / 2, low, high]
        return {"design": design, "asked": splice.ASKED, "against": dict.fromkeys(splice.MEASURES, lift)}

    rows = [row("signed", -0.2, -0.1), row("omp", 0.1, 0.2), row("nearest", -0.1, 0.1)]
    table = splice.claims({"one": {"ablate": {"task": "ablate", "rows": rows}}})
    assert [line[-1] for line in table.rows] == ["agrees"] * 3 + ["disagrees"] * 3 + ["no sure difference"] * 3
    told = splice.verdicts(table)
    assert told[0] == "Nonnegativity helps: 3 agrees." and told[1] == "Centring helps: not measured."
    assert told[-1] == "The lasso helps: 3 disagrees, 3 no sure difference."

"""Agreement of modes with crops: what is measured, which mode "auto" takes, and that it is never silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

import fastconcept as fc
from fastconcept.bundle import parse_manifest
from fastconcept.errors import BundleError, InputError
from fastconcept.saliency.agreement import compare_maps, fastest, holds, measure_agreement, rank_correlation
from tests.saliency.test_dense import make_engine

GOOD = {"spearman": 0.9, "box": 0.8, "peak": 0.7, "maps": 60}


def entry(times_faster: float = 10.0, photographs: int = 32, **present: float) -> dict[str, Any]:
    return {"photographs": photographs, "times_faster": times_faster, "present": GOOD | present, "absent": {"maps": 0}}


def test_rank_correlation_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, two = rng.integers(0, 6, (2, 40)).astype(np.float64)
        assert rank_correlation(one, two) == pytest.approx(scipy.stats.spearmanr(one, two).statistic, abs=1e-9)


def test_maps_on_other_grids_are_compared_on_those_of_crops() -> None:
    fine = np.add.outer(np.linspace(0, 1, 12), np.linspace(0, 1, 16)) / 2
    coarse = fine.reshape(6, 2, 8, 2).mean(axis=(1, 3))
    agreement = compare_maps(fine, coarse, near=1)
    assert agreement is not None and agreement.spearman > 0.99 and agreement.box > 0.8 and agreement.peak == 1
    turned = compare_maps(fine, 1 - coarse, near=1)
    assert turned is not None and turned.spearman < -0.99 and turned.peak == 0


def test_modes_are_measured_on_photographs_without_labels() -> None:
    engine = make_engine()
    towers = {mode: engine.parts.image_tower(mode) for mode in ("crops", "dense")}
    images = [np.random.default_rng(seed).integers(0, 256, (2, 3, 3), dtype=np.uint8) for seed in range(3)]
    large = [np.kron(image, np.ones((40, 40, 1), np.uint8)) for image in images]
    numbers = measure_agreement(large, towers, engine.bank, engine.prepared_bank)
    assert list(numbers) == ["dense"] and numbers["dense"]["photographs"] == 3
    assert numbers["dense"]["times_faster"] > 0 and numbers["dense"]["present"]["maps"] > 0
    assert numbers["dense"]["present"]["spearman"] > 0.3  # colours lie where they lie, however they are looked at
    assert numbers == {"dense": {**numbers["dense"]}} and not holds(numbers["dense"])  # three are too few


def test_auto_takes_the_fastest_mode_whose_gate_holds() -> None:
    numbers = {"windows": entry(10), "dense:gem": entry(90, spearman=0.5), "dense:clearclip": entry(200)}
    assert fastest(numbers, ["crops", "windows", "dense:gem", "dense:clearclip"]) == "dense:clearclip"
    assert fastest(numbers, ["crops", "windows", "dense:gem"]) == "windows"
    assert fastest({"windows": entry(peak=0.1)}, ["crops", "windows"]) == "crops"
    assert fastest({"windows": entry(photographs=31)}, ["crops", "windows"]) == "crops"
    assert fastest({"windows": entry(0.5)}, ["crops", "windows"]) == "crops"
    with pytest.raises(InputError, match="has no measured agreement"):
        fastest({}, ["crops", "windows"])


def test_a_result_of_auto_names_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builtin = fc.load()
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    options: dict[str, Any] = {"mode": "auto", "sizes": 128, "stride": 64}
    manifest = builtin.bundle.manifest
    monkeypatch.setitem(manifest.__dict__, "agreement", {"windows": entry()})
    assert builtin.explain(image, "dog.n.01", **options).mode == "windows"
    monkeypatch.setitem(manifest.__dict__, "agreement", {"windows": entry(box=0.1)})
    assert builtin.explain(image, "dog.n.01", **options).mode == "crops"
    monkeypatch.setitem(manifest.__dict__, "agreement", {})
    with pytest.raises(InputError, match="no measured agreement"):
        builtin.explain(image, "dog.n.01", **options)


def test_numbers_in_a_manifest_are_checked() -> None:
    document = json.loads((fc.load().bundle.path / "manifest.json").read_text())
    parsed = parse_manifest(json.dumps({**document, "agreement": {"windows": entry()}}))
    assert parsed.agreement["windows"] == entry()
    assert parse_manifest(parsed.to_json()).agreement == parsed.agreement
    for wrong in ({"windows": 1}, {"windows": {}}, {"windows": {**entry(), "present": {"box": "x"}}}):
        with pytest.raises(BundleError, match="agreement"):
            parse_manifest(json.dumps({**document, "agreement": wrong}))

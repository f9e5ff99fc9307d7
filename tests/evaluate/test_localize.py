"""Localisation in a planted world: an encoder that sees red, and a concept that means red."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastconcept as fc
from fastconcept.concepts.bank import ConceptBank
from fastconcept.datasets.dataset import Dataset, open_dataset
from fastconcept.datasets.items import BadRows, Item
from fastconcept.datasets.masks import Mask
from fastconcept.engine import Engine
from fastconcept.errors import InputError
from fastconcept.evaluate.cases import find_target
from fastconcept.evaluate.evidence_store import EvidenceStore
from fastconcept.evaluate.localize import PROTOCOLS, localize
from fastconcept.evaluate.nulls import RandomEncoder, apply_control
from fastconcept.evaluate.sweep import Choice, readings, sweep
from fastconcept.saliency.layout import Layout, layout_for
from fastconcept.saliency.reading import Reader, Reading
from fastconcept.saliency.targets import unrelated

RED, WIDE = "cheetah.n.01", "feline.n.01"
GRID = Layout(sizes=(64, 32), stride=16, border="constant")


class RedEncoder:
    """Row 0 of an embedding is how red the pixels are; the rest is a fixed direction."""

    batch_size = 64
    calls = 0

    def encode(self, pixels: np.ndarray, batch_size: int | None = None) -> np.ndarray:
        type(self).calls += 1
        redness = np.clip((pixels[:, 0] - pixels[:, 1]).mean(axis=(1, 2)), 0, None)
        rows = np.zeros((len(pixels), 32), np.float32)
        rows[:, 0], rows[:, 1] = redness, 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    """The tiny engine with the planted encoder, and a bank where one leaf means red and all others do not."""
    engine = fc.load(tiny_bundle)
    taxonomy = engine.bank.taxonomy
    assert taxonomy is not None
    rows = np.random.default_rng(0).standard_normal((len(taxonomy), 32)).astype(np.float32)
    rows[:, :2] = 0
    rows[:, 1] = 0.5 + 0.01 * np.arange(len(rows))
    rows[taxonomy.index(RED), :] = np.eye(32)[0]
    return Engine(engine.parts.replace(bank=ConceptBank(rows, taxonomy=taxonomy), image_encoder=RedEncoder()))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Six grey pictures with one red square each, and their boxes."""
    generator, lines = np.random.default_rng(1), ["path,label,x0,y0,x1,y1"]
    for k in range(6):
        pixels = generator.integers(90, 160, (150, 200, 3), dtype=np.uint8)
        x, y = generator.integers(0, 130), generator.integers(0, 80)
        pixels[y : y + 70, x : x + 70] = (230, 20, 20)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        lines.append(f"{k}.png,{RED},{x},{y},{x + 70},{y + 70}")
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    return open_dataset(tmp_path / "boxes.csv")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_planted_is_found_and_nulls_are_not(engine: Engine, dataset: Dataset, protocol: str) -> None:
    nulls = ("shuffled-definitions", "random-encoder")
    seen: list[tuple[int, int]] = []
    result = localize(
        engine,
        dataset,
        protocol=protocol,
        layout=GRID,
        nulls=nulls,
        repeats=300,
        wsol_steps=32,
        progress=lambda done, total: seen.append((done, total)),
    )
    ours = result.methods["map"].metrics()
    assert ours["pointing"] > 0.95 and ours["MaxBoxAcc"] >= 0.75 and ours["MaxBoxAccV2"] >= 0.7
    assert set(result.methods) == {
        "map", "random concept", "shuffled definitions", "random encoder", "centre box", "full box"
    }  # fmt: skip
    for name in ("random concept", "full box", "centre box", "shuffled definitions"):
        difference, low, _ = result.differences[name]["MaxBoxAcc"]
        assert difference >= low > 0, name
    assert seen[-1] == (6, 6) and not result.bad and len(result.cases) == 6


class RedTokens:
    """The same for every token of 8 pixels, and for the whole picture."""

    stride, batch_size = 8, 4

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        count, _, height, width = pixels.shape
        cells = pixels.reshape(count, 3, height // 8, 8, width // 8, 8).transpose(0, 2, 4, 1, 3, 5)
        tokens = RedEncoder().encode(cells.reshape(-1, 3, 8, 8)).reshape(count, -1, 32)
        return np.concatenate([RedEncoder().encode(pixels)[:, None], tokens], axis=1)


def test_modes_stand_in_one_table_with_their_nulls(engine: Engine, dataset: Dataset) -> None:
    red = Engine(engine.parts.replace(**{"dense:clearclip": RedTokens()}))
    nulls, layout = ("shuffled-definitions", "random-encoder"), Layout(sizes=(64,), stride=32, short_side=448)
    result = localize(red, dataset, layout=layout, nulls=nulls, modes=["dense"], repeats=20, wsol_steps=4)
    controls = {f"{mode}{name}" for mode in ("", "dense, ") for name in ("shuffled definitions", "random encoder")}
    assert {"map", "dense", *controls} <= set(result.methods)
    pointing = {name: scores.metrics()["pointing"] for name, scores in result.methods.items()}
    assert pointing["dense"] > 0.7 > pointing["dense, random encoder"]
    boxes = {name: scores.metrics()["MaxBoxAcc"] for name, scores in result.methods.items()}
    assert boxes["dense"] > boxes["dense, random encoder"] and "dense, shuffled definitions" in result.differences
    alone = localize(red, dataset, layout=layout_for(layout, "dense"), nulls=nulls, repeats=20, wsol_steps=4).methods
    for name, other in (("map", "dense"), ("random encoder", "dense, random encoder")):
        np.testing.assert_array_equal(alone[name].convis, result.methods[other].convis)


def test_maps_are_those_of_explain_to_the_byte(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    image = engine.load_image(dataset.items[0].image or "")
    concepts = [RED, WIDE, "cat.n.01"]
    cases = [find_target(engine, name, {}, dataset.items[0], BadRows()) for name in concepts]
    targets = [target for target in cases if target]
    assert len(targets) == len(cases)
    kept = EvidenceStore(engine, GRID, tmp_path)
    for evidence in (EvidenceStore(engine, GRID).evidence(image), kept.evidence(image), kept.evidence(image)):
        reader = Reader(evidence, targets, engine.prepared_bank, engine.kernels)
        for aggregate in ("best-then-mean", "mean-then-best"):
            for weights in ("area", "equal"):
                for score in ("rank", "log-rank", "similarity"):
                    reading = Reading(score, aggregate, weights)
                    expected = engine.explain(
                        image,
                        concepts,
                        sizes=GRID.sizes,
                        stride=16,
                        border="constant",
                        score=score,
                        aggregate=aggregate,
                        scale_weights=weights,
                    )
                    np.testing.assert_array_equal(reader.maps(reading), [c.cells for c in expected])


def test_patches_are_embedded_once(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    image = engine.load_image(dataset.items[0].image or "")
    store = EvidenceStore(engine, GRID, tmp_path / "cache")
    first, calls = store.evidence(image).rows, RedEncoder.calls
    np.testing.assert_array_equal(store.evidence(image).rows, first)
    assert RedEncoder.calls == calls
    for other in (replace(GRID, border="noise"), replace(GRID, stride=32), replace(GRID, seed=1)):
        EvidenceStore(engine, other, tmp_path / "cache").evidence(image)
    assert RedEncoder.calls > calls and len(list((tmp_path / "cache").glob("*.npy"))) == 2 * 4
    for path in (tmp_path / "cache").glob("*.npy"):
        np.save(path, np.zeros((2, 32), np.float32))  # a file of another shape is not believed
    np.testing.assert_array_equal(store.evidence(image).rows, first)


def test_a_sweep_compares_readings(engine: Engine, dataset: Dataset) -> None:
    rows = sweep(engine, dataset, readings([(64,)]), layout=GRID, borders=("constant", "reflect"))
    assert len(rows) == 2 * 12 and rows[0].lift == (0.0, 0.0, 0.0) and not rows[0].over
    assert {row.choice.border for row in rows} == {"constant", "reflect"}
    alone = replace(GRID, sizes=(64,))
    default = localize(engine, dataset, layout=alone, nulls=(), repeats=10, wsol_steps=8)
    assert rows[0].accuracy == default.methods["map"].metrics()["MaxBoxAcc"]
    assert rows[0].pointing == default.methods["map"].metrics()["pointing"]


def test_a_sweep_leaves_out_what_does_not_cover_every_image(engine: Engine, dataset: Dataset) -> None:
    coarse = readings([(64,)], (True, False), [(48,)], ["log-rank"], ["best-then-mean"], [False])
    rows = sweep(engine, dataset, coarse, layout=replace(GRID, sizes=(64,)), borders=("constant",))
    assert [row.choice.reading.inside for row in rows] == [False]
    assert rows[0].lift == (0.0, 0.0, 0.0)  # what is left is held against its own first row
    with pytest.raises(InputError, match="no choice of patches covers every image"):
        sweep(engine, dataset, coarse[:1], layout=replace(GRID, sizes=(64,)), borders=("constant",))


def test_a_sweep_over_resolutions_strides_parts_and_nulls(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    tried = readings([(64, 32), (32,)], (False,), [(32, 16), ()], ["log-rank"], ["best-then-mean"], [False])
    asked = {"short_sides": (224, 0), "parts": ("largest", "peak"), "nulls": ("shuffled-definitions",)}
    rows = sweep(engine, dataset, tried, layout=GRID, borders=("constant",), cache=str(tmp_path), **asked)
    assert len(rows) == 3 * 2 * 2 and len({row.choice for row in rows}) == len(rows)
    assert len(list(tmp_path.glob("*.npy"))) == len(dataset) * 2 * 2  # once per image, size and resolution
    assert rows[1].choice == Choice(tried[0], "constant", 224, "peak")
    for row in rows:
        assert set(row.over) == {"random concept", "shuffled definitions"}
        assert all(low <= difference <= high for over in row.over.values() for difference, low, high in over.values())
    asked_again = {"reading": tried[0], "part": "peak"}
    for side, row in ((224, rows[1]), (0, rows[7])):
        layout = replace(GRID, sizes=(64, 32), stride=(32, 16), short_side=side)
        result = localize(
            engine, dataset, layout=layout, nulls=("shuffled-definitions",), repeats=10, wsol_steps=8, **asked_again
        )
        assert row.choice.short_side == side and row.accuracy == result.methods["map"].metrics()["MaxBoxAcc"]
        assert row.over["shuffled definitions"]["MaxBoxAcc"][0] == pytest.approx(
            result.differences["shuffled definitions"]["MaxBoxAcc"][0]
        )
    with pytest.raises(InputError, match="random-encoder"):
        sweep(engine, dataset, tried, nulls=("random-encoder",))
    for strides in ((32,), (0, 16), (65, 16)):
        with pytest.raises(InputError, match="stride"):
            replace(GRID, stride=strides)
    with pytest.raises(InputError, match="short_side"):
        replace(GRID, short_side=5)


@pytest.mark.parametrize("border", ["constant", "inside"])
@pytest.mark.parametrize("weights", ["area", "equal"])
def test_coarser_strides_are_what_they_would_be_alone(engine: Engine, border: str, weights: str) -> None:
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    layout = replace(GRID, border=border, short_side=96)
    fine = EvidenceStore(engine, replace(layout, stride=(32, 16))).evidence(image)
    expected = EvidenceStore(engine, replace(layout, stride=(64, 32))).evidence(image)
    grid, rows = fine.grid.select((64, 32), strides=(64, 32))
    if border == "inside":  # a finer stride closes its rows elsewhere too
        assert set(map(tuple, expected.grid.boxes.tolist())) <= set(map(tuple, grid.boxes.tolist()))
        return
    np.testing.assert_array_equal(grid.boxes, expected.grid.boxes)
    np.testing.assert_array_equal(grid.weights(weights), expected.grid.weights(weights))
    np.testing.assert_allclose(fine.rows[rows], expected.rows, atol=1e-6)


def test_a_size_counts_the_same_at_any_stride(engine: Engine) -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    for weights, ratio in (("area", 4.0), ("equal", 1.0)):
        grid = EvidenceStore(engine, replace(GRID, stride=(32, 16))).evidence(image).grid
        cover = {64: 0.0, 32: 0.0}
        for (x0, y0, x1, y1), weight in zip(grid.cells, grid.weights(weights), strict=True):
            cover[(x1 - x0) * grid.cell] += weight * (x0 <= 6 < x1) * (y0 <= 6 < y1)
        assert cover[64] / cover[32] == ratio


def test_bad_rows_and_bad_questions(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    good = dataset.items[0]
    bad = [
        replace(good, name="outside", boxes=((100.0, 10.0, 300.0, 60.0),)),
        replace(good, name="unknown", box_labels=("zzz.n.01",)),
        Item("boxless", good.image),
        replace(good, name="gone", image=tmp_path / "gone.png"),
    ]
    mixed = replace(dataset, items=(good, *bad))
    result = localize(engine, mixed, layout=GRID, nulls=(), repeats=10)
    assert [name for name, _ in result.bad] == ["outside", "unknown", "boxless", "gone"] and len(result.cases) == 1
    with pytest.raises(InputError, match="strict"):
        localize(engine, replace(mixed, strict=True), layout=GRID, nulls=(), repeats=10)
    with pytest.raises(InputError, match="protocol"):
        localize(engine, dataset, protocol="other")
    with pytest.raises(InputError, match="nothing to localise"):
        localize(engine, dataset, layout=GRID, max_area=0.01, nulls=())


def test_masks_give_pixel_precision(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    items = []
    for item in dataset.items[:3]:
        mask = np.zeros((150, 200), np.uint8)
        x0, y0, x1, y1 = map(int, item.boxes[0])
        mask[y0:y1, x0:x1] = 255
        path = tmp_path / f"mask-{item.name}"
        Image.fromarray(mask).save(path)
        items.append(replace(item, masks=(Mask(RED, path),)))
    polygon = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    items[1] = replace(items[1], boxes=(), box_labels=())  # its box is the one around the mask
    items[2] = replace(items[2], masks=(Mask(RED, polygon), Mask(RED, {"size": [1, 1], "counts": [1]})))
    with_masks = replace(dataset, items=(*items, dataset.items[3]))
    result = localize(engine, with_masks, layout=GRID, nulls=(), repeats=50, wsol_steps=16)
    precision = {name: scores.metrics()["PxAP"] for name, scores in result.methods.items()}
    assert precision["map"] > 0.8 > 0.3 > precision["full box"] > 0.1
    difference, low, high = result.differences["full box"]["PxAP"]
    assert difference == pytest.approx(precision["map"] - precision["full box"]) and 0 < low <= difference <= high
    assert [reason for _, reason in result.bad] == ["mask is of size [1, 1], the image has height 150 and width 200"]
    assert len(result.cases) == 4 and result.methods["map"].pixels is not None
    assert (result.methods["map"].pixels.sum(axis=(1, 2)) > 0).tolist() == [True, True, False, False]
    assert (
        "PxAP"
        not in localize(engine, dataset, layout=GRID, nulls=(), repeats=10, wsol_steps=8).methods["map"].metrics()
    )


def test_what_a_crowd_covers_is_not_counted(engine: Engine, dataset: Dataset) -> None:
    item = dataset.items[0]
    x0, y0, x1, y1 = item.boxes[0]
    drawn = Mask(RED, [[x0, y0, x1, y0, x1, y1, x0, y1]])
    everywhere = Mask(RED, [[0, 0, 200, 0, 200, 150, 0, 150]], ignored=True)
    counted = []
    for masks in ((drawn,), (drawn, everywhere)):
        one = replace(dataset, items=(replace(item, masks=masks),))
        counted.append(localize(engine, one, layout=GRID, nulls=(), repeats=10, wsol_steps=8).methods["map"])
    assert counted[0].pixels is not None and counted[1].pixels is not None
    np.testing.assert_array_equal(counted[0].pixels[0, 1], counted[1].pixels[0, 1])
    assert counted[0].pixels[0, 0].sum() > 0 == counted[1].pixels[0, 0].sum()
    assert counted[1].metrics()["PxAP"] == 1.0
    np.testing.assert_array_equal(counted[0].convis, counted[1].convis)


def test_random_concepts_are_unrelated(engine: Engine) -> None:
    target = find_target(engine, RED, {}, Item("x"), BadRows())
    assert target is not None and target.members is not None
    generator = np.random.default_rng(0)
    for _ in range(50):
        other = unrelated(engine.bank, target, generator)
        assert other.members is not None and not np.isin(other.members, target.members).any()
    assert isinstance(apply_control(engine, "random-encoder").image_encoder, RandomEncoder)

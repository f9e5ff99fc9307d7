"""Localisation in a planted world: an encoder that sees red, and a concept that means red."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastconcept as fc
from fastconcept.concepts.bank import ConceptBank
from fastconcept.engine import Engine
from fastconcept.errors import InputError
from fastconcept.saliency.explain import Options
from fastconcept.tasks import localization
from fastconcept.tasks.controls import NullEngine
from fastconcept.tasks.datasets import Dataset, open_dataset
from fastconcept.tasks.items import BadRows, Item
from fastconcept.tasks.localization_sweep import readings, sweep
from fastconcept.tasks.patch_embeddings import PatchStore
from fastconcept.tasks.patch_maps import PatchScores, Reading

RED, WIDE = "cheetah.n.01", "feline.n.01"
GRID = Options(sizes=(64, 32), stride=16, border="constant")


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
    engine.__dict__["bank"] = ConceptBank(rows, taxonomy=taxonomy)
    engine.__dict__["image_encoder"] = RedEncoder()
    return engine


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


@pytest.mark.parametrize("protocol", localization.PROTOCOLS)
def test_what_is_planted_is_found_and_nulls_are_not(engine: Engine, dataset: Dataset, protocol: str) -> None:
    nulls = ("shuffled-definitions", "random-encoder")
    seen: list[tuple[int, int]] = []
    found = localization.localize(
        engine,
        dataset,
        protocol=protocol,
        options=GRID,
        nulls=nulls,
        repeats=300,
        progress=lambda done, total: seen.append((done, total)),
    )
    ours = found.methods["map"].metrics()
    assert ours["pointing"] > 0.95 and ours["MaxBoxAcc"] >= 0.75 and ours["MaxBoxAccV2"] >= 0.7
    assert set(found.methods) == {
        "map", "random concept", "shuffled definitions", "random encoder", "centre box", "full box"
    }  # fmt: skip
    for name in ("random concept", "full box", "centre box", "shuffled definitions"):
        difference, low, _ = found.differences[name]["MaxBoxAcc"]
        assert difference >= low > 0, name
    assert seen[-1] == (6, 6) and not found.bad and len(found.cases) == 6


def test_maps_are_those_of_explain(engine: Engine, dataset: Dataset) -> None:
    image = engine.load_image(dataset.items[0].image or "")
    concepts = [RED, WIDE, "cat.n.01"]
    cases = [localization._target(engine, name, {}, dataset.items[0], BadRows()) for name in concepts]
    assert all(target is not None for target in cases)
    for aggregate in ("best-then-mean", "mean-then-best"):
        for weights in ("area", "equal"):
            for score in ("rank", "log-rank", "similarity"):
                options = replace(GRID, aggregate=aggregate, scale_weights=weights, score=score)
                expected = engine.explain(image, concepts, **vars(options))
                embedded = PatchStore(engine, options).embed(image)
                scores = PatchScores(embedded, [t for t in cases if t], engine.bank.embeddings, engine.kernels)
                maps = scores.maps(Reading((), False, aggregate, weights, score))
                np.testing.assert_allclose(maps, [c.cells for c in expected], atol=2e-4)


def test_patches_are_embedded_once(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    image = engine.load_image(dataset.items[0].image or "")
    store = PatchStore(engine, GRID, tmp_path / "cache")
    first, calls = store.embed(image).rows, RedEncoder.calls
    np.testing.assert_array_equal(store.embed(image).rows, first)
    assert RedEncoder.calls == calls
    for other in (replace(GRID, border="noise"), replace(GRID, stride=32), replace(GRID, seed=1)):
        PatchStore(engine, other, tmp_path / "cache").embed(image)
    assert RedEncoder.calls > calls and len(list((tmp_path / "cache").glob("*.npy"))) == 4
    for path in (tmp_path / "cache").glob("*.npy"):
        np.save(path, np.zeros((2, 32), np.float32))  # a file of another shape is not believed
    np.testing.assert_array_equal(store.embed(image).rows, first)


def test_parts_of_a_grid(engine: Engine, dataset: Dataset) -> None:
    embedded = PatchStore(engine, GRID).embed(engine.load_image(dataset.items[0].image or ""))
    sides = embedded.grid.boxes[:, 2] - embedded.grid.boxes[:, 0]
    assert (embedded.chosen((32,)) == (sides == 32)).all() and embedded.chosen().all()
    inside = embedded.chosen((64,), inside=True)
    assert 0 < inside.sum() < (sides == 64).sum()
    weights = embedded.subgrid(embedded.chosen(), "equal").weights
    assert set(zip(sides.tolist(), weights.tolist(), strict=True)) == {(64, 1.0), (32, 4.0)}
    with pytest.raises(InputError, match="128 px"):
        embedded.chosen((128,))
    with pytest.raises(InputError, match="do not cover"):
        embedded.subgrid(sides < 0)


def test_a_sweep_compares_readings(engine: Engine, dataset: Dataset) -> None:
    rows = sweep(engine, dataset, readings([(64,)]), options=GRID, borders=("constant", "reflect"))
    assert len(rows) == 2 * 12 and rows[0].lift == (0.0, 0.0, 0.0)
    assert {row.border for row in rows} == {"constant", "reflect"}
    default = localization.localize(
        engine, dataset, options=GRID, reading=Reading((64,), score="rank"), nulls=(), repeats=10
    )
    assert rows[0].accuracy == default.methods["map"].metrics()["MaxBoxAcc"]
    assert rows[0].pointing == default.methods["map"].metrics()["pointing"]


def test_bad_rows_and_bad_questions(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    good = dataset.items[0]
    bad = [
        replace(good, name="outside", boxes=((100.0, 10.0, 300.0, 60.0),)),
        replace(good, name="unknown", box_labels=("zzz.n.01",)),
        Item("boxless", good.image),
        replace(good, name="gone", image=tmp_path / "gone.png"),
    ]
    mixed = replace(dataset, items=(good, *bad), bad=BadRows())
    found = localization.localize(engine, mixed, options=GRID, nulls=(), repeats=10)
    assert [name for name, _ in found.bad] == ["outside", "unknown", "boxless", "gone"] and len(found.cases) == 1
    with pytest.raises(InputError, match="strict"):
        localization.localize(engine, replace(mixed, bad=BadRows(strict=True)), options=GRID, nulls=(), repeats=10)
    with pytest.raises(InputError, match="protocol"):
        localization.localize(engine, dataset, protocol="other")
    with pytest.raises(InputError, match="nothing to localise"):
        localization.localize(engine, dataset, options=GRID, max_area=0.01, nulls=())


def test_masks_give_pixel_precision(engine: Engine, dataset: Dataset, tmp_path: Path) -> None:
    items = []
    for item in dataset.items[:2]:
        mask = np.zeros((150, 200), np.uint8)
        x0, y0, x1, y1 = map(int, item.boxes[0])
        mask[y0:y1, x0:x1] = 255
        path = tmp_path / f"mask-{item.name}"
        Image.fromarray(mask).save(path)
        items.append(replace(item, mask=path))
    found = localization.localize(engine, replace(dataset, items=tuple(items)), options=GRID, nulls=(), repeats=10)
    assert found.pixel_ap["map"] > 0.8 > 0.3 > found.pixel_ap["full box"]


def test_random_concepts_are_unrelated(engine: Engine) -> None:
    target = localization._target(engine, RED, {}, Item("x"), BadRows())
    assert target is not None and target.members is not None
    generator = np.random.default_rng(0)
    for _ in range(50):
        other = localization.unrelated(engine.bank, target, generator)
        assert other.members is not None and not np.isin(other.members, target.members).any()
    assert isinstance(localization.apply_control(engine, "random-encoder"), NullEngine)

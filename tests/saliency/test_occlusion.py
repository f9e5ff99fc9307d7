"""Occlusion: rows are of the image without each cell, by a plain reference, and a concept is lost where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.encoders.split import SplitEncoder
from fastconcept.errors import InputError
from fastconcept.saliency import occlusion
from fastconcept.saliency.layout import Layout, layout_for

SIDE, STRIDE = 28, 8  # passes are 10/7 times as large: 40 px, five cells
PREPROCESS = fc.Preprocess((SIDE, SIDE), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class CellMeans:
    """A trunk that sees one cell at a time: the mean colour of squares of 8 pixels."""

    stride = STRIDE
    passes: list[np.ndarray] = []  # noqa: RUF012 (what it was given, for all instances)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        self.passes.append(pixels)
        count, _, height, width = pixels.shape
        return pixels.reshape(count, 3, height // STRIDE, STRIDE, width // STRIDE, STRIDE).mean(axis=(3, 5))


class Colours:
    """A head: red, green, blue and a constant, at unit length."""

    def encode(self, means: np.ndarray) -> np.ndarray:
        rows = np.concatenate([means, np.full((len(means), 1), 0.1)], axis=1)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Whole:
    """The same tower in one part."""

    batch_size = 16

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        return Colours().encode(pixels.mean(axis=(2, 3)))


@pytest.fixture
def engine() -> fc.Engine:
    return fc.Engine.from_parts(
        embedding_dim=4,
        preprocess=PREPROCESS,
        image_encoder=Whole(),
        split_encoder=SplitEncoder(CellMeans(), Colours()),
        bank=fc.ConceptBank(np.eye(4), phrases=["red", "green", "blue", "dark"]),
    )


@pytest.mark.parametrize(("height", "width", "shape"), [(60, 90, (5, 8)), (50, 30, (8, 5)), (30, 30, (5, 5))])
def test_rows_are_those_of_the_image_without_each_cell(
    engine: fc.Engine, height: int, width: int, shape: tuple[int, int]
) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    CellMeans.passes.clear()
    evidence = engine.evidence(image, mode="occlusion")
    (pixels,) = CellMeans.passes  # one pass, over the whole image and nothing else
    assert pixels.shape[2:] == (shape[0] * STRIDE, shape[1] * STRIDE)
    assert evidence.grid.shape == shape and evidence.region == (0, 0, width, height)
    cells = CellMeans().encode(pixels)[0].reshape(3, -1).T.astype(np.float64)
    without = np.stack([np.delete(cells, index, axis=0).mean(axis=0) for index in range(len(cells))])
    np.testing.assert_allclose(evidence.rows, Colours().encode(without), atol=1e-6)
    np.testing.assert_array_equal(evidence.whole, Whole().encode(engine.preprocess([image])))


@pytest.mark.parametrize("aggregate", ["best-then-mean", "mean-then-best"])
@pytest.mark.parametrize("score", ["similarity", "log-rank", "rank"])
def test_a_colour_is_lost_where_it_is(engine: fc.Engine, score: str, aggregate: str) -> None:
    image = np.full((40, 80, 3), (73, 90, 90), np.uint8)  # red comes first, but not without one of its four cells
    image[16:32, 48:64] = (250, 30, 30)
    seen = engine.explain(image, "red", mode="occlusion", score=score, aggregate=aggregate)
    assert seen.mode == "occlusion"
    expected = np.zeros((5, 10), bool)
    expected[2:4, 6:8] = True
    np.testing.assert_array_equal(seen["red"].cells == 1, expected)


def test_where_nothing_is_lost_no_place_stands_out(engine: fc.Engine) -> None:
    seen = engine.explain(np.full((40, 80, 3), 90, np.uint8), ["red", "dark"], mode="occlusion", score="similarity")
    assert all((one.cells == 1).all() for one in seen)


def test_what_occlusion_cannot_do_is_refused(
    engine: fc.Engine, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    assert engine.parts.modes == ["crops", "windows", "occlusion"]
    for options, message in (
        ({"sizes": 32}, "cell of the feature map: leave sizes, stride and border out"),
        ({"border": "reflect"}, "leave sizes, stride and border out"),
        ({"class_bias": 0.5}, "class_bias"),
        ({"short_side": 16}, "single cell"),
    ):
        with pytest.raises(InputError, match=message):
            engine.evidence(image, mode="occlusion", **options)
    with pytest.raises(InputError, match="what is seen at a place"):
        engine.concepts(image, place=(1, 1), mode="occlusion")
    monkeypatch.setattr(occlusion, "MAX_PIXELS", 1_000)
    with pytest.raises(InputError, match="a pass of 40 x 40 px is too large"):
        engine.evidence(image, mode="occlusion")
    with pytest.raises(InputError, match="does not pool a feature map; it has: crops"):
        fc.load(tiny_bundle).explain(image, "cat.n.01", mode="occlusion")
    assert layout_for(Layout(mode="dense", class_bias=0.5), "occlusion") == Layout(mode="occlusion")

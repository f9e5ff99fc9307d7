"""Windows: means over boxes are exact, and a tower without context gives the rows that crops give."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconcept as fc
from fastconcept.bundle import parse_manifest
from fastconcept.encoders.image_tower import ImageTower
from fastconcept.encoders.split import SplitEncoder
from fastconcept.errors import BundleError, InputError
from fastconcept.kernels import backend
from fastconcept.saliency.windows import box_means

SIDE, STRIDE = 32, 8
PREPROCESS = fc.Preprocess((SIDE, SIDE), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class CellMeans:
    """A trunk that sees one cell at a time: mean colour of squares of 8 pixels, and its square."""

    stride = STRIDE
    largest = 0

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        count, _, height, width = pixels.shape
        type(self).largest = max(self.largest, height * width)
        cells = pixels.reshape(count, 3, height // STRIDE, STRIDE, width // STRIDE, STRIDE).mean(axis=(3, 5))
        return np.concatenate([cells, cells**2], axis=1)


class Project:
    """A head: a fixed matrix, then unit length."""

    def encode(self, means: np.ndarray) -> np.ndarray:
        rows = means @ np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Whole:
    """The same tower in one part."""

    batch_size = 16

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        return Project().encode(CellMeans().encode(pixels).mean(axis=(2, 3)))


def make_engine() -> fc.Engine:
    bank = fc.ConceptBank(np.eye(5), phrases=["a", "b", "c", "d", "e"])
    return fc.Engine.from_parts(
        embedding_dim=5,
        preprocess=PREPROCESS,
        image_encoder=Whole(),
        split_encoder=SplitEncoder(CellMeans(), Project()),
        bank=bank,
    )


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    edges=st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=6),
)
def test_means_over_boxes_are_exact(height: int, width: int, edges: list[tuple[float, ...]]) -> None:
    maps = np.random.default_rng(height * 10 + width).standard_normal((4, height, width)).astype(np.float32)
    boxes = []
    for a, b, c, d in edges:
        x0, x1 = sorted((a * width, b * width))
        y0, y1 = sorted((c * height, d * height))
        boxes.append((min(x0, width - 0.1), min(y0, height - 0.1), max(x1, x0 + 0.05), max(y1, y0 + 0.05)))
    corners = np.clip(np.array(boxes), 0, [width, height, width, height])
    tower = ImageTower(Whole(), PREPROCESS, backend("cpu"))
    ours = box_means(maps, corners, tower)
    for row, (x0, y0, x1, y1) in zip(ours, corners, strict=True):
        across = np.clip(np.minimum(x1, np.arange(width) + 1) - np.maximum(x0, np.arange(width)), 0, None)
        down = np.clip(np.minimum(y1, np.arange(height) + 1) - np.maximum(y0, np.arange(height)), 0, None)
        share = np.outer(down, across) / np.outer(down, across).sum()
        np.testing.assert_allclose(row, (maps * share).sum(axis=(1, 2)), atol=1e-5)


def test_a_trunk_without_context_gives_the_rows_of_crops() -> None:
    engine = make_engine()
    image = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    # Patches of the encoder's own size lie on whole cells: nothing is resized, and a patch is a box of whole cells.
    options = {"sizes": 32, "stride": 8, "short_side": 96, "border": "constant"}
    crops, windows = (engine.evidence(image, mode=mode, **options) for mode in ("crops", "windows"))
    assert (crops.grid.boxes == windows.grid.boxes).all() and windows.layout.mode == "windows"
    np.testing.assert_allclose(windows.rows, crops.rows, atol=1e-5)
    np.testing.assert_array_equal(windows.whole, crops.whole)
    seen = engine.explain(image, "a", mode="windows", **options)
    assert seen.mode == "windows" and seen["a"].cells.shape == crops.grid.shape


@pytest.mark.parametrize("border", ["noise", "reflect", "inside"])
@pytest.mark.parametrize("sizes", [(64,), (48, 32), (128, 64)])
def test_every_layout_has_unit_rows(border: str, sizes: tuple[int, ...]) -> None:
    image = np.random.default_rng(2).integers(0, 256, (70, 50, 3), dtype=np.uint8)
    evidence = make_engine().evidence(image, mode="windows", sizes=sizes, stride=16, border=border)
    assert len(evidence.rows) == len(evidence.grid)
    np.testing.assert_allclose(np.linalg.norm(evidence.rows, axis=1), 1, atol=1e-5)


def test_a_pass_is_bounded_and_a_tower_that_does_not_split_says_so(tiny_bundle: Path) -> None:
    image = np.zeros((900, 900, 3), np.uint8)
    with pytest.raises(InputError, match="too large"):
        make_engine().evidence(image, mode="windows", sizes=4, stride=4, short_side=600)
    assert CellMeans.largest <= 4_100_000
    with pytest.raises(InputError, match="does not pool"):
        fc.load(tiny_bundle).explain(image, "cat.n.01", mode="windows")
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    wrong = {"trunk": "absent.onnx", "head": "absent.onnx", "channels": 6, "stride": 8}
    with pytest.raises(BundleError, match=r"absent\.onnx"):
        parse_manifest(json.dumps({**manifest, "split": wrong}))
    for field, value in (("channels", 0), ("stride", "8")):
        with pytest.raises(BundleError, match=field if isinstance(value, str) else "split"):
            parse_manifest(json.dumps({**manifest, "split": {**wrong, field: value}}))

"""Masks decode to the pixel; damaged ones cost one error and no memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from fastconcept.datasets.masks import IGNORED, OBJECT, Mask, fill_polygons, merge_masks, read_mask, run_lengths
from fastconcept.errors import InputError, MissingDependencyError
from fastconcept.evaluate.pixels import STEPS, pixel_average_precision, pixel_histogram

planes = arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))
corners = st.lists(st.integers(-20, 80), min_size=2, max_size=2)


@given(planes)
def test_run_lengths_are_those_of_pycocotools(plane: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    packed = coco.encode(np.asfortranarray(plane.astype(np.uint8)))
    np.testing.assert_array_equal(run_lengths(packed["counts"].decode(), *plane.shape), plane)
    runs, current = [0], False  # the same as a plain list, by hand
    for pixel in plane.T.ravel().tolist():
        if pixel != current:
            runs.append(0)
            current = pixel
        runs[-1] += 1
    np.testing.assert_array_equal(run_lengths(runs, *plane.shape), plane)


@given(corners, corners, st.integers(25, 60), st.integers(25, 60))
def test_rectangles_are_filled_to_the_pixel(
    one: tuple[int, int], two: tuple[int, int], height: int, width: int
) -> None:
    pytest.importorskip("pycocotools")
    (x0, x1), (y0, y1) = (sorted(side) for side in zip(one, two, strict=True))
    expected = np.zeros((height, width), bool)
    expected[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    np.testing.assert_array_equal(fill_polygons([[x0, y0, x1, y0, x1, y1, x0, y1]], height, width), expected)


def test_polygons_of_one_object_are_joined_and_objects_claim_what_a_crowd_overlaps() -> None:
    pytest.importorskip("pycocotools")
    square, triangle = [1, 1, 6, 1, 6, 6, 1, 6], [10.5, 2.5, 15, 9, 8, 9.5]
    expected = fill_polygons([square], 12, 20) | fill_polygons([triangle], 12, 20)
    crowd = Mask("cat", {"size": [12, 20], "counts": [0, 60, 180]}, ignored=True)
    merged = merge_masks([Mask("cat", [square, triangle]), crowd], 12, 20)
    assert expected[1:6, 1:6].all() and 10 < expected[:, 7:].sum() < 30
    np.testing.assert_array_equal(merged == OBJECT, expected)
    np.testing.assert_array_equal(merged[:, :5] == IGNORED, expected[:, :5] == 0)
    assert (merged[:, 5:] != IGNORED).all()


def test_polygons_without_pycocotools_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(MissingDependencyError, match=r"fastconcept\[evaluate\]"):
        fill_polygons([[0, 0, 2, 0, 2, 1]], 2, 3)


@pytest.mark.parametrize(
    "source",
    [
        [],
        7,
        "polygon",
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[1, 2, 3, 4, 5, float("inf")]],
        [[1, 2, 3, 4, 5, 1e9]],
        [[1, 2, 3, 4, 5, True]],
        [[1, 2, 3, 4, 5, "6"]],
        [[0, 0, 80, 80] * 20_000],
        [{"x": 1}],
        {},
        {"size": [20, 20]},
        {"size": [20, 20], "counts": None},
        {"size": [20, 20], "counts": [400, 1]},
        {"size": [20, 20], "counts": [399]},
        {"size": [20, 20], "counts": [-1, 401]},
        {"size": [20, 20], "counts": [1e2, 300]},
        {"size": [20, 20], "counts": [10**30]},
        {"size": [20, 20], "counts": "\x00"},
        {"size": [20, 20], "counts": "é"},
        {"size": [20, 20], "counts": "oooooooooooooooooooo"},
        {"size": [20, 20], "counts": "P"},
        {"size": [20, 20], "counts": "O1"},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": [20, 21], "counts": [420]},
    ],
)
def test_damaged_masks_cost_one_error(source: Any) -> None:
    with pytest.raises(InputError, match="mask"):
        read_mask(Mask("cat", source), 20, 20)


@pytest.mark.parametrize(("dark", "bright"), [(0, 1), (0, 255), (51, 204), (0, 3)])
def test_pictures_of_masks(dark: int, bright: int, tmp_path: Path) -> None:
    plane = np.full((4, 6), dark, np.uint8)
    plane[1:3, 2:5] = bright
    Image.fromarray(np.repeat(plane[..., None], 3, axis=2)).save(tmp_path / "m.png")
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "none.png")
    found = read_mask(Mask("cat", tmp_path / "m.png"), 4, 6)
    np.testing.assert_array_equal(found, plane == bright)
    assert not read_mask(Mask("cat", tmp_path / "none.png"), 4, 6).any()
    with pytest.raises(InputError, match="6 x 4 pixels, not 6 x 5"):
        read_mask(Mask("cat", tmp_path / "m.png"), 5, 6)
    with pytest.raises(InputError, match="no picture"):
        read_mask(Mask("cat", tmp_path / "absent.png"), 4, 6)
    (tmp_path / "m.png").write_bytes((tmp_path / "m.png").read_bytes()[:60])
    with pytest.raises(InputError, match="cannot be read"):
        read_mask(Mask("cat", tmp_path / "m.png"), 4, 6)


INSIDE = np.zeros((8, 8), bool)
INSIDE[2:5, 2:6] = True
EDGE = np.zeros((8, 8), bool)
EDGE[1, 2:6] = True
TRUTH = np.where(EDGE, IGNORED, INSIDE)


def levels(background: int, inside: int, edge: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.where(INSIDE, inside, np.where(EDGE, edge, background)).astype(dtype)


def with_palette(plane: np.ndarray, colours: dict[int, tuple[int, int, int]]) -> Image.Image:
    picture = Image.fromarray(plane).convert("L")
    table = np.zeros((256, 3), np.uint8)
    for index, colour in colours.items():
        table[index] = colour
    picture.putpalette(table.ravel().tolist())
    return picture


def coloured(*colours: tuple[int, ...]) -> Image.Image:
    planes = np.where(INSIDE[..., None], colours[1], np.where(EDGE[..., None], colours[-1], colours[0]))
    return Image.fromarray(planes.astype(np.uint8))


BLACK, WHITE, RED, VOID = (0, 0, 0), (255, 255, 255), (128, 0, 0), (224, 224, 192)


@pytest.mark.parametrize(
    ("picture", "truth"),
    [
        (Image.fromarray(levels(0, 1, 255)), TRUTH),
        (Image.fromarray(levels(0, 255, 128)), TRUTH),
        (Image.fromarray(levels(2, 1, 3)), TRUTH),
        (Image.fromarray(levels(0, 1, 0, np.uint16)), INSIDE),
        (Image.fromarray(levels(0, 65535, 0, np.uint16)), INSIDE),
        (Image.fromarray(levels(0, 300, 0, np.uint16)), INSIDE),
        (Image.fromarray(levels(0, 255, 70)), INSIDE),
        (Image.fromarray(levels(0, 204, 102)), INSIDE),
        (Image.fromarray(INSIDE), INSIDE),
        (with_palette(levels(0, 12, 255), {12: RED, 255: VOID}), TRUTH),
        (with_palette(levels(0, 1, 0), {0: WHITE, 1: BLACK}), ~INSIDE),
        (with_palette(levels(0, 1, 0), {0: BLACK, 1: WHITE}), INSIDE),
        (with_palette(levels(0, 1, 0), {0: WHITE, 1: RED}), INSIDE),
        (coloured(BLACK, RED), INSIDE | EDGE),
        (coloured(BLACK, RED, VOID), TRUTH),
        (coloured((0, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 0)), INSIDE),
        (coloured((0, 0, 0, 255), (255, 255, 255, 255), (0, 0, 0, 255)), INSIDE),
        (coloured((0, 0, 0, 0), (255, 255, 255, 255), (0, 0, 0, 0)), INSIDE),
    ],
)
def test_what_levels_of_pictures_mean(picture: Image.Image, truth: np.ndarray, tmp_path: Path) -> None:
    picture.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(Mask("cat", tmp_path / "m.png"), 8, 8), truth)
    merged = merge_masks([Mask("cat", tmp_path / "m.png"), Mask("cat", [[0, 0, 8, 0, 8, 2, 0, 2]])], 8, 8)
    np.testing.assert_array_equal(merged[2:], truth[2:])
    assert (merged[:2] == OBJECT).all()


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(levels(0, 1, 2)),
        Image.fromarray(levels(0, 3, 7, np.uint16)),
        Image.fromarray(levels(100, 120, 100)),
        Image.fromarray(levels(255, 1, 255)),  # an object and void around it, or white around black?
        Image.fromarray(levels(20, 250, 20)),
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4),
        with_palette(levels(0, 12, 15), {12: RED, 15: VOID}),
        with_palette(levels(1, 0, 1), {0: RED, 1: BLACK}),
        coloured(RED, WHITE, BLACK),
        coloured((255, 255, 255, 0), (0, 0, 0, 255), (255, 255, 255, 255)),
        coloured((0, 0, 0, 0), (1, 1, 1, 0)),
        Image.fromarray(np.ones((8, 8), np.float32)),
    ],
)
def test_pictures_with_several_meanings_are_refused(picture: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / ("m.tiff" if picture.mode == "F" else "m.png")
    picture.save(path)
    with pytest.raises(InputError, match=r"mask m\..*write one of 0 and 255"):
        read_mask(Mask("cat", path), 8, 8)


def test_a_photograph_that_was_cut_out(tmp_path: Path) -> None:
    planes = np.random.default_rng(0).integers(0, 256, (40, 40, 4), np.uint8)
    planes[..., 3] = 0
    planes[5:30, 5:30, 3] = 255
    Image.fromarray(planes).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(Mask("cat", tmp_path / "m.png"), 40, 40) == OBJECT, planes[..., 3] > 0)


def test_pictures_that_are_not_one_upright_mask(tmp_path: Path) -> None:
    mask, tags = Image.fromarray(levels(0, 255, 0)), Image.Exif()
    mask.save(tmp_path / "frames.gif", save_all=True, append_images=[mask.rotate(90)])
    with pytest.raises(InputError, match="several frames"):
        read_mask(Mask("cat", tmp_path / "frames.gif"), 8, 8)
    tags[0x0112] = 3
    mask.save(tmp_path / "turned.png", exif=tags)
    with pytest.raises(InputError, match="EXIF"):
        read_mask(Mask("cat", tmp_path / "turned.png"), 8, 8)
    with pytest.raises(InputError, match="no picture at"):
        read_mask(Mask("cat", tmp_path / ("a" * 400)), 8, 8)


def test_pixel_average_precision_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(1)
    values, truth = generator.integers(0, 40, 500), generator.random(500) < 0.3
    histogram = [np.bincount(values[truth == side], minlength=40) for side in (False, True)]
    assert pixel_average_precision(histogram) == pytest.approx(metrics.average_precision_score(truth, values))
    assert np.isnan(pixel_average_precision([[3], [0]]))


def test_pixels_are_counted_as_wsolevaluation_counts_them() -> None:
    cells = np.linspace(0, 1, 224 * 224, dtype=np.float32).reshape(224, 224)
    mask = np.zeros((448, 672), np.uint8)  # twice and, after the crop, twice the protocol's side
    mask[:200, 112:300], mask[300:, 112:] = OBJECT, IGNORED
    background, found = pixel_histogram(cells, mask, (112, 0, 560, 448))
    nearest = mask[::2, 112:560:2]
    edges = np.append(np.arange(0, 1, 0.001), [1.0, 2.0])  # its own bin for the value 1
    stretched = (cells.astype(np.float64) - cells.min()) / (float(cells.max()) - float(cells.min()))
    expected = [np.histogram(stretched[nearest == side], edges)[0] for side in (0, OBJECT)]
    assert len(found) == STEPS and found.sum() == (nearest == OBJECT).sum()
    assert background.sum() == (nearest == 0).sum()
    assert np.abs(np.cumsum(expected, axis=1) - np.cumsum([background, found], axis=1)).max() <= 1  # rounding of edges
    constant = pixel_histogram(np.zeros((3, 3)), mask, (0, 0, 672, 448))
    assert (constant[:, :-1] == 0).all()

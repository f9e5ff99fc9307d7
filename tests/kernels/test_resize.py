"""Contract of resize_patches, over every backend: the pixels are Pillow's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastconcept.errors import InputError
from fastconcept.kernels import cpu, reference
from fastconcept.kernels.contract import Kernels

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # results are pixels


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def convis_boxes() -> np.ndarray:
    """Every patch of a padded 480 x 480 image that touches the central 224 x 224: 730 boxes."""
    positions = [(x, y, x + s, y + s) for s in (128, 64) for y in range(0, 481 - s, 16) for x in range(0, 481 - s, 16)]
    return np.array([p for p in positions if p[0] < 352 and p[1] < 352 and p[2] > 128 and p[3] > 128], np.int32)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_convis_patches_are_pillows_to_the_last_bit(kernels: Kernels, interpolation: str) -> None:
    image, boxes = noise(480, 480), convis_boxes()
    assert len(boxes) == 730
    boxes = np.ascontiguousarray(boxes[:: 1 if kernels is cpu else 61])
    patches = kernels.resize_patches(image, boxes, (224, 224), interpolation=interpolation, **PLAIN)
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    for patch, box in zip(patches, boxes.tolist(), strict=True):
        expected = Image.fromarray(image).crop(box).resize((224, 224), filters[interpolation])
        np.testing.assert_array_equal(np.rint(patch), np.moveaxis(np.asarray(expected), 2, 0))


@st.composite
def resize_cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, tuple[int, int], str]:
    """Images from one pixel on, boxes from one pixel to the whole image, sizes from one pixel on, up and down."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        boxes.append([x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))])
    size = draw(st.tuples(st.integers(1, 70), st.integers(1, 70)))
    image = noise(height, width, draw(st.integers(0, 99)))
    return image, np.array(boxes, np.int32).reshape(-1, 4), size, draw(st.sampled_from(["bicubic", "bilinear"]))


@given(case=resize_cases())
@settings(max_examples=150)
def test_any_box_to_any_size(kernels: Kernels, case: tuple[np.ndarray, np.ndarray, tuple[int, int], str]) -> None:
    image, boxes, size, interpolation = case
    ours = kernels.resize_patches(image, boxes, size, MEAN, STD, interpolation)
    expected = reference.resize_patches(image, boxes, size, MEAN, STD, interpolation)
    assert ours.shape == (len(boxes), 3, *size) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)  # a pixel off by one would show as 1.4e-2


@pytest.mark.parametrize(
    ("height", "width", "size"), [(900, 700, (224, 224)), (1300, 20, (16, 224)), (20, 1300, (224, 16))]
)
def test_large_images(kernels: Kernels, height: int, width: int, size: tuple[int, int]) -> None:
    image = noise(height, width)
    boxes = np.array([[0, 0, width, height], [0, 0, width, height // 2], [3, 5, width, height]])
    ours = kernels.resize_patches(image, boxes, size, MEAN, STD)
    np.testing.assert_allclose(ours, reference.resize_patches(image, boxes, size, MEAN, STD), rtol=0, atol=1e-6)


def test_pixels_outside_a_box_never_leak_in(kernels: Kernels) -> None:
    image = noise(60, 60)
    image[20:40, 10:50] = 128
    patch = kernels.resize_patches(image, np.array([[10, 20, 50, 40]]), (33, 77), **PLAIN)
    np.testing.assert_allclose(patch, 128, rtol=1e-6)


def test_a_box_of_the_target_size_is_only_cut_out(kernels: Kernels) -> None:
    image = noise(50, 40)
    patch = kernels.resize_patches(image, np.array([[3, 4, 23, 34]]), (30, 20), **PLAIN)
    np.testing.assert_allclose(patch[0], np.moveaxis(image[4:34, 3:23], 2, 0), rtol=0, atol=1e-4)


def test_result_goes_where_it_is_told(kernels: Kernels) -> None:
    image, boxes = noise(30, 30), np.array([[0, 0, 9, 9], [2, 3, 30, 30]])
    out = np.full((2, 3, 8, 8), np.nan, np.float32)
    result = kernels.resize_patches(image, boxes, (8, 8), MEAN, STD, out=out)
    assert result is out
    np.testing.assert_array_equal(out, kernels.resize_patches(image, boxes, (8, 8), MEAN, STD))


def test_strided_boxes_order_and_repeats(kernels: Kernels) -> None:
    image = noise(64, 64)
    boxes = np.array([[9, 9, 40, 40], [0, 0, 16, 16], [9, 9, 40, 40], [9, 0, 40, 64], [9, 50, 40, 60]])
    together = kernels.resize_patches(image, boxes, (20, 20), MEAN, STD)
    alone = [kernels.resize_patches(image, boxes[i : i + 1], (20, 20), MEAN, STD)[0] for i in range(len(boxes))]
    np.testing.assert_array_equal(together, alone)


def bad(**changes: object) -> object:
    return pytest.param(changes, id=" ".join(f"{name}={value}" for name, value in changes.items())[:60])


def read_only(shape: tuple[int, ...]) -> np.ndarray:
    array = np.zeros(shape, np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "changes",
    [
        bad(image=np.zeros((8, 8, 4), np.uint8)),
        bad(image=np.zeros((8, 8, 3), np.float32)),
        bad(image=np.zeros((8, 16, 3), np.uint8)[:, ::2]),
        bad(image=np.zeros((3, 8), np.uint8)),
        bad(boxes=np.array([[0, 0, 9, 8]])),
        bad(boxes=np.array([[0, 0, 8, 9]])),
        bad(boxes=np.array([[-1, 0, 8, 8]])),
        bad(boxes=np.array([[0, -1, 8, 8]])),
        bad(boxes=np.array([[4, 0, 4, 8]])),
        bad(boxes=np.array([[0, 5, 8, 4]])),
        bad(boxes=np.array([[0, 0, 2**31, 8]])),
        bad(boxes=np.array([0, 0, 8, 8])),
        bad(boxes=np.array([[0.0, 0.0, 8.0, 8.0]])),
        bad(size=(0, 4)),
        bad(size=(4, 2**20)),
        bad(size=(4,)),
        bad(size=4),
        bad(size=(4.0, 4.0)),
        bad(mean=(0.5, 0.5)),
        bad(mean=(0.5, 0.5, float("nan"))),
        bad(mean="abc"),
        bad(std=(0.5, 0.5, 0.0)),
        bad(std=(0.5, 0.5, -1.0)),
        bad(interpolation="lanczos"),
        bad(out=np.zeros((1, 3, 4, 5), np.float32)),
        bad(out=np.zeros((1, 3, 4, 4))),
        bad(out=read_only((1, 3, 4, 4))),
    ],
)
def test_bad_arguments_are_refused(kernels: Kernels, changes: dict[str, object]) -> None:
    arguments: dict[str, object] = {
        "image": np.zeros((8, 8, 3), np.uint8),
        "boxes": np.array([[0, 0, 8, 8]]),
        "size": (4, 4),
        "mean": MEAN,
        "std": STD,
    }
    with pytest.raises(InputError, match=next(iter(changes))):
        kernels.resize_patches(**arguments | changes)

"""Contract of resize_images, over every backend: the pixels are those of Pillow 13."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastconcept.errors import InputError
from fastconcept.kernels import arguments, cpu, reference
from fastconcept.kernels.contract import Kernels

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # results are pixels
NEWEST = int(PIL.__version__.split(".")[0]) >= 13


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.skipif(not NEWEST, reason="earlier versions of Pillow always take the width first")
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pillow_decides_which_side_comes_first(kernels: Kernels, interpolation: str) -> None:
    """Squashed, tall and wide images, where the order of the passes shows."""
    shapes = [(90, 120), (120, 90), (400, 60), (60, 400), (240, 120), (33, 33), (7, 90), (300, 31)]
    images = [noise(*shape, seed) for seed, shape in enumerate(shapes)]
    squashed = np.array([(32, 48, 0, 0)] * len(images))
    found = kernels.resize_images(images, squashed, (32, 48), interpolation=interpolation, **PLAIN)
    resample = Image.Resampling[interpolation.upper()]
    expected = [np.asarray(Image.fromarray(image).resize((48, 32), resample)) for image in images]
    np.testing.assert_array_equal(np.rint(found), np.moveaxis(np.stack(expected), 3, 1))
    assert sum(arguments.columns_first(*shape, 32, 48) for shape in shapes) == 5


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[np.ndarray], np.ndarray, tuple[int, int], str, int]:
    """Images from one pixel on; windows inside, across the edges and beside the resized image."""
    images, placements = [], []
    for seed in range(draw(st.integers(0, 4))):
        images.append(noise(draw(st.integers(1, 90)), draw(st.integers(1, 90)), seed))
        placements.append([*(draw(st.integers(1, 70)) for _ in range(2)), *(draw(st.integers(-40, 70)) for _ in "yx")])
    size = draw(st.tuples(st.integers(1, 50), st.integers(1, 50)))
    table = np.array(placements, np.int64).reshape(-1, 4)
    return images, table, size, draw(st.sampled_from(["bicubic", "bilinear"])), draw(st.integers(0, 255))


@given(case=cases())
@settings(max_examples=120)
def test_any_window_of_any_image(kernels: Kernels, case: tuple) -> None:
    images, placements, size, interpolation, fill = case
    found = kernels.resize_images(images, placements, size, MEAN, STD, interpolation, fill=fill)
    expected = reference.resize_images(images, placements, size, MEAN, STD, interpolation, fill=fill)
    assert found.shape == (len(images), 3, *size) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)  # a pixel off by one would show as 1.4e-2


@given(data=st.data())
@settings(max_examples=60)
def test_a_working_image_of_any_size(kernels: Kernels, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 120)), data.draw(st.integers(1, 120))
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = x0, y0, data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    size = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    image = noise(height, width)
    found = kernels.resize_image(image, box, size, num_threads=2)
    np.testing.assert_array_equal(found, reference.resize_image(image, box, size))
    if NEWEST:
        whole = Image.fromarray(image).crop(box).resize(size[::-1], Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(found, np.asarray(whole))


def test_photographs_of_every_shape(kernels: Kernels) -> None:
    shapes = [(480, 640), (640, 480), (224, 224), (1, 1), (500, 1800), (1800, 500), (20, 1300), (1300, 20)]
    images = [noise(*shape, seed) for seed, shape in enumerate(shapes)]
    strips = [(224, 806, 0, 291), (806, 224, 291, 0), (224, 14560, 0, 7168), (14560, 224, 7168, 0)]
    placements = np.array([(224, 298, 0, 37), (298, 224, 37, 0), (224, 224, 0, 0), (224, 224, 0, 0), *strips])
    found = kernels.resize_images(images, placements, (224, 224), MEAN, STD)
    expected = reference.resize_images(images, placements, (224, 224), MEAN, STD)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_strip_costs_what_its_window_costs(kernels: Kernels) -> None:
    rows = 400 if kernels is reference else 20_000  # the reference makes all of it
    strip = np.broadcast_to(np.arange(rows, dtype=np.uint8)[:, None, None], (rows, 1, 3)).copy()
    placement = np.array([[rows * 224, 224, rows * 112 - 112, 0]])  # 3 GB, if it were made
    found = kernels.resize_images([strip], placement, (224, 224), **PLAIN)
    assert set(np.rint(found[0, 0, :, 0]).tolist()) <= {(rows // 2 - 1) % 256, rows // 2 % 256}


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_threads_share_images_or_rows_and_change_nothing(kernels: Kernels, threads: int, count: int) -> None:
    images = [noise(70 + 9 * i, 50 + 40 * i, i) for i in range(count)]
    placements = np.array([(40, 40 + 3 * i, 0, i) for i in range(count)])
    alone = [kernels.resize_images([images[i]], placements[i : i + 1], (40, 40), MEAN, STD)[0] for i in range(count)]
    together = kernels.resize_images(images, placements, (40, 40), MEAN, STD, num_threads=threads)
    np.testing.assert_array_equal(together, alone)


def test_result_goes_where_it_is_told(kernels: Kernels) -> None:
    images, placements = [noise(30, 40), noise(9, 9)], np.array([(8, 11, 0, 1), (4, 4, -2, -2)])
    out = np.full((2, 3, 8, 8), np.nan, np.float32)
    result = kernels.resize_images(images, placements, (8, 8), MEAN, STD, out=out)
    assert result is out
    np.testing.assert_array_equal(out, kernels.resize_images(images, placements, (8, 8), MEAN, STD))


def test_equal_to_the_patch_of_the_whole_image() -> None:
    image = noise(150, 170)
    patch = cpu.resize_patches(image, np.array([[0, 0, 170, 150]]), (64, 80), MEAN, STD)
    np.testing.assert_array_equal(cpu.resize_images([image], np.array([[64, 80, 0, 0]]), (64, 80), MEAN, STD), patch)


def bad(**changes: object) -> object:
    return pytest.param(changes, id=" ".join(f"{name}={value}" for name, value in changes.items())[:60])


@pytest.mark.parametrize(
    "changes",
    [
        bad(images=[np.zeros((8, 8, 4), np.uint8)]),
        bad(images=[np.zeros((8, 8, 3), np.float32)]),
        bad(images=[np.zeros((8, 16, 3), np.uint8)[:, ::2]]),
        bad(images=[np.zeros((0, 8, 3), np.uint8)]),
        bad(images=[np.zeros((8, 0, 3), np.uint8)]),
        bad(images=[None]),
        bad(images=7),
        bad(images="a"),
        bad(placements=np.array([[4, 4, 0]])),
        bad(placements=np.array([[4, 4, 0, 0]] * 2)),
        bad(placements=np.array([[4.0, 4.0, 0.0, 0.0]])),
        bad(placements=np.array([[0, 4, 0, 0]])),
        bad(placements=np.array([[4, -1, 0, 0]])),
        bad(placements=np.array([[4, 2**51, 0, 0]])),
        bad(placements=np.array([[4, 4, -(2**63), 0]])),
        bad(placements=[[4, 4, 0, 0]]),
        bad(size=(0, 4)),
        bad(size=(4, 2**20)),
        bad(size=4),
        bad(mean=(0.5, 0.5)),
        bad(mean=(0.5, 0.5, float("nan"))),
        bad(std=(0.5, 0.5, 0.0)),
        bad(interpolation="lanczos"),
        bad(fill=256),
        bad(fill=-1),
        bad(fill=0.5),
        bad(out=np.zeros((1, 3, 4, 5), np.float32)),
        bad(out=np.zeros((1, 3, 4, 4))),
    ],
)
def test_bad_arguments_are_refused(kernels: Kernels, changes: dict[str, object]) -> None:
    arguments: dict[str, object] = {
        "images": [np.zeros((8, 8, 3), np.uint8)],
        "placements": np.array([[4, 4, 0, 0]]),
        "size": (4, 4),
        "mean": MEAN,
        "std": STD,
    }
    with pytest.raises(InputError, match=next(iter(changes))):
        kernels.resize_images(**arguments | changes)

"""Preprocessing equal to open_clip's own transform."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fastconcept.bundle import Preprocess
from fastconcept.encoders.preprocess import preprocess_image

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(224, 224), (96, 128)])
@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("height, width", [(300, 451), (451, 300), (50, 70), (224, 224), (1, 9)])
def test_equal_to_open_clip(size: tuple[int, int], mode: str, interpolation: str, height: int, width: int) -> None:
    open_clip = pytest.importorskip("open_clip")
    if mode == "shortest" and size[0] != size[1] and interpolation == "bilinear":
        pytest.skip("open_clip ignores the interpolation here and always uses bicubic")
    transform = open_clip.image_transform(
        size, is_train=False, mean=MEAN, std=STD, resize_mode=mode, interpolation=interpolation, fill_color=7
    )
    image = noise(height, width)
    expected = transform(Image.fromarray(image)).numpy()
    config = Preprocess(size, MEAN, STD, interpolation, mode, 7)
    np.testing.assert_allclose(preprocess_image(image, config), expected, rtol=0, atol=1e-6)


def test_an_extreme_aspect_ratio_needs_no_gigabytes() -> None:
    config = Preprocess((224, 224), MEAN, STD)
    strip = np.broadcast_to(np.arange(20_000, dtype=np.uint8)[:, None, None], (20_000, 1, 3)).copy()
    assert preprocess_image(strip, config).shape == (3, 224, 224)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_patches_from_the_compiled_kernel_are_the_same_bits(interpolation: str) -> None:
    from fastconcept.kernels import cpu

    image = noise(150, 170)
    boxes = np.array([(x, y, x + side, y + side) for side in (128, 64, 33) for x in (0, 7) for y in (0, 20)], np.int32)
    config = Preprocess((112, 112), MEAN, STD, interpolation, "squash")
    patches = cpu.resize_patches(image, boxes, config.size, MEAN, STD, interpolation)
    for patch, (x0, y0, x1, y1) in zip(patches, boxes, strict=True):
        np.testing.assert_array_equal(patch, preprocess_image(image[y0:y1, x0:x1], config))

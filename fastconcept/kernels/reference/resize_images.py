"""Whole images to one size by Pillow, as they are or normalised in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import arguments
from ..contract import Array

_ALL = slice(None)


def resize_images(
    images: Sequence[Array],
    placements: Array,
    size: tuple[int, int],
    mean: Sequence[float] | Array,
    std: Sequence[float] | Array,
    interpolation: str = "bicubic",
    *,
    fill: int = 0,
    out: Array | None = None,
    num_threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Pillow, one side at a time; what lies outside the window is dropped after each."""
    from PIL import Image

    task = arguments.placing(images, placements, size, mean, std, interpolation, fill)
    result = arguments.output("out", out, task.shape)
    resample = Image.Resampling[interpolation.upper()]
    result[:] = ((task.fill / 255.0 - task.mean) / task.std)[:, None, None]
    for i, (tall, wide, top, left) in enumerate(task.placements.tolist()):
        pixels = arguments.whole_image(i, images[i])
        rows = slice(max(top, 0), max(top + task.size[0], 0))  # of the resized image, what the window shows
        columns = slice(max(left, 0), max(left + task.size[1], 0))
        pixels = _resized(pixels, (tall, wide), resample, rows, columns)
        if pixels.size:
            y, x = max(-top, 0), max(-left, 0)
            window = result[i, :, y : y + pixels.shape[0], x : x + pixels.shape[1]]
            window[:] = np.moveaxis((pixels / 255.0 - task.mean) / task.std, 2, 0)
    return result


def resize_image(
    image: Array, box: tuple[int, int, int, int], size: tuple[int, int], *, num_threads: int | None = None
) -> npt.NDArray[np.uint8]:
    """Pillow, one side at a time."""
    from PIL import Image

    return _resized(image[box[1] : box[3], box[0] : box[2]], size, Image.Resampling.BICUBIC)


def _resized(
    pixels: npt.NDArray[np.uint8], size: tuple[int, int], resample: Any, rows: slice = _ALL, columns: slice = _ALL
) -> npt.NDArray[np.uint8]:
    """One side after the other, in Pillow's order; what is not looked at is dropped after each."""
    from PIL import Image

    tall, wide = size
    first = arguments.columns_first(pixels.shape[0], pixels.shape[1], tall, wide)
    for axis in (0, 1) if first else (1, 0):
        height, width = pixels.shape[:2]
        sides = (width, tall) if axis == 0 else (wide, height)
        pixels = np.asarray(Image.fromarray(pixels).resize(sides, resample))
        pixels = np.ascontiguousarray(pixels[rows] if axis == 0 else pixels[:, columns])
        if not pixels.size:
            break
    return pixels

"""Whole images to one size on the CPU (``csrc/cpu/resize_images.cpp``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .. import _cpu, arguments
from ..contract import Array
from ..threads import check_num_threads


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
    """Pillow's pixels, to the last bit; threads share the images of a batch, or the rows of a single one."""
    task = arguments.placing(images, placements, size, mean, std, interpolation, fill)
    pixels = [arguments.whole_image(i, image) for i, image in enumerate(images)]
    result = arguments.output("out", out, task.shape)
    threads, bicubic = check_num_threads(num_threads), interpolation == "bicubic"
    _cpu.resize_images(pixels, task.placements, task.mean, task.std, bicubic, task.fill, result, threads)
    return result


def resize_image(
    image: Array, box: tuple[int, int, int, int], size: tuple[int, int], *, num_threads: int | None = None
) -> npt.NDArray[np.uint8]:
    """Pillow's pixels, to the last bit; threads share the rows."""
    cut = np.ascontiguousarray(image[box[1] : box[3], box[0] : box[2]])
    result = np.empty((*size, 3), np.uint8)
    _cpu.resize_image(cut, result, check_num_threads(num_threads))
    return result

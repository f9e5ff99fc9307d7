"""Resized patches on the CPU (``csrc/cpu/resize.cpp``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .. import _cpu, arguments
from ..contract import Array
from ..threads import check_num_threads


def resize_patches(
    image: Array,
    boxes: Array,
    size: tuple[int, int],
    mean: Sequence[float] | Array,
    std: Sequence[float] | Array,
    interpolation: str = "bicubic",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Pillow's pixels, to the last bit."""
    pixels = arguments.array("image", image, (None, None, 3), [np.uint8], "H, W, 3")
    task = arguments.resizing(boxes, size, mean, std, interpolation)
    result = arguments.output("out", out, task.shape)
    threads = check_num_threads(num_threads)
    _cpu.resize_patches(pixels, task.boxes, task.mean, task.std, interpolation == "bicubic", result, threads)
    return result

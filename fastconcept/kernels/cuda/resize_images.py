"""Whole images to one size on the device, by the passes of ``csrc/cuda/resize.cu``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import arguments
from ..contract import Array
from ..host import is_host, to_host
from ..threads import check_num_threads
from .arrays import back, device_array
from .device import DeviceArray, require
from .resize import height_first, resize_patches


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
) -> Array:
    """Image after image, both passes on the device; ``out`` may be float16 there."""
    check_num_threads(num_threads)
    xp = require()
    task = arguments.placing(images, to_host(placements), size, to_host(mean), to_host(std), interpolation, fill)
    on_host = all(map(is_host, images)) if out is None else is_host(out)
    if out is None or on_host:
        if out is not None:
            arguments.output("out", out, task.shape)
        result = xp.empty(task.shape, np.float32)
    else:
        result = device_array("out", out, task.shape, [np.float32, np.float16])
    blank = ((np.float32(task.fill / 255) - task.mean.astype(np.float32)) / task.std.astype(np.float32)).tolist()
    for i, placement in enumerate(task.placements.tolist()):
        _place(images[i], i, placement, task, blank, interpolation, result[i])
    if on_host and out is not None:
        out[...] = to_host(result)
        return out
    return back(result, on_host)


def _place(
    image: Array,
    index: int,
    placement: Sequence[int],
    task: arguments.Placing,
    blank: Sequence[float],
    interpolation: str,
    window: DeviceArray,
) -> None:
    """One image into its window (3, h, w)."""
    tall, wide, top, left = placement
    if is_host(image):
        arguments.whole_image(index, image)
    if max(tall, wide) > arguments.MAX_SIZE:  # a strip, of which little is looked at: made on the host
        from .. import cpu

        one = np.array([placement], np.int64)
        pixels = [np.ascontiguousarray(to_host(image))]
        shown = cpu.resize_images(pixels, one, task.size, task.mean, task.std, interpolation, fill=task.fill)
        window[...] = require().asarray(shown[0])
        return
    source = device_array(f"images[{index}]", image, (None, None, 3), [np.uint8], "H, W, 3")
    height, width = source.shape[:2]
    arguments.whole_image(index, np.empty((min(height, 1), min(width, 1), 3), np.uint8))  # not empty
    source, box = height_first(source, (0, 0, width, height), (tall, wide), interpolation)
    resized = resize_patches(source, np.array([box], np.int32), (tall, wide), task.mean, task.std, interpolation)[0]
    rows = range(max(top, 0), min(top + task.size[0], tall))
    columns = range(max(left, 0), min(left + task.size[1], wide))
    if (len(rows), len(columns)) != task.size:
        for channel, value in enumerate(blank):
            window[channel] = value
    if rows and columns:
        window[:, rows[0] - top : rows[-1] + 1 - top, columns[0] - left : columns[-1] + 1 - left] = resized[
            :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1
        ]

"""Resized patches on the device (``csrc/cuda/resize.cu``)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from .. import arguments
from ..contract import Array
from ..host import is_host, to_host
from ..threads import check_num_threads
from .arrays import Tables, back, device_array, pointer, table, upload
from .device import DeviceArray, require, stream

_KEPT_AXES = 64
_MOST_KEPT_SIZES = 16  # of an axis that is kept
_BETWEEN_BYTES = 256 << 20  # rows between the two passes of a resize, and filter taps, at a time


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
) -> Array:
    """Both passes on the device; ``out`` may be float16 there, for an encoder that takes half precision."""
    check_num_threads(num_threads)
    xp = require()
    pixels = device_array("image", image, (None, None, 3), [np.uint8], "H, W, 3")
    task = arguments.resizing(to_host(boxes), size, to_host(mean), to_host(std), interpolation)
    corners, (height, width) = task.boxes, task.size
    on_host = is_host(image) if out is None else is_host(out)
    if out is None or on_host:
        if out is not None:
            arguments.output("out", out, task.shape)
        result = xp.empty(task.shape, np.float32)
    else:
        result = device_array("out", out, task.shape, [np.float32, np.float16])
    scale = tuple((1.0 / (255.0 * task.std)).tolist())
    shift = tuple((-task.mean / task.std).tolist())
    kind = int(interpolation == "bicubic")
    for chunk in box_chunks(corners, pixels.shape, height, width):
        across = resize_axis(corners[chunk, 2] - corners[chunk, 0], width, kind)
        down = resize_axis(corners[chunk, 3] - corners[chunk, 1], height, kind)
        _resize_chunk(pixels, corners[chunk], down, across, kind, scale, shift, result[chunk])
    if on_host and out is not None:
        out[...] = to_host(result)
        return out
    return back(result, on_host)


def resize_image(
    image: Array,
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    interpolation: str = "bicubic",
    *,
    num_threads: int | None = None,
) -> Array:
    """Done by :func:`resize_patches`; a side beyond 16,384 pixels is left to the CPU."""
    if max(size) > arguments.MAX_SIZE:
        from .. import cpu

        resized = cpu.resize_image(to_host(image), box, size, num_threads=num_threads)
        return resized if is_host(image) else upload(resized)
    image, box = height_first(image, box, size, interpolation)
    # 1 / 255 undoes the division by 255: these are pixels, which rounding makes whole again.
    planes = resize_patches(image, np.array([box], np.int32), size, [0.0] * 3, [1 / 255] * 3, interpolation)[0]
    pixels: Array = np.rint(planes).astype(np.uint8).transpose(1, 2, 0).copy()
    return pixels


def height_first(
    image: Array, box: tuple[int, int, int, int], size: tuple[int, int], interpolation: str
) -> tuple[Array, tuple[int, int, int, int]]:
    """An image and its box, resized in height where Pillow does that first, before passes that begin with the width."""
    width, height = box[2] - box[0], box[3] - box[1]
    if width == size[1] or width > arguments.MAX_SIZE or not arguments.columns_first(height, width, *size):
        return image, box
    return resize_image(image, box, (size[0], width), interpolation), (0, 0, width, size[0])


def _resize_chunk(
    pixels: DeviceArray,
    corners: npt.NDArray[np.int32],
    vertical: tuple[Axis, npt.NDArray[np.int64]],
    horizontal: tuple[Axis, npt.NDArray[np.int64]],
    kind: int,
    scale: tuple[float, ...],
    shift: tuple[float, ...],
    out: DeviceArray,
) -> None:
    """One launch of both passes for boxes whose intermediate rows fit."""
    xp = require()
    from .. import _cuda as native

    (down, rows), (across, columns) = vertical, horizontal
    extents = corners[:, 2:] - corners[:, :2]
    plan = np.column_stack([corners[:, :2], extents, columns, rows]).astype(np.int32)
    sizes = 3 * extents[:, 1].astype(np.int64) * across.output
    sizes = -(-sizes // 4) * 4  # the columns are read four bytes at a time
    device_plan, offsets = table(plan), table(np.cumsum(sizes) - sizes)
    between = xp.empty(int(sizes.sum()), np.uint8)
    native.resize_patches(
        pointer(pixels),
        pixels.shape[1],
        pointer(device_plan),
        pointer(offsets),
        len(plan),
        int(extents[:, 1].max()),
        pointer(between),
        across.pointers(),
        down.pointers(),
        (down.count, across.count),
        (down.output, across.output),
        kind,
        scale,
        shift,
        out.dtype == np.float16,
        pointer(out),
        stream(),
    )


class Axis(Tables):
    """Filter taps along one axis for every distinct input size, filled in on the device."""

    def __init__(self, sizes: npt.NDArray[np.int64], output: int, kind: int) -> None:
        xp = require()
        from .. import _cuda as native

        taps = np.array([native.tap_count(int(size), output, kind) for size in sizes], np.int64) * output
        super().__init__(sizes.astype(np.int32), np.cumsum(taps) - taps)
        self.output, self.count = output, len(sizes)
        starts = xp.empty(len(sizes) * output, np.int32)
        self._arrays = (*self._arrays, xp.empty(int(taps.sum()), np.int32), starts)
        native.fill_taps(self.pointers(), self.count, output, kind, stream())


def resize_axis(extents: npt.NDArray[np.int32], output: int, kind: int) -> tuple[Axis, npt.NDArray[np.int64]]:
    """The taps that boxes of these widths (or heights) need to become ``output`` pixels, and which of them each needs.

    Axes of few sizes are kept, for each stream: the boxes of the next image are the same.
    """
    sizes, which = np.unique(extents.astype(np.int64), return_inverse=True)
    if len(sizes) > _MOST_KEPT_SIZES:
        return Axis(sizes, output, kind), which
    return _axis(tuple(sizes.tolist()), output, kind, int(require().cuda.Device().id), stream()), which


@functools.lru_cache(maxsize=_KEPT_AXES)
def _axis(sizes: tuple[int, ...], output: int, kind: int, device: int, queue: int) -> Axis:
    return Axis(np.array(sizes, np.int64), output, kind)


def box_chunks(corners: npt.NDArray[np.int32], shape: tuple[int, ...], height: int, width: int) -> list[slice]:
    """Check boxes against the image and group them so that what lies between the passes fits a bounded buffer.

    Raises
    ------
    InputError
        If a box is empty or reaches outside the image.

    Examples
    --------
    >>> box_chunks(np.array([[0, 0, 4, 4]] * 3, np.int32), (8, 8, 3), 2, 2)
    [slice(0, 3, None)]
    """
    rows, columns = shape[:2]
    x0, y0, x1, y1 = corners.T.astype(np.int64)
    bad = (x0 < 0) | (y0 < 0) | (x0 >= x1) | (y0 >= y1) | (x1 > columns) | (y1 > rows)
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"boxes[{i}] is {tuple(corners[i].tolist())}, expected x0 < x1 and y0 < y1 inside the image of width "
            f"{columns} and height {rows}"
        )
    # Bytes between the passes, and the taps of a size that no other box shares.
    needs = 3 * (y1 - y0) * width + 4 * (5 * (x1 - x0) + 5 * (y1 - y0) + 6 * (height + width))
    chunks, start, total = [], 0, 0
    for i, need in enumerate(needs.tolist()):
        if total + need > _BETWEEN_BYTES and i > start:
            chunks.append(slice(start, i))
            start, total = i, 0
        total += need
    return [*chunks, slice(start, len(needs))] if len(needs) else []

"""Saliency maps on the device (``csrc/cuda/saliency.cu``), and the tables of which patches cover a cell."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from .. import arguments
from ..contract import Array, SaliencyMaps
from ..host import is_host, to_host
from ..threads import check_num_threads
from .arrays import Tables, back, device_array, pointer
from .device import device_limit, finish_uploads, require, stream

_BLOCKS_PER_MULTIPROCESSOR = 4  # few enough that the means of 14 x 14 cells stay within a GPU's cache
_SCRATCH_BYTES = 512 << 20  # means of maps at a time
_LIST = 4  # entries that the kernel reads at once
_PATCH_BITS = 27  # of an entry
_KEPT_GRIDS = 16


def saliency_maps(
    values: Array, boxes: Array, weights: Array, shape: tuple[int, int], *, num_threads: int | None = None
) -> SaliencyMaps:
    """Sums in the order of the patches in float64: equal to the reference, to the last bit."""
    check_num_threads(num_threads)
    xp = require()
    from .. import _cuda as native

    array = device_array("values", values, (None, None), [np.float32, np.int32], "n, k")
    count, concepts = array.shape
    height, width = arguments.sides("shape", shape, arguments.MAX_CELLS, area=arguments.MAX_CELLS)
    corners = arguments.boxes(to_host(boxes), count)
    weighing = arguments.array("weights", to_host(weights), (count,), [np.float64])
    cover = coverage(corners, weighing, height, width)
    cells = height * width
    maps = xp.empty((concepts, height, width), np.float32)
    low, high = xp.empty(concepts, np.float64), xp.empty(concepts, np.float64)
    means_of_block = native.CONCEPT_TILE * cells
    blocks = min(
        -(-concepts // native.CONCEPT_TILE),
        _BLOCKS_PER_MULTIPROCESSOR * device_limit("MultiProcessorCount"),
        max(1, _SCRATCH_BYTES // (8 * means_of_block)),
    )
    means = xp.empty(blocks * means_of_block, np.float64)
    native.saliency_maps(
        pointer(array),
        array.dtype == np.int32,
        concepts,
        concepts,
        cover.pointers(),
        (height, width),
        count,
        blocks,
        pointer(means),
        pointer(maps),
        pointer(low),
        pointer(high),
        stream(),
    )
    if array.dtype == np.float32 and not bool(xp.isfinite(low).all()):
        raise InputError("values contains NaN or infinity")
    host = is_host(values)
    return SaliencyMaps(back(maps, host), back(low, host), back(high, host))


def coverage(boxes: npt.NDArray[np.int32], weights: npt.NDArray[np.float64], height: int, width: int) -> Tables:
    """Which patches cover each cell, and the sum of their weights, on the current device.

    The tables of the last few grids are kept, for each stream: the same patches come back with every image of a size,
    and memory that is let go while another stream still reads it would be given away too early.

    Raises
    ------
    InputError
        If a weight is not positive and finite, a box is empty, or a cell is not covered.
    """
    xp = require()
    return _coverage(boxes.tobytes(), weights.tobytes(), height, width, xp.cuda.Device().id, stream())


@functools.lru_cache(maxsize=_KEPT_GRIDS)
def _coverage(boxes: bytes, weights: bytes, height: int, width: int, device: int, queue: int) -> Tables:
    tables = cover_cells(
        np.frombuffer(boxes, np.int32).reshape(-1, 4), np.frombuffer(weights, np.float64), height, width
    )
    kept = Tables(*tables)
    finish_uploads()
    return kept


def cover_cells(
    boxes: npt.NDArray[np.int32], weights: npt.NDArray[np.float64], height: int, width: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """CSR lists of the patches over each block of two by two cells, the weights, and each cell's sum of weights.

    An entry is a patch and, from bit 27 on, which cells of the block it covers. The kernel reads four entries at once:
    lists are filled up with a number that is no patch.

    Examples
    --------
    >>> boxes = np.array([[0, 0, 1, 1], [0, 0, 2, 1]], np.int32)
    >>> indptr, entries, weights, totals = cover_cells(boxes, np.array([2.0, 1.0]), 1, 2)
    >>> indptr, entries & (1 << 27) - 1, entries >> 27
    (array([0, 4], dtype=int32), array([0, 1, 2, 2], dtype=int32), array([1, 3, 0, 0], dtype=int32))
    >>> weights, totals
    (array([2., 1.]), array([3., 1.]))
    """
    if len(boxes) >= 1 << _PATCH_BITS:
        raise InputError(f"at most {(1 << _PATCH_BITS) - 1} boxes, got {len(boxes)}")
    positive = np.isfinite(weights) & (weights > 0)
    if not positive.all():
        i = int(np.flatnonzero(~positive)[0])
        raise InputError(f"weights[{i}] is {weights[i]}, expected a positive number")
    empty = (boxes[:, 0] >= boxes[:, 2]) | (boxes[:, 1] >= boxes[:, 3])
    if empty.any():
        raise InputError(f"boxes[{int(np.flatnonzero(empty)[0])}] is empty, expected x0 < x1 and y0 < y1")
    inside = np.clip(boxes, 0, np.array([width, height, width, height])).astype(np.int64)
    across, down = inside[:, 2] - inside[:, 0], inside[:, 3] - inside[:, 1]
    areas = across * down
    if int(areas.sum()) > 2**31 - 1:
        raise InputError(f"boxes cover {int(areas.sum())} cells together; at most {2**31 - 1}")
    patches = np.repeat(np.arange(len(boxes)), areas)
    place = np.arange(len(patches)) - np.repeat(np.cumsum(areas) - areas, areas)
    cells = (inside[patches, 1] + place // across[patches]) * width + inside[patches, 0] + place % across[patches]
    counts = np.bincount(cells, minlength=height * width)
    if not counts.all():
        cell = int(np.flatnonzero(counts == 0)[0])
        raise InputError(f"boxes leave cell (x {cell % width}, y {cell // width}) uncovered")
    totals = np.bincount(cells, weights[patches], minlength=height * width)  # adds in the order of the patches
    down, right = cells // width, cells % width
    block = down // 2 * -(-width // 2) + right // 2
    order = np.lexsort((patches, block))
    key = (block * len(boxes) + patches)[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    covered = np.bitwise_or.reduceat(1 << (down % 2 * 2 + right % 2)[order], first)
    lengths = np.bincount(key[first] // len(boxes), minlength=-(-height // 2) * -(-width // 2))
    indptr = np.concatenate([[0], np.cumsum(-(-lengths // _LIST) * _LIST)])
    entries = np.full(indptr[-1], len(boxes), np.int32)
    places = np.arange(len(first)) + np.repeat(indptr[:-1] - np.cumsum(lengths) + lengths, lengths)
    entries[places] = key[first] % len(boxes) | covered << _PATCH_BITS
    return indptr.astype(np.int32), entries, weights, totals.astype(np.float64)

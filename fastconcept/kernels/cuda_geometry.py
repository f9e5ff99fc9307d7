"""Small integer tables that tell the CUDA kernels who covers whom; made on the host, uploaded, and kept.

Everything here is checked before it is uploaded: the kernels follow these indices without looking.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from . import checks
from .cuda_device import finish_uploads, pointer, require, stream

_BETWEEN_BYTES = 256 << 20  # rows between the two passes of a resize, and filter taps, at a time
_KEPT_GRIDS = 16

Integers = npt.NDArray[np.int64]


class Tables:
    """Device arrays that a kernel takes as a group of addresses."""

    def __init__(self, *arrays: npt.NDArray[Any]) -> None:
        xp, _ = require()
        self._arrays = tuple(xp.asarray(array) for array in arrays)

    def pointers(self) -> tuple[int, ...]:
        """Addresses, in the order of the arrays."""
        return tuple(pointer(array) for array in self._arrays)


class Levels(Tables):
    """A DAG as lists of concepts that have children, from the leaves upward.

    Parameters
    ----------
    child_indptr, child_indices, order : integer arrays
        As :func:`fastconcept.kernels.reference.all_ranks` takes them.
    concepts : int
        Rows of the bank.

    Raises
    ------
    InputError
        If they are no such graph.
    """

    def __init__(self, child_indptr: object, child_indices: object, order: object, concepts: int) -> None:
        checks.integers("child_indptr", child_indptr, concepts + 1, "N + 1")
        starts, children = checks.lists(
            child_indptr, child_indices, concepts, ("child_indptr", "child_indices"), may_be_empty=True
        )
        checks.bottom_up(order, starts, children)
        levels = bottom_up_levels(starts, children)
        nodes = np.concatenate([np.zeros(0, np.int64), *levels])
        self.count = len(levels)
        super().__init__(
            np.cumsum([0, *map(len, levels)]).astype(np.int32),
            nodes.astype(np.int32),
            np.concatenate([[0], np.cumsum(np.diff(starts)[nodes])]).astype(np.int32),
            take_lists(starts, children, nodes).astype(np.int32),
        )


def take_lists(starts: Integers, members: Integers, rows: Integers) -> Integers:
    """The members of some lists, one list after the other.

    Examples
    --------
    >>> take_lists(np.array([0, 2, 3]), np.array([7, 8, 9]), np.array([1, 0]))
    array([9, 7, 8])
    """
    lengths = np.diff(starts)[rows]
    within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    taken: Integers = members[np.repeat(starts[rows], lengths) + within]
    return taken


def bottom_up_levels(starts: Integers, children: Integers) -> list[Integers]:
    """Nodes that have children, grouped so that every child lies in an earlier group (or has no children).

    Examples
    --------
    >>> bottom_up_levels(np.array([0, 2, 2, 3, 3]), np.array([1, 2, 3]))  # 0 above 1 and 2; 2 above 3
    [array([2]), array([0])]
    """
    lengths = np.diff(starts)
    parents = np.repeat(np.arange(len(lengths)), lengths)[np.argsort(children, kind="stable")]
    parent_starts = np.concatenate([[0], np.cumsum(np.bincount(children, minlength=len(lengths)))])
    waiting, done = lengths.copy(), np.flatnonzero(lengths == 0)
    levels: list[Integers] = []
    while True:
        finished = take_lists(parent_starts, parents, done)
        np.subtract.at(waiting, finished, 1)
        done = np.unique(finished[waiting[finished] == 0])
        if len(done) == 0:
            return levels
        levels.append(done)


def coverage(boxes: npt.NDArray[np.int32], weights: npt.NDArray[np.float64], height: int, width: int) -> Tables:
    """Which patches cover each cell, and the sum of their weights, on the current device.

    The tables of the last few grids are kept, for each stream: the same patches come back with every image of a size,
    and memory that is let go while another stream still reads it would be given away too early.

    Raises
    ------
    InputError
        If a weight is not positive and finite, a box is empty, or a cell is not covered.
    """
    xp, _ = require()
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
    """CSR lists of the patches over each cell, the weights, and each cell's sum of weights.

    Examples
    --------
    >>> boxes = np.array([[0, 0, 1, 1], [0, 0, 2, 1]], np.int32)
    >>> cover_cells(boxes, np.array([2.0, 1.0]), 1, 2)
    (array([0, 2, 3], dtype=int32), array([0, 1, 1], dtype=int32), array([2., 1.]), array([3., 1.]))
    """
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
    by_cell = np.argsort(cells, kind="stable")  # patches stay in rising order within a cell
    counts = np.bincount(cells, minlength=height * width)
    if not counts.all():
        cell = int(np.flatnonzero(counts == 0)[0])
        raise InputError(f"boxes leave cell (x {cell % width}, y {cell // width}) uncovered")
    totals = np.bincount(cells, weights[patches], minlength=height * width)  # adds in the order of the patches
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return indptr.astype(np.int32), patches[by_cell].astype(np.int32), weights, totals.astype(np.float64)


class Axis(Tables):
    """Filter taps along one axis for every distinct input size, filled in on the device."""

    def __init__(self, sizes: Integers, table: Integers, output: int, kind: int) -> None:
        xp, native = require()
        taps = np.array([native.tap_count(int(size), output, kind) for size in sizes], np.int64) * output
        super().__init__(sizes.astype(np.int32), np.cumsum(taps) - taps)
        self.table, self.output, self.count = table, output, len(sizes)
        starts = xp.empty(len(sizes) * output, np.int32)
        self._arrays = (*self._arrays, xp.empty(int(taps.sum()), np.int32), starts)
        native.fill_taps(self.pointers(), self.count, output, kind, stream())


def resize_axis(extents: npt.NDArray[np.int32], output: int, kind: int) -> Axis:
    """The taps that boxes of these widths (or heights) need to become ``output`` pixels."""
    sizes, table = np.unique(extents.astype(np.int64), return_inverse=True)
    return Axis(sizes, table, output, kind)


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

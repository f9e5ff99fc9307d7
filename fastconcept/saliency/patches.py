"""Geometry of ConVis: the working image, its border, where its patches lie and what each of them counts.

Everything lies on cells: squares whose side divides the stride, every patch size and the border, so that a map
is constant inside a cell and no patch covers part of one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..kernels import reference
from ..kernels.arguments import MAX_CELLS
from ..kernels.contract import Kernels

WORKING_SIZE = 224  # pixels of the short side (ConVis, section "Concept Visualization")
MAX_PATCHES = 50_000
MAX_PIXELS = 64_000_000  # of the working image with its border: bounds the memory of an explanation


class Uncovered(InputError):
    """The chosen patches leave a part of the image out."""


@dataclass(frozen=True)
class PatchGrid:
    """Where the patches of an image lie.

    Attributes
    ----------
    shape : (int, int)
        Height and width of the map in cells.
    cell : int
        Side of a cell in pixels of the working image.
    margin : int
        Pixels of border on every side; 0 when patches stay inside.
    boxes : (n, 4) int32
        Patches as x0, y0, x1, y1 in pixels of the bordered image.
    strides : mapping of int to int
        Patch size to the stride at which patches of that size lie.
    """

    shape: tuple[int, int]
    cell: int
    margin: int
    boxes: npt.NDArray[np.int32]
    strides: Mapping[int, int]

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def cells(self) -> npt.NDArray[np.int32]:
        """The patches as x0, y0, x1, y1 in cells of the map, (n, 4); they may reach outside it."""
        return (self.boxes - self.margin) // self.cell

    @property
    def shape_in_pixels(self) -> tuple[int, int]:
        """Height and width of the working image."""
        return self.shape[0] * self.cell, self.shape[1] * self.cell

    @property
    def sides(self) -> npt.NDArray[np.int32]:
        """(n,) side of each patch in pixels."""
        return self.boxes[:, 2] - self.boxes[:, 0]

    def visible_shares(self) -> npt.NDArray[np.float64]:
        """(n,) part of each patch that lies in the image, in (0, 1]."""
        height, width = self.shape_in_pixels
        inner = np.clip(self.boxes - self.margin, 0, [width, height, width, height])
        areas = (inner[:, 2] - inner[:, 0]) * (inner[:, 3] - inner[:, 1])
        shares: npt.NDArray[np.float64] = areas / self.sides.astype(np.float64) ** 2
        return shares

    def weights(self, scale_weights: str = "area") -> npt.NDArray[np.float64]:
        """(n,) weight of each patch in the mean over the patches of a cell.

        Parameters
        ----------
        scale_weights : {"area", "equal"}
            Every patch counts the same, so a size counts by its area (the reference's code, 4:1 for 128 and 64), or
            every size counts the same (the paper's text). Where sizes have different strides, a patch of a coarser
            stride weighs more, so that a size counts as much as it would at an equal stride.
        """
        sides, index = np.unique(self.sides, return_inverse=True)
        steps = [self.strides[side] for side in sides.tolist()]
        largest, coarsest = max(sides.tolist(), default=1), max(steps, default=1)
        by_side = [
            scale_weight(side, step, largest, coarsest, scale_weights)
            for side, step in zip(sides.tolist(), steps, strict=True)
        ]
        return np.array(by_side, np.float64)[index.reshape(-1)]

    def select(
        self, sizes: tuple[int, ...] = (), inside: bool = False, strides: tuple[int, ...] = ()
    ) -> tuple[PatchGrid, npt.NDArray[np.int64]]:
        """The grid of some of the patches, and which they are.

        Parameters
        ----------
        sizes : tuple of int
            Sides in pixels, all of them among those of the grid; () means all.
        inside : bool
            Whether patches that hang over the edge of the image are left out.
        strides : tuple of int
            One per size, multiples of the strides of the grid; () means all patches.

        Returns
        -------
        PatchGrid, (m,) int64

        Raises
        ------
        InputError
            If the grid has no such size or stride.
        Uncovered
            If the selected patches leave a part of the image out.
        """
        steps = self._coarsened(sizes, strides)
        starts, wanted = self.boxes[:, :2], np.zeros(len(self), bool)
        ends = np.array(self.shape[::-1]) * self.cell - self.boxes[:, 2:]
        for size, stride in steps.items():
            on = starts % stride == 0
            if not self.margin:  # patches that stay inside close every row at the edge, on the stride or not
                on |= ends == 0
            wanted |= (self.sides == size) & on.all(axis=1)
        if inside:
            height, width = self.shape
            cells = self.cells
            wanted &= (cells[:, :2] >= 0).all(axis=1) & (cells[:, 2] <= width) & (cells[:, 3] <= height)
        part = PatchGrid(self.shape, self.cell, self.margin, self.boxes[wanted], steps)
        if not part.covers_image():
            listed = ", ".join(map(str, np.unique(part.sides)[::-1].tolist()))
            subject = f"patches of {listed} px" if len(part) else "the few patches that lie inside"
            raise Uncovered(f"{subject} do not cover the whole image; choose smaller ones")
        return part, np.flatnonzero(wanted)

    def _coarsened(self, sizes: tuple[int, ...], strides: tuple[int, ...]) -> dict[int, int]:
        sizes = sizes or tuple(self.strides)
        if missing := sorted(set(sizes) - set(self.strides)):
            raise InputError(f"patches of {missing[0]} px were not embedded; there are {sorted(self.strides)}")
        steps = dict(zip(sizes, strides or map(self.strides.__getitem__, sizes), strict=True))
        for size, stride in steps.items():
            if stride % self.strides[size]:
                raise InputError(f"patches of {size} px lie every {self.strides[size]} px, not every {stride}")
        return steps

    def covers_image(self) -> bool:
        """Whether every cell lies under a patch."""
        x0, y0, x1, y1 = np.clip(self.cells, 0, (*self.shape[::-1], *self.shape[::-1])).T
        height, width = self.shape[0] + 1, self.shape[1] + 1

        def corners(y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            return np.bincount(y * width + x, minlength=height * width)

        steps = corners(y0, x0) - corners(y0, x1) - corners(y1, x0) + corners(y1, x1)
        covered = steps.reshape(height, width).cumsum(axis=0).cumsum(axis=1)
        return bool((covered[:-1, :-1] > 0).all())


def cell_size(sizes: Sequence[int], stride: int | Sequence[int]) -> int:
    """Side of the cells on which maps are constant for these patch sizes and stride, or one stride per size; in pixels.

    Examples
    --------
    >>> cell_size((128, 64), 16), cell_size((128, 64), (32, 8))
    (16, 8)
    """
    return math.gcd(*((stride,) if isinstance(stride, int) else stride), *sizes)


def working_size(height: int, width: int, fit: str, cell: int, short_side: int = WORKING_SIZE) -> tuple[int, int]:
    """Size of the working image: short side about ``short_side`` px, both sides whole cells.

    Parameters
    ----------
    height, width : int
        Of the original image, in pixels.
    fit : {"full", "crop"}
        The whole image at its own aspect ratio (to within half a cell), or its central square.
    cell : int
        See :func:`cell_size`.
    short_side : int

    Returns
    -------
    (int, int)
        Height and width in pixels.

    Examples
    --------
    >>> working_size(480, 640, "full", 16), working_size(480, 640, "crop", 16)
    ((224, 304), (224, 224))
    """
    short = max(1, round(short_side / cell)) * cell
    if fit == "crop":
        return short, short
    long = round(short * max(height, width) / min(height, width) / cell) * cell
    return (short, long) if height <= width else (long, short)


def visible_region(height: int, width: int, fit: str) -> tuple[int, int, int, int]:
    """The part of the original that is looked at: x0, y0, x1, y1 in pixels (all of it, or the central square).

    Examples
    --------
    >>> visible_region(480, 640, "crop")
    (80, 0, 560, 480)
    """
    if fit == "full":
        return 0, 0, width, height
    side = min(height, width)
    left, top = round((width - side) / 2.0), round((height - side) / 2.0)
    return left, top, left + side, top + side


def add_border(
    image: Any, margin: int, border: str, seed: int, fill: Sequence[float], kernels: Kernels = reference
) -> Any:
    """Surround the working image so that patches may hang over its edge.

    Parameters
    ----------
    image : (h, w, 3) uint8
        Where ``kernels`` keep arrays; the result is there, too.
    margin : int
        Pixels on every side.
    border : {"noise", "constant", "reflect"}
        Uniform noise over 0 to 255 (the reference), one colour, or the image mirrored.
    seed : int
        Of the noise.
    fill : (3,) float
        Colour of ``"constant"``, where white is 1.
    kernels : Kernels

    Returns
    -------
    (h + 2 margin, w + 2 margin, 3) uint8
    """
    height, width, _ = image.shape
    if border == "reflect":
        rows, columns = (kernels.upload(_mirrored(length, margin)) for length in (height, width))
        return image.take(rows, axis=0).take(columns, axis=1)
    shape = (height + 2 * margin, width + 2 * margin, 3)
    if border == "noise":
        bordered = kernels.noise(shape, seed)
    else:
        bordered = kernels.empty(shape, np.uint8)
        colour = np.clip(np.rint(np.asarray(fill) * 255), 0, 255).astype(np.uint8)
        for channel, value in enumerate(colour.tolist()):
            bordered[..., channel] = value
    bordered[margin : margin + height, margin : margin + width] = image
    return bordered


def _mirrored(length: int, margin: int) -> npt.NDArray[np.int64]:
    """Which of ``length`` pixels stands where, with ``margin`` more on both sides that mirror them.

    Examples
    --------
    >>> _mirrored(3, 2).tolist(), _mirrored(1, 2).tolist()
    ([1, 0, 0, 1, 2, 2, 1], [0, 0, 0, 0, 0])
    """
    place = np.arange(-margin, length + margin) % (2 * length)
    return np.minimum(place, 2 * length - 1 - place)


def patch_grid(height: int, width: int, strides: Mapping[int, int], inside: bool) -> PatchGrid:
    """Lay out the patches that touch the working image (730 of the reference's 1,800 on a square).

    Parameters
    ----------
    height, width : int
        Of the working image in pixels; whole cells.
    strides : mapping of int to int
        Side of the square patches to the distance from one patch to the next, in pixels.
    inside : bool
        Whether patches lie wholly inside the image (no border).

    Returns
    -------
    PatchGrid
        Patches size by size, each in reading order.

    Raises
    ------
    InputError
        If there are more than 50,000 patches, a size does not fit inside, or the working image is too large.
    """
    cell = cell_size(tuple(strides), tuple(strides.values()))
    margin = 0 if inside else max(strides)
    parts: list[npt.NDArray[np.int64]] = []
    for size, stride in strides.items():
        if inside and size > min(height, width):
            raise InputError(f"patches of {size} px do not fit inside a {width} x {height} px image; see border=")
        across, down = (_positions(length, size, stride, margin) for length in (width, height))
        if sum(map(len, parts)) + len(across) * len(down) > MAX_PATCHES:
            raise InputError(
                f"this {width} x {height} px image at stride {stride} needs more than {MAX_PATCHES:,} patches; "
                'use a larger stride or fit="crop"'
            )
        rows, columns = _closed(down, height - size, margin), _closed(across, width - size, margin)
        y, x = (axis.reshape(-1) for axis in np.meshgrid(rows, columns, indexing="ij"))
        parts.append(np.stack([x, y, x + size, y + size], axis=1))
    _check_bounds(height, width, cell, margin)
    boxes = np.concatenate(parts).astype(np.int32)
    return PatchGrid((height // cell, width // cell), cell, margin, boxes, dict(strides))


def scale_weight(size: int, stride: int, largest: int, coarsest: int, scale_weights: str) -> float:
    """Weight of a patch among others of other sizes and strides, see :meth:`PatchGrid.weights`.

    Examples
    --------
    >>> [scale_weight(size, 16, 128, 16, "equal") for size in (128, 64)], scale_weight(64, 16, 128, 32, "area")
    ([1.0, 4.0], 0.25)
    """
    sparse = (stride / coarsest) ** 2
    return sparse if scale_weights == "area" else sparse * (largest / size) ** 2


def _check_bounds(height: int, width: int, cell: int, margin: int) -> None:
    pixels, cells = (height + 2 * margin) * (width + 2 * margin), (height // cell) * (width // cell)
    for count, most, what in ((pixels, MAX_PIXELS, "pixels"), (cells, MAX_CELLS, "cells")):
        if count > most:
            raise InputError(
                f"the working image of {width} x {height} px has {count:,} {what} with its border, at most {most:,} "
                'are possible; use a smaller short_side, larger strides, or fit="crop"'
            )


def _positions(length: int, size: int, stride: int, margin: int) -> range:
    """Starts along one axis of the bordered image of the patches that touch the inner ``length`` pixels."""
    if margin == 0:
        return range(0, length - size + 1, stride)
    first = max(0, -(-(margin + 1 - size) // stride)) * stride  # the first start with start + size > margin
    return range(first, margin + length, stride)


def _closed(starts: range, last: int, margin: int) -> list[int]:
    """The same with a patch that ends at the edge, where patches stay inside."""
    return [*starts, last] if margin == 0 and starts[-1] != last else [*starts]

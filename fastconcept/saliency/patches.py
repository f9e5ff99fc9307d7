"""Geometry of ConVis: the working image, its border, and the patches that matter.

Everything lies on cells: squares whose side divides the stride, every patch size and the border, so that a map
is constant inside a cell and no patch covers part of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..kernels import reference
from ..kernels.contract import Kernels

WORKING_SIZE = 224  # pixels of the short side (ConVis, section "Concept Visualization")
MAX_PATCHES = 50_000


@dataclass(frozen=True)
class PatchGrid:
    """Which patches to look at.

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
    cells : (n, 4) int32
        The same in cells of the map; they may reach outside it.
    weights : (n,) float64
        Weight of each patch in the mean.
    """

    shape: tuple[int, int]
    cell: int
    margin: int
    boxes: npt.NDArray[np.int32]
    cells: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.boxes)


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


def patch_grid(
    height: int, width: int, sizes: Sequence[int], stride: int | Sequence[int], inside: bool, scale_weights: str
) -> PatchGrid:
    """Lay out the patches that touch the working image (730 of the reference's 1,800 on a square).

    Parameters
    ----------
    height, width : int
        Of the working image in pixels; whole cells.
    sizes : sequence of int
        Sides of the square patches in pixels.
    stride : int or sequence of int
        Pixels from one patch to the next; or one number per size, and then a patch of a coarser stride weighs more, so
        that a size counts as much as it would at an equal stride.
    inside : bool
        Keep to patches that lie wholly inside the image (no border).
    scale_weights : {"area", "equal"}
        Every patch counts the same, so a size counts by its area (the reference's code, 4:1 for 128 and 64), or
        every size counts the same (the paper's text).

    Returns
    -------
    PatchGrid

    Raises
    ------
    InputError
        If there are more than 50,000 patches, or a size does not fit inside.
    """
    cell = cell_size(sizes, stride)
    strides = [stride] * len(sizes) if isinstance(stride, int) else list(stride)
    margin = 0 if inside else max(sizes)
    boxes: list[tuple[int, int, int, int]] = []
    weights: list[float] = []
    for size, step in zip(sizes, strides, strict=True):
        if inside and size > min(height, width):
            raise InputError(f"patches of {size} px do not fit inside a {width} x {height} px image; see border=")
        across, down = (_positions(length, size, step, margin) for length in (width, height))
        if len(boxes) + len(across) * len(down) > MAX_PATCHES:
            raise InputError(
                f"this {width} x {height} px image at stride {step} needs more than {MAX_PATCHES:,} patches; "
                'use a larger stride or fit="crop"'
            )
        boxes += [(x, y, x + size, y + size) for y in down for x in across]
        weight = scale_weight(size, step, max(sizes), max(strides), scale_weights)
        weights += [weight] * (len(across) * len(down))
    pixels = np.array(boxes, np.int32)
    return PatchGrid(
        shape=(height // cell, width // cell),
        cell=cell,
        margin=margin,
        boxes=pixels,
        cells=(pixels - margin) // cell,
        weights=np.array(weights, np.float64),
    )


def scale_weight(size: int, stride: int, largest: int, coarsest: int, scale_weights: str) -> float:
    """Weight of a patch among others of other sizes and strides, see :func:`patch_grid`.

    Examples
    --------
    >>> [scale_weight(size, 16, 128, 16, "equal") for size in (128, 64)], scale_weight(64, 16, 128, 32, "area")
    ([1.0, 4.0], 0.25)
    """
    sparse = (stride / coarsest) ** 2
    return sparse if scale_weights == "area" else sparse * (largest / size) ** 2


def _positions(length: int, size: int, stride: int, margin: int) -> list[int]:
    """Starts along one axis of the bordered image of the patches that touch the inner ``length`` pixels."""
    if margin == 0:
        starts = list(range(0, length - size + 1, stride))
        return starts if starts[-1] == length - size else [*starts, length - size]
    return [start for start in range(0, margin + length, stride) if start + size > margin]

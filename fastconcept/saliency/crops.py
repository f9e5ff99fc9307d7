"""Evidence from crops: every patch of the bordered working image is embedded on its own, as ConVis does.

This is the definition that other makers of evidence are measured against, and the slowest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.image_tower import ImageTower
from ..timings import Timings
from . import patches
from .evidence import Evidence
from .layout import Layout

Rows = Any  # (n, d) float32 unit rows, on a device
Remember = Callable[[str, int, Callable[[], Rows]], Rows]  # see embed_crops
Region = tuple[int, int, int, int]


@dataclass(frozen=True)
class Plan:
    """Which crops an image of some size has.

    Attributes
    ----------
    size : (int, int)
        Height and width of the working image in pixels.
    region : (int, int, int, int)
        Part of the original that it shows: x0, y0, x1, y1 in pixels.
    grid : PatchGrid
    """

    size: tuple[int, int]
    region: Region
    grid: patches.PatchGrid


def plan_crops(height: int, width: int, layout: Layout) -> Plan:
    """Lay out the crops of an image of ``height`` by ``width`` pixels.

    Raises
    ------
    InputError
        If there are too many patches, or one does not fit inside.

    Examples
    --------
    >>> plan = plan_crops(480, 640, Layout(fit="crop"))
    >>> plan.size, plan.region, len(plan.grid)
    ((224, 224), (80, 0, 560, 480), 730)
    """
    strides = layout.strides
    cell = patches.cell_size(tuple(strides), tuple(strides.values()))
    size = patches.working_size(height, width, layout.fit, cell, layout.short_side or min(height, width))
    grid = patches.patch_grid(*size, strides, layout.inside)
    return Plan(size, patches.visible_region(height, width, layout.fit), grid)


def embed_crops(
    image: npt.NDArray[np.uint8],
    tower: ImageTower,
    layout: Layout,
    timings: Timings | None = None,
    remember: Remember = lambda key, count, make: make(),
) -> Evidence:
    """Embed an image and every patch of it.

    Parameters
    ----------
    image : (H, W, 3) uint8
        The decoded original, RGB. It goes up to the device of the kernels once.
    tower : ImageTower
    layout : Layout
    timings : Timings, optional
        Stages timed so far; this function adds its own.
    remember : callable, optional
        Called as ``remember(key, count, make)`` for the rows of each patch size and of the whole image; returns the
        ``count`` rows that ``make()`` returns, now or at an earlier call. The key says all that the rows depend on but
        the image and the encoder. By default nothing is remembered.

    Returns
    -------
    Evidence
    """
    timings = Timings() if timings is None else timings

    def crop_rows(bordered: Any, boxes: npt.NDArray[np.int32], size: int) -> Rows:
        return tower.encode_boxes(bordered, boxes, timings)

    return gather(image, tower, layout, timings, remember, crop_rows)


def gather(
    image: npt.NDArray[np.uint8],
    tower: ImageTower,
    layout: Layout,
    timings: Timings,
    remember: Remember,
    embed_boxes: Callable[[Any, npt.NDArray[np.int32], int], Rows],
    prefix: str = "",
) -> Evidence:
    """Evidence of an image, its patches embedded size by size by one maker.

    Parameters
    ----------
    image, tower, layout, timings, remember
        As for :func:`embed_crops`.
    embed_boxes : callable
        From the bordered working image, the boxes (n, 4) int32 of the patches of one size, and that size to n rows.
    prefix : str
        Beginning of the maker's keys for ``remember``.
    """
    plan = plan_crops(image.shape[0], image.shape[1], layout)
    sides, uploaded = plan.grid.sides, tower.kernels.upload(image)

    @cache
    def bordered() -> Any:  # made only if there are rows to make
        with timings.stage("preprocess"):
            return add_surroundings(uploaded, plan, layout, tower)

    def patch_rows(size: int, stride: int) -> Rows:
        boxes = embedded_boxes(plan, layout)[sides == size]
        surroundings = f"{prefix}{layout.fit} {layout.border} {layout.seed} {plan.size} {plan.grid.margin}"
        key = f"{surroundings} {size} {stride}"
        return remember(key, len(boxes), lambda: embed_boxes(bordered(), boxes, size))

    rows = np.concatenate([patch_rows(size, stride) for size, stride in layout.strides.items()])
    whole = remember("whole", 1, lambda: whole_row(uploaded, tower, timings))
    return Evidence(image, layout, plan.grid, rows, whole, plan.region, timings)


def embedded_boxes(plan: Plan, layout: Layout) -> npt.NDArray[np.int32]:
    """The patches of a plan as they are embedded: x0, y0, x1, y1 in pixels of the image that has its surroundings."""
    if layout.border != "clip":
        return plan.grid.boxes
    height, width = plan.size
    return np.clip(plan.grid.boxes - plan.grid.margin, 0, np.array([width, height, width, height], np.int32))


def whole_row(uploaded: Any, tower: ImageTower, timings: Timings) -> Rows:
    """Embedding of the whole image, (1, d), on the device."""
    with timings.stage("preprocess"):
        pixels = tower.prepared([uploaded])
    with timings.stage("encode"):
        return tower.encoder.encode(pixels)


def add_surroundings(uploaded: Any, plan: Plan, layout: Layout, tower: ImageTower) -> Any:
    """The working image with its border, on the device."""
    working = tower.kernels.resize_image(uploaded, plan.region, plan.size, num_threads=tower.num_threads)
    if layout.border in ("inside", "clip"):
        return working
    mean = tower.preprocess.mean
    return patches.add_border(working, plan.grid.margin, layout.border, layout.seed, mean, tower.kernels)

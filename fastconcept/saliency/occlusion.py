"""Evidence from occlusion: where does the embedding of an image point once one cell of its feature map is left out?

Zeiler & Fergus (arXiv 1311.2901) cover one place of an image after another and see how far the score of a class
falls. A tower that pools a feature map embeds an image as ``head(mean of trunk(image))``, so that a place can be left
out of the mean instead, after a single pass of the trunk::

    row(i) = head(mean over all cells but i)

Rows are embeddings of the image *without* a place, so that they are read the other way round: a concept lies where its
similarity is least (or its rank highest) without the place. One cell seldom changes ranks, and of a concept that stays
first without any of them maps of ranks say nothing: read similarities. This is another method than crops.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.image_tower import ImageTower
from ..errors import InputError
from ..timings import Timings
from .crops import Remember, whole_row
from .dense import plan_tokens, refuse_patches
from .evidence import Evidence
from .layout import Layout
from .windows import MAX_PIXELS

ENLARGED = 10 / 7  # 320 px for a tower of 224 px; it finds boxes better than 224 and 448 px (docs/evaluate/modes.md)


def embed_occlusion(
    image: npt.NDArray[np.uint8],
    tower: ImageTower,
    layout: Layout,
    timings: Timings | None = None,
    remember: Remember = lambda key, count, make: make(),
) -> Evidence:
    """Embed an image, and what is left without each cell of its map; parameters as for :func:`.crops.embed_crops`.

    The image is passed whole and 10/7 times as large as the tower's own input where the layout's ``short_side`` is 224,
    20/7 times where it is 448, and so on; 0 keeps the image's own size.

    Raises
    ------
    InputError
        If the tower does not split into trunk and head, the layout chooses patches or a border, or the pass has a
        single cell or more than 4 million pixels.
    """
    if (split := tower.split) is None:
        raise InputError('this model has no mode "occlusion": its image tower does not pool a feature map; use "crops"')
    refuse_patches(layout, "occlusion is a cell of the feature map")
    timings = Timings() if timings is None else timings
    cell, side = split.maps.stride, ENLARGED * min(tower.preprocess.size)
    plan = plan_tokens(image.shape[0], image.shape[1], layout, cell, side)
    if plan.size[0] * plan.size[1] > MAX_PIXELS:
        raise InputError(
            f"a pass of {plan.size[1]} x {plan.size[0]} px is too large (at most {MAX_PIXELS:,} pixels); "
            "use a smaller short_side"
        )
    if len(plan.grid) < 2:
        raise InputError("the feature map of this image has a single cell, and nothing is left without it; "
                         "use a larger short_side")  # fmt: skip
    uploaded = tower.kernels.upload(image)

    def remaining_rows() -> Any:
        with timings.stage("preprocess"):
            pixels = tower.resized(uploaded, np.array([plan.region], np.int32), plan.size)
        with timings.stage("encode"):
            maps = split.maps.encode(pixels)[0]
        with timings.stage("pool"):
            means = means_without(maps)
        with timings.stage("encode"):
            return split.head.encode(means)

    rows = remember(f"occlusion {layout.fit} {plan.size}", len(plan.grid), remaining_rows)
    whole = remember("whole", 1, lambda: whole_row(uploaded, tower, timings))
    return Evidence(image, layout, plan.grid, rows, whole, plan.region, timings)


def means_without(maps: Any) -> Any:
    """Means of a feature map over all cells but one.

    Parameters
    ----------
    maps : (c, h, w) float32, on the device
        At least two cells.

    Returns
    -------
    (h w, c) float32, on the device

    Examples
    --------
    >>> means_without(np.array([[[1.0, 2.0, 6.0]]], np.float32)).ravel().tolist()
    [4.0, 3.5, 1.5]
    """
    cells = maps.reshape((maps.shape[0], -1)).transpose().copy()
    mean = cells.mean(axis=0).reshape((1, -1))
    return mean + (mean - cells) / np.float32(len(cells) - 1)

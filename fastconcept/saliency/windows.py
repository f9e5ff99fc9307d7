"""Evidence from windows: one pass over the whole bordered image for each patch size, patches as means over its map.

A tower that pools a feature map embeds an image as ``head(mean of trunk(image))``. Run the trunk once over the working
image, enlarged so that a patch is as large as the trunk likes it; a patch is then a box of the map, its embedding
``head(mean over the box)``, with cells that it covers in part counted in part. This is tens of times cheaper than crops
and another method, not an approximation of them: at the edge of a patch the trunk sees beyond it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.image_tower import ImageTower
from ..encoders.split import SplitEncoder
from ..errors import InputError
from ..timings import Timings
from .crops import Remember, Rows, gather
from .evidence import Evidence
from .layout import Layout

MAX_PIXELS = 4_000_000  # of one pass: bounds the memory of the trunk's activations


def embed_windows(
    image: npt.NDArray[np.uint8],
    tower: ImageTower,
    layout: Layout,
    timings: Timings | None = None,
    remember: Remember = lambda key, count, make: make(),
) -> Evidence:
    """Embed an image, and every patch of it by one pass per patch size; parameters as for :func:`.crops.embed_crops`.

    Raises
    ------
    InputError
        If the tower does not split into trunk and head, or a pass would have more than 4 million pixels.
    """
    split = tower.split
    if split is None:
        raise InputError('this model has no mode "windows": its image tower does not pool a feature map; use "crops"')
    timings = Timings() if timings is None else timings

    def window_rows(bordered: Any, boxes: npt.NDArray[np.int32], size: int) -> Rows:
        maps, scaled = _feature_map(bordered, boxes, size, tower, split, timings)
        with timings.stage("pool"):
            means = box_means(maps, scaled, tower)
        with timings.stage("encode"):
            return split.head.encode(means)

    return gather(image, tower, layout, timings, remember, window_rows, "windows ")


def _feature_map(
    bordered: Any,
    boxes: npt.NDArray[np.int32],
    size: int,
    tower: ImageTower,
    split: SplitEncoder,
    timings: Timings,
) -> tuple[Any, npt.NDArray[np.float64]]:
    """The trunk's map (c, h, w) of the part of the image where patches of a size lie, and the patches on its cells."""
    x0, y0 = boxes[:, :2].min(axis=0).tolist()
    x1, y1 = boxes[:, 2:].max(axis=0).tolist()
    stride, (tall, wide) = split.maps.stride, tower.patch_size
    # Whole cells: the picture is stretched by at most half a cell in all.
    down, across = (max(1, round(length * side / size / stride)) for length, side in ((y1 - y0, tall), (x1 - x0, wide)))
    if down * across * stride**2 > MAX_PIXELS:
        raise InputError(
            f"a pass of {across * stride} x {down * stride} px for patches of {size} px is too large "
            f"(at most {MAX_PIXELS:,} pixels); use a smaller short_side or larger sizes"
        )
    part = np.array([[x0, y0, x1, y1]], np.int32)
    with timings.stage("preprocess"):
        pixels = tower.resized(bordered, part, (down * stride, across * stride))
    with timings.stage("encode"):
        maps = split.maps.encode(pixels)[0]
    scale = np.array([across / (x1 - x0), down / (y1 - y0)] * 2)
    return maps, (boxes - np.array([x0, y0, x0, y0])) * scale


def box_means(maps: Any, boxes: npt.NDArray[np.float64], tower: ImageTower) -> Any:
    """Mean of a feature map over boxes whose edges may lie inside cells, which then count in part.

    A mean over a box is a mean over its rows of means over its columns, and patches share rows and columns: two small
    matrix products do them all.

    Parameters
    ----------
    maps : (c, h, w) float32, on the device
    boxes : (n, 4) float64
        x0, y0, x1, y1 in cells.
    tower : ImageTower
        Whose kernels keep the arrays.

    Returns
    -------
    (n, c) float32, on the device
    """
    channels, height, width = maps.shape
    rows, row_of = np.unique(boxes[:, [1, 3]], axis=0, return_inverse=True)
    columns, column_of = np.unique(boxes[:, [0, 2]], axis=0, return_inverse=True)
    down = tower.kernels.upload(overlaps(rows, height))  # (r, h)
    across = tower.kernels.upload(np.ascontiguousarray(overlaps(columns, width).T))  # (w, k)
    by_column = np.matmul(maps, across)  # (c, h, k); one product of all would wake BLAS's threads, which spin for long
    by_both = np.matmul(down, by_column)  # (c, r, k)
    flat = by_both.reshape((channels, len(rows) * len(columns)))
    chosen = tower.kernels.upload(row_of.reshape(-1) * len(columns) + column_of.reshape(-1))
    return (
        flat.take(chosen, axis=1).transpose().copy()
    )  # in C order; NumPy's function for that would fetch it from a device


def overlaps(spans: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float32]:
    """The share of each of ``count`` unit cells in the mean over a span.

    Examples
    --------
    >>> overlaps(np.array([[0.5, 2.0]]), 3).round(3).tolist()
    [[0.3330000042915344, 0.6669999957084656, 0.0]]
    """
    cells = np.arange(count)
    shares = np.clip(np.minimum(spans[:, 1:], cells + 1) - np.maximum(spans[:, :1], cells), 0, None)
    weights: npt.NDArray[np.float32] = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights

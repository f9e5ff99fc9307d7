"""Dense evidence: one pass of a transformer gives the embedding of every token, and a token is a patch.

Which embeddings tokens have is decided at export, by published changes of a tower's last blocks (ClearCLIP, GEM and
others). An image is passed whole at its own aspect ratio, positions interpolated; an image of more tokens than a pass
may have is cut into overlapping tiles of the size that the tower was trained on, and where tiles overlap, a token's row
is their mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.dense import DenseEncoder
from ..encoders.image_tower import ImageTower
from ..errors import InputError
from ..timings import Timings
from .crops import Plan, Remember, whole_row
from .evidence import Evidence
from .layout import Layout
from .patches import MAX_PATCHES, WORKING_SIZE, PatchGrid, visible_region

MAX_TOKENS = 1200  # of one pass: bounds the memory of attention
# Border, sizes and stride as explain and stream have them by default.
_NOT_CHOSEN = (("noise", (128, 64), None), ("clip", (128,), 32))


def embed_dense(
    image: npt.NDArray[np.uint8],
    tower: ImageTower,
    layout: Layout,
    timings: Timings | None = None,
    remember: Remember = lambda key, count, make: make(),
) -> Evidence:
    """Embed an image and every token of it in one pass; parameters as for :func:`.crops.embed_crops`.

    The working image is as large as the tower's own input where the layout's ``short_side`` is 224, twice as large
    where it is 448, and so on; 0 keeps the image's own size. The row of the whole image comes out of the same pass.

    Raises
    ------
    InputError
        If the tower has no dense pass, the layout chooses patches or a border, or there are too many tokens.
    """
    if (encoder := tower.dense) is None:
        raise InputError(f'this model has no mode "{layout.mode}": no dense pass was exported for it; use "crops"')
    refuse_patches(layout, "dense evidence is a token")
    timings = Timings() if timings is None else timings
    plan = plan_tokens(image.shape[0], image.shape[1], layout, encoder.stride, min(tower.preprocess.size))
    uploaded = tower.kernels.upload(image)

    def token_rows() -> Any:
        if len(plan.grid) <= MAX_TOKENS:
            return _one_pass(uploaded, plan, tower, encoder, timings)
        whole = whole_row(uploaded, tower, timings)
        return np.concatenate([whole, _tiled(uploaded, plan, tower, encoder, timings)])

    rows = remember(f"{layout.mode} {layout.fit} {plan.size}", 1 + len(plan.grid), token_rows)
    whole, tokens = rows[:1].copy(), rows[1:].copy()  # in C order, which kernels need
    if layout.class_bias:
        tokens = _unit(tokens - np.float32(layout.class_bias) * whole)
    return Evidence(image, layout, plan.grid, tokens, whole, plan.region, timings)


def refuse_patches(layout: Layout, what: str) -> None:
    """Raise InputError if a layout chooses patches or a border, where a patch is ``what`` and there is no border."""
    if (layout.border, layout.sizes, layout.stride) not in _NOT_CHOSEN:
        raise InputError(f"a patch of {what}: leave sizes, stride and border out")


def plan_tokens(height: int, width: int, layout: Layout, token: int, side: float) -> Plan:
    """Lay out the tokens of an image of ``height`` by ``width`` pixels.

    Parameters
    ----------
    height, width : int
    layout : Layout
    token : int
        Pixels of a token's side.
    side : float
        Short side in pixels of the image as it is passed where ``layout.short_side`` is 224.

    Raises
    ------
    InputError
        If there are more than 50,000.
    """
    region = visible_region(height, width, layout.fit)
    down, across = region[3] - region[1], region[2] - region[0]
    pixels = layout.short_side * side / WORKING_SIZE or min(down, across)
    short = max(1, round(pixels / token))
    long = max(1, round(pixels / token * max(down, across) / min(down, across)))
    shape = (short, long) if down <= across else (long, short)
    if short * long > MAX_PATCHES:
        raise InputError(f"this image has {short * long:,} places, at most {MAX_PATCHES:,}; use a smaller short_side")
    y, x = (axis.reshape(-1) * token for axis in np.indices(shape))
    boxes = np.stack([x, y, x + token, y + token], axis=1).astype(np.int32)
    return Plan((shape[0] * token, shape[1] * token), region, PatchGrid(shape, token, 0, boxes, {token: token}))


def _one_pass(uploaded: Any, plan: Plan, tower: ImageTower, encoder: DenseEncoder, timings: Timings) -> Any:
    """Rows of the whole image and its tokens, (1 + n, d)."""
    with timings.stage("preprocess"):
        pixels = tower.resized(uploaded, np.array([plan.region], np.int32), plan.size)
    with timings.stage("encode"):
        return encoder.encode(pixels)[0]


def _tiled(uploaded: Any, plan: Plan, tower: ImageTower, encoder: DenseEncoder, timings: Timings) -> Any:
    """Rows of the tokens (n, d): unit means over the tiles that a token lies in."""
    token, shape = encoder.stride, plan.grid.shape
    sides = [min(length, side // token) for length, side in zip(shape, tower.preprocess.size, strict=True)]
    corners = [(y, x) for y in tile_starts(shape[0], sides[0]) for x in tile_starts(shape[1], sides[1])]
    with timings.stage("preprocess"):
        working = tower.kernels.resize_image(uploaded, plan.region, plan.size, num_threads=tower.num_threads)
    total: Any = None
    for start in range(0, len(corners), encoder.batch_size):
        batch = corners[start : start + encoder.batch_size]
        boxes = np.array([[x, y, x + sides[1], y + sides[0]] for y, x in batch], np.int32) * token
        with timings.stage("preprocess"):
            pixels = tower.resized(working, boxes, (sides[0] * token, sides[1] * token))
        with timings.stage("encode"):
            rows = encoder.encode(pixels)[:, 1:]
            if total is None:
                total = tower.kernels.empty((*shape, rows.shape[-1]), np.float32)
                total[...] = 0
            for (y, x), tile in zip(batch, rows, strict=True):
                total[y : y + sides[0], x : x + sides[1]] += tile.reshape((*sides, -1))
    return _unit(total.reshape((len(plan.grid), -1)))


def tile_starts(length: int, tile: int) -> list[int]:
    """Where tiles begin along a side of ``length`` tokens: half a tile apart, the last one at the end.

    Examples
    --------
    >>> tile_starts(20, 8), tile_starts(8, 8)
    ([0, 4, 8, 12], [0])
    """
    last = length - tile
    return [*range(0, last, max(1, tile // 2)), last]


def _unit(rows: Any) -> Any:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, np.float32(1e-12))

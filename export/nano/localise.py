"""ConVis maps in plain torch and the share of boxes they find, independent of the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

SIDE, PAD, STRIDE, SIZES = 224, 128, 16, (128, 64)
THRESHOLDS = np.arange(0, 1, 0.01)


def centre_square(image: Image.Image) -> Image.Image:
    """Cut the centre square and resize it to 224 px."""
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    box = (left, top, left + short, top + short)
    return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)


def boxes_in_square(boxes: list[list[float]], width: int, height: int) -> NDArray[np.float64]:
    """Map boxes of the stored image into its 224-px centre square; those outside are dropped."""
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    mapped = (np.asarray(boxes, float) - [left, top, left, top]) * SIDE / short
    mapped = mapped.clip(0, SIDE)
    return mapped[(mapped[:, 2] - mapped[:, 0] > 1) & (mapped[:, 3] - mapped[:, 1] > 1)]


def patch_places() -> list[tuple[int, int, int]]:
    """Return (size, top, left) on the padded 480-px canvas of the 730 patches that touch the photograph."""
    canvas, inner = SIDE + 2 * PAD, range(PAD, PAD + SIDE)
    places = []
    for size in SIZES:
        starts = [
            s for s in range(0, canvas, STRIDE) if s < inner.stop and s + size > inner.start and s + size <= canvas
        ]
        places += [(size, top, left) for top in starts for left in starts]
    return places


def mostly_outside() -> NDArray[np.bool_]:
    """Tell of which patches more than half lies beyond the photograph."""
    size, *corner = np.array(patch_places()).T
    high, low = PAD + SIDE, PAD
    seen = [np.minimum(start + size, high) - np.maximum(start, low) for start in corner]
    return np.asarray(seen[0] * seen[1] < size * size / 2)


def embed_patches(
    image: Image.Image, encode: Callable[[torch.Tensor], torch.Tensor], size: int, seed: int = 0, batch_size: int = 128
) -> torch.Tensor:
    """Return unit embeddings of all patches of one photograph.

    Parameters
    ----------
    image : PIL.Image.Image
        Any photograph.
    encode : callable
        Takes images (n, 3, size, size) in [0, 1], returns unit rows.
    size : int
        Input side of the encoder.
    """
    draw = np.random.default_rng(seed)
    canvas = draw.integers(0, 256, (SIDE + 2 * PAD, SIDE + 2 * PAD, 3), dtype=np.uint8)
    canvas[PAD : PAD + SIDE, PAD : PAD + SIDE] = np.asarray(centre_square(image))
    pixels = torch.from_numpy(canvas).permute(2, 0, 1).float() / 255
    found, places = [], patch_places()
    for start in range(0, len(places), batch_size):
        group = places[start : start + batch_size]
        patches = []
        for side in SIZES:
            same = [pixels[:, t : t + side, left : left + side] for s, t, left in group if s == side]
            if same:
                stacked = torch.stack(same)
                resized = torch.nn.functional.interpolate(stacked, size=size, mode="bicubic", antialias=True)
                patches.append(resized.clamp(0, 1))
        found.append(encode(torch.cat(patches)))
    return torch.cat(found)


def ranks(patches: torch.Tensor, concepts: torch.Tensor, members: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return per patch how many rows of `concepts` are nearer than the best of `members`."""
    similarity = patches @ concepts.T
    best = similarity[:, torch.from_numpy(members)].max(1, keepdim=True).values
    return np.asarray((similarity > best).sum(1), np.float64)


def cell_map(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (14, 14) map in [0, 1] of costs of patches: 1 where their sum is least.

    Ranks give the map of ConVis. With ``log1p(ranks)``, a patch that misses the concept by thousands of ranks weighs
    little more than one that misses it by hundreds.
    """
    cells = np.zeros(((SIDE + 2 * PAD) // STRIDE,) * 2)
    for (size, top, left), cost in zip(patch_places(), costs, strict=True):
        cells[top // STRIDE : (top + size) // STRIDE, left // STRIDE : (left + size) // STRIDE] += cost
    inner = cells[PAD // STRIDE : (PAD + SIDE) // STRIDE, PAD // STRIDE : (PAD + SIDE) // STRIDE]
    spread = np.ptp(inner)
    return 1 - (inner - inner.min()) / spread if spread > 0 else np.ones_like(inner)


def overlaps(cells: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, per threshold, the best IoU of the largest component's box with a true box."""
    result = np.zeros(len(THRESHOLDS))
    for i, threshold in enumerate(THRESHOLDS):
        labelled, count = ndimage.label(cells >= threshold)
        if not count:
            continue
        largest = 1 + int(np.argmax(np.bincount(labelled.ravel())[1:]))
        rows, columns = ndimage.find_objects(labelled)[largest - 1]
        box = np.array([columns.start, rows.start, columns.stop, rows.stop]) * STRIDE
        result[i] = iou(box, boxes).max()
    return result


def iou(box: NDArray[Any], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of one box with each of several."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod((high - low).clip(0), axis=1)
    return shared / (np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - shared)


def max_box_accuracy(all_overlaps: NDArray[np.float64], at: float = 0.5) -> float:
    """Return the best success rate over thresholds of overlaps (images, thresholds)."""
    return float((all_overlaps > at).mean(0).max())

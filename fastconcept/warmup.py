"""Synthetic requests of a given size, with which an engine is warmed up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .doors import iterable
from .errors import InputError

PHRASE = "a photo"
MAX_BATCH = 4096


def checked_sizes(sizes: Sequence[tuple[int, int]], max_pixels: int) -> list[tuple[int, int]]:
    """(height, width) pairs in pixels, or an :class:`InputError` that names the first that is none."""
    sizes = list(iterable("images", sizes))
    for size in sizes:
        pair = isinstance(size, Sequence) and len(size) == 2
        pair = pair and all(isinstance(side, int) and side > 0 for side in size)
        if not pair or size[0] * size[1] > max_pixels:
            raise InputError(f"images must be (height, width) pairs of at most {max_pixels:,} pixels, got {size!r}")
    return [(height, width) for height, width in sizes]


def checked_batch(batch: object) -> int:
    """A number of images from 1 to 4096, or an :class:`InputError`."""
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
        raise InputError(f"batch must be from 1 to {MAX_BATCH} images, got {batch!r}")
    return batch


def noise_picture(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Noise, so that every patch differs: (H, W, 3)."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)

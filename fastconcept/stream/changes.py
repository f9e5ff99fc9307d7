"""Where two pictures differ by more than noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

CELL = 16  # pixels of a reduced picture, the side of the squares that are compared
_SHORT_SIDE = 224  # about that of a reduced picture


def changed_cells(before: Pixels, after: Pixels, cell: int, tolerance: float) -> npt.NDArray[np.bool_]:
    """Squares of two pictures whose mean absolute difference exceeds a tolerance.

    Parameters
    ----------
    before, after : (H, W, 3) uint8
        Of one size.
    cell : int
        Side of the squares in pixels; those at the right and lower edge may be smaller.
    tolerance : float
        In levels of 0 to 255, over all pixels and channels of a square.

    Returns
    -------
    (ceil(H / cell), ceil(W / cell)) bool

    Examples
    --------
    >>> dark, light = np.zeros((16, 32, 3), np.uint8), np.zeros((16, 32, 3), np.uint8)
    >>> light[:, 16:] = 9
    >>> changed_cells(dark, light, 16, 2.0).tolist()
    [[False, True]]
    """
    height, width, channels = after.shape
    differences = np.maximum(before, after)
    differences -= np.minimum(before, after)
    rows, columns = np.arange(0, height, cell), np.arange(0, width, cell)
    if differences.max() <= tolerance:  # no mean is larger; most frames of a still scene end here
        return np.zeros((len(rows), len(columns)), bool)
    lines = differences.reshape(height, width * channels)
    whole = height - height % cell
    sums = lines[:whole].reshape(whole // cell, cell, width * channels).sum(axis=1, dtype=np.uint32)
    if whole < height:
        sums = np.concatenate([sums, lines[whole:].sum(axis=0, dtype=np.uint32, keepdims=True)])
    sums = np.add.reduceat(sums, columns * channels, axis=1)
    counts = np.minimum(height - rows, cell)[:, None] * np.minimum(width - columns, cell) * channels
    changed: npt.NDArray[np.bool_] = sums > tolerance * counts
    return changed


def reduced(picture: Pixels) -> Pixels:
    """A picture made smaller by means over whole pixels, to a short side of 224 to 448; noise is averaged away.

    Examples
    --------
    >>> reduced(np.zeros((480, 640, 3), np.uint8)).shape
    (240, 320, 3)
    """
    from PIL import Image

    factor = max(1, min(picture.shape[:2]) // _SHORT_SIDE)
    return picture if factor == 1 else np.asarray(Image.fromarray(picture).reduce(factor))

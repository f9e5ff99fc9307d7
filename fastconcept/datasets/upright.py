"""Annotations that were drawn before a photograph was turned upright, as its EXIF data ask.

Boxes and masks belong to the pixels that their annotator saw. Some tools show pixels as they are stored; the engine
shows a photograph upright. Where width and height are exchanged between the two, annotations are turned with it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

TURNED = (5, 6, 7, 8)  # orientations of EXIF that exchange width and height


def upright_mask(levels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Levels of the stored pixels, (w, h), as those of the upright photograph, (h, w).

    Examples
    --------
    >>> upright_mask(np.array([[1, 2, 3], [4, 5, 6]], np.uint8), 6).tolist()
    [[4, 1], [5, 2], [6, 3]]
    """
    right, down = _flipped(orientation)
    return np.ascontiguousarray(levels.T[:: -1 if down else 1, :: -1 if right else 1])


def upright_box(
    box: tuple[float, float, float, float], width: int, height: int, orientation: int
) -> tuple[float, float, float, float]:
    """A box in stored pixels, of which there are ``width`` x ``height``, as one in the upright photograph.

    Examples
    --------
    >>> upright_box((0, 0, 2, 1), 3, 2, 6)
    (1, 0, 2, 2)
    """
    y0, x0, y1, x1 = box  # the axes change places
    right, down = _flipped(orientation)
    if right:
        x0, x1 = height - x1, height - x0
    if down:
        y0, y1 = width - y1, width - y0
    return x0, y0, x1, y1


def _flipped(orientation: int) -> tuple[bool, bool]:
    """Whether columns and rows run backwards, once the axes have changed places."""
    return orientation in (6, 7), orientation in (7, 8)

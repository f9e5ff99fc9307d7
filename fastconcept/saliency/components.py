"""The largest connected part of a small mask, for the box of a map.

Boxes come with every explanation, so they must not need SciPy. Measures that need all parts of many masks use
:mod:`fastconcept.evaluate.components`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def largest_component(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Tight box of the largest 4-connected part of a mask.

    Every cell starts with its own number; cells then take the smallest number among their neighbours until nothing
    changes, which makes every part known by its first cell in reading order.

    Parameters
    ----------
    mask : (h, w) bool

    Returns
    -------
    (x0, y0, x1, y1) or None
        Ends exclusive; of equally large parts the first in reading order; None for an empty mask.

    Examples
    --------
    >>> largest_component(np.array([[1, 0, 1], [0, 0, 1]], bool))
    (2, 0, 3, 2)
    """
    if not mask.any():
        return None
    outside = mask.size
    labels = np.where(mask, np.arange(mask.size).reshape(mask.shape), outside)
    while True:
        before = labels.copy()
        for axis in (0, 1):
            low, high = (labels.swapaxes(0, axis)[part] for part in (np.s_[:-1], np.s_[1:]))
            np.minimum(high, low, out=high)
            np.minimum(low, high, out=low)
            labels[~mask] = outside
        labels[mask] = labels.ravel()[labels[mask]]  # the number of the cell that gave its number
        if (labels == before).all():
            break
    rows, columns = np.nonzero(labels == np.bincount(labels[mask]).argmax())
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1

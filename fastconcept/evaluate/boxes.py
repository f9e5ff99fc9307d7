"""Boxes out of maps, and how well they fit: the measures of weakly supervised localisation.

Two conventions, which differ in small print that moves the numbers:

``convis``
    Giulivi & Boracchi, arXiv 2405.14563: thresholds 0, 0.01, ... 0.99, pixels at or above the threshold, largest
    4-connected component, success where IoU > 0.5, best success rate over the thresholds.
``wsol``
    Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", arXiv 2001.07437 (code:
    clovaai/wsolevaluation): map and boxes on 224 x 224 pixels, the map in 256 steps, pixels above the threshold,
    8-connected components, ends of boxes inclusive, success where IoU >= delta. MaxBoxAcc takes the largest component
    at delta 0.5; MaxBoxAccV2 takes the best component and averages the best rates at delta 0.3, 0.5 and 0.7.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .components import find_components

Float = npt.NDArray[np.float64]
CONVIS_THRESHOLDS = np.arange(100) / 100
PARTS = ("largest", "peak", "heaviest")
WSOL_SIZE = 224
WSOL_DELTAS = (0.3, 0.5, 0.7)


def iou(boxes: npt.ArrayLike, others: npt.ArrayLike) -> Float:
    """Intersection over union of every box with every other.

    Parameters
    ----------
    boxes, others : (n, 4) and (m, 4)
        x0, y0, x1, y1 with ends exclusive.

    Returns
    -------
    (n, m) float64
        In [0, 1]; 0 where both boxes are empty.

    Examples
    --------
    >>> iou([[0, 0, 2, 2]], [[1, 0, 3, 2], [0, 0, 2, 2], [5, 5, 6, 6]]).round(3)
    array([[0.333, 1.   , 0.   ]])
    """
    a, b = np.asarray(boxes, np.float64).reshape(-1, 4)[:, None], np.asarray(others, np.float64).reshape(-1, 4)[None]
    overlap = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(axis=-1)
    areas = [np.clip(box[..., 2:] - box[..., :2], 0, None).prod(axis=-1) for box in (a, b)]
    union = areas[0] + areas[1] - overlap
    fraction: Float = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return fraction


def to_unit(boxes: npt.ArrayLike, region: tuple[float, float, float, float]) -> Float:
    """Boxes clipped to a region and expressed in fractions of it; boxes outside it are left out.

    Examples
    --------
    >>> to_unit([[0, 0, 60, 20], [90, 0, 95, 9]], (40, 0, 80, 40))
    array([[0. , 0. , 0.5, 0.5]])
    """
    corner, size = np.array(region[:2] * 2, np.float64), np.array([region[2] - region[0], region[3] - region[1]] * 2)
    unit = np.clip((np.asarray(boxes, np.float64).reshape(-1, 4) - corner) / size, 0, 1)
    inside: Float = unit[(unit[:, 2] > unit[:, 0]) & (unit[:, 3] > unit[:, 1])]
    if not len(inside):
        raise InputError(f"no box reaches into the part of the image that is looked at, {region}")
    return inside


def convis_curves(cells: npt.NDArray[np.floating], truth: Float, parts: Sequence[str] = PARTS) -> Float:
    """IoU of one component's box at thresholds 0, 0.01, ... 0.99, for several ways to choose the component.

    Parameters
    ----------
    cells : (h, w) float in [0, 1]
        A map, high is salient.
    truth : (k, 4) float
        True boxes in fractions of the map, see :func:`to_unit`; the best-fitting one counts.
    parts : sequence of {"largest", "peak", "heaviest"}
        The largest 4-connected component (``convis``), the one with the highest value of the map, or the one with the
        largest sum of values.

    Returns
    -------
    (parts, 100) float64
        0 where no cell reaches the threshold.

    Examples
    --------
    >>> cells = np.array([[0.6, 0.6, 0.0, 1.0]])
    >>> convis_curves(cells, np.array([[0.75, 0.0, 1.0, 1.0]]), ["largest", "peak"])[:, [0, 50, 99]]
    array([[0.25, 0.  , 1.  ],
           [0.25, 1.  , 1.  ]])
    """
    height, width = cells.shape
    targets = truth * np.array([width, height, width, height])
    ordered = np.sort(cells, axis=None)
    counts = cells.size - np.searchsorted(ordered, CONVIS_THRESHOLDS, side="left")
    _, first, which = np.unique(counts, return_index=True, return_inverse=True)
    components = find_components(cells[None] >= CONVIS_THRESHOLDS[first, None, None], values=cells)
    best, fits = iou(components.boxes, targets).max(axis=1), np.zeros((len(parts), len(first)))
    for row, part in zip(fits, parts, strict=True):
        chosen = components.select(part)
        row[components.owners[chosen]] = best[chosen]
    curves: Float = fits[:, which]
    return curves


def convis_curve(cells: npt.NDArray[np.floating], truth: Float, part: str = "largest") -> Float:
    """:func:`convis_curves` of one part, (100,) float64.

    Examples
    --------
    >>> cells = np.array([[1.0, 0.6, 0.0, 0.0]])
    >>> convis_curve(cells, np.array([[0.0, 0.0, 0.5, 1.0]]))[[0, 50, 99]]
    array([0.5, 1. , 0.5])
    """
    curve: Float = convis_curves(cells, truth, [part])[0]
    return curve


def wsol_curves(cells: npt.NDArray[np.floating], truth: Float, steps: int = 256) -> tuple[Float, Float]:
    """IoU by the ``wsol`` convention at its 256 distinguishable thresholds.

    Parameters
    ----------
    cells, truth
        As for :func:`convis_curve`.
    steps : int
        Look at that many of the 256 thresholds, evenly spaced; a divisor of 256. Fewer are faster.

    Returns
    -------
    largest, best : (256,) float64
        Of the largest component's box (for MaxBoxAcc) and of the best-fitting component's (for MaxBoxAccV2).
        Areas count pixels, where the original takes the area of the contour's polygon.
    """
    levels = (stretched(cells) * 255).astype(np.uint8)
    inclusive = np.minimum(np.floor(truth * WSOL_SIZE), WSOL_SIZE - 1)
    inclusive[:, 2:] += 1
    highest, apart = int(levels.max()), 256 // steps
    tried = np.arange(0, max(highest, 1), apart)
    components = find_components(levels[None] > tried[:, None, None].astype(np.uint8), diagonal=True)
    ends = np.minimum(components.boxes[:, 2:], WSOL_SIZE - 1) + 1  # the protocol takes x0 + w for the last pixel
    fits = iou(np.concatenate([components.boxes[:, :2], ends], axis=1), inclusive).max(axis=1)
    chosen, largest, best = components.select(), np.zeros(len(tried)), np.zeros(len(tried))
    largest[components.owners[chosen]] = fits[chosen]
    np.maximum.at(best, components.owners, fits)
    which = np.minimum(np.arange(256) // apart, len(tried) - 1)
    reached = np.arange(256) < highest
    return np.where(reached, largest[which], 0.0), np.where(reached, best[which], 0.0)


def stretched(cells: npt.NDArray[np.floating]) -> Float:
    """A map on 224 x 224 pixels (bilinear), stretched to [0, 1]; all ones where it is constant."""
    from PIL import Image

    resized = Image.fromarray(np.asarray(cells, np.float32)).resize((WSOL_SIZE, WSOL_SIZE), Image.Resampling.BILINEAR)
    values = np.asarray(resized, np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.ones_like(values)


def pointing_game(cells: npt.NDArray[np.floating], truth: Float) -> float:
    """Does the peak of a map lie in a true box? With several equal peaks, the fraction that does.

    Zhang et al., "Top-Down Neural Attention by Excitation Backprop", arXiv 1608.00507, without a tolerance.

    Examples
    --------
    >>> pointing_game(np.array([[1.0, 1.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 0.25, 1.0]]))
    0.5
    """
    height, width = cells.shape
    peaks = (np.argwhere(cells == cells.max())[:, ::-1] + 0.5) / (width, height)
    inside = [((peaks >= box[:2]) & (peaks < box[2:])).all(axis=1) for box in truth]
    return float(np.any(inside, axis=0).mean())


def max_box_accuracy(curves: npt.ArrayLike, delta: float = 0.5, inclusive: bool = False) -> tuple[float, int]:
    """Best success rate over thresholds, and the threshold's index.

    Parameters
    ----------
    curves : (n, t) float
        IoU of n maps at t thresholds.
    delta : float
        Success is IoU above it, or at it if ``inclusive``.

    Returns
    -------
    (float, int)
        The rate, and the first threshold that reaches it.

    Examples
    --------
    >>> max_box_accuracy([[0.6, 0.5], [0.5, 0.7]]), max_box_accuracy([[0.6, 0.5], [0.5, 0.7]], inclusive=True)
    ((0.5, 0), (1.0, 0))
    """
    fits = np.asarray(curves, np.float64)
    rates = ((fits >= delta) if inclusive else (fits > delta)).mean(axis=0)
    return float(rates.max()), int(rates.argmax())

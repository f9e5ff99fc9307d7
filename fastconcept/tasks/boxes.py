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

import numpy as np
import numpy.typing as npt

from ..errors import InputError

Float = npt.NDArray[np.float64]
CONVIS_THRESHOLDS = np.arange(100) / 100
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


def components(mask: npt.NDArray[np.bool_], diagonal: bool = False) -> tuple[npt.NDArray[np.int64], ...]:
    """Tight boxes and areas of the connected components of a mask.

    Parameters
    ----------
    mask : (h, w) bool
    diagonal : bool
        Pixels that touch at a corner are connected too (8-connected), or not (4-connected).

    Returns
    -------
    boxes : (k, 4) int64
        x0, y0, x1, y1 with ends exclusive, in reading order of each component's first pixel.
    areas : (k,) int64
        Pixels of each.

    Examples
    --------
    >>> mask = np.array([[1, 0, 1], [0, 1, 1]], bool)
    >>> [part.tolist() for part in components(mask)]
    [[[0, 0, 1, 1], [1, 0, 3, 2]], [1, 3]]
    >>> [part.tolist() for part in components(mask, diagonal=True)]
    [[[0, 0, 3, 2]], [4]]
    """
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    edges = np.diff(padded, axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    roots = _join_runs(rows.tolist(), starts.tolist(), ends.tolist(), int(diagonal))
    _, labels = np.unique(roots, return_inverse=True)
    count = labels.max(initial=-1) + 1
    boxes = np.empty((count, 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = max(mask.shape), 0
    np.minimum.at(boxes[:, 0], labels, starts)
    np.minimum.at(boxes[:, 1], labels, rows)
    np.maximum.at(boxes[:, 2], labels, ends)
    np.maximum.at(boxes[:, 3], labels, rows + 1)
    return boxes, np.bincount(labels, ends - starts, count).astype(np.int64)


def _join_runs(rows: list[int], starts: list[int], ends: list[int], reach: int) -> npt.NDArray[np.int64]:
    """For every horizontal run, the first run of its component (union-find over runs of neighbouring rows)."""
    parent = list(range(len(rows)))

    def find(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    above = 0
    for run, row in enumerate(rows):
        while rows[above] < row - 1 or (rows[above] == row - 1 and ends[above] + reach <= starts[run]):
            above += 1
        other = above
        while rows[other] == row - 1 and starts[other] < ends[run] + reach:
            one, two = find(other), find(run)
            parent[max(one, two)] = min(one, two)
            other += 1
    return np.array([find(run) for run in range(len(rows))], np.int64)


def to_unit(boxes: npt.ArrayLike, region: tuple[float, float, float, float]) -> Float:
    """Boxes clipped to a region and expressed in fractions of it; boxes outside it are left out.

    Examples
    --------
    >>> to_unit([[0, 0, 60, 20], [90, 0, 95, 9]], (40, 0, 80, 40))
    array([[0. , 0. , 0.5, 0.5]])
    """
    corner, size = np.array(region[:2] * 2, np.float64), np.array([region[2] - region[0], region[3] - region[1]] * 2)
    unit = np.clip((np.asarray(boxes, np.float64).reshape(-1, 4) - corner) / size, 0, 1)
    kept: Float = unit[(unit[:, 2] > unit[:, 0]) & (unit[:, 3] > unit[:, 1])]
    if not len(kept):
        raise InputError(f"no box reaches into the part of the image that is looked at, {region}")
    return kept


def convis_curve(cells: npt.NDArray[np.floating], truth: Float) -> Float:
    """IoU of the largest 4-connected component's box at thresholds 0, 0.01, ... 0.99.

    Parameters
    ----------
    cells : (h, w) float in [0, 1]
        A map, high is salient.
    truth : (k, 4) float
        True boxes in fractions of the map, see :func:`to_unit`; the best-fitting one counts.

    Returns
    -------
    (100,) float64
        0 where no cell reaches the threshold.

    Examples
    --------
    >>> cells = np.array([[1.0, 0.6, 0.0, 0.0]])
    >>> convis_curve(cells, np.array([[0.0, 0.0, 0.5, 1.0]]))[[0, 50, 99]]
    array([0.5, 1. , 0.5])
    """
    height, width = cells.shape
    targets = truth * np.array([width, height, width, height])
    ordered = np.sort(cells, axis=None)
    counts = (cells.size - np.searchsorted(ordered, CONVIS_THRESHOLDS, side="left")).tolist()
    fits: dict[int, float] = {0: 0.0}
    for count, threshold in zip(counts, CONVIS_THRESHOLDS, strict=True):
        if count not in fits:  # masks are nested: as many cells, the same mask
            boxes, areas = components(cells >= threshold)
            fits[count] = float(iou(boxes[areas.argmax()], targets).max())
    return np.array([fits[count] for count in counts])


def wsol_curves(cells: npt.NDArray[np.floating], truth: Float) -> tuple[Float, Float]:
    """IoU by the ``wsol`` convention at its 256 distinguishable thresholds.

    Parameters
    ----------
    cells, truth
        As for :func:`convis_curve`.

    Returns
    -------
    largest, best : (256,) float64
        Of the largest component's box (for MaxBoxAcc) and of the best-fitting component's (for MaxBoxAccV2).
        Areas count pixels, where the original takes the area of the contour's polygon.
    """
    levels = _in_256_steps(cells)
    inclusive = np.minimum(np.floor(truth * WSOL_SIZE), WSOL_SIZE - 1)
    inclusive[:, 2:] += 1
    largest, best = np.zeros(256), np.zeros(256)
    present = set(np.unique(levels).tolist())
    for level in range(int(levels.max())):
        if level and level not in present:
            largest[level], best[level] = largest[level - 1], best[level - 1]
            continue
        boxes, areas = components(levels > level, diagonal=True)
        ends = np.minimum(boxes[:, 2:], WSOL_SIZE - 1) + 1  # the protocol takes x0 + w for the last pixel
        fits = iou(np.concatenate([boxes[:, :2], ends], axis=1), inclusive).max(axis=1)
        largest[level], best[level] = fits[areas.argmax()], fits.max()
    return largest, best


def _in_256_steps(cells: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """A map on 224 x 224 pixels (bilinear), stretched to 0 .. 255; all 255 where it is constant."""
    from PIL import Image

    resized = Image.fromarray(np.asarray(cells, np.float32)).resize((WSOL_SIZE, WSOL_SIZE), Image.Resampling.BILINEAR)
    values = np.asarray(resized, np.float64)
    low, high = values.min(), values.max()
    return ((values - low) / (high - low) * 255 if high > low else np.full_like(values, 255)).astype(np.uint8)


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


def pixel_average_precision(histogram: npt.ArrayLike) -> float:
    """PxAP: area under the precision-recall curve of pixels, over all images together.

    Parameters
    ----------
    histogram : (2, t) numbers
        Pixels of the background and of the object at each of t rising map values.

    Returns
    -------
    float
        In [0, 1]; nan where no pixel belongs to an object. Choe et al., arXiv 2001.07437, section 4.2.

    Examples
    --------
    >>> pixel_average_precision([[3, 0], [0, 2]]), pixel_average_precision([[1], [1]])
    (1.0, 0.5)
    """
    background, found = np.asarray(histogram, np.float64)[:, ::-1].cumsum(axis=1)
    if not found[-1]:
        return float("nan")
    precision = np.divide(found, found + background, out=np.ones_like(found), where=found + background > 0)
    return float((precision * np.diff(found / found[-1], prepend=0.0)).sum())

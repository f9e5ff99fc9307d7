"""Saliency maps in float64."""

from __future__ import annotations

import numpy as np

from ...errors import InputError
from .. import arguments
from ..contract import Array, SaliencyMaps

CONSTANT_SPAN = 1e-10  # of the largest magnitude: see the contract


def saliency_maps(
    values: Array,
    boxes: Array,
    weights: Array,
    shape: tuple[int, int],
    *,
    num_threads: int | None = None,
) -> SaliencyMaps:
    """One addition for every patch and concept."""
    values = arguments.array("values", values, (None, None), [np.float32, np.int32], "n, k")
    boxes = arguments.boxes(boxes, len(values))
    weights = arguments.array("weights", weights, (len(values),), [np.float64])
    height, width = arguments.sides("shape", shape, arguments.MAX_CELLS, area=arguments.MAX_CELLS)
    arguments.finite("values", values)
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise InputError("weights must be positive finite numbers")
    if (boxes[:, :2] >= boxes[:, 2:]).any():
        raise InputError("boxes must not be empty: x0 < x1 and y0 < y1")
    totals = np.zeros((height, width, values.shape[1]))
    coverage = np.zeros((height, width))
    for row, (x0, y0, x1, y1), weight in zip(values, boxes, weights, strict=True):
        window = np.s_[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        totals[window] += weight * row.astype(np.float64)
        coverage[window] += weight
    if not coverage.all():
        raise InputError(f"boxes leave {int((coverage == 0).sum())} of {coverage.size} cells uncovered")
    means = np.moveaxis(totals / coverage[..., None], 2, 0)
    low, high = means.min(axis=(1, 2)), means.max(axis=(1, 2))
    constant = high - low <= CONSTANT_SPAN * np.abs(values.astype(np.float64)).max(axis=0, initial=0)
    span = np.where(constant, 1.0, high - low)[:, None, None]
    maps = np.where(constant[:, None, None], 1.0, 1.0 - (means - low[:, None, None]) / span)
    return SaliencyMaps(maps.astype(np.float32), low, high)

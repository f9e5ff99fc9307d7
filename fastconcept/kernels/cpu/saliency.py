"""Saliency maps on the CPU (``csrc/cpu/saliency.cpp``)."""

from __future__ import annotations

import numpy as np

from .. import _cpu, arguments
from ..contract import Array, SaliencyMaps
from ..threads import check_num_threads


def saliency_maps(
    values: Array,
    boxes: Array,
    weights: Array,
    shape: tuple[int, int],
    *,
    num_threads: int | None = None,
) -> SaliencyMaps:
    """Sums in float64, as in the reference."""
    rows = arguments.array("values", values, (None, None), [np.float32, np.int32], "n, k")
    height, width = arguments.sides("shape", shape, arguments.MAX_CELLS, area=arguments.MAX_CELLS)
    return SaliencyMaps(
        *_cpu.saliency_maps(
            rows,
            arguments.boxes(boxes, len(rows)),
            arguments.array("weights", weights, (len(rows),), [np.float64]),
            height,
            width,
            check_num_threads(num_threads),
        )
    )

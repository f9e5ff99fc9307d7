"""Resized patches by Pillow, and normalised in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from .. import arguments
from ..contract import Array


def resize_patches(
    image: Array,
    boxes: Array,
    size: tuple[int, int],
    mean: Sequence[float] | Array,
    std: Sequence[float] | Array,
    interpolation: str = "bicubic",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Pillow, one side at a time."""
    from PIL import Image

    image = arguments.array("image", image, (None, None, 3), [np.uint8], "H, W, 3")
    boxes, (height, width), means, deviations = task = arguments.resizing(boxes, size, mean, std, interpolation)
    result = arguments.output("out", out, task.shape)
    if ((boxes[:, :2] < 0) | (boxes[:, :2] >= boxes[:, 2:]) | (boxes[:, 2:] > (image.shape[1], image.shape[0]))).any():
        raise InputError("boxes must be inside the image and not empty: 0 <= x0 < x1 <= W and 0 <= y0 < y1 <= H")
    resample = Image.Resampling[interpolation.upper()]
    for patch, (x0, y0, x1, y1) in zip(result, boxes, strict=True):
        wide = Image.fromarray(np.ascontiguousarray(image[y0:y1, x0:x1])).resize((width, y1 - y0), resample)
        pixels = np.asarray(wide.resize((width, height), resample))
        patch[:] = np.moveaxis((pixels / 255.0 - means) / deviations, 2, 0)
    return result

"""Pixel average precision of maps against masks: PxAP of the protocol of weakly supervised localisation.

Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", arXiv 2001.07437, section 4.2 (code:
clovaai/wsolevaluation): map and mask on 224 x 224 pixels, the map in steps of 0.001 with one more for the value 1,
pixels of all images counted together, ignored pixels left out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..datasets.masks import OBJECT
from .boxes import WSOL_SIZE, stretched

Float = npt.NDArray[np.float64]
STEPS = 1001


def pixel_histogram(
    cells: npt.NDArray[np.floating], mask: npt.NDArray[np.uint8], region: tuple[int, int, int, int]
) -> Float:
    """Pixels of background and object at each of 1,001 rising map values.

    Parameters
    ----------
    cells : (h, w) float
        A map over the region.
    mask : (H, W) uint8
        Of the whole image, see :func:`fastconcept.datasets.masks.merge_masks`.
    region : (x0, y0, x1, y1)
        The part of the image that is looked at.

    Returns
    -------
    (2, 1001) float64
    """
    x0, y0, x1, y1 = region
    rows, columns = (np.arange(WSOL_SIZE) * side // WSOL_SIZE for side in (y1 - y0, x1 - x0))  # nearest, as in OpenCV
    truth = mask[y0:y1, x0:x1][np.ix_(rows, columns)]
    steps = (stretched(cells) * (STEPS - 1)).astype(np.int64)
    return np.stack([np.bincount(steps[truth == side], minlength=STEPS) for side in (0, OBJECT)]).astype(np.float64)


def pixel_average_precision(histograms: npt.ArrayLike) -> Float:
    """PxAP: area under the precision-recall curve of pixels.

    Parameters
    ----------
    histograms : (..., 2, t) numbers
        Pixels of the background and of the object at each of t rising map values.

    Returns
    -------
    (...) float64
        In [0, 1]; nan where no pixel belongs to an object.

    Examples
    --------
    >>> pixel_average_precision([[[3, 0], [0, 2]], [[1, 0], [1, 0]]])
    array([1. , 0.5])
    """
    counted = np.asarray(histograms, np.float64)[..., ::-1].cumsum(axis=-1)
    background, objects = counted[..., 0, :], counted[..., 1, :]
    precision = np.divide(objects, objects + background, out=np.ones_like(objects), where=objects + background > 0)
    total = np.where(objects[..., -1:] > 0, objects[..., -1:], np.nan)
    area: Float = (precision * np.diff(objects / total, prepend=0.0, axis=-1)).sum(axis=-1)
    return area

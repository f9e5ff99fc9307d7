"""Where the CPU kernels work: the process's own memory. The twin of :mod:`fastconcept.kernels.cuda_device`.

Code above the kernels asks the backend to ``upload`` what the next kernel reads and to bring results ``to_host``;
here both leave an array where it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import checks
from .sparse_codes import check_rows

__all__ = [
    "Device",
    "beside",
    "check_rows",
    "empty",
    "noise",
    "place",
    "prepare_bank",
    "resize_image",
    "to_host",
    "upload",
]


class Device:
    """The host. Nothing to enter, and no stream to wait for.

    Parameters
    ----------
    name : str
        ``"cpu"``.

    Examples
    --------
    >>> with Device("cpu") as here:
    ...     here.name
    'cpu'
    """

    def __init__(self, name: str = "cpu") -> None:
        self.name = name

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def upload(array: Any) -> Any:
    """An array where the kernels read it."""
    return array


def to_host(array: Any) -> Any:
    """A NumPy array of a result."""
    return array


def beside(rows: Any, array: Any) -> Any:
    """An array where ``rows`` are, so that the two can be computed with."""
    return array


def prepare_bank(rows: Any) -> Any:
    """Concept embeddings (N, d) float32 as ``subtree_ranks`` and ``all_ranks`` take them again and again."""
    return checks.embeddings("bank", rows)


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
    """An array to be written, where the kernels read it."""
    return np.empty(shape, dtype)


def noise(shape: tuple[int, ...], seed: int) -> Any:
    """Uniform noise over 0 to 255, uint8; of a seed, smaller arrays are the beginning of larger ones."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def resize_image(image: Any, box: tuple[int, int, int, int], size: tuple[int, int]) -> Any:
    """Cut a box (x0, y0, x1, y1) out of an image (H, W, 3) uint8 and resize it (bicubic, antialiased), as Pillow does.

    Returns
    -------
    (h, w, 3) uint8
        ``size`` is its height and width.
    """
    from PIL import Image

    cut = Image.fromarray(image[box[1] : box[3], box[0] : box[2]])
    return np.asarray(cut.resize((size[1], size[0]), Image.Resampling.BICUBIC), np.uint8)


def place() -> str:
    """Name of the device on which arrays are made now."""
    return "cpu"

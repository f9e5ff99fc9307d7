"""From decoded pixels to the float array an encoder takes, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle import Preprocess
from ..kernels.contract import Array, Kernels


def preprocess_image(image: npt.NDArray[np.uint8], config: Preprocess) -> npt.NDArray[np.float32]:
    """Resize, crop or pad, and normalise one whole image as open_clip's evaluation transform does.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB pixels, as :func:`.decode.load_image` returns them.
    config : Preprocess
        The bundle's preprocessing.

    Returns
    -------
    (3, h, w) float32
        ``(pixel / 255 - mean) / std`` with ``(h, w) = config.size``; the pixels are those of Pillow 13.

    Examples
    --------
    >>> config = Preprocess((2, 2), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    >>> preprocess_image(np.full((4, 6, 3), 255, np.uint8), config).max()
    np.float32(1.0)
    """
    from ..kernels import cpu  # loads a BLAS, which machines with a GPU may lack

    whole: npt.NDArray[np.float32] = preprocess_images([np.ascontiguousarray(image)], config, cpu)[0]
    return whole


def preprocess_images(
    images: Sequence[Array],
    config: Preprocess,
    kernels: Kernels,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Any:
    """:func:`preprocess_image` of several images where the kernels read them.

    Parameters
    ----------
    images : sequence of n (H, W, 3) uint8
        Of any sizes, in host memory or on the device of the kernels.
    config : Preprocess
    kernels : Kernels
    out : (n, 3, h, w) float32, optional
        Array to write to.
    num_threads : int, optional

    Returns
    -------
    (n, 3, h, w) float32

    Examples
    --------
    >>> from fastconcept.kernels import cpu
    >>> config = Preprocess((2, 2), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    >>> preprocess_images([np.zeros((4, 6, 3), np.uint8)] * 5, config, cpu).shape
    (5, 3, 2, 2)
    """
    placed = (placement(image.shape[0], image.shape[1], config) for image in images)
    return kernels.resize_images(
        images,
        np.array([(*size, *corner) for size, corner in placed], np.int64).reshape(-1, 4),
        config.size,
        np.asarray(config.mean),
        np.asarray(config.std),
        config.interpolation,
        fill=config.fill_color,
        out=out,
        num_threads=num_threads,
    )


def placement(height: int, width: int, config: Preprocess) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size (h, w) to which a whole image is resized, and where in it (top, left) the encoder's window begins.

    The window reaches outside (negative numbers) where the image is padded. Rounding follows torchvision.

    Examples
    --------
    >>> half = (0.5, 0.5, 0.5)
    >>> placement(480, 640, Preprocess((224, 224), half, half))
    ((224, 298), (0, 37))
    >>> placement(480, 640, Preprocess((224, 224), half, half, resize_mode="longest"))
    ((168, 224), (-28, 0))
    """
    tall, wide = config.size
    if config.resize_mode == "squash":
        return (tall, wide), (0, 0)
    if config.resize_mode == "longest":  # long side to the target, the rest padded evenly
        ratio = max(width / wide, height / tall)
        resized = max(1, round(height / ratio)), max(1, round(width / ratio))
        return resized, (-((tall - resized[0]) // 2), -((wide - resized[1]) // 2))
    if tall == wide:  # short side to the target, then the centre
        short, long = sorted((height, width))
        scaled = int(wide * long / short)
        resized = (scaled, wide) if width <= height else (wide, scaled)
    else:
        ratio = min(width / wide, height / tall)
        resized = round(height / ratio), round(width / ratio)
    return resized, (round((resized[0] - tall) / 2.0), round((resized[1] - wide) / 2.0))

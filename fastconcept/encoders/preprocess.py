"""From decoded pixels to the float array an encoder takes, without torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..bundle import Preprocess
from ..kernels.arguments import MAX_SIZE
from ..kernels.contract import Array, Kernels

_MAX_RESIZED_PIXELS = 16_000_000  # above this an extreme aspect ratio is resized inside its crop only


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
        ``(pixel / 255 - mean) / std`` with ``(h, w) = config.size``.

    Examples
    --------
    >>> config = Preprocess((2, 2), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    >>> preprocess_image(np.full((4, 6, 3), 255, np.uint8), config).max()
    np.float32(1.0)
    """
    from PIL import Image

    resample = Image.Resampling[config.interpolation.upper()]
    (height, width), (tall, wide), (top, left) = config.size, *placement(image.shape[0], image.shape[1], config)
    picture = Image.fromarray(image)
    if tall * wide > _MAX_RESIZED_PIXELS:
        down, across = picture.height / tall, picture.width / wide
        box = (left * across, top * down, (left + width) * across, (top + height) * down)
        fitted = picture.resize((width, height), resample, box=box)
    else:
        fitted = picture if (wide, tall) == picture.size else picture.resize((wide, tall), resample)
        if config.resize_mode == "longest":
            canvas = Image.new("RGB", (width, height), (config.fill_color,) * 3)
            canvas.paste(fitted, (-left, -top))
            fitted = canvas
        else:
            fitted = fitted.crop((left, top, left + width, top + height))
    pixels = np.asarray(fitted, np.float32) / np.float32(255)
    pixels = (pixels - np.asarray(config.mean, np.float32)) / np.asarray(config.std, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def preprocess_uploaded(
    image: npt.NDArray[np.uint8], uploaded: Array, config: Preprocess, kernels: Kernels, num_threads: int | None = None
) -> Array:
    """:func:`preprocess_image` where the kernels read the image.

    On a GPU the image is resized there, always rows before columns. Pillow resizes some images columns first, which are
    squashed or far taller than wide; their pixels may differ by a few levels of 255.

    Parameters
    ----------
    image : (H, W, 3) uint8
    uploaded : (H, W, 3) uint8
        What ``kernels.upload`` made of it.
    config : Preprocess
    kernels : Kernels
    num_threads : int, optional

    Returns
    -------
    (3, h, w) float32
        Where ``uploaded`` is.
    """
    if uploaded is image:
        return preprocess_image(image, config)
    (height, width), (tall, wide), (top, left) = config.size, *placement(image.shape[0], image.shape[1], config)
    if tall * wide > _MAX_RESIZED_PIXELS or max(tall, wide) > MAX_SIZE:  # a strip, of which little is looked at
        return kernels.upload(preprocess_image(image, config))
    box = np.array([[0, 0, image.shape[1], image.shape[0]]], np.int32)
    mean, std = np.asarray(config.mean, np.float32), np.asarray(config.std, np.float32)
    resized: Array = kernels.resize_patches(
        uploaded, box, (tall, wide), mean, std, config.interpolation, num_threads=num_threads
    )[0]
    if config.resize_mode != "longest":
        window: Array = resized[:, top : top + height, left : left + width]
        return window
    canvas = kernels.empty((3, height, width), np.float32)
    for channel, value in enumerate(((np.float32(config.fill_color / 255) - mean) / std).tolist()):
        canvas[channel] = value
    canvas[:, -top : -top + tall, -left : -left + wide] = resized
    return canvas


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

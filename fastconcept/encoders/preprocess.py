"""From anything that looks like an image to the float array an encoder takes, without torch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..bundle import Preprocess
from ..errors import ImageError, InputError
from ..kernels.arguments import MAX_SIZE
from ..kernels.contract import Array, Kernels

if TYPE_CHECKING:
    from PIL import Image

    ImageLike = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]

MAX_PIXELS = 100_000_000  # of a decoded image; a larger one is taken for a decompression bomb
_MAX_RESIZED_PIXELS = 16_000_000  # above this an extreme aspect ratio is resized inside its crop only


def load_image(source: ImageLike, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode an image to RGB.

    The camera's orientation (EXIF) is applied, transparency is laid on white, 16-bit greys keep their upper
    8 bits, CMYK and palettes are converted, and of an animation the first frame is taken.

    Parameters
    ----------
    source : path, bytes, PIL.Image.Image or uint8 array (H, W, 3)
        A file name, the content of a file, or pixels.
    max_pixels : int
        Largest width times height that is decoded.

    Returns
    -------
    (H, W, 3) uint8, C-contiguous

    Raises
    ------
    ImageError
        If it is missing, empty, truncated, not an image, or larger than ``max_pixels``.

    Examples
    --------
    >>> load_image(np.zeros((2, 3, 3), np.uint8)).shape
    (2, 3, 3)
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, np.ndarray):
        return _check_array(source, max_pixels)
    if isinstance(source, Image.Image):
        return _decode(source, f"the {source.mode} image", max_pixels)
    stream: Any
    if isinstance(source, bytes):
        name, stream, size = "the image bytes", BytesIO(source), len(source)
    elif isinstance(source, (str, os.PathLike)):
        name, stream, size = os.fspath(source), Path(source), _file_size(Path(source))
    else:
        raise InputError(
            f"an image must be a path, bytes, a Pillow image or a uint8 array, got {type(source).__name__}"
        )
    if size == 0:
        raise ImageError(f"{name} is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit comes below
            image = Image.open(stream)
        with image:
            return _decode(image, name, max_pixels)
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not an image of a format that Pillow can read") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name} has more pixels than the limit of {max_pixels:,}") from None
    except OSError as error:
        raise ImageError(f"{name} cannot be read: {error}") from None


def is_single_image(images: object) -> bool:
    """Whether this is one image and not a sequence of images.

    Examples
    --------
    >>> is_single_image("cat.jpg"), is_single_image(["cat.jpg"]), is_single_image(np.zeros((4, 4, 3), np.uint8))
    (True, False, True)
    """
    if isinstance(images, np.ndarray):
        return images.ndim == 3
    return isinstance(images, (str, os.PathLike, bytes)) or not isinstance(images, Iterable)


def _file_size(path: Path) -> int:
    if not path.is_file():
        raise ImageError(f"no image file at {path}")
    return path.stat().st_size


def _check_array(pixels: npt.NDArray[Any], max_pixels: int) -> npt.NDArray[np.uint8]:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ImageError(f"an image array must be uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    if pixels.shape[0] * pixels.shape[1] > max_pixels:
        raise ImageError(f"the image has {pixels.shape[0] * pixels.shape[1]:,} pixels, the limit is {max_pixels:,}")
    return np.ascontiguousarray(pixels)


def _decode(image: Image.Image, name: str, max_pixels: int) -> npt.NDArray[np.uint8]:
    from PIL import Image, ImageOps

    if image.width * image.height > max_pixels:
        raise ImageError(f"{name} has {image.width * image.height:,} pixels, the limit is {max_pixels:,}")
    if image.width == 0 or image.height == 0:
        raise ImageError(f"{name} has no pixels")
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16-bit greys: Pillow's own conversion would clip at 255
            grey = np.asarray(image).astype(np.int64)
            image = Image.fromarray((np.clip(grey, 0, 65535) >> 8).astype(np.uint8))
        elif image.mode == "F":
            raise ImageError(f"{name} holds floating-point pixels; convert it to 8 bits first")
        if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"), np.uint8, order="C")
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name} is damaged or truncated: {error}") from None


def preprocess_image(image: npt.NDArray[np.uint8], config: Preprocess) -> npt.NDArray[np.float32]:
    """Resize, crop or pad, and normalise one whole image as open_clip's evaluation transform does.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB pixels, as :func:`load_image` returns them.
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

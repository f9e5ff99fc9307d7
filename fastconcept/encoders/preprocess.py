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
    height, width = config.size
    picture = Image.fromarray(image)
    if config.resize_mode == "squash":
        fitted = picture.resize((width, height), resample)
    elif config.resize_mode == "longest":
        fitted = _fit_longest(picture, width, height, resample, config.fill_color)
    else:
        fitted = _fit_shortest(picture, width, height, resample)
    pixels = np.asarray(fitted, np.float32) / np.float32(255)
    pixels = (pixels - np.asarray(config.mean, np.float32)) / np.asarray(config.std, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _fit_shortest(picture: Image.Image, width: int, height: int, resample: Any) -> Image.Image:
    """Short side to the target, then the centre; rounding follows torchvision."""
    if width == height:
        short, long = sorted(picture.size)
        scaled = int(width * long / short)
        new_width, new_height = (width, scaled) if picture.width <= picture.height else (scaled, width)
    else:
        ratio = min(picture.width / width, picture.height / height)
        new_width, new_height = round(picture.width / ratio), round(picture.height / ratio)
    left, top = round((new_width - width) / 2.0), round((new_height - height) / 2.0)
    if new_width * new_height > _MAX_RESIZED_PIXELS:
        across, down = picture.width / new_width, picture.height / new_height
        box = (left * across, top * down, (left + width) * across, (top + height) * down)
        return picture.resize((width, height), resample, box=box)
    if (new_width, new_height) != picture.size:
        picture = picture.resize((new_width, new_height), resample)
    return picture.crop((left, top, left + width, top + height))


def _fit_longest(picture: Image.Image, width: int, height: int, resample: Any, fill: int) -> Image.Image:
    """Long side to the target, the rest padded evenly."""
    from PIL import Image

    ratio = max(picture.width / width, picture.height / height)
    new_width, new_height = max(1, round(picture.width / ratio)), max(1, round(picture.height / ratio))
    canvas = Image.new("RGB", (width, height), (fill, fill, fill))
    resized = picture.resize((new_width, new_height), resample)
    canvas.paste(resized, ((width - new_width) // 2, (height - new_height) // 2))
    return canvas

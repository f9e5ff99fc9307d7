"""JPEG by libjpeg-turbo alone, where simplejpeg is installed: Pillow's pixels without Pillow's copies of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_MAX_BYTES = 1 << 28  # of a file that is read into memory; a larger one is left to Pillow, which reads in pieces


def decode_jpeg(image: Any, stream: IO[bytes]) -> npt.NDArray[np.uint8] | None:
    """The pixels of a JPEG that Pillow has opened and not loaded, or None where Pillow has to load it.

    Both libraries decode with libjpeg-turbo in the same way. Pillow has read the header, so that its limits hold, and
    whatever is unusual about a file (CMYK, damage, warnings of the decoder) is left to it.

    Parameters
    ----------
    image : PIL.Image.Image
        Opened from the stream; its size may have been reduced by ``draft``.
    stream : binary file

    Returns
    -------
    (H, W, 3) uint8 or None
    """
    decode = _decoder()
    if decode is None or image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    stream.seek(0)
    content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        return None
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    try:
        decoded = decode(content, "RGB", min_height=image.height, min_width=image.width, buffer=pixels)
    except Exception:  # ValueError mostly; the error that a user sees is Pillow's
        return None
    return pixels if decoded.shape == pixels.shape else None


@functools.cache
def _decoder() -> Callable[..., npt.NDArray[np.uint8]] | None:
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None
    return decode_jpeg  # type: ignore[no-any-return]

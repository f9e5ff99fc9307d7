"""JPEG by libjpeg-turbo alone, where simplejpeg is installed: Pillow's pixels without Pillow's copies of them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_MAX_BYTES = 1 << 28  # of a file that is read into memory; a larger one is left to Pillow, which reads in pieces
_SCAN, _FRAMES, _SECOND_EXTRA = 0xDA, (0xC0, 0xC1, 0xC2), 0xE2
# Segments that neither turn an image nor make it one of several: tables, comments, APP0, APP13 and APP14.
_HARMLESS = frozenset((0xC4, 0xDB, 0xDD, 0xFE, 0xE0, 0xED, 0xEE))
_PROFILE = b"ICC_PROFILE\0"


def decode_plain_jpeg(stream: IO[bytes], max_pixels: int) -> npt.NDArray[np.uint8] | None:
    """The pixels of an ordinary JPEG: 8 bits, grey or three colours, without EXIF. None where Pillow has to look at it.

    Pillow takes longer to read the header than to do nothing, and would find nothing there.

    Parameters
    ----------
    stream : binary file
        Read from its beginning.
    max_pixels : int
        Width times height; a larger image is not decoded.

    Returns
    -------
    (H, W, 3) uint8 or None

    Examples
    --------
    >>> from io import BytesIO
    >>> decode_plain_jpeg(BytesIO(b"no JPEG"), 100) is None
    True
    """
    try:
        content = _content(stream)
        size = _plain_size(content)
    except (OSError, IndexError):  # IndexError: truncated
        return None
    return None if size is None or size[0] * size[1] > max_pixels else _decoded(content, *size)


def _plain_size(content: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG whose header holds nothing of interest."""
    size, at = None, 2
    while content[at] == 0xFF:
        marker, end = content[at + 1], at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == _SCAN:
            return size
        if marker in _FRAMES:
            if size is not None or content[at + 4] != 8 or content[at + 9] not in (1, 3):
                return None
            size = int.from_bytes(content[at + 5 : at + 7], "big"), int.from_bytes(content[at + 7 : at + 9], "big")
        elif marker not in _HARMLESS and not (marker == _SECOND_EXTRA and content.startswith(_PROFILE, at + 4)):
            return None
        at = end
    return None


def decode_jpeg(image: Any, stream: IO[bytes]) -> npt.NDArray[np.uint8] | None:
    """The pixels of a JPEG that Pillow has opened and not loaded, or None where Pillow has to load it.

    Pillow has read the header, so that its limits hold, and whatever is unusual about a file (CMYK, damage, warnings of
    the decoder) is left to it.

    Parameters
    ----------
    image : PIL.Image.Image
        Opened from the stream; its size may have been reduced by ``draft``.
    stream : binary file

    Returns
    -------
    (H, W, 3) uint8 or None
    """
    if image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    return _decoded(_content(stream), image.height, image.width)


def _content(stream: IO[bytes]) -> bytes:
    """A whole file, or nothing if it is too large; reading "at most" a number of bytes makes room for as many."""
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return stream.read(length) if length <= _MAX_BYTES else b""


def _decoded(content: bytes, height: int, width: int) -> npt.NDArray[np.uint8] | None:
    """By libjpeg-turbo, as Pillow does; None if it complains, as the error that a user sees is Pillow's."""
    decode = _decoder()
    if decode is None or not content:
        return None
    try:
        pixels = np.empty((height, width, 3), np.uint8)
        decoded = decode(content, "RGB", min_height=height, min_width=width, buffer=pixels)
    except Exception:  # ValueError mostly
        return None
    return pixels if decoded.shape == pixels.shape else None


@functools.cache
def _decoder() -> Callable[..., npt.NDArray[np.uint8]] | None:
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None
    return decode_jpeg  # type: ignore[no-any-return]

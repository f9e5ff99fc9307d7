"""From anything that looks like an image to RGB pixels."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import re
import struct
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, InputError
from ..kernels.foreign import as_numpy
from ..kernels.forks import renew_after_fork
from .jpeg import decode_jpeg, decode_plain_jpeg

if TYPE_CHECKING:
    from PIL import Image

    ImageLike = (
        str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[np.generic]
    )

Pixels = npt.NDArray[np.uint8]
MAX_PIXELS = 100_000_000  # of a decoded image; a larger one is taken for a decompression bomb
# Formats that are opened, by Pillow's names, whatever a file is called. Pillow knows more: some of them start other
# programs (EPS starts Ghostscript), and most have not been looked at for decades.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")
_MAX_BYTES = 1 << 30  # that are read from a file object
_ORIENTATION = 0x0112  # tag of EXIF
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND", b"eXIf"))  # chunks that decide how a PNG looks
_JPEG_START, _JPEG_SCAN = b"\xff\xd8", 0xDA
_JPEG_EXTRAS = frozenset((0xE0, *range(0xE2, 0xF0), 0xFE))  # markers of segments that no viewer needs


def load_image(source: ImageLike, max_pixels: int = MAX_PIXELS, short_side: int | None = None) -> Pixels:
    """Decode an image to RGB.

    The camera's orientation (EXIF) is applied, transparency is laid on white, 16-bit greys keep their upper
    8 bits, CMYK and palettes are converted, and of an animation the first frame is taken. Damaged extras of a healthy
    image (profile, EXIF, text) are ignored, as viewers do.

    Parameters
    ----------
    source : path, bytes, binary file, PIL.Image.Image, or array
        A file name, the content of a file, or pixels. Arrays (NumPy, torch, ...) are grey (H, W), RGB (H, W, 3) or
        RGBA (H, W, 4), or have the channels first; integers from 0 to 255, 16-bit, or floats from 0 to 1. Where an
        array could be read both ways, NumPy's has the channels last and torch's first.
    max_pixels : int
        Largest width times height that is decoded.
    short_side : int, optional
        Pixels that the short side needs at least. The file of a JPEG that is more than twice as large is decoded at a
        half, a quarter or an eighth of its size, which is several times as fast and not the same; other images ignore
        it.

    Returns
    -------
    (H, W, 3) uint8, C-contiguous

    Raises
    ------
    ImageError
        If it is missing, empty, truncated, not an image of a format in ``FORMATS``, or larger than ``max_pixels``.
    InputError
        If the source is of another type.

    Examples
    --------
    >>> load_image(np.zeros((2, 3, 3), np.uint8)).shape, load_image(np.ones((2, 3)))[0, 0].tolist()
    ((2, 3, 3), [255, 255, 255])
    """
    from PIL import Image

    if isinstance(source, Image.Image):
        return _guarded(f"the {source.mode} image", max_pixels, lambda name: _decode(source, name, max_pixels))
    if is_array(source):
        return _from_array(source, max_pixels)
    if is_path(source):
        path = _existing_file(source)  # type: ignore[arg-type]
        with _opened(path) as stream:
            return _from_file(stream, str(path), max_pixels, short_side)
    return _from_file(BytesIO(_content(source)), "the image", max_pixels, short_side)


def is_single_image(images: object) -> bool:
    """Whether this is one image and not a sequence of images.

    Examples
    --------
    >>> is_single_image("cat.jpg"), is_single_image(["cat.jpg"]), is_single_image(np.zeros((4, 4, 3), np.uint8))
    (True, False, True)
    """
    if is_array(images):
        return getattr(images, "ndim", 0) in (2, 3)
    return isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview)) or (
        hasattr(images, "read") or not isinstance(images, Iterable)
    )


def read_orientation(path: Path) -> int:
    """How the EXIF data of an image file ask for it to be turned: 1 to 8, as EXIF has it; 1 where they do not."""
    from PIL import Image

    try:
        with _quiet, Image.open(path, formats=_formats()) as image:
            return _orientation(image)
    except Exception:  # as load_image, which reads images whose EXIF data are damaged
        return 1


def is_path(value: object) -> bool:
    """Whether an image is given by the name of its file, which errors about it then say."""
    return isinstance(value, (str, os.PathLike))


def is_array(value: object) -> bool:
    """Whether this is an array of NumPy, torch or another library."""
    return hasattr(value, "ndim") and hasattr(value, "shape") and not isinstance(value, memoryview)


# Files ----------------------------------------------------------------------------------------------------------------


def _existing_file(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    try:
        exists = path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, or has a zero byte
        raise ImageError(f"no image file at {str(path)[:100]!r}: {error}") from None
    if not exists:
        hint = f": it is a directory; name its files, as in {path}/*.jpg" if path.is_dir() else ""
        raise ImageError(f"no image file at {path}{hint}")
    return path


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error}") from None
    with stream:
        yield stream


def _content(source: Any) -> bytes:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if hasattr(source, "read"):
        try:
            content = source.read(_MAX_BYTES + 1)
        except Exception as error:  # what a user's object does
            raise ImageError(f"the image file cannot be read: {error}") from None
        if not isinstance(content, bytes):
            raise InputError(f"an image file must be opened in binary mode, its content is {type(content).__name__}")
        if len(content) > _MAX_BYTES:
            raise ImageError(f"the image file has more than {_MAX_BYTES >> 20} MiB")
        return content
    raise InputError(
        f"an image must be a path, bytes, a binary file, a Pillow image or an array, got {type(source).__name__}"
    )


def _from_file(stream: IO[bytes], name: str, max_pixels: int, short_side: int | None) -> Pixels:
    start = stream.read(len(_PNG_SIGNATURE))
    if not start:
        raise ImageError(f"{name} is empty (0 bytes)")
    if start.startswith(_JPEG_START) and short_side is None:
        pixels = decode_plain_jpeg(stream, min(max_pixels, MAX_PIXELS))
        if pixels is not None:
            return pixels
    attempts: list[Callable[[], IO[bytes]]] = [lambda: _rewound(stream)]
    # Every damaged or large extra can make Pillow refuse a whole image; viewers ignore them.
    if start == _PNG_SIGNATURE:
        attempts += [lambda: _bare_png(stream, _PNG_PIXELS | {b"tRNS"}), lambda: _bare_png(stream, _PNG_PIXELS)]
    elif start.startswith(_JPEG_START):
        attempts += [lambda: _bare_jpeg(stream)]
    failure: ImageError | None = None
    for attempt in attempts:
        try:
            return _guarded(name, max_pixels, lambda name: _open(attempt(), name, max_pixels, short_side))  # noqa: B023
        except ImageError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _rewound(stream: IO[bytes]) -> IO[bytes]:
    stream.seek(0)
    return stream


def _bare_png(stream: IO[bytes], kinds: frozenset[bytes]) -> IO[bytes]:
    """A PNG with some kinds of chunks only."""
    stream.seek(len(_PNG_SIGNATURE))
    bare = BytesIO()
    bare.write(_PNG_SIGNATURE)
    while len(header := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind in kinds:
            bare.write(header + stream.read(length + 4))
        else:
            stream.seek(length + 4, os.SEEK_CUR)
        if kind == b"IEND":
            break
    bare.seek(0)
    return bare


def _bare_jpeg(stream: IO[bytes]) -> IO[bytes]:
    """A JPEG without comments, and without application segments but that of EXIF."""
    stream.seek(len(_JPEG_START))
    bare = BytesIO()
    bare.write(_JPEG_START)
    while len(header := stream.read(4)) == 4 and header[0] == 0xFF:
        marker, length = header[1], int.from_bytes(header[2:], "big")
        body = stream.read(max(length - 2, 0))
        if marker not in _JPEG_EXTRAS:
            bare.write(header + body)
        if marker == _JPEG_SCAN:
            break
    bare.write(stream.read())
    bare.seek(0)
    return bare


def _open(stream: IO[bytes], name: str, max_pixels: int, short_side: int | None) -> Pixels:
    from PIL import Image

    with Image.open(stream, formats=_formats()) as image:
        if image.format == "TIFF":
            _hush_libtiff()
        if image.format == "JPEG":
            _check_size(image.height, image.width, name, max_pixels)
            if short_side is not None:
                image.draft(image.mode, (short_side, short_side))
            if (pixels := decode_jpeg(image, stream)) is not None:
                turn = _turn(image)
                return pixels if turn is None else np.array(Image.fromarray(pixels).transpose(turn), np.uint8)
        return _decode(image, name, max_pixels)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow was built with."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _guarded(name: str, max_pixels: int, decode: Callable[[str], Pixels]) -> Pixels:
    """Decode; whatever goes wrong inside Pillow is an :class:`ImageError`, and its warnings stay inside."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _quiet:
            return decode(name)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not an image of a format that is read here: {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has more pixels than the limit of {max_pixels:,}: {error}") from None
    except MemoryError:
        raise ImageError(f"{name} needs more memory than there is") from None
    except Exception as error:  # decoders raise almost everything: ValueError, struct.error, RuntimeError, ...
        raise ImageError(f"{name} is damaged or truncated: {error or type(error).__name__}") from None


class _Quiet:
    """Inside, warnings that Pillow gives are ignored; threads may be inside at the same time."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._filter: Any = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._filter not in warnings.filters:
                warnings.filters.insert(0, self._filter)  # type: ignore[attr-defined]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._filter in warnings.filters:
                warnings.filters.remove(self._filter)  # type: ignore[attr-defined]

    def renew(self) -> None:
        """In a forked child, whose parent's threads may have been inside."""
        self.__init__()  # type: ignore[misc]


_quiet = _Quiet()
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else what Pillow logs would go to the standard error
renew_after_fork(_quiet)


def _hush_libtiff() -> None:
    """Keep libtiff from writing to the standard error of this process."""
    from PIL import _imaging

    try:
        library = ctypes.CDLL(_imaging.__file__)  # a symbol is also looked up in the libraries that it loads
        for handler in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)
    except (OSError, AttributeError):
        pass  # built without libtiff, or linked in a way that hides it


# Pixels ---------------------------------------------------------------------------------------------------------------


def _decode(image: Any, name: str, max_pixels: int) -> Pixels:
    from PIL import Image

    _check_size(image.height, image.width, name, max_pixels)
    image.load()
    _check_size(image.height, image.width, name, max_pixels)  # some formats know it only now
    turn = _turn(image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        deep = image.mode.startswith("I;16") or image.format in ("PNG", "PPM")  # these formats scale to 16 bits
        pixels = _eight_bits(values, name, deep or (image.mode == "I" and 255 < values.max() <= 65535))
        image = Image.fromarray(pixels)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = _on_white(image.convert("RGBA"))
    rgb = image.convert("RGB")
    return np.array(rgb if turn is None else rgb.transpose(turn), np.uint8, order="C")


def _on_white(image: Any) -> Any:
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _turn(image: Any) -> Any:
    """How an image has to be turned to stand upright, or None."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return turns.get(_orientation(image))


def _orientation(image: Any) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block is ignored, as viewers do
        return 1
    return orientation if orientation in range(1, 9) else 1


def _from_array(source: Any, max_pixels: int) -> Pixels:
    from PIL import Image

    try:
        array = as_numpy("the image", source)
    except InputError as error:
        raise ImageError(str(error)) from None
    array = _channels_last(array, torch=hasattr(source, "detach"))
    _check_size(array.shape[0], array.shape[1], "the image", max_pixels)
    pixels = _eight_bits(array, "the image", deep=False)
    if pixels.shape[2] == 4:
        pixels = np.array(_on_white(Image.fromarray(np.ascontiguousarray(pixels))).convert("RGB"), np.uint8)
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)


def _channels_last(array: npt.NDArray[Any], torch: bool) -> npt.NDArray[Any]:
    """(H, W), (H, W, C) or (C, H, W) as (H, W, C)."""
    if array.ndim == 2:
        return array[..., None]
    first = array.ndim == 3 and array.shape[0] in ((1, 3, 4) if torch else (1, 3))
    last = array.ndim == 3 and array.shape[2] in (1, 3, 4)
    if not (first or last):
        raise ImageError(f"an image array must be (H, W), (H, W, 3) or (H, W, 4) of uint8, got shape {array.shape}")
    return np.moveaxis(array, 0, -1) if first and (torch or not last) else array


def _eight_bits(values: npt.NDArray[Any], name: str, deep: bool) -> Pixels:
    """Values of any type as 8 bits; ``deep`` says that integers have 16."""
    if values.dtype == np.uint8 or not values.size:
        return values.astype(np.uint8, copy=False)
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and not (low >= 0 and high <= 1):
        raise ImageError(f"{name} has floats from {low} to {high}; scale them to [0, 1] or convert them to uint8")
    if values.dtype.kind == "f":
        return np.asarray(np.rint(values * 255), np.uint8)
    if deep or (values.dtype == np.uint16 and high > 255):
        return np.asarray(np.clip(values, 0, 65535).astype(np.uint16) >> 8, np.uint8)
    if values.dtype.kind not in "iu" or low < 0 or high > 255 or (values.dtype == np.uint16 and high > 0):
        raise ImageError(
            f"{name} is {values.dtype} with values from {low} to {high}; convert it to uint8 (0 to 255) first"
        )
    return values.astype(np.uint8)


def _check_size(height: int, width: int, name: str, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise ImageError(f"{name} has {height * width:,} pixels, the limit is {max_pixels:,}")
    if height == 0 or width == 0:
        raise ImageError(f"{name} has no pixels")

"""Masks that are pictures. They are not photographs: their levels are names of things, which no conversion may change.

A picture is understood if there is one way to understand it:

* 0 and another level: the brighter is the object. The type may be 1, 8 or 16 bits.
* 0, 1 and 255 (Pascal VOC): 255 is void, neither object nor background.
* 0, 128 and 255 (matting): 128 is unknown.
* 1, 2 and 3 (Oxford pets): object, background, unknown.
* votes of five annotators in steps of 51 (CUB-200-2011), and black and white with some soft edge: half or more.
* a palette of greys: as above; of colours: index 0 is background, 255 void, and there may be one other index, which is
  not black where the background has a colour.
* a picture with transparency: the object is what can be seen, unless the colours say something else; those of a
  photograph that was cut out say nothing.

Every other picture is refused, because a wrong object would give numbers that nobody notices. So are pictures with
several frames, and those whose EXIF data ask for them to be turned.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.decode import read_orientation
from ..errors import InputError

OBJECT, IGNORED = 1, 255
_FORMATS = ("PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG", "TGA")
_SOFT = 0.25  # largest part of a black and white picture that may lie between its extremes
_COLOURS_OF_A_PHOTOGRAPH = 256  # at least

Levels = npt.NDArray[np.uint8]


def read_mask_picture(path: Path, height: int, width: int) -> Levels:
    """Read a picture as a mask.

    Parameters
    ----------
    path : Path
    height, width : int
        Size that it must have, in pixels; another is refused before anything is decoded.

    Returns
    -------
    (height, width) uint8
        1 for the object, 255 for pixels to ignore, 0 for background.

    Raises
    ------
    InputError
        If it cannot be read, is of another size, or may be understood in several ways.
    """
    from PIL import Image

    if not os.path.isfile(path):
        raise InputError(f"mask: no picture at {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as picture:
                if picture.size != (width, height):
                    sides = "{} x {}".format(*picture.size)
                    raise InputError(f"mask {path.name} has {sides} pixels, not {width} x {height}")
                if getattr(picture, "is_animated", False):
                    raise InputError(f"mask {path.name} has several frames; write one of them")
                if read_orientation(path) != 1:
                    raise InputError(f"mask {path.name} has EXIF data that ask to turn it; write it upright, without")
                mode, planes = picture.mode, np.asarray(picture)
                palette = _palette(picture) if mode == "P" else None
    except InputError:
        raise
    except Exception as error:  # Pillow and its plugins raise many kinds
        raise InputError(f"mask {path.name} cannot be read as a picture: {error}") from None
    try:
        return _mask_of(mode, planes, palette)
    except InputError as error:
        raise InputError(f"mask {path.name} {error}; write one of 0 and 255") from None


def _palette(picture: Any) -> npt.NDArray[np.uint8]:
    """The colours of a palette, (n, 3)."""
    colours: npt.NDArray[np.uint8] = np.asarray(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return colours


def _mask_of(mode: str, planes: npt.NDArray[Any], palette: npt.NDArray[np.uint8] | None) -> Levels:
    if mode == "1":
        return np.where(planes, OBJECT, 0).astype(np.uint8)
    if palette is not None:
        used = np.unique(planes)
        colours = palette[used[used < len(palette)]]
        if len(colours) == len(used) and (colours == colours[:, :1]).all():
            return _of_levels(palette[:, 0][planes])
        return _of_indices(planes, used, palette)
    if mode in ("LA", "RGBA"):
        return _of_transparency(planes[..., :-1], planes[..., -1])
    if mode == "RGB":
        return _of_colours(planes)
    if mode == "L" or mode.startswith("I"):
        return _of_levels(planes)
    raise InputError(f"is of the kind {mode}")


def _of_levels(plane: npt.NDArray[Any]) -> Levels:
    levels, counts = np.unique(plane, return_counts=True)
    if levels[0] < 0:
        raise InputError("has negative levels")
    some = levels.tolist() if len(levels) <= 256 else []
    void, top = (255, 65535), int(levels[-1])
    if len(some) == 1:
        return np.full(plane.shape, OBJECT if top else 0, np.uint8)
    if len(some) == 2 and some[0] == 0:
        return np.where(plane == top, OBJECT, 0).astype(np.uint8)
    if len(some) == 3 and some[:2] == [0, 1] and top in void:
        return np.where(plane == top, IGNORED, plane).astype(np.uint8)
    if some in ([0, 127, 255], [0, 128, 255]):
        return np.select([plane == 255, plane > 0], [OBJECT, IGNORED], 0).astype(np.uint8)
    if some == [1, 2, 3]:
        return np.select([plane == 1, plane == 3], [OBJECT, IGNORED], 0).astype(np.uint8)
    votes = all(level % 51 == 0 for level in some) and bool(some) and top <= 255
    soft = levels[0] == 0 and top in void and counts[1:-1].sum() <= _SOFT * plane.size
    if votes or soft:
        return np.where(plane >= ((255 if votes else top) + 1) // 2, OBJECT, 0).astype(np.uint8)
    listed = ", ".join(map(str, some[:6])) or f"{len(levels)} of them"
    raise InputError(f"does not say which of its levels is the object ({listed})")


def _of_indices(plane: npt.NDArray[Any], used: npt.NDArray[Any], palette: npt.NDArray[np.uint8]) -> Levels:
    objects = [index for index in used.tolist() if index not in (0, 255)]
    if len(objects) > 1:
        raise InputError(f"has several objects in its palette ({', '.join(map(str, objects[:6]))})")
    if not objects and 255 in used:  # black and white in other colours, or nothing but void?
        raise InputError("has only the indices 0 and 255 of a palette of colours")
    if objects and 0 in used and objects[0] < len(palette) and palette[0].any() and not palette[objects[0]].any():
        raise InputError("has a black object on a background of a colour in its palette")
    return np.select([plane == 255, plane > 0], [IGNORED, OBJECT], 0).astype(np.uint8)


def _of_colours(planes: npt.NDArray[Any]) -> Levels:
    if (planes == planes[..., :1]).all():
        return _of_levels(planes[..., 0])
    packed = planes.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    colours = [colour for colour in np.unique(packed).tolist() if colour not in (0, 0xE0E0C0)]
    if len(colours) != 1 or not (packed == 0).any():
        raise InputError("has several colours")
    return np.select([packed == 0xE0E0C0, packed > 0], [IGNORED, OBJECT], 0).astype(np.uint8)


def _of_transparency(planes: npt.NDArray[Any], alpha: npt.NDArray[Any]) -> Levels:
    if alpha.min() == alpha.max():
        if not alpha.max():
            raise InputError("is wholly transparent")
        return _of_colours(planes)
    seen = _of_levels(alpha)
    if (planes == planes.reshape(-1, planes.shape[2])[0]).all():
        return seen
    if len(np.unique(planes[seen == OBJECT], axis=0)) >= _COLOURS_OF_A_PHOTOGRAPH:
        return seen
    coloured = _of_colours(planes)
    if not np.array_equal(seen, coloured):
        raise InputError("has an object in its colours and another in its transparency")
    return seen

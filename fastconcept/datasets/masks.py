"""Masks of objects: pictures, and the polygons and run lengths of COCO, decoded without trusting them.

A mask is decoded only once its image is open, at the size of that image: no number in a file decides how much memory is
taken. Pictures have a reader of their own, :mod:`fastconcept.datasets.mask_pictures`. Polygons are filled by
pycocotools. Run lengths are decoded here, because pycocotools reads past the end of a damaged text and leaves pixels
unset where the runs are too few.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, MissingDependencyError
from .mask_pictures import IGNORED, OBJECT, read_mask_picture
from .upright import upright_mask

__all__ = ["IGNORED", "OBJECT", "Mask", "fill_polygons", "is_polygon", "merge_masks", "read_mask", "run_lengths"]
Bool = npt.NDArray[np.bool_]
_FARTHEST = 1e9  # pixels from the corner; no number of a file is trusted to be one
_LONGEST_OUTLINE = 800_000  # pixels; pycocotools takes memory for five points in each of them


@dataclass(frozen=True)
class Mask:
    """Where the objects of one label are, as the file says it.

    Attributes
    ----------
    label : str
    source : Path, list or dict
        A picture as large as the image; or, as in COCO, a list of polygons ``[x0, y0, x1, y1, ...]``, or
        ``{"size": [height, width], "counts": run lengths}``, with the counts as a list or as pycocotools writes them.
    ignored : bool
        Whether it covers a crowd, whose pixels are neither object nor background unless another mask of the label
        claims them.
    orientation : int
        1, or the EXIF orientation of a photograph of which the mask has the stored pixels, not the upright ones.
    """

    label: str
    source: Any = field(repr=False)
    ignored: bool = False
    orientation: int = 1


def read_mask(mask: Mask, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Decode a mask for an image of a known size.

    Parameters
    ----------
    mask : Mask
    height, width : int
        Size of the image in pixels.

    Returns
    -------
    (height, width) uint8
        1 for the object, 255 for pixels to ignore, 0 for everything else.

    Raises
    ------
    InputError
        If it is damaged, belongs to an image of another size, or does not make clear where the object is.
    MissingDependencyError
        If it is made of polygons and pycocotools is not installed.
    """
    if mask.orientation != 1:
        return upright_mask(read_mask(replace(mask, orientation=1), width, height), mask.orientation)
    source = mask.source
    if isinstance(source, Path):
        return read_mask_picture(source, height, width)
    if isinstance(source, dict):
        if source.get("size") != [height, width]:
            raise InputError(f"mask is of size {source.get('size')!r}, the image has height {height} and width {width}")
        return run_lengths(source.get("counts"), height, width).astype(np.uint8)
    return fill_polygons(source, height, width).astype(np.uint8)


def merge_masks(masks: Sequence[Mask], height: int, width: int) -> npt.NDArray[np.uint8]:
    """All masks of a label in one, (height, width) uint8: 1 for an object, 255 where ignored, 0 for background."""
    merged = np.zeros((height, width), np.uint8)
    for mask in sorted(masks, key=lambda mask: not mask.ignored):  # objects last: they claim what crowds overlap
        levels = read_mask(mask, height, width)
        merged[levels == OBJECT] = IGNORED if mask.ignored else OBJECT
        merged[(levels == IGNORED) & (merged != OBJECT)] = IGNORED
    return merged


def run_lengths(counts: object, height: int, width: int) -> Bool:
    """Decode the run lengths of COCO: down the columns, background first.

    Parameters
    ----------
    counts : list of int, or str
        Lengths of the runs; or the same as text of pycocotools: five bits a character, from the fourth run on the
        difference from the run two before.
    height, width : int

    Returns
    -------
    (height, width) bool

    Raises
    ------
    InputError
        If they are damaged or do not add up to the image.

    Examples
    --------
    >>> run_lengths([1, 2, 1], 2, 2).tolist(), run_lengths("121", 2, 2).tolist()
    ([[False, True], [True, False]], [[False, True], [True, False]])
    """
    runs = _runs_of_text(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and 0 <= run <= height * width for run in runs):
        raise InputError("mask has damaged run lengths")
    if sum(runs) != height * width:
        raise InputError(f"mask has run lengths of {sum(runs)} pixels for {width} x {height}")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    decoded: Bool = np.ascontiguousarray(inside.reshape(width, height).T)
    return decoded


def _runs_of_text(text: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise InputError("mask has damaged run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last group of a number; its top bit is the sign
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise InputError("mask has run lengths that end in the middle of a number")
    return runs


def fill_polygons(polygons: object, height: int, width: int) -> Bool:
    """Pixels inside any of several polygons, as pycocotools fills them.

    Parameters
    ----------
    polygons : list of lists of 2k numbers
        x0, y0, x1, y1, ... in pixels, three points or more each.
    height, width : int

    Returns
    -------
    (height, width) bool

    Raises
    ------
    InputError
        If these are not finite numbers near the image.
    MissingDependencyError
        If pycocotools is not installed.

    Examples
    --------
    >>> fill_polygons([[0, 0, 2, 0, 2, 1, 0, 1]], 2, 3).astype(int).tolist()
    [[1, 1, 0], [0, 0, 0]]
    """
    if not isinstance(polygons, list) or not polygons:
        raise InputError("mask is neither polygons nor run lengths")
    for polygon in polygons:
        _check_polygon(polygon, 4.0 * max(height, width))
    try:
        from pycocotools import mask as coco  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise MissingDependencyError("pycocotools", "evaluate") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools 2.0.11 with NumPy 2: __array__ without copy
        filled: Bool = coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))).astype(bool)
    return filled


def is_polygon(polygon: object) -> bool:
    """Whether this is a list of the finite coordinates of three points or more."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return False
    return all(type(value) in (int, float) and abs(value) <= _FARTHEST for value in polygon)


def _check_polygon(polygon: object, far: float) -> None:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise InputError("mask has a polygon that is not a list of three points or more")
    if not is_polygon(polygon) or not all(abs(value) <= far for value in polygon):
        raise InputError("mask has a polygon with points that are not numbers near the image")
    points = np.asarray(polygon, np.float64).reshape(-1, 2)
    if np.abs(points - np.roll(points, -1, axis=0)).max(axis=1).sum() > _LONGEST_OUTLINE:
        raise InputError("mask has a polygon with an outline that is too long to be real")

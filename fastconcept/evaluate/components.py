"""All connected parts of a stack of masks, by SciPy: what the measures of localisation look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .libraries import library

Integers = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Components:
    """The k connected parts of a stack of masks.

    Attributes
    ----------
    owners : (k,) int64
        Which mask each belongs to, ascending; within a mask in reading order of each part's first pixel.
    boxes : (k, 4) int64
        Tight boxes x0, y0, x1, y1, ends exclusive.
    areas : (k,) int64
        Pixels of each.
    peaks, sums : (k,) float64
        The highest of the values under each, and their sum.
    """

    owners: Integers
    boxes: Integers
    areas: Integers
    peaks: Float
    sums: Float

    def select(self, part: str = "largest") -> Integers:
        """Index of one part of every mask that has any: the largest, the one with the peak, or the heaviest by sum.

        Of equals the larger, then the first.
        """
        merit = {"largest": self.areas, "peak": self.peaks, "heaviest": self.sums}[part]
        order = np.lexsort((np.arange(len(self.areas)), -self.areas, -merit, self.owners))
        first: Integers = order[np.flatnonzero(np.diff(self.owners[order], prepend=-1))]
        return first


def find_components(
    masks: npt.NDArray[np.bool_], diagonal: bool = False, values: npt.NDArray[np.floating] | None = None
) -> Components:
    """The connected parts of every mask of a stack.

    Parameters
    ----------
    masks : (t, h, w) bool
    diagonal : bool
        Pixels that touch at a corner are connected too (8-connected), or not (4-connected).
    values : (h, w) float, optional
        What ``peaks`` and ``sums`` are taken of; ones if it is left out.

    Returns
    -------
    Components

    Raises
    ------
    MissingDependencyError
        If SciPy is not installed.

    Examples
    --------
    >>> mask = np.array([[[1, 0, 1], [0, 1, 1]]], bool)
    >>> find_components(mask).boxes.tolist(), find_components(mask).areas.tolist()
    ([[0, 0, 1, 1], [1, 0, 3, 2]], [1, 3])
    >>> find_components(mask, diagonal=True).boxes.tolist()
    [[0, 0, 3, 2]]
    """
    ndimage = library("scipy.ndimage")
    structure = ndimage.generate_binary_structure(2, 2 if diagonal else 1)  # else it is made anew for every mask
    weights = None if values is None else np.asarray(values, np.float64).ravel()
    corners: list[tuple[int, ...]] = []
    areas: list[npt.NDArray[Any]] = [np.empty(0, np.int64)]
    peaks, sums = [np.empty(0)], [np.empty(0)]
    for owner, mask in enumerate(masks):  # one by one: a call over the whole stack is several times slower
        labels, count = ndimage.label(mask, structure)
        flat, highest = labels.ravel(), np.full(count + 1, -np.inf if values is not None else 1.0)
        corners += [(owner, x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]
        if weights is not None:
            np.maximum.at(highest, flat, weights)
        areas.append(np.bincount(flat, None, count + 1)[1:])
        sums.append(np.bincount(flat, weights, count + 1)[1:].astype(np.float64))
        peaks.append(highest[1:])
    table = np.array(corners, np.int64).reshape(-1, 5)
    return Components(table[:, 0], table[:, 1:], *map(np.concatenate, (areas, peaks, sums)))

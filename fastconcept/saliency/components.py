"""Connected parts of masks, of one or of a whole stack at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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

    def chosen(self, part: str = "largest") -> Integers:
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

    Examples
    --------
    >>> mask = np.array([[[1, 0, 1], [0, 1, 1]]], bool)
    >>> find_components(mask).boxes.tolist(), find_components(mask).areas.tolist()
    ([[0, 0, 1, 1], [1, 0, 3, 2]], [1, 3])
    >>> find_components(mask, diagonal=True).boxes.tolist()
    [[0, 0, 3, 2]]
    """
    count, height, width = masks.shape
    padded = np.zeros((count, height, width + 2), np.int8)
    padded[:, :, 1:-1] = masks
    edges = np.diff(padded, axis=2)
    owners, rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[2]
    roots = _join_runs(owners * height + rows, rows, starts, ends, width + 2, int(diagonal))
    firsts, labels = np.unique(roots, return_inverse=True)
    boxes = np.empty((len(firsts), 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = max(height, width), 0
    np.minimum.at(boxes[:, 0], labels, starts)
    np.minimum.at(boxes[:, 1], labels, rows)
    np.maximum.at(boxes[:, 2], labels, ends)
    np.maximum.at(boxes[:, 3], labels, rows + 1)
    areas = np.bincount(labels, ends - starts, len(firsts)).astype(np.int64)
    if values is None or not len(firsts):
        return Components(owners[firsts], boxes, areas, np.ones(len(firsts)), np.array(areas, np.float64))
    line = np.append(np.asarray(values, np.float64).ravel(), 0.0)  # one more, so that the last run may end there
    spans = np.stack([rows * width + starts, rows * width + ends], axis=1).ravel()
    peaks = np.full(len(firsts), -np.inf)
    np.maximum.at(peaks, labels, np.maximum.reduceat(line, spans)[::2])
    sums = np.bincount(labels, np.add.reduceat(line, spans)[::2], len(firsts)).astype(np.float64)
    return Components(owners[firsts], boxes, areas, peaks, sums)


def _join_runs(
    lines: Integers,
    rows: Integers,
    starts: Integers,
    ends: Integers,
    pitch: int,
    reach: int,
) -> Integers:
    """For every horizontal run the first run of its component; ``lines`` number the rows of all masks on end."""
    left, right = lines * pitch + starts, lines * pitch + ends
    first = np.searchsorted(right, left - pitch - reach, side="right")  # runs of the line above that this one touches
    last = np.where(rows > 0, np.searchsorted(left, right - pitch + reach, side="left"), first)
    touched = np.maximum(last - first, 0)
    lower = np.repeat(np.arange(len(lines)), touched)
    upper = np.arange(len(lower)) - np.repeat(np.cumsum(touched) - touched, touched) + np.repeat(first, touched)
    roots = np.arange(len(lines))
    while True:  # every round hooks each component's root to the smallest root it touches, then halves the paths
        one, two = roots[lower], roots[upper]
        if (one == two).all():
            return roots
        smaller = np.minimum(one, two)
        np.minimum.at(roots, one, smaller)
        np.minimum.at(roots, two, smaller)
        while (roots[roots] != roots).any():
            roots = roots[roots]


def largest_component(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Tight box of the largest 4-connected part of a mask.

    Parameters
    ----------
    mask : (h, w) bool

    Returns
    -------
    (x0, y0, x1, y1) or None
        Ends exclusive; of equally large parts the first in reading order; None for an empty mask.

    Examples
    --------
    >>> largest_component(np.array([[1, 0, 1], [0, 0, 1]], bool))
    (2, 0, 3, 2)
    """
    found = find_components(mask[None])
    for index in found.chosen().tolist():
        x0, y0, x1, y1 = found.boxes[index].tolist()
        return x0, y0, x1, y1
    return None

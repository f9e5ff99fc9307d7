"""Similar names: what somebody may have meant by a name that does not exist."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import ConceptError
from ..kernels.forks import cached_property

_BINS = 32
_EXAMINED = 256


class NearNames:
    """Finds the names of a list that are a few typing errors away from a text; upper and lower case are equal.

    A histogram of letters rules out almost all names at once: one typing error (an insertion, a deletion, a
    replacement, a swap of neighbours) changes at most two of its counts by one. Only the remaining names are
    compared letter by letter, so 120,000 names take milliseconds.

    Examples
    --------
    >>> NearNames(["zebra", "bird", "brid", "polar_bear"]).find("brd")
    ['bird', 'brid']
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    @cached_property
    def _folded(self) -> list[str]:
        return [name.casefold() for name in self._names]

    @cached_property
    def _histograms(self) -> NDArray[np.int16]:
        """(N, 32) int16: how often each letter occurs in each name; letters that share their low five bits are one."""
        size = len(self._folded)
        rows = np.repeat(np.arange(size), np.fromiter(map(len, self._folded), np.int64, size))
        places = rows * _BINS + _code_points("".join(self._folded)) % _BINS
        return np.bincount(places, minlength=size * _BINS).reshape(size, _BINS).astype(np.int16)

    def find(self, text: str, limit: int = 5) -> list[str]:
        """The nearest names, nearest first: at most a third of the letters differ, and at most three.

        Among equally near names, those with the same letters come first, then those that come early in the list. If
        fewer than ``limit`` are near, names that start with the text follow.
        """
        text = text.casefold()[:100]
        if not text or not self._names:
            return []
        bound = max(1, min(3, len(text) // 3))
        letters = np.bincount(_code_points(text) % _BINS, minlength=_BINS)
        apart = np.abs(self._histograms - letters.astype(np.int16)).sum(1, dtype=np.int32)
        candidates = np.flatnonzero(apart <= 2 * bound)
        candidates = candidates[np.argsort(apart[candidates], kind="stable")][:_EXAMINED].tolist()
        scores = [(edit_distance(text, self._folded[i], bound), int(apart[i]), i) for i in candidates]
        near = [self._names[i] for distance, _, i in sorted(scores) if distance <= bound]
        if len(near) < limit and len(text) > 2:
            longer = (name for name, folded in zip(self._names, self._folded, strict=True) if folded.startswith(text))
            near += [name for name in sorted(longer, key=len)[: limit + len(near)] if name not in near]
        return near[:limit]


def did_you_mean(names: Sequence[str], otherwise: str) -> str:
    """The end of an error message: a question that offers similar names, or, without any, another sentence."""
    return f"did you mean {', '.join(names)}?" if names else otherwise


def unknown_name(name: str, names: Sequence[str], what: str) -> ConceptError:
    """The error for a name that is not in a list; ``what`` says what the list holds.

    Examples
    --------
    >>> unknown_name("brd", ["zebra", "bird"], "animals")
    ConceptError("'brd' is not one of the 2 animals; did you mean bird?")
    """
    near = NearNames(names).find(name) if isinstance(name, str) else []
    hint = did_you_mean(near, "no name is spelled like it")
    return ConceptError(f"{name!r} is not one of the {len(names):,} {what}; {hint}", near)


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def edit_distance(a: str, b: str, bound: int) -> int:
    """Insertions, deletions, replacements and swaps of neighbours that turn one string into another.

    Returns
    -------
    int
        The smallest number of them, or ``bound + 1`` if it is larger than ``bound``.

    Source: the optimal string alignment distance, en.wikipedia.org/wiki/Damerau-Levenshtein_distance.

    Examples
    --------
    >>> edit_distance("brid", "bird", 2), edit_distance("bird", "aardvark", 2)
    (1, 3)
    """
    if abs(len(a) - len(b)) > bound:
        return bound + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, previous, row = row, before, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, previous[j - 2] + 1)
            row.append(cost)
        if min(row) > bound:
            return bound + 1
    return min(row[-1], bound + 1)

"""One row of a dataset, and the rows that could not be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from .masks import Mask

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Item:
    """One row of a dataset.

    Attributes
    ----------
    name : str
        What reports call it: its path below the dataset.
    image : Path or None
        None where the dataset holds embeddings.
    label : str or None
    boxes : tuple of (x0, y0, x1, y1)
        In pixels of the image, ends exclusive.
    box_labels : tuple of str
        One per box; the item's own label where the layout gives none.
    captions : tuple of str
    masks : tuple of Mask
        Of labels; objects may have a box, a mask, or both.
    attributes : mapping of str to str
        Everything else the layout says: further columns, a split, a time.
    row : int
        Row of the dataset's embeddings, where it holds them.
    """

    name: str
    image: Path | None = None
    label: str | None = None
    boxes: tuple[Box, ...] = ()
    box_labels: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    masks: tuple[Mask, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    row: int = -1

    def value(self, key: str) -> str | None:
        """An attribute by name, or the label for ``"label"``; None where the item has none."""
        return self.label if key == "label" else self.attributes.get(key)


class BadRows:
    """Rows that cannot be used: counted and listed, or, if ``strict``, raised at once.

    Examples
    --------
    >>> bad = BadRows()
    >>> bad.add("cat.jpg", "is empty")
    >>> bad.entries
    [('cat.jpg', 'is empty')]
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.entries: list[tuple[str, str]] = []

    def add(self, name: str, reason: str) -> None:
        """Note a bad row; a row that is noted already is not noted again.

        Raises
        ------
        InputError
            If ``strict``.
        """
        if self.strict:
            raise InputError(f"{name}: {reason} (without --strict such rows are counted and skipped)")
        if (name, reason) not in self.entries:
            self.entries.append((name, reason))

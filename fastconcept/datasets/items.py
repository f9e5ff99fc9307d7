"""One row of a dataset, and the rows that could not be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .masks import Mask
from .upright import upright_box

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Item:
    """One row of a dataset.

    Attributes
    ----------
    name : str
        Name in reports: its path below the dataset.
    image : Path or None
        The image file; None where the dataset holds embeddings.
    label : str or None
    boxes : tuple of (x0, y0, x1, y1)
        Boxes of objects in pixels of the image, ends exclusive.
    box_labels : tuple of str
        One label per box; the item's own where the layout gives none.
    captions : tuple of str
    masks : tuple of Mask
        Masks of objects, each with its label. An object may have a box, a mask, or both.
    size : (int, int) or None
        Width and height of the image for which the boxes and masks were drawn, where the layout says it.
    attributes : mapping of str to str
        Everything else the layout says: further columns, a split, a time.
    row : int
        Row of the dataset's embeddings; -1 where it holds none.
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
    size: tuple[int, int] | None = None

    def value(self, key: str) -> str | None:
        """An attribute by name, or the label for ``"label"``; None where the item has none."""
        return self.label if key == "label" else self.attributes.get(key)

    def upright(self, orientation: int) -> Item:
        """The same with the boxes and masks of the upright photograph, where they are those of its stored pixels.

        Parameters
        ----------
        orientation : {5, 6, 7, 8}
            What its EXIF data say; ``size`` is the width and height as stored.
        """
        assert self.size is not None
        width, height = self.size
        return replace(
            self,
            size=(height, width),
            boxes=tuple(upright_box(box, width, height, orientation) for box in self.boxes),
            masks=tuple(replace(mask, orientation=orientation) for mask in self.masks),
        )


class BadRow(NamedTuple):
    """A row that cannot be used: its name in reports, and the reason."""

    name: str
    reason: str


class BadRows:
    """Bad rows as a task meets them, each once; with ``strict`` the first is an error.

    A task makes its own and returns ``rows`` with its result.

    Parameters
    ----------
    rows : iterable of BadRow
        Rows known to be bad when the task begins.
    strict : bool

    Examples
    --------
    >>> bad = BadRows()
    >>> bad.add("cat.jpg", "is empty")
    >>> bad.rows
    [BadRow(name='cat.jpg', reason='is empty')]
    """

    def __init__(self, rows: Iterable[BadRow] = (), strict: bool = False) -> None:
        self.strict = strict
        self._rows: dict[BadRow, None] = {}  # in order, and quick to look up
        self.extend(rows)

    @property
    def rows(self) -> list[BadRow]:
        """The rows so far, in the order in which they were met."""
        return list(self._rows)

    def add(self, name: str, reason: str) -> None:
        """Note a bad row.

        Raises
        ------
        InputError
            If ``strict``.
        """
        if self.strict:
            raise InputError(f"{name}: {reason} (without --strict such rows are counted and skipped)")
        self._rows.setdefault(BadRow(name, reason))

    def extend(self, rows: Iterable[BadRow]) -> None:
        """Note several bad rows; see :meth:`add`."""
        for row in rows:
            self.add(*row)

"""Rows of one image each, or of one object each: a list of JSON records, or a table of comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from .boxes import read_box
from .items import BadRow, Item
from .masks import Mask

_KEYS = {"file", "path", "label", "synset", "boxes", "box_labels", "box_synsets", "captions", "mask"}

WITHOUT_HEADER = ("path", "label", "x0", "y0", "x1", "y1")  # columns of a table that does not name them

_COLUMNS = {"file": "path", "filename": "path", "file_name": "path", "image": "path", "image_path": "path"}
_COLUMNS |= {"class": "label", "synset": "label"}
_BOXES = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"))
_SIZED_BOXES = (("x", "y", "w", "h"), ("x", "y", "width", "height"))


def read_records(records: Sequence[Any], folder: Path) -> Iterator[Item | BadRow]:
    """One image a record: ``file``, and optionally ``label``, ``boxes``, ``box_labels``, ``captions``, ``mask``.

    ``path``, ``synset`` and ``box_synsets`` are other names for the same. Every further string or number is an
    attribute.
    """
    for number, record in enumerate(records):
        name = record.get("file", record.get("path")) if isinstance(record, dict) else None
        if not isinstance(name, str):
            yield BadRow(f"record {number}", "has no 'file'")
            continue
        label, captions, mask = (
            record.get("label", record.get("synset")),
            record.get("captions", []),
            record.get("mask"),
        )
        corners = record.get("boxes", [])
        labels = record.get("box_labels", record.get("box_synsets"))
        if not isinstance(corners, list) or not isinstance(captions, list) or not isinstance(labels or [], list):
            yield BadRow(name, "has boxes, labels of boxes or captions that are not a list")
            continue
        words = [label, *(labels or ()), *captions]
        if not all(word is None or isinstance(word, (str, int, float)) for word in words):
            yield BadRow(name, "has a label or caption that is neither text nor a number")
            continue
        if not isinstance(mask, (str, type(None))):
            yield BadRow(name, "has a mask that is not the name of a file")
            continue
        labels = [label] * len(corners) if labels is None else labels
        if len(labels) != len(corners):
            yield BadRow(name, f"has {len(corners)} boxes but {len(labels)} labels of boxes")
            continue
        boxes = []
        for values, box_label in zip(corners, labels, strict=True):
            try:
                boxes.append((read_box(values), "" if box_label is None else str(box_label)))
            except InputError as error:
                yield BadRow(name, str(error))
        yield Item(
            name,
            folder / name,
            None if label is None else str(label),
            boxes=tuple(box for box, _ in boxes),
            box_labels=tuple(box_label for _, box_label in boxes),
            captions=tuple(str(caption) for caption in captions if caption is not None),
            masks=(Mask("" if label is None else str(label), folder / mask),) if mask else (),
            attributes={k: str(v) for k, v in record.items() if k not in _KEYS and isinstance(v, (str, int, float))},
        )


def read_csv(path: Path, folder: Path) -> Iterator[Item | BadRow]:
    """Rows ``path,label[,x0,y0,x1,y1]``, with or without a header; rows of one path are one image.

    With a header, in any case, ``caption`` and ``mask`` are known too, boxes may be ``x,y,w,h`` or
    ``xmin,ymin,xmax,ymax``, columns may be separated by semicolons or tabs, and any further column is an attribute.

    Raises
    ------
    InputError
        If the file cannot be read as comma-separated values.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            text = stream.read()
        lines = io.StringIO(text, newline="")
        rows = [row for row in csv.reader(lines, delimiter=_separator(text), strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from None
    header, first = list(WITHOUT_HEADER), 0
    names = column_names(rows[0]) if rows else []
    if "path" in names:
        header, first = names, 1
        if repeated := {name for name in names if names.count(name) > 1}:
            raise InputError(f"{path} has several columns {', '.join(sorted(repeated))}; keep one of each")
    items: dict[str, Item] = {}
    for number, row in enumerate(rows[first:], start=first + 1):
        cells = {key: value.strip() for key, value in zip(header, row, strict=False) if value.strip()}
        try:
            item = _item_of(cells, folder)
        except InputError as error:
            yield BadRow(f"{path.name} line {number}", str(error))
        else:
            first_item = items.setdefault(item.name, item)
            if first_item.label != item.label and not (item.boxes or item.masks):
                yield BadRow(f"{path.name} line {number}", f"gives {item.name} another label than a line before it")
            elif first_item is not item:
                items[item.name] = _joined(first_item, item)
    yield from items.values()


def _separator(text: str) -> str:
    """A comma, unless a header that names the paths is separated by something else."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    names = {separator: column_names(next(csv.reader([first], delimiter=separator), [])) for separator in ",;\t"}
    return next((separator for separator, columns in names.items() if "path" in columns), ",")


def column_names(row: Sequence[str]) -> list[str]:
    """The columns of a header by the names that we use; without ``path`` among them, it is no header.

    Examples
    --------
    >>> column_names(["File_Name", " class ", "xmin", "ymin", "xmax", "ymax", "year"])
    ['path', 'label', 'x0', 'y0', 'x1', 'y1', 'year']
    """
    names = [cell.strip().lower() for cell in row]
    names = [name if _COLUMNS.get(name, name) in names else _COLUMNS.get(name, name) for name in names]
    ours = ("x0", "y0", "x1", "y1"), ("x0", "y0", "box width", "box height")
    for theirs, mine in [*((box, ours[0]) for box in _BOXES), *((box, ours[1]) for box in _SIZED_BOXES)]:
        if set(theirs) <= set(names):
            renamed = dict(zip(theirs, mine, strict=True))
            return [renamed.get(name, name) for name in names]
    return names


def _item_of(cells: dict[str, str], folder: Path) -> Item:
    if "path" not in cells:
        raise InputError("has no path")
    name, label = cells.pop("path"), cells.pop("label", None)
    sized = "box width" in cells or "box height" in cells
    sides = ("box width", "box height") if sized else ("x1", "y1")
    edges = [cells.pop(edge) for edge in ("x0", "y0", *sides) if edge in cells]
    boxes = (read_box(edges, sized=sized),) if edges else ()
    captions = (cells.pop("caption"),) if "caption" in cells else ()
    masks = (Mask(label or "", folder / cells.pop("mask")),) if "mask" in cells else ()
    return Item(name, folder / name, label, boxes, (label or "",) * len(boxes), captions, masks, cells)


def _joined(item: Item, other: Item) -> Item:
    return replace(
        item,
        boxes=item.boxes + other.boxes,
        box_labels=item.box_labels + other.box_labels,
        captions=item.captions + other.captions,
        masks=item.masks + other.masks,
    )

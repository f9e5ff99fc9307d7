"""Annotation files of COCO: boxes, masks, crowds and captions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..doors import shown
from ..errors import InputError
from .boxes import read_box
from .items import BadRow, Box, Item
from .masks import Mask, is_polygon


def read_coco(document: Mapping[str, Any], path: Path, folder: Path) -> Iterator[Item | BadRow]:
    """Images with the boxes, masks and captions of their annotations, and annotations that cannot be used.

    Of a crowd (``iscrowd``) only the mask is read, as one to ignore: it is neither object nor background.

    Parameters
    ----------
    document : mapping
        The annotation file, parsed.
    path : Path
        The file itself, for messages.
    folder : Path
        Directory of the images.

    Raises
    ------
    InputError
        If it is not a COCO annotation file.
    """
    categories = _by_id(document.get("categories", []), "name", f"{path}: categories")
    images = _by_id(document["images"], "file_name", f"{path}: images")
    annotations = document["annotations"]
    if not isinstance(annotations, list):
        raise InputError(f"{path} is not a COCO annotation file: its annotations are not a list")
    boxes: dict[Any, list[tuple[Box, str]]] = defaultdict(list)
    masks: dict[Any, list[Mask]] = defaultdict(list)
    captions: dict[Any, list[str]] = defaultdict(list)
    for number, entry in enumerate(annotations):
        where = f"{path.name} annotation {entry.get('id', number) if isinstance(entry, dict) else number}"
        image = _known(entry.get("image_id"), images) if isinstance(entry, dict) else None
        if image is None:
            yield BadRow(where, "belongs to no image of the file")
            continue
        if "caption" in entry:
            if isinstance(entry["caption"], str):
                captions[image].append(entry["caption"])
            else:
                yield BadRow(where, "has a caption that is no text")
        elif (category := _known(entry.get("category_id"), categories)) is None:
            yield BadRow(where, f"has the unknown category {entry.get('category_id')!r}")
        else:
            label, crowd = str(categories[category]["name"]), entry.get("iscrowd", 0)
            outline = entry.get("segmentation")
            if is_polygon(outline):  # some tools leave out the list around a single one
                outline = [outline]
            if crowd not in (0, 1, "0", "1", None):
                yield BadRow(where, f"has iscrowd {crowd!r}, expected 0 or 1")
                continue
            crowd = crowd in (1, "1")
            if isinstance(outline, list) and (usable := [part for part in outline if is_polygon(part)]) != outline:
                yield BadRow(where, f"has {len(outline)} polygons, {len(outline) - len(usable)} of them damaged")
                outline = usable
                crowd = crowd and bool(usable)
            if outline:
                masks[image].append(Mask(label, outline, crowd))
            if not crowd and ("bbox" in entry or not outline):
                try:
                    boxes[image].append((read_box(entry.get("bbox"), sized=True), label))
                except InputError as error:
                    yield BadRow(where, str(error))
    for image, entry in images.items():
        yield Item(
            entry["file_name"],
            folder / entry["file_name"],
            boxes=tuple(box for box, _ in boxes[image]),
            box_labels=tuple(label for _, label in boxes[image]),
            captions=tuple(captions[image]),
            size=_size(entry.get("width"), entry.get("height")),
            masks=tuple(masks[image]),
        )


def _size(width: object, height: object) -> tuple[int, int] | None:
    """Width and height where the file says them; some tools write 640.0 or "640"."""
    try:
        sides = [float(side) for side in (width, height) if isinstance(side, (int, float, str))]
    except (ValueError, OverflowError):
        return None
    if len(sides) < 2 or not all(side.is_integer() and side > 0 for side in sides):
        return None
    return int(sides[0]), int(sides[1])


def _by_id(entries: object, name: str, where: str) -> dict[int | str, Mapping[str, Any]]:
    """Images or categories by their id, each with a name; two of one id would leave open which is meant."""
    if not isinstance(entries, list):
        raise InputError(f"{where} are not a list; this is not a COCO annotation file")
    found: dict[int | str, Mapping[str, Any]] = {}
    for entry in entries:
        key = _key(entry.get("id")) if isinstance(entry, dict) else None
        if key is None or not isinstance(entry.get(name), str) or not entry[name].strip():
            raise InputError(f"{where} need an 'id' and a {name!r} each; there is one with {shown(entry)}")
        if found.setdefault(key, entry)[name] != entry[name]:
            raise InputError(f"{where}: the id {key!r} is that of {found[key][name]!r} and of {entry[name]!r}")
    return found


def _key(value: object) -> int | str | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _known(value: object, keys: Mapping[int | str, Any]) -> int | str | None:
    """The id that is meant: some tools write 7, 7.0 and "7" for the same."""
    key = _key(value)
    other = str(key) if isinstance(key, int) else int(key) if key and key.isascii() and key.isdecimal() else None
    return next((one for one in (key, other) if one is not None and one in keys), None)

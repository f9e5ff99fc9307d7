"""Annotation files of COCO: boxes, masks, crowds and captions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
    try:
        categories = {entry["id"]: str(entry["name"]) for entry in document.get("categories", [])}
        names = {entry["id"]: str(entry["file_name"]) for entry in document["images"]}
        sizes = {entry["id"]: (entry.get("width"), entry.get("height")) for entry in document["images"]}
        annotations = list(document["annotations"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not a COCO annotation file: {error!r} is missing or of the wrong type") from None
    boxes: dict[Any, list[tuple[Box, str]]] = defaultdict(list)
    masks: dict[Any, list[Mask]] = defaultdict(list)
    captions: dict[Any, list[str]] = defaultdict(list)
    for number, entry in enumerate(annotations):
        where = f"{path.name} annotation {entry.get('id', number) if isinstance(entry, dict) else number}"
        if not isinstance(entry, dict) or not _is_key(entry.get("image_id"), names):
            yield BadRow(where, "belongs to no image of the file")
            continue
        image = entry["image_id"]
        if "caption" in entry:
            captions[image].append(str(entry["caption"]))
        elif not _is_key(entry.get("category_id"), categories):
            yield BadRow(where, f"has the unknown category {entry.get('category_id')!r}")
        else:
            label, crowd, outline = categories[entry["category_id"]], entry.get("iscrowd", 0), entry.get("segmentation")
            if crowd not in (0, 1, "0", "1", None):
                yield BadRow(where, f"has iscrowd {crowd!r}, expected 0 or 1")
                continue
            crowd = crowd in (1, "1")
            if isinstance(outline, list) and (usable := [part for part in outline if is_polygon(part)]) != outline:
                yield BadRow(where, f"has {len(outline) - len(usable)} of {len(outline)} polygons that are none")
                outline = usable
                crowd = crowd and bool(usable)
            if outline:
                masks[image].append(Mask(label, outline, crowd))
            if not crowd and ("bbox" in entry or not outline):
                try:
                    boxes[image].append((read_box(entry.get("bbox"), sized=True), label))
                except InputError as error:
                    yield BadRow(where, str(error))
    for image, name in names.items():
        yield Item(
            name,
            folder / name,
            boxes=tuple(box for box, _ in boxes[image]),
            box_labels=tuple(label for _, label in boxes[image]),
            captions=tuple(captions[image]),
            size=_size(*sizes[image]),
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


def _is_key(value: object, keys: Mapping[Any, Any]) -> bool:
    return isinstance(value, (int, str)) and value in keys

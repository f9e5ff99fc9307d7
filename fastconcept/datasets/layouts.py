"""The usual layouts of image datasets on disk: ImageFolder, COCO, CUB-200-2011, CSV, and a list of records."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from .items import BadRows, Box, Item
from .masks import Mask

IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}
_RECORD_KEYS = {"file", "path", "label", "synset", "boxes", "box_labels", "box_synsets", "captions", "mask"}


def read_directory(folder: Path, bad: BadRows) -> tuple[str, list[Item]]:
    """A directory: CUB-200-2011, one with ``annotations.json``, or one directory per class."""
    if (folder / "images.txt").is_file() and (folder / "bounding_boxes.txt").is_file():
        return "cub", read_cub(folder, bad)
    if (folder / "annotations.json").is_file():
        return read_json(folder / "annotations.json", folder, bad)
    return "image folder", read_image_folder(folder)


def read_image_folder(folder: Path) -> list[Item]:
    """One directory per class, images below it; images directly in the folder have no label."""
    items = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_ENDINGS and path.is_file():
            parts = path.relative_to(folder).parts
            items.append(Item("/".join(parts), path, parts[0] if len(parts) > 1 else None))
    return items


def read_json(path: Path, folder: Path | None, bad: BadRows) -> tuple[str, list[Item]]:
    """A COCO annotation file, or a list of records."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None
    if isinstance(document, dict) and {"images", "annotations"} <= document.keys():
        return "coco", _read_coco(document, path, folder, bad)
    if isinstance(document, list):
        return "records", _read_records(document, folder or path.parent, bad)
    raise InputError(f"{path} is neither a COCO annotation file nor a list of records with a 'file' each")


def _read_coco(document: Mapping[str, Any], path: Path, folder: Path | None, bad: BadRows) -> list[Item]:
    """Images with the boxes, masks and captions of their annotations.

    Of crowd regions (``iscrowd``) only the mask is kept, as one to ignore: they are neither objects nor background.
    """
    try:
        categories = {entry["id"]: str(entry["name"]) for entry in document.get("categories", [])}
        names = {entry["id"]: str(entry["file_name"]) for entry in document["images"]}
        annotations = list(document["annotations"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not a COCO annotation file: {error!r} is missing or of the wrong type") from None
    boxes: dict[Any, list[tuple[Box, str]]] = {key: [] for key in names}
    masks: dict[Any, list[Mask]] = {key: [] for key in names}
    captions: dict[Any, list[str]] = {key: [] for key in names}
    for number, entry in enumerate(annotations):
        where = f"{path.name} annotation {entry.get('id', number) if isinstance(entry, dict) else number}"
        if not isinstance(entry, dict) or not _is_key(entry.get("image_id"), names):
            bad.add(where, "belongs to no image of the file")
        elif "caption" in entry:
            captions[entry["image_id"]].append(str(entry["caption"]))
        elif not _is_key(entry.get("category_id"), categories):
            bad.add(where, f"has the unknown category {entry.get('category_id')!r}")
        else:
            label, crowd = categories[entry["category_id"]], bool(entry.get("iscrowd"))
            drawn = entry.get("segmentation")
            if drawn:
                masks[entry["image_id"]].append(Mask(label, drawn, crowd))
            if not crowd and ("bbox" in entry or not drawn):
                box = _box(entry.get("bbox"), where, bad, sized=True)
                if box is not None:
                    boxes[entry["image_id"]].append((box, label))
    root = folder or path.parent
    return [
        Item(
            name,
            root / name,
            None,
            tuple(box for box, _ in boxes[key]),
            tuple(label for _, label in boxes[key]),
            tuple(captions[key]),
            tuple(masks[key]),
        )
        for key, name in names.items()
    ]


def _is_key(value: object, known: Mapping[Any, Any]) -> bool:
    return isinstance(value, (int, str)) and value in known


def _read_records(document: list[Any], folder: Path, bad: BadRows) -> list[Item]:
    items = []
    for number, entry in enumerate(document):
        name = entry.get("file", entry.get("path")) if isinstance(entry, dict) else None
        if not isinstance(name, str):
            bad.add(f"record {number}", "has no 'file'")
            continue
        label = entry.get("label", entry.get("synset"))
        found = [_box(box, name, bad) for box in entry.get("boxes", [])]
        labels = entry.get("box_labels", entry.get("box_synsets", [label or ""] * len(found)))
        if len(labels) != len(found):
            bad.add(name, f"has {len(found)} boxes but {len(labels)} labels of boxes")
            continue
        kept = [(box, str(box_label)) for box, box_label in zip(found, labels, strict=True) if box is not None]
        scalars = {k: str(v) for k, v in entry.items() if k not in _RECORD_KEYS and isinstance(v, (str, int, float))}
        masks = (Mask(str(label or ""), folder / entry["mask"]),) if isinstance(entry.get("mask"), str) else ()
        items.append(
            Item(
                name,
                folder / name,
                None if label is None else str(label),
                tuple(box for box, _ in kept),
                tuple(box_label for _, box_label in kept),
                tuple(map(str, entry.get("captions", []))),
                masks,
                scalars,
            )
        )
    return items


def read_cub(folder: Path, bad: BadRows) -> list[Item]:
    """CUB-200-2011: ``images.txt, bounding_boxes.txt`` and, where present, classes and the split.

    Boxes are given there as x, y, width, height. The label is the class's name without its number. Its segmentations
    (a download of their own) are found where they are unpacked into the folder, see :func:`add_masks`.
    """
    names = _numbered(folder / "images.txt")
    boxes = _numbered(folder / "bounding_boxes.txt")
    classes = _numbered(folder / "classes.txt")
    labels = _numbered(folder / "image_class_labels.txt")
    training = _numbered(folder / "train_test_split.txt")
    items = []
    for key, name in names.items():
        if key not in boxes:
            bad.add(name, "has no line in bounding_boxes.txt")
            continue
        box = _box(boxes[key].split(), name, bad, sized=True)
        if box is None:
            continue
        label = classes.get(labels.get(key, ""), name.split("/")[0]).split(".")[-1].replace("_", " ")
        split = {"split": "train" if training[key] == "1" else "test"} if key in training else {}
        items.append(Item(name, folder / "images" / name, label, (box,), (label,), attributes=split))
    return add_masks(items, folder / "segmentations")


def add_masks(items: list[Item], folder: Path) -> list[Item]:
    """Items with masks from a directory that mirrors the data: ``cat/1.png`` for ``cat/1.jpg``, for its own label."""

    def masked(item: Item) -> Item:
        path = (folder / item.name).with_suffix(".png")
        return replace(item, masks=(Mask(item.label or "", path),)) if path.is_file() else item

    return [masked(item) for item in items]


def _numbered(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = (line.strip().partition(" ") for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return {key: value for key, _, value in lines}


def read_csv(path: Path, folder: Path | None, bad: BadRows) -> list[Item]:
    """Rows ``path,label[,x0,y0,x1,y1]``, with or without a header; rows of one path are one image.

    With a header, ``caption`` and ``mask`` are known too and any further column is an attribute.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from None
    header = ["path", "label", "x0", "y0", "x1", "y1"]
    first = 0
    if rows and "path" in rows[0]:
        header, first = rows[0], 1
    items: dict[str, Item] = {}
    for number, row in enumerate(rows[first:], start=first + 1):
        cells = {key: value.strip() for key, value in zip(header, row, strict=False) if value.strip()}
        item = _csv_item(cells, f"{path.name} line {number}", folder or path.parent, bad)
        if item is not None:
            items[item.name] = _merged(items[item.name], item) if item.name in items else item
    return list(items.values())


def _csv_item(cells: dict[str, str], where: str, folder: Path, bad: BadRows) -> Item | None:
    name = cells.pop("path", None)
    if name is None:
        bad.add(where, "has no path")
        return None
    label, edges = cells.pop("label", None), [cells.pop(edge) for edge in ("x0", "y0", "x1", "y1") if edge in cells]
    boxes: tuple[Box, ...] = ()
    if edges:
        box = _box(edges, where, bad)
        if box is None:
            return None
        boxes = (box,)
    captions = tuple(filter(None, [cells.pop("caption", "")]))
    masks = (Mask(label or "", folder / cells.pop("mask")),) if "mask" in cells else ()
    return Item(name, folder / name, label, boxes, (label or "",) * len(boxes), captions, masks, cells)


def _merged(item: Item, other: Item) -> Item:
    return replace(
        item,
        boxes=item.boxes + other.boxes,
        box_labels=item.box_labels + other.box_labels,
        captions=item.captions + other.captions,
        masks=item.masks + other.masks,
    )


def _box(values: Iterable[Any] | None, where: str, bad: BadRows, sized: bool = False) -> Box | None:
    """Four finite numbers with a positive extent; ``sized`` boxes are given as x, y, width, height."""
    try:
        x0, y0, x1, y1 = (float(value) for value in values or ())
    except (TypeError, ValueError):
        bad.add(where, f"has a box that is not four numbers: {values!r}")
        return None
    if sized:
        x1, y1 = x0 + x1, y0 + y1
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 <= x0 or y1 <= y0:
        bad.add(where, f"has an empty box: {x0:g} {y0:g} {x1:g} {y1:g}")
        return None
    return x0, y0, x1, y1

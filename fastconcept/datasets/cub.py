"""CUB-200-2011: birds with a box each, their class, the official split, and segmentations where they are unpacked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from .boxes import read_box
from .items import BadRow, Item
from .texts import read_lines


def is_cub(folder: Path) -> bool:
    """Whether a directory has the two files that CUB-200-2011 is recognised by."""
    return all(os.path.isfile(folder / name) for name in ("images.txt", "bounding_boxes.txt"))


def read_cub(folder: Path) -> Iterator[Item | BadRow]:
    """Images of ``images.txt`` with their box; the label is the name of the class without its number.

    An image of the training or test part says so in its attribute ``split``.
    """
    boxes = _numbered(folder / "bounding_boxes.txt")
    classes = _numbered(folder / "classes.txt")
    labels = _numbered(folder / "image_class_labels.txt")
    training = _numbered(folder / "train_test_split.txt")
    for key, name in _numbered(folder / "images.txt").items():
        if key not in boxes:
            yield BadRow(name, "has no line in bounding_boxes.txt")
            continue
        try:
            box = read_box(boxes[key].split(), sized=True)
        except InputError as error:
            yield BadRow(name, str(error))
            continue
        label = classes.get(labels.get(key, ""), name.split("/")[0]).split(".")[-1].replace("_", " ")
        split = {"split": "train" if training[key] == "1" else "test"} if key in training else {}
        yield Item(name, folder / "images" / name, label, (box,), (label,), attributes=split)


def _numbered(path: Path) -> dict[str, str]:
    """The lines ``number text`` of a file by their number; none where there is no file."""
    if not os.path.isfile(path):
        return {}
    lines = (line.partition(" ") for line in read_lines(path))
    return {number: text for number, _, text in lines}

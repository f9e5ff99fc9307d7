"""What there is to localise in each image of a dataset: the objects of a label, their boxes, masks and concept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, silent
from ..datasets.items import BadRows, Box, Item
from ..datasets.masks import OBJECT, Mask, merge_masks
from ..datasets.upright import TURNED
from ..encoders.decode import read_orientation
from ..encoders.pipeline import in_order
from ..engine import Engine
from ..errors import ConceptError, ImageError, InputError
from ..saliency.patches import visible_region
from ..saliency.targets import Target, resolve_targets
from .boxes import to_unit


@dataclass(frozen=True)
class Case:
    """One thing to localise in one image: the boxes of one category, and the concept it stands for.

    ``truth`` are the boxes in fractions of the region that is looked at. Where the data has masks, ``mask`` (H, W)
    uint8 is 1 at its objects, 255 at crowds of it, else 0.
    """

    item: Item
    target: Target
    boxes: tuple[Box, ...]
    truth: npt.NDArray[np.float64] = field(repr=False, compare=False)
    mask: npt.NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)


def find_cases(
    engine: Engine,
    dataset: Dataset,
    bad: BadRows,
    concept: str | None = None,
    max_area: float = 1.0,
    fit: str = "full",
    progress: Progress = silent,
) -> Iterator[tuple[Item, npt.NDArray[np.uint8], list[Case]]]:
    """Decode images one by one and say what there is to localise in each.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Items with boxes or masks; those of an item that share a label are one case. Where a label has only masks,
        its box is the one around them.
    bad : BadRows
        Receives the rows that cannot be used: images that cannot be read, boxes outside the image or the region,
        labels that name no concept, and damaged masks.
    concept : str, optional
        What to look for in every image, instead of the labels (``bird.n.01`` on CUB-200-2011).
    max_area : float in (0, 1]
        Categories whose largest box covers more than this part of the image are left out.
    fit : {"full", "crop"}
        Which region is looked at, see :func:`fastconcept.saliency.patches.visible_region`.
    progress : callable
        Called with (images done, images).

    Yields
    ------
    item, image (H, W, 3) uint8, cases

    Raises
    ------
    InputError
        After the last image, if there was no case.
    """
    known: dict[str, Target | None] = {}
    count = 0
    pictures = in_order(dataset.items, partial(_load, engine), threads=min(engine.num_threads - 1, 1), ahead=1)
    for index, (annotated, picture) in enumerate(pictures, start=1):
        seen = _upright(annotated, picture, bad)
        if seen is not None:
            item, image = seen
            cases = list(_cases(engine, item, image.shape[:2], bad, concept, max_area, fit, known))
            count += len(cases)
            if cases:
                yield item, image, cases
        progress(index, len(dataset))
    if not count:
        raise InputError(f"nothing to localise in {dataset.name}; {len(bad.rows)} rows are bad")


def _load(engine: Engine, item: Item) -> npt.NDArray[np.uint8] | None:
    return engine.load_image(item.image or item.name) if item.boxes or item.masks else None


def _upright(
    item: Item, picture: Callable[[], npt.NDArray[np.uint8] | None], bad: BadRows
) -> tuple[Item, npt.NDArray[np.uint8]] | None:
    """An item with its image; boxes and masks of stored pixels are turned as the EXIF data turn these."""
    try:
        image = picture()
    except ImageError as error:
        bad.add(item.name, str(error))
        return None
    if image is None:
        bad.add(item.name, "has neither box nor mask")
        return None
    shown = (image.shape[1], image.shape[0])
    if item.size in (None, shown):
        return item, image
    if item.size == shown[::-1] and item.image and (orientation := read_orientation(item.image)) in TURNED:
        return item.upright(orientation), image
    bad.add(item.name, "is annotated as {} x {} pixels and has {} x {}".format(*item.size, *shown))
    return None


def _cases(
    engine: Engine,
    item: Item,
    shape: tuple[int, int],
    bad: BadRows,
    concept: str | None,
    max_area: float,
    fit: str,
    known: dict[str, Target | None],
) -> Iterator[Case]:
    height, width = shape
    masks = _masks(engine, item, concept, height, width, bad)
    for label, boxes in _boxes(item, concept, height, width, masks, bad).items():
        if max((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) > max_area * width * height:
            continue
        target = find_target(engine, label, known, item, bad)
        if target is None:
            continue
        try:
            truth = to_unit(boxes, visible_region(height, width, fit))
        except InputError as error:
            bad.add(item.name, str(error))
            continue
        yield Case(item, target, tuple(boxes), truth, masks.get(label))


def _boxes(
    item: Item,
    concept: str | None,
    height: int,
    width: int,
    masks: Mapping[str, npt.NDArray[np.uint8]],
    bad: BadRows,
) -> dict[str, list[Box]]:
    """The boxes of an item by label; a label with masks alone has the box around them."""
    groups: dict[str, list[Box]] = {}
    for box, label in zip(item.boxes, item.box_labels, strict=True):
        if min(box[:2]) < -1 or box[2] > width + 1 or box[3] > height + 1:
            bad.add(item.name, f"has a box outside its {width} x {height} pixels: {box}")
        else:
            groups.setdefault(concept or label or item.label or "", []).append(box)
    for label, mask in masks.items():
        if label not in groups and (mask == OBJECT).any():
            groups[label] = [_around(mask == OBJECT)]
    return groups


def _masks(
    engine: Engine, item: Item, concept: str | None, height: int, width: int, bad: BadRows
) -> dict[str, npt.NDArray[np.uint8]]:
    """The masks of an item by label; a label with a damaged one has none."""
    groups: dict[str, list[Mask]] = {}
    for mask in item.masks:
        groups.setdefault(concept or mask.label or item.label or "", []).append(mask)
    merged = {}
    for label, masks in groups.items():
        try:
            merged[label] = merge_masks(masks, height, width)
        except InputError as error:
            bad.add(item.name, str(error))
    return merged


def _around(mask: npt.NDArray[np.bool_]) -> Box:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def find_target(engine: Engine, label: str, known: dict[str, Target | None], item: Item, bad: BadRows) -> Target | None:
    """The concept that a label names; None, and a bad row, where it names none. ``known`` keeps the answers."""
    if label not in known:
        try:
            known[label] = resolve_targets(label, engine.bank, engine.encode_text)[0]
        except ConceptError as error:
            known[label] = None
            bad.add(item.name, f"label {label!r} names no concept: {error}")
    elif known[label] is None:
        bad.add(item.name, f"label {label!r} names no concept")
    return known[label]

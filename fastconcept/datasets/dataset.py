"""Data laid out in one of the usual ways, read as one list of items; pixels are read later, one image at a time."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..doors import door, shown
from ..errors import InputError
from .items import BadRow, BadRows, Item
from .job_shards import StoredWords, job_folder, read_job
from .layouts import read_layout
from .masks import Mask
from .texts import read_json


@dataclass(frozen=True)
class Dataset:
    """Items, the rows that could not be used, and embeddings where the dataset holds them instead of images.

    Attributes
    ----------
    name : str
        Name of the file or directory.
    layout : str
        Name of the layout it was read as.
    items : tuple of Item
    bad : tuple of BadRow
        Rows that could not be used when it was opened.
    embeddings : (n, d) array or None
        Memory-mapped where the file allows it.
    strict : bool
        A bad row is an error, here and in every task that reads the images.
    words : StoredWords or None
        Decompositions where the dataset is a job that has computed them.
    model : str or None
        The sha256 of the manifest of the bundle that has made the embeddings and words, where that is known.
    """

    name: str
    layout: str
    items: tuple[Item, ...]
    bad: tuple[BadRow, ...] = ()
    embeddings: npt.NDArray[np.floating] | None = None
    strict: bool = False
    words: StoredWords | None = None
    model: str | None = None

    def __len__(self) -> int:
        return len(self.items)

    def bad_rows(self) -> BadRows:
        """The bad rows so far, for a task to add its own to."""
        return BadRows(self.bad, self.strict)

    def where(self, **patterns: str) -> Dataset:
        """The items whose label or attributes match shell patterns: ``where(subset="ilsvrc_val*")``.

        Raises
        ------
        InputError
            If none does.
        """
        for key, pattern in patterns.items():
            if not isinstance(pattern, str):
                raise InputError(f"{key} must be a pattern, got {shown(pattern)}")
        items = tuple(i for i in self.items if all(fnmatchcase(i.value(k) or "", p) for k, p in patterns.items()))
        if not items:
            wanted = ", ".join(f"{key}={pattern}" for key, pattern in patterns.items())
            keys = sorted({"label", *(key for item in self.items for key in item.attributes)})
            raise InputError(f"no item of {self.name} matches {wanted}; there are: {', '.join(keys)}")
        return replace(self, items=items)

    def only(self, names: Container[str]) -> Dataset:
        """The items of these names.

        Raises
        ------
        InputError
            If there is none.
        """
        if not isinstance(names, Container):
            raise InputError(f"names must be a list or set, got {shown(names)}")
        items = tuple(item for item in self.items if item.name in names)
        if not items:
            raise InputError(f"{self.name} has none of the items asked for; names look like {self.items[0].name!r}")
        return replace(self, items=items)

    def with_objects(self) -> Dataset:
        """The items that have boxes or masks.

        Raises
        ------
        InputError
            If there is none.
        """
        items = tuple(item for item in self.items if item.boxes or item.masks)
        if not items:
            raise InputError(f"no item of {self.name} has a box or a mask")
        return replace(self, items=items)

    @door
    def sample(self, count: int, seed: int = 0) -> Dataset:
        """At most ``count`` items, drawn without replacement, in their order; ``-count`` gives all the others.

        So a setting that was chosen on a sample can be judged on items that had no part in the choice.

        Raises
        ------
        InputError
            If no item would be left.
        """
        order = np.random.default_rng(seed).permutation(len(self.items))
        rows = order[:count] if count > 0 else order[-count:]
        if not count or not len(rows):
            raise InputError(f"a sample of {count} of the {len(self)} items of {self.name} is empty")
        return replace(self, items=tuple(self.items[i] for i in sorted(rows.tolist())))

    def relabelled(self, names: Mapping[str, str]) -> Dataset:
        """The same items with labels replaced by what they stand for; a label that is not named stays as it is."""
        if not isinstance(names, Mapping):
            raise InputError(f"names must be a mapping of labels, got {shown(names)}")

        def rename(item: Item) -> Item:
            label = names.get(item.label, item.label) if item.label is not None else None
            box_labels = tuple(names.get(name, name) for name in item.box_labels)
            masks = tuple(replace(mask, label=names.get(mask.label, mask.label)) for mask in item.masks)
            return replace(item, label=label, box_labels=box_labels, masks=masks)

        return replace(self, items=tuple(map(rename, self.items)))

    def with_masks(self, folder: Path) -> Dataset:
        """The same items with masks of their label from a directory that mirrors the data: cat/1.png for cat/1.jpg."""

        def masked(item: Item) -> Item:
            path = (folder / item.name).with_suffix(".png")
            return replace(item, masks=(Mask(item.label or "", path),)) if os.path.isfile(path) else item

        return replace(self, items=tuple(map(masked, self.items)))


@door
def open_dataset(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    masks: str | os.PathLike[str] | None = None,
    columns: Sequence[str] | None = None,
    strict: bool = False,
) -> Dataset:
    """Read a dataset of any known layout.

    Parameters
    ----------
    path : path
        A directory of class directories (ImageFolder); CUB-200-2011 (``images.txt``, ``bounding_boxes.txt``); a
        directory with ``annotations.json``, or such a file: COCO, or a list of records; a ``.csv`` of
        ``path,label[,x0,y0,x1,y1]``; embeddings: ``.npy``, ``.npz``, ``.parquet``; or the folder of a job
        (``fastconcept batch``).
    images : path, optional
        Directory of the images of an annotation file; by default its own.
    masks : path, optional
        Directory of masks (PNG) that mirrors the images: ``cat/1.png`` for ``cat/1.jpg``.
    columns : sequence of str, optional
        Attributes to keep; by default all.
    strict : bool
        Whether the first bad row is an error, now and when the images are read.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If nothing is there, the layout is none of these, or no row is usable.
    """
    source = Path(path)
    if not os.path.exists(path):
        raise InputError(f"no dataset at {source}; give a directory, a .json, a .csv or a file of embeddings")
    if masks is not None and not os.path.isdir(masks):
        raise InputError(f"no directory of masks at {masks}")
    if (folder := job_folder(source)) is not None:
        return _of_job(folder, columns, strict)
    layout, rows, embeddings = read_layout(source, None if images is None else Path(images))
    items, bad = [], BadRows(strict=strict)
    for row in rows:
        if isinstance(row, BadRow):
            bad.extend([row])
        else:
            items.append(row)
    if not items:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in bad.rows[:3])
        raise InputError(f"{source} has no usable row as {layout}{': ' + reasons if reasons else ''}")
    if columns is not None:
        items = _with_attributes(items, columns, source)
    dataset = Dataset(source.name, layout, tuple(items), tuple(bad.rows), embeddings, strict)
    if masks is not None:
        return dataset.with_masks(Path(masks))
    return dataset.with_masks(source / "segmentations") if layout == "cub" else dataset


def _of_job(folder: Path, columns: Sequence[str] | None, strict: bool) -> Dataset:
    rows = read_job(folder, columns)
    if not rows.items:
        raise InputError(f"the job in {folder} has no row")
    bad = tuple(BadRows(rows.bad, strict).rows)
    name, layout = folder.resolve().name, f"batch {rows.task}"
    return Dataset(name, layout, tuple(rows.items), bad, rows.embeddings, strict, rows.words, rows.model)


def _with_attributes(items: Sequence[Item], columns: Sequence[str], source: Path) -> list[Item]:
    known = {"label", *(key for item in items for key in item.attributes)}
    if unknown := [name for name in columns if name not in known]:
        raise InputError(f"{source} has no column {unknown[0]!r}; there are: {', '.join(sorted(known))}")
    return [replace(item, attributes={k: v for k, v in item.attributes.items() if k in columns}) for item in items]


def read_label_names(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a JSON object that says which concept each label stands for.

    Raises
    ------
    InputError
        If it cannot be read or maps anything but strings to strings.
    """
    names = read_json(Path(path))
    if not isinstance(names, dict) or not all(isinstance(value, str) for value in names.values()):
        raise InputError(f"{path} must be one JSON object of label: concept")
    return names

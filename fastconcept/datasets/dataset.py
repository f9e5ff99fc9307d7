"""Data laid out in the usual ways, read as one list of items; pixels are read later, one image at a time.

The layouts themselves are in :mod:`fastconcept.datasets.layouts` and :mod:`fastconcept.datasets.embedding_files`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..encoders.preprocess import preprocess_image
from ..engine import Engine
from ..errors import ImageError, InputError
from .items import BadRow, BadRows, Item

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[int, int], object]


def silent(done: int, total: int) -> None:
    """The progress callback that shows nothing."""


@dataclass(frozen=True)
class Dataset:
    """Items, the rows that could not be read, and embeddings where the dataset holds them instead of images.

    Attributes
    ----------
    name : str
        Of the file or directory.
    layout : str
        Which layout it was read as.
    items : tuple of Item
    bad : tuple of BadRow
        Rows that could not be used when it was opened.
    embeddings : (n, d) array or None
        Memory-mapped where the file allows it.
    strict : bool
        A bad row is an error, here and in every task that reads the images.
    """

    name: str
    layout: str
    items: tuple[Item, ...]
    bad: tuple[BadRow, ...] = ()
    embeddings: npt.NDArray[np.floating] | None = None
    strict: bool = False

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
        kept = tuple(i for i in self.items if all(fnmatchcase(i.value(k) or "", p) for k, p in patterns.items()))
        if not kept:
            told = ", ".join(f"{key}={pattern}" for key, pattern in patterns.items())
            raise InputError(f"no item of {self.name} matches {told}; there are: {', '.join(self._keys())}")
        return replace(self, items=kept)

    def _keys(self) -> list[str]:
        return sorted({"label", *(key for item in self.items for key in item.attributes)})

    def only(self, names: Container[str]) -> Dataset:
        """The items of these names.

        Raises
        ------
        InputError
            If there is none.
        """
        kept = tuple(item for item in self.items if item.name in names)
        if not kept:
            raise InputError(f"{self.name} has none of the items asked for; names look like {self.items[0].name!r}")
        return replace(self, items=kept)

    def with_objects(self) -> Dataset:
        """The items that have boxes or masks.

        Raises
        ------
        InputError
            If there is none.
        """
        kept = tuple(item for item in self.items if item.boxes or item.masks)
        if not kept:
            raise InputError(f"no item of {self.name} has a box or a mask")
        return replace(self, items=kept)

    def sample(self, count: int, seed: int = 0) -> Dataset:
        """At most ``count`` items, drawn without replacement, in their order; ``-count`` gives all but these.

        What is chosen on a sample is thus judged on items that had no part in the choice.

        Raises
        ------
        InputError
            If no item would be left.
        """
        order = np.random.default_rng(seed).permutation(len(self.items))
        drawn = order[:count] if count > 0 else order[-count:]
        if not count or not len(drawn):
            raise InputError(f"a sample of {count} of the {len(self)} items of {self.name} is empty")
        return replace(self, items=tuple(self.items[i] for i in sorted(drawn.tolist())))

    def relabelled(self, names: Mapping[str, str]) -> Dataset:
        """Labels and box labels replaced by what they stand for; a label that is not named stays as it is."""

        def rename(item: Item) -> Item:
            label = names.get(item.label, item.label) if item.label is not None else None
            box_labels = tuple(names.get(name, name) for name in item.box_labels)
            masks = tuple(replace(mask, label=names.get(mask.label, mask.label)) for mask in item.masks)
            return replace(item, label=label, box_labels=box_labels, masks=masks)

        return replace(self, items=tuple(map(rename, self.items)))


def open_dataset(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    masks: str | os.PathLike[str] | None = None,
    strict: bool = False,
) -> Dataset:
    """Read a dataset of any known layout.

    Parameters
    ----------
    path : path
        A directory of class directories (ImageFolder); CUB-200-2011 (``images.txt``, ``bounding_boxes.txt``); a
        directory with ``annotations.json``, or such a file: COCO, or a list of records; a ``.csv`` of
        ``path,label[,x0,y0,x1,y1]``; or embeddings: ``.npy``, ``.npz``, ``.parquet``.
    images : path, optional
        Where the images of an annotation file are; by default beside it.
    masks : path, optional
        A directory of masks (PNG) that mirrors the images: ``cat/1.png`` for ``cat/1.jpg``.
    strict : bool
        Stop at the first bad row instead of counting it, now and when the images are read.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If there is nothing there, the layout is none of these, or no row is usable.
    """
    from . import embedding_files, layouts

    source, bad = Path(path), BadRows(strict=strict)
    folder = Path(images) if images is not None else None
    if not source.exists():
        raise InputError(f"no dataset at {source}; give a directory, a .json, a .csv or a file of embeddings")
    if masks is not None and not Path(masks).is_dir():
        raise InputError(f"no directory of masks at {masks}")
    embeddings = None
    if source.is_dir():
        layout, items = layouts.read_directory(source, bad)
    elif source.suffix == ".json":
        layout, items = layouts.read_json(source, folder, bad)
    elif source.suffix == ".csv":
        layout, items = "csv", layouts.read_csv(source, folder, bad)
    elif source.suffix in (".npy", ".npz", ".parquet"):
        layout, (items, embeddings) = source.suffix[1:], embedding_files.read(source)
    else:
        raise InputError(f"{source} is not a layout that is known; give a directory, .json, .csv, .npy, .npz, .parquet")
    if not items:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in bad.rows[:3])
        raise InputError(f"{source} has no usable row as {layout}{': ' + reasons if reasons else ''}")
    if masks is not None:
        items = layouts.add_masks(items, Path(masks))
    return Dataset(source.name, layout, tuple(items), tuple(bad.rows), embeddings, strict)


def read_label_names(path: str | os.PathLike[str]) -> dict[str, str]:
    """A JSON object that says which concept each label stands for.

    Raises
    ------
    InputError
        If it cannot be read or maps anything but strings to strings.
    """
    try:
        names = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(names, dict) or not all(isinstance(value, str) for value in names.values()):
        raise InputError(f"{path} must be one JSON object of label: concept")
    return names


class Embedded(NamedTuple):
    """The embeddings of some items, and the items that have none.

    Attributes
    ----------
    items : list of n Item
    rows : (n, d) float32, unit rows
    bad : list of BadRow
        Items that could not be read.
    """

    items: list[Item]
    rows: FloatArray
    bad: list[BadRow]


def embed(
    engine: Engine, dataset: Dataset, progress: Progress = silent, batch_size: int | None = None
) -> Iterator[Embedded]:
    """Embeddings batch by batch: of images as they are decoded, or the dataset's own rows, made unit length.

    Yields
    ------
    Embedded
        Every item is in one batch, readable or not; the rows of a batch may be none.

    Raises
    ------
    InputError
        If the dataset's own rows are not as wide as the model's, or the dataset is strict and an item is bad.
    """
    size = batch_size or engine.image_encoder.batch_size
    read = _pixels if dataset.embeddings is None else _rows
    for start in range(0, len(dataset), size):
        batch = read(engine, dataset, dataset.items[start : start + size])
        dataset.bad_rows().extend(batch.bad)  # an error if the dataset is strict
        yield batch
        progress(min(start + size, len(dataset)), len(dataset))


def embed_all(engine: Engine, dataset: Dataset, progress: Progress = silent) -> Embedded:
    """All batches of :func:`embed` as one.

    Raises
    ------
    InputError
        If no item could be read; and as :func:`embed`.
    """
    items, rows, bad = zip(*embed(engine, dataset, progress), strict=True)
    whole = Embedded(list(chain(*items)), np.concatenate(rows), list(chain(*bad)))
    if not whole.items:
        raise InputError(f"no item of {dataset.name} could be read; the first: {whole.bad[:1]}")
    return whole


def _pixels(engine: Engine, dataset: Dataset, items: Sequence[Item]) -> Embedded:
    readable, pixels, bad = [], [], []
    for item in items:
        try:
            image = engine.load_image(item.image or item.name)
        except ImageError as error:
            bad.append(BadRow(item.name, str(error)))
            continue
        readable.append(item)
        pixels.append(preprocess_image(image, engine.bundle.manifest.preprocess))
    rows = (
        engine.image_encoder.encode(np.stack(pixels))
        if pixels
        else np.empty((0, engine.bundle.manifest.embedding_dim), np.float32)
    )
    return Embedded(readable, rows, bad)


def _rows(engine: Engine, dataset: Dataset, items: Sequence[Item]) -> Embedded:
    assert dataset.embeddings is not None
    width, columns = engine.bundle.manifest.embedding_dim, dataset.embeddings.shape[1]
    if columns != width:
        raise InputError(f"{dataset.name} has embeddings of {columns} columns, the model's have {width}")
    values = np.asarray(dataset.embeddings[[item.row for item in items]], np.float64)
    lengths = np.linalg.norm(values, axis=1)
    usable = np.isfinite(lengths) & (lengths > 0)
    readable = [item for item, good in zip(items, usable, strict=True) if good]
    bad = [
        BadRow(i.name, "its embedding is zero or not finite") for i, good in zip(items, usable, strict=True) if not good
    ]
    return Embedded(readable, (values[usable] / lengths[usable, None]).astype(np.float32), bad)

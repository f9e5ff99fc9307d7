"""Embeddings of a dataset, batch by batch; items that cannot be read come back with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..encoders.preprocess import preprocess_image
from ..engine import Engine
from ..errors import ImageError, InputError
from .dataset import Dataset
from .items import BadRow, Item

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[int, int], object]


def silent(done: int, total: int) -> None:
    """The progress callback that shows nothing."""


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
    batches = list(embed(engine, dataset, progress))
    items = [item for batch in batches for item in batch.items]
    bad = [row for batch in batches for row in batch.bad]
    if not items:
        reason = f"; the first, {bad[0].name}: {bad[0].reason}" if bad else ""
        raise InputError(f"no item of {dataset.name} could be read{reason}")
    return Embedded(items, np.concatenate([batch.rows for batch in batches]), bad)


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

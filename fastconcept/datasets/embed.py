"""Embeddings of a dataset, batch by batch; items that cannot be read come back with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..bundle import MANIFEST, sha256_of
from ..engine import Engine
from ..errors import InputError
from .dataset import Dataset
from .items import BadRow, BadRows, Item

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[int, int], object]
_OWN_ROWS = 1024  # of a dataset's own embeddings per batch


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
    engine: Engine, dataset: Dataset, progress: Progress = silent, batch_size: int = _OWN_ROWS
) -> Iterator[Embedded]:
    """Embeddings batch by batch: of images as the engine decodes them, or the dataset's own rows, made unit length.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
    progress : callable
        Called after each batch with (items done, items).
    batch_size : int
        Items per batch of the dataset's own rows; images come in batches of the encoder's size.

    Yields
    ------
    Embedded
        Every item is in one batch, readable or not; a batch may have no rows.

    Raises
    ------
    InputError
        If the dataset's own rows are not as wide as the model's or are known to be of another model, or the dataset is
        strict and an item is bad.
    """
    check_model(engine, dataset)
    if dataset.embeddings is None and dataset.words is not None:
        raise InputError(f"{dataset.name} has words, but no embeddings; run the job with --embeddings")
    done = 0
    for batch in _encoded(engine, dataset) if dataset.embeddings is None else _own_rows(engine, dataset, batch_size):
        BadRows(batch.bad, dataset.strict)  # an error if the dataset is strict
        yield batch
        done += len(batch.items) + len(batch.bad)
        progress(done, len(dataset))


def check_model(engine: Engine, dataset: Dataset) -> None:
    """Refuse what another model has computed.

    Raises
    ------
    InputError
        If the dataset says which bundle has made its embeddings or words, and the engine's is another.
    """
    if dataset.model is None or not engine.parts.from_bundle:
        return
    if sha256_of(engine.bundle.path / MANIFEST) != dataset.model:
        message = f"{dataset.name} was made with another bundle than {engine.bundle.path}"
        raise InputError(f"{message}; choose the right one with --bundle")


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


def _encoded(engine: Engine, dataset: Dataset) -> Iterator[Embedded]:
    items, bad = dataset.items, list[BadRow]()
    for rows, positions in engine.encode_batches(
        (item.image or item.name for item in items),
        on_error=lambda position, error: bad.append(BadRow(items[position].name, str(error))),
    ):
        yield Embedded([items[position] for position in positions], rows, bad.copy())
        bad.clear()
    if bad:
        yield Embedded([], np.empty((0, engine.parts.embedding_dim), np.float32), bad)


def _own_rows(engine: Engine, dataset: Dataset, batch_size: int) -> Iterator[Embedded]:
    assert dataset.embeddings is not None
    width, columns = engine.parts.embedding_dim, dataset.embeddings.shape[1]
    if columns != width:
        raise InputError(f"{dataset.name} has embeddings of {columns} columns, the model's have {width}")
    for start in range(0, len(dataset), batch_size):
        yield _unit_rows(dataset.embeddings, dataset.items[start : start + batch_size])


def _unit_rows(embeddings: npt.NDArray[np.generic], items: Sequence[Item]) -> Embedded:
    values = np.asarray(embeddings[[item.row for item in items]], np.float64)
    lengths = np.linalg.norm(values, axis=1)
    usable = np.isfinite(lengths) & (lengths > 0)
    readable = [items[k] for k in np.flatnonzero(usable).tolist()]
    bad = [BadRow(items[k].name, "its embedding is zero or not finite") for k in np.flatnonzero(~usable).tolist()]
    return Embedded(readable, (values[usable] / lengths[usable, None]).astype(np.float32), bad)

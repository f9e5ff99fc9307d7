"""Results of a bulk job (``fastconcept batch``) read back: embeddings and words that need not be computed again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .embedding_files import pyarrow_parquet
from .items import BadRow, Item

_MANIFEST = "manifest.json"
_NOT_ATTRIBUTES = ("path", "label", "embedding", "words")


@dataclass(frozen=True)
class StoredWords:
    """Words and weights of n rows, by falling weight.

    Attributes
    ----------
    words : list of str
        Every word that occurs.
    indptr : (n + 1,) int64
    indices : (m,) int32
        Row i has the words ``indices[indptr[i]:indptr[i + 1]]`` of ``words``.
    values : (m,) float64
        Their weights.
    cosine : (n,) float64
        Between what the words add up to and the embedding.
    options : mapping
        ``l1_penalty`` and ``l0`` of the job.
    """

    words: list[str]
    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    cosine: npt.NDArray[np.float64]
    options: Mapping[str, Any]


class JobRows(NamedTuple):
    """What a job has left: its verb, the rows, those that failed, and what was computed for them."""

    task: str
    items: list[Item]
    bad: list[BadRow]
    embeddings: npt.NDArray[np.float32] | None
    words: StoredWords | None
    model: str | None


def job_folder(path: Path) -> Path | None:
    """The folder of a job, if the path is one or its ``shards``."""
    for folder in (path, path.parent):
        of_a_job = os.path.isdir(folder / "shards") and os.path.isfile(folder / _MANIFEST)
        if of_a_job and path in (folder, folder / "shards"):
            return folder
    return None


def read_job(folder: Path, columns: Sequence[str] | None = None) -> JobRows:
    """All rows of a job that has ended.

    Parameters
    ----------
    folder : Path
    columns : sequence of str, optional
        Columns that become attributes; by default all that are no lists.

    Raises
    ------
    InputError
        If the job has not ended, holds neither embeddings nor words, has no such column, or a file is damaged.
    MissingDependencyError
        If pyarrow is not installed.
    """
    parquet = pyarrow_parquet()
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        counts, task, model = manifest.get("counts"), str(manifest["task"]), manifest["model"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / _MANIFEST} is not the manifest of a job: {error}") from None
    if counts is None:
        raise InputError(f"the job in {folder} has not ended; start it again with the same options to go on")
    try:
        files = sorted((folder / "shards").glob("part-*.parquet"))
        if len(files) != counts["shards"]:
            raise InputError(f"{folder} has {len(files)} shards, but its job has written {counts['shards']}")
        return _read(files, folder, task, model, manifest["options"], columns, parquet)
    except InputError:
        raise
    except Exception as error:  # pyarrow's own, and those of Python where a column is of another type
        raise InputError(f"the shards in {folder} cannot be read: {error}") from None


def _read(
    files: Sequence[Path],
    folder: Path,
    task: str,
    model: str | None,
    options: Mapping[str, Any],
    columns: Sequence[str] | None,
    parquet: Any,
) -> JobRows:
    schema = parquet.read_schema(files[0])
    plain = [f.name for f in schema if not f.type.num_fields and f.name not in _NOT_ATTRIBUTES]
    if unknown := [name for name in columns or () if name not in (*plain, "label")]:
        raise InputError(f"the rows of {folder} have no column {unknown[0]!r}; there are: {', '.join(plain)}")
    chosen = [name for name in plain if columns is None or name in columns]
    computed = [name for name in ("embedding", "words") if name in schema.names]
    if not computed:
        raise InputError(f"the rows of {folder} have neither embeddings nor words; run the job with --embeddings")
    basic = [name for name in ("path", "label") if name in schema.names]
    items: list[Item] = []
    embeddings: list[Any] = []
    words = _WordsOfShards()
    for file in files:
        cosine = ["cosine"] if "words" in computed else []
        table = parquet.read_table(file, columns=list(dict.fromkeys([*basic, *chosen, *computed, *cosine])))
        items += _items(table, chosen, len(items))
        if "embedding" in computed:
            embeddings.append(_matrix(table.column("embedding"), schema.field("embedding").type.list_size))
        if "words" in computed:
            words.add(table)
    failed = parquet.read_table(folder / "failed.parquet").to_pylist()
    return JobRows(
        task,
        items,
        [BadRow(str(row["path"]), str(row["reason"])) for row in failed],
        np.concatenate(embeddings) if embeddings else None,
        words.all(options) if "words" in computed else None,
        model,
    )


def _items(table: Any, chosen: Sequence[str], start: int) -> list[Item]:
    paths = table.column("path").to_pylist()
    labels = table.column("label").to_pylist() if "label" in table.column_names else [None] * len(paths)
    columns = {name: table.column(name).to_pylist() for name in chosen}
    return [
        Item(
            path,
            label=None if label is None else str(label),
            attributes={name: str(values[k]) for name, values in columns.items() if values[k] is not None},
            row=start + k,
        )
        for k, (path, label) in enumerate(zip(paths, labels, strict=True))
    ]


def _matrix(column: Any, width: int) -> npt.NDArray[np.float32]:
    parts = [np.asarray(chunk.flatten(), np.float32).reshape(-1, width) for chunk in column.chunks]
    return np.concatenate([np.empty((0, width), np.float32), *parts])


class _WordsOfShards:
    """Collects words shard by shard, under one numbering."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._lengths, self._indices = [np.zeros(1, np.int64)], [np.empty(0, np.int32)]
        self._values, self._cosine = [np.empty(0)], [np.empty(0)]

    def add(self, table: Any) -> None:
        for chunk in table.column("words").chunks:
            pairs = chunk.flatten()
            encoded = pairs.field("word").dictionary_encode()
            numbers = [self._numbers.setdefault(word, len(self._numbers)) for word in encoded.dictionary.to_pylist()]
            self._lengths.append(np.diff(np.asarray(chunk.offsets)).astype(np.int64))
            self._indices.append(np.array([*numbers, 0], np.int32)[np.asarray(encoded.indices)])
            self._values.append(np.asarray(pairs.field("weight"), np.float64))
        self._cosine.append(np.asarray(table.column("cosine"), np.float64))

    def all(self, options: Mapping[str, Any]) -> StoredWords:
        return StoredWords(
            list(self._numbers),
            np.cumsum(np.concatenate(self._lengths)),
            np.concatenate(self._indices),
            np.concatenate(self._values),
            np.concatenate(self._cosine),
            {name: options.get(name) for name in ("l1_penalty", "l0")},
        )

"""Embeddings computed elsewhere: ``.npy``, ``.npz`` (never pickled) and, with pyarrow, ``.parquet``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, MissingDependencyError
from .items import Item

_UNSUSPICIOUS = 256 << 20  # bytes that an archive may unpack to whatever its size
_LARGEST_RATIO = 20  # of unpacked to packed, above that


def read(path: Path) -> tuple[list[Item], npt.NDArray[np.floating]]:
    """Items with their labels and attributes, and the (n, d) embeddings of which each is a row.

    Parameters
    ----------
    path : Path
        A ``.npy`` of (n, d) floats; a ``.npz`` with an array ``embeddings`` (n, d), optionally ``label`` or ``labels``
        and other arrays of n numbers or strings; or a ``.parquet`` with a column ``embedding`` of lists, optionally
        ``label`` and others.

    Raises
    ------
    InputError
        If it is damaged, pickled, or of another shape.
    MissingDependencyError
        If it is parquet and pyarrow is not installed.
    """
    columns = _parquet(path) if path.suffix.lower() == ".parquet" else _numpy(path)
    rows = columns.pop("embeddings", None)
    if rows is None or rows.ndim != 2 or not np.issubdtype(rows.dtype, np.floating):
        content = "none" if rows is None else f"{rows.dtype} {rows.shape}"
        raise InputError(f"{path}: embeddings must be floats of shape (n, d), found {content}")
    labels = columns.pop("label", columns.pop("labels", None))
    if labels is not None and labels.shape != (len(rows),):
        raise InputError(f"{path}: labels of shape {labels.shape} for {len(rows)} embeddings")
    items = []
    for row in range(len(rows)):
        cells = {name: values[row] for name, values in columns.items() if values.shape[:1] == (len(rows),)}
        attributes = {name: str(cell) for name, cell in cells.items() if cell is not None}
        label = None if labels is None or labels[row] is None else str(labels[row])
        items.append(Item(f"{path.name}[{row}]", label=label, attributes=attributes, row=row))
    return items, rows


def _numpy(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        if path.suffix.lower() == ".npy":
            return {"embeddings": np.lib.format.open_memmap(path, mode="r")}  # np.load would open archives, too
        with zipfile.ZipFile(path) as archive:
            size, packed = sum(entry.file_size for entry in archive.infolist()), path.stat().st_size
        if size > max(_UNSUSPICIOUS, _LARGEST_RATIO * packed):
            raise InputError(f"{path} claims {size:,} bytes in a file of {packed:,}; that is no archive of embeddings")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib, and the parser of headers raise many kinds
        raise InputError(f"{path} cannot be read as {path.suffix[1:]} without pickles: {error}") from None


def pyarrow_parquet() -> Any:
    """The module ``pyarrow.parquet``.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        from pyarrow import parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise MissingDependencyError("pyarrow", "evaluate") from None
    return parquet


def _parquet(path: Path) -> dict[str, npt.NDArray[Any]]:
    parquet = pyarrow_parquet()
    try:
        plain = [field.name for field in parquet.read_schema(path) if not field.type.num_fields]
        others = [name for name in plain if name != "embedding"]
        table = parquet.read_table(path, columns=[*others, "embedding"])
        cells = {name: table.column(name).to_pylist() for name in others}
        columns = {name: np.array([c if c is None else str(c) for c in cells[name]], object) for name in others}
        if "embedding" in table.column_names:
            rows = table.column("embedding").to_pylist()
            if rows and len({len(row or ()) for row in rows}) == 1:
                columns["embeddings"] = np.asarray(rows, np.float32)
        return columns
    except Exception as error:  # pyarrow's own, those of Python, and of NumPy where a column is no table of numbers
        raise InputError(f"{path} cannot be read as parquet: {error}") from None

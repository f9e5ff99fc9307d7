"""The embeddings and names of banks and dictionaries: unit rows in float32, distinct names, both checked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

Float32 = NDArray[np.float32]

_ROWS_AT_ONCE = 8192


def unit_rows(embeddings: ArrayLike, name: Callable[[int], str]) -> Float32:
    """Scale every row of (N, d) floating-point numbers to length one, as float32, C-contiguous, read-only.

    Raises
    ------
    InputError
        If the array is not two-dimensional and floating, or a row is zero or not finite; ``name`` says which row it is.
    """
    rows = np.asarray(embeddings)
    if rows.ndim != 2 or rows.dtype.kind != "f" or rows.shape[1] == 0:
        raise InputError(f"embeddings must be floating-point numbers of shape (N, d), not {rows.dtype} of {rows.shape}")
    unit = np.empty(rows.shape, np.float32)
    for start in range(0, len(rows), _ROWS_AT_ONCE):  # a bank of all nouns stays within little more than its own memory
        part = rows[start : start + _ROWS_AT_ONCE]
        part = part.astype(np.float32) if part.dtype == np.float16 else part  # arithmetic in float16 is slow
        lengths = np.sqrt(np.einsum("ij,ij->i", part, part, dtype=np.float64))
        bad = np.flatnonzero(~((lengths > 0) & np.isfinite(lengths)))
        if bad.size:
            i = start + int(bad[0])
            fault = "not finite" if lengths[bad[0]] else "all zeros"
            raise InputError(f"the embedding of {name(i)!r} (row {i}) is {fault}")
        np.divide(part, lengths[:, None], out=unit[start : start + _ROWS_AT_ONCE], casting="same_kind")
    unit.flags.writeable = False
    return unit


def check_names(names: tuple[str, ...], rows: int, what: str) -> None:
    """Check that every row has one name, distinct, not empty and without line breaks; ``what`` is their plural.

    Raises
    ------
    InputError
        If the counts differ, or a name is empty, has a line break or occurs twice.
    """
    if len(names) != rows:
        raise InputError(f"{len(names)} {what} but {rows} embeddings; each needs its own row")
    earlier: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"{what} must be strings, got {type(name).__name__}")
        if not name.strip() or "\n" in name or "\r" in name:
            raise InputError(f"{what}: {name!r} is empty or has a line break")
        if name in earlier:
            raise InputError(f"{what}: {name!r} occurs twice; keep one of them")
        earlier.add(name)

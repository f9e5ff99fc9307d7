"""pyarrow, which is imported when a job begins."""

from __future__ import annotations

from typing import Any

from ..errors import MissingDependencyError


def pyarrow() -> Any:
    """The package ``pyarrow``, with ``pyarrow.parquet`` loaded.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import pyarrow.parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise MissingDependencyError("pyarrow", "batch") from None
    return pyarrow

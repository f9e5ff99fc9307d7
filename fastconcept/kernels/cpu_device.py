"""Where the CPU kernels work: the process's own memory. The twin of :mod:`fastconcept.kernels.cuda_device`.

Code above the kernels asks the backend to ``upload`` what the next kernel reads and to bring results ``to_host``;
here both leave an array where it is.
"""

from __future__ import annotations

from typing import Any

from . import checks
from .sparse_codes import check_rows

__all__ = ["Device", "beside", "check_rows", "place", "prepare_bank", "to_host", "upload"]


class Device:
    """The host. Nothing to enter, and no stream to wait for.

    Parameters
    ----------
    name : str
        ``"cpu"``.

    Examples
    --------
    >>> with Device("cpu") as here:
    ...     here.name
    'cpu'
    """

    def __init__(self, name: str = "cpu") -> None:
        self.name = name

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def upload(array: Any) -> Any:
    """An array where the kernels read it."""
    return array


def to_host(array: Any) -> Any:
    """A NumPy array of a result."""
    return array


def beside(rows: Any, array: Any) -> Any:
    """An array where ``rows`` are, so that the two can be computed with."""
    return array


def prepare_bank(rows: Any) -> Any:
    """Concept embeddings (N, d) float32 as ``subtree_ranks`` and ``all_ranks`` take them again and again."""
    return checks.embeddings("bank", rows)


def place() -> str:
    """Name of the device on which arrays are made now."""
    return "cpu"

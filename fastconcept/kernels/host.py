"""Where the CPU kernels and the reference work: the process's own memory, in which every array stays where it is."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ..errors import DeviceError
from . import arguments
from .contract import Array, Device


class Host:
    """The host. There is nothing to enter, and no stream to wait for."""

    name = "cpu"

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def open_device(name: str) -> Device:
    """The host, whose name is ``"cpu"``."""
    if name != Host.name:
        raise DeviceError(f"the CPU kernels run on device 'cpu', got {name!r}")
    return Host()


def place() -> str:
    """Always ``"cpu"``."""
    return Host.name


def is_host(value: object) -> bool:
    """Whether an argument is in host memory, so that results belong there, too.

    Examples
    --------
    >>> is_host(np.zeros(3)), is_host([0.5, 0.5])
    (True, True)
    """
    if hasattr(value, "__cuda_array_interface__"):
        return False
    return isinstance(value, np.ndarray) or not hasattr(value, "__dlpack__")


def to_host(array: object) -> npt.NDArray[Any]:
    """A NumPy array of an array of any device (waits for it); what is in host memory is returned as it is."""
    if is_host(array):
        return cast("npt.NDArray[Any]", array)
    from .cuda.arrays import download

    return download(array)


def upload(array: Array) -> Array:
    """The array itself."""
    return array


def staged(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """NumPy's."""
    return np.empty(shape, np.float32)


def upload_staged(array: npt.NDArray[np.float32]) -> Array:
    """The array itself."""
    return array


def beside(rows: Array, array: Array) -> Array:
    """The array itself."""
    return array


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """NumPy's."""
    return np.empty(shape, dtype)


def noise(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.uint8]:
    """Made by NumPy's default generator."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def check_rows(rows: object, name: str) -> npt.NDArray[np.float32]:
    """:func:`fastconcept.kernels.arguments.rows`."""
    return arguments.rows(name, rows)


def prepare_bank(rows: Array) -> npt.NDArray[np.float32]:
    """The rows themselves, once they are checked."""
    return arguments.embeddings("bank", rows)

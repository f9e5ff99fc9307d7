"""Arrays of other libraries (torch, JAX, CuPy, pandas, plain lists) as arrays of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .host import to_host


def as_numpy(name: str, value: object) -> npt.NDArray[Any]:
    """A NumPy array of anything that holds numbers, copied only where it has to be.

    Parameters
    ----------
    name : str
        The argument, as the caller knows it.
    value : object
        A NumPy array, a torch tensor on any device, whether or not it requires gradients, an array of another library,
        a pandas frame or a nested list.

    Returns
    -------
    numpy.ndarray
        Booleans, integers or floats; bfloat16 becomes float32.

    Raises
    ------
    InputError
        If it is none of these: text, None, objects, complex numbers, or lists of different lengths.

    Examples
    --------
    >>> as_numpy("weights", [[1, 2], [3, 4]]).shape
    (2, 2)
    """
    array = value
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError(f"{name} has masked values; fill them first")
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):  # torch
            tensor = value.detach().cpu()
            array = (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()
        elif not isinstance(value, np.ndarray):
            array = np.asarray(to_host(value))
    except Exception as error:  # every library has errors of its own
        raise InputError(f"{name} must be an array of numbers, got {type(value).__name__}: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        what = f"{type(value).__name__} of {array.dtype}" if isinstance(array, np.ndarray) else type(value).__name__
        raise InputError(f"{name} must be an array of numbers, got {what}")
    return array


def embedding_rows(name: str, value: object) -> npt.NDArray[np.float32]:
    """Embeddings of any kind as C-contiguous float32, (d,) or (n, d).

    Raises
    ------
    InputError
        If it is no array of numbers with one or two axes, or a number is too large for float32.

    Examples
    --------
    >>> embedding_rows("embeddings", np.eye(3)[:, ::2]).flags.c_contiguous
    True
    """
    array = as_numpy(name, value)
    if array.ndim not in (1, 2) or array.dtype == bool:
        raise InputError(f"{name} must be numbers of shape (d,) or (n, d), got {array.dtype} of shape {array.shape}")
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused as such
        return np.ascontiguousarray(array, np.float32)

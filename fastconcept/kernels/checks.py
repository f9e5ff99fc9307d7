"""What the kernels of every backend accept: dtype, shape and layout, checked before any work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError

MAX_SIZE = 1 << 14  # pixels on a side of a resized patch
MAX_CELLS = 1 << 24  # cells of a saliency map
INTERPOLATIONS = ("bicubic", "bilinear")


def array(
    name: str, value: object, shape: Sequence[int | None], dtypes: Sequence[npt.DTypeLike], expected: str = ""
) -> npt.NDArray[Any]:
    """Check one array argument and return it unchanged.

    Parameters
    ----------
    name : str
        The argument, as the caller knows it.
    value : object
        What was given.
    shape : sequence of int or None
        Required shape; None accepts any length.
    dtypes : sequence of dtype
        Accepted types; ``np.integer`` accepts every integer type.
    expected : str
        What the axes are, for the message; the numbers of `shape` by default.

    Returns
    -------
    numpy.ndarray
        `value` itself.

    Raises
    ------
    InputError
        If it is no C-contiguous array of such a type and shape.

    Examples
    --------
    >>> array("mean", np.zeros(3), (3,), [np.float64])
    array([0., 0., 0.])
    """
    names = " or ".join(np.dtype(t).name if t is not np.integer else "integer" for t in dtypes)
    axes = expected or ", ".join("any" if size is None else str(size) for size in shape)
    wanted = f"a C-contiguous {names} array of shape ({axes})"
    if not isinstance(value, np.ndarray):
        raise InputError(f"{name} must be {wanted}, got {type(value).__name__}")
    fits = value.ndim == len(shape) and all(s is None or s == have for s, have in zip(shape, value.shape, strict=True))
    if not fits or not any(np.issubdtype(value.dtype, t) for t in dtypes) or not value.dtype.isnative:
        raise InputError(f"{name} must be {wanted}, got {value.dtype} of shape {value.shape}")
    if not value.flags.c_contiguous:
        raise InputError(f"{name} must be {wanted}, got a strided view; pass np.ascontiguousarray({name})")
    return value


def integers(name: str, value: object, length: int | None = None, expected: str = "") -> npt.NDArray[np.int64]:
    """Check one vector of integers and return it as int64.

    Raises
    ------
    InputError
        If it is no one-dimensional array of integers (of the given length).

    Examples
    --------
    >>> integers("order", np.array([1, 0], np.int32))
    array([1, 0])
    """
    vector = array(name, value, (length,), [np.integer], expected)
    if vector.dtype == np.uint64 and len(vector) and int(vector.max()) > np.iinfo(np.int64).max:
        raise InputError(f"{name} must fit into int64, got {vector.max()}")
    return vector.astype(np.int64, copy=False)


def boxes(value: object, count: int | None = None) -> npt.NDArray[np.int32]:
    """Check boxes, (n, 4) integers x0, y0, x1, y1, and return them as int32.

    Raises
    ------
    InputError
        If they have another shape or type, or do not fit into int32.

    Examples
    --------
    >>> boxes(np.array([[0, 0, 4, 4]])).dtype
    dtype('int32')
    """
    given = array("boxes", value, (count, 4), [np.integer], f"{'n' if count is None else count}, 4")
    limits = np.iinfo(np.int32)
    if given.dtype != np.int32 and given.size and (given.min() < limits.min or given.max() > limits.max):
        raise InputError(f"boxes must fit into int32, got values from {given.min()} to {given.max()}")
    return given.astype(np.int32, copy=False)


def embeddings(name: str, value: object, dims: int | None = None) -> npt.NDArray[np.float32]:
    """Check a float32 matrix of embeddings, (n, d) with d >= 1, and return it.

    Raises
    ------
    InputError
        If it has another type or shape.

    Examples
    --------
    >>> embeddings("bank", np.eye(2, dtype=np.float32)).shape
    (2, 2)
    """
    matrix = array(name, value, (None, dims), [np.float32], f"n, {'d' if dims is None else dims}")
    if matrix.shape[1] == 0:
        raise InputError(f"{name} must have at least one dimension, got shape {matrix.shape}")
    return matrix


def sides(name: str, value: object, most: int, area: int | None = None) -> tuple[int, int]:
    """Check a pair of positive sizes (height, width), each at most `most` and their product at most `area`.

    Raises
    ------
    InputError
        If it is anything else.

    Examples
    --------
    >>> sides("size", (224, 224), 16384)
    (224, 224)
    """
    pair = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    whole = all(isinstance(side, (int, np.integer)) and not isinstance(side, bool) for side in pair)
    if len(pair) != 2 or not whole or not all(1 <= side <= most for side in pair):
        raise InputError(f"{name} must be two integers (height, width) from 1 to {most}, got {value!r}")
    height, width = int(pair[0]), int(pair[1])
    if area is not None and height * width > area:
        raise InputError(f"{name} must be at most {area} in all, got {height} x {width}")
    return height, width


def channels(name: str, value: object, positive: bool = False) -> npt.NDArray[np.float64]:
    """Check three finite numbers, one per channel, and return them as float64.

    Raises
    ------
    InputError
        If they are anything else, or not positive where they must be.

    Examples
    --------
    >>> channels("std", (0.5, 0.5, 0.5), positive=True)
    array([0.5, 0.5, 0.5])
    """
    try:
        numbers = np.ascontiguousarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (3,) or not all(map(math.isfinite, numbers)) or (positive and not (numbers > 0).all()):
        raise InputError(f"{name} must be three {'positive ' if positive else ''}finite numbers, got {value!r}")
    return numbers


def writeable(name: str, value: object, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Check a float32 array to write a result to, and return it.

    Raises
    ------
    InputError
        If it has another type or shape, or is read-only.

    Examples
    --------
    >>> writeable("out", np.zeros((2, 2), np.float32), (2, 2)).shape
    (2, 2)
    """
    result = array(name, value, shape, [np.float32])
    if not result.flags.writeable:
        raise InputError(f"{name} must be writeable, got a read-only array")
    return result


def finite(name: str, values: npt.NDArray[Any]) -> None:
    """Refuse NaN and infinity.

    Raises
    ------
    InputError
        If `values` holds any.

    Examples
    --------
    >>> finite("bank", np.zeros((2, 2)))
    """
    if not np.isfinite(values).all():
        raise InputError(f"{name} contains NaN or infinity")


def lists(
    indptr: object,
    indices: object,
    rows: int,
    names: tuple[str, str] = ("indptr", "indices"),
    may_be_empty: bool = False,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Check lists of bank rows in CSR layout: list j is ``indices[indptr[j]:indptr[j + 1]]``.

    Raises
    ------
    InputError
        If `indptr` does not rise from 0 to ``len(indices)``, a list is empty that may not be, or an index is no row.

    Examples
    --------
    >>> lists(np.array([0, 1]), np.array([4]), 5)
    (array([0, 1]), array([4]))
    """
    starts, members = integers(names[0], indptr), integers(names[1], indices)
    if len(starts) == 0 or starts[0] != 0 or starts[-1] != len(members):
        raise InputError(f"{names[0]} must start at 0 and end at len({names[1]}) = {len(members)}")
    lengths = np.diff(starts)
    if (lengths < 0).any() or not (may_be_empty or lengths.all()):
        raise InputError(f"{names[0]} must {'not decrease' if may_be_empty else 'increase: no list may be empty'}")
    if ((members < 0) | (members >= rows)).any():
        raise InputError(f"{names[1]} must be rows of the bank, 0 to {rows - 1}")
    return starts, members


def bottom_up(
    order: object, child_indptr: npt.NDArray[np.int64], child_indices: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Check that `order` holds every row once, children before parents, and return it as int64.

    Raises
    ------
    InputError
        If it does not.

    Examples
    --------
    >>> bottom_up(np.array([1, 0]), np.array([0, 1, 1]), np.array([1]))
    array([1, 0])
    """
    rows = len(child_indptr) - 1
    nodes = integers("order", order, rows, "N")
    if not np.array_equal(np.sort(nodes), np.arange(rows)):
        raise InputError(f"order must hold every bank row 0 to {rows - 1} once")
    position = np.empty(rows, np.int64)
    position[nodes] = np.arange(rows)
    parents = np.repeat(np.arange(rows), np.diff(child_indptr))
    if (position[child_indices] >= position[parents]).any():
        raise InputError("order must hold children before parents")
    return nodes


def resize_arguments(
    image: object, boxes_: object, size: object, mean: object, std: object, interpolation: object, out: object
) -> tuple[
    npt.NDArray[np.uint8],
    npt.NDArray[np.int32],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float32],
]:
    """Check the arguments of ``resize_patches`` and return image, boxes, mean, std and where the result goes.

    Raises
    ------
    InputError
        If one of them has another type or shape. Whether boxes lie inside the image is left to the kernel.

    Examples
    --------
    >>> black = np.zeros((4, 4, 3), np.uint8)
    >>> resize_arguments(black, np.zeros((2, 4), int), (8, 9), (0, 0, 0), (1, 1, 1), "bicubic", None)[-1].shape
    (2, 3, 8, 9)
    """
    pixels = array("image", image, (None, None, 3), [np.uint8], "H, W, 3")
    corners = boxes(boxes_)
    shape = (len(corners), 3, *sides("size", size, MAX_SIZE))
    if interpolation not in INTERPOLATIONS:
        raise InputError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    means, deviations = channels("mean", mean), channels("std", std, positive=True)
    if out is None:
        return pixels, corners, means, deviations, np.empty(shape, np.float32)
    return pixels, corners, means, deviations, writeable("out", out, shape)

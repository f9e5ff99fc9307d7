"""What the kernels of every backend accept: dtype, shape and layout, checked before any work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .csr import Lists, SparseCodes

MAX_SIZE = 1 << 14  # pixels on a side of a resized patch
MAX_CELLS = 1 << 24  # cells of a saliency map
INTERPOLATIONS = ("bicubic", "bilinear")
_FARTHEST = 1 << 50  # pixels of a resized image, of which only a window is made


def array(
    name: str, value: object, shape: Sequence[int | None], dtypes: Sequence[npt.DTypeLike], expected: str = ""
) -> npt.NDArray[Any]:
    """Check one array argument and return it unchanged.

    Parameters
    ----------
    name : str
        The argument, as the caller knows it.
    value : object
        The argument's value.
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
    if not isinstance(value, np.ndarray):
        what = type(value).__name__
    elif (
        value.ndim != len(shape)
        or any(size is not None and size != have for size, have in zip(shape, value.shape, strict=True))
        or not any(np.issubdtype(value.dtype, t) for t in dtypes)
        or not value.dtype.isnative
    ):
        what = f"{value.dtype} of shape {value.shape}"
    elif not value.flags.c_contiguous:
        what = f"a strided view; pass np.ascontiguousarray({name})"
    else:
        return value
    names = " or ".join(np.dtype(t).name if t is not np.integer else "integer" for t in dtypes)
    axes = expected or ", ".join("any" if size is None else str(size) for size in shape)
    raise InputError(f"{name} must be a C-contiguous {names} array of shape ({axes}), got {what}")


def integers(name: str, value: object, length: int | None = None, expected: str = "") -> npt.NDArray[np.int64]:
    """Check one vector of integers and return it as int64.

    Raises
    ------
    InputError
        If it is no one-dimensional array of integers (of this length).

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
    corners = array("boxes", value, (count, 4), [np.integer], f"{'n' if count is None else count}, 4")
    limits = np.iinfo(np.int32)
    if corners.dtype != np.int32 and corners.size and (corners.min() < limits.min or corners.max() > limits.max):
        raise InputError(f"boxes must fit into int32, got values from {corners.min()} to {corners.max()}")
    return corners.astype(np.int32, copy=False)


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
    if numbers.shape != (3,) or not all(map(math.isfinite, numbers)) or (positive and min(numbers) <= 0):
        raise InputError(f"{name} must be three {'positive ' if positive else ''}finite numbers, got {value!r}")
    return numbers


def output(name: str, value: object, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Check a float32 array to write a result to and return it, or a new one for None.

    Raises
    ------
    InputError
        If it has another type or shape, or is read-only.

    Examples
    --------
    >>> output("out", None, (2, 2)).shape
    (2, 2)
    """
    if value is None:
        return np.empty(shape, np.float32)
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
    count: int,
    names: tuple[str, str] = ("indptr", "indices"),
    may_be_empty: bool = False,
) -> Lists:
    """Check lists of bank rows in CSR layout: list j is ``indices[indptr[j]:indptr[j + 1]]``.

    Raises
    ------
    InputError
        If `indptr` does not rise from 0 to ``len(indices)``, a list is empty that may not be, or an index is no row.

    Examples
    --------
    >>> lists(np.array([0, 1]), np.array([4]), 5)
    Lists(indptr=array([0, 1]), indices=array([4]))
    """
    starts, members = integers(names[0], indptr), integers(names[1], indices)
    if len(starts) == 0 or starts[0] != 0 or starts[-1] != len(members):
        raise InputError(f"{names[0]} must start at 0 and end at len({names[1]}) = {len(members)}")
    lengths = np.diff(starts)
    if (lengths < 0).any() or not (may_be_empty or lengths.all()):
        raise InputError(f"{names[0]} must {'not decrease' if may_be_empty else 'increase: no list may be empty'}")
    if ((members < 0) | (members >= count)).any():
        raise InputError(f"{names[1]} must be rows of the bank, 0 to {count - 1}")
    return Lists(starts, members)


def bottom_up(order: object, children: Lists) -> npt.NDArray[np.int64]:
    """Check that `order` holds every row once, children before parents, and return it as int64.

    Raises
    ------
    InputError
        If it does not.

    Examples
    --------
    >>> bottom_up(np.array([1, 0]), Lists.of([[1], []]))
    array([1, 0])
    """
    count = len(children.lengths)
    nodes = integers("order", order, count, "N")
    if not np.array_equal(np.sort(nodes), np.arange(count)):
        raise InputError(f"order must hold every bank row 0 to {count - 1} once")
    position = np.empty(count, np.int64)
    position[nodes] = np.arange(count)
    if (position[children.indices] >= position[children.owners]).any():
        raise InputError("order must hold children before parents")
    return nodes


class Resizing(NamedTuple):
    """What ``resize_patches`` does to an image: boxes (n, 4) int32, height and width, and (3,) float64 numbers."""

    boxes: npt.NDArray[np.int32]
    size: tuple[int, int]
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the result."""
        return (len(self.boxes), 3, *self.size)


def resizing(boxes_: object, size: object, mean: object, std: object, interpolation: object) -> Resizing:
    """Check what ``resize_patches`` is to do. Whether boxes lie inside the image is left to the kernel.

    Raises
    ------
    InputError
        If an argument has another type or shape.

    Examples
    --------
    >>> resizing(np.zeros((2, 4), int), (8, 9), (0, 0, 0), (1, 1, 1), "bicubic").shape
    (2, 3, 8, 9)
    """
    if interpolation not in INTERPOLATIONS:
        raise InputError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    means, deviations = channels("mean", mean), channels("std", std, positive=True)
    return Resizing(boxes(boxes_), sides("size", size, MAX_SIZE), means, deviations)


def columns_first(height: int, width: int, tall: int, wide: int) -> bool:
    """Whether Pillow 13 resizes an image of this height and width in height first, when it makes it tall and wide.

    Source: ``ImagingResampleInner`` in Pillow's ``Resample.c``. There are 8 bits between the passes, so it shows.

    Examples
    --------
    >>> columns_first(480, 640, 224, 298), columns_first(2000, 300, 224, 224)
    (False, True)
    """
    return height > tall and height - tall > 2 * (width - wide)


class Placing(NamedTuple):
    """What ``resize_images`` does: placements (n, 4) int64, height and width, (3,) float64 numbers, and the fill."""

    placements: npt.NDArray[np.int64]
    size: tuple[int, int]
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    fill: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the result."""
        return (len(self.placements), 3, *self.size)


def placing(
    images: object,
    placements: object,
    size: object,
    mean: object,
    std: object,
    interpolation: object,
    fill: object,
) -> Placing:
    """Check what ``resize_images`` is to do; the images themselves are left to the backend.

    Raises
    ------
    InputError
        If an argument has another type, shape or range.

    Examples
    --------
    >>> placing([None], np.array([[8, 9, 0, 0]]), (4, 4), (0, 0, 0), (1, 1, 1), "bicubic", 0).shape
    (1, 3, 4, 4)
    """
    if interpolation not in INTERPOLATIONS:
        raise InputError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    if not isinstance(images, Sequence) or isinstance(images, (str, bytes)):
        raise InputError(f"images must be a sequence of arrays, got {type(images).__name__}")
    if isinstance(fill, bool) or not isinstance(fill, (int, np.integer)) or not 0 <= fill <= 255:
        raise InputError(f"fill must be an integer from 0 to 255, got {fill!r}")
    table = placements if isinstance(placements, np.ndarray) else np.empty(0)
    if table.shape != (len(images), 4) or table.dtype.kind not in "iu":
        raise InputError(
            f"placements must be integers of shape ({len(images)}, 4), got {table.dtype} of shape {table.shape}"
        )
    if table.size and not (table[:, :2].min() >= 1 and table.max() <= _FARTHEST and table.min() >= -_FARTHEST):
        raise InputError("placements must hold a height and a width of at least 1, and numbers up to 2^50")
    means, deviations = channels("mean", mean), channels("std", std, positive=True)
    rows_ = np.ascontiguousarray(table, np.int64)
    return Placing(rows_, sides("size", size, MAX_SIZE), means, deviations, int(fill))


def whole_image(index: int, value: object) -> npt.NDArray[np.uint8]:
    """Check one of the images of ``resize_images``: (H, W, 3) uint8, not empty.

    Raises
    ------
    InputError
        If it is anything else.

    Examples
    --------
    >>> whole_image(0, np.zeros((2, 2, 3), np.uint8)).shape
    (2, 2, 3)
    """
    name = f"images[{index}]"
    pixels: npt.NDArray[np.uint8] = array(name, value, (None, None, 3), [np.uint8], "H, W, 3")
    if not pixels.size:
        raise InputError(f"{name} must have at least one pixel, got shape {pixels.shape}")
    return pixels


def rows(name: str, value: object, columns: int | None = None) -> npt.NDArray[np.float32]:
    """Check finite float32 rows (n, d) of a dictionary or of targets, with d from 1 to 65536, and return them.

    Parameters
    ----------
    columns : int, optional
        Width of the dictionary that they belong to.

    Raises
    ------
    InputError
        If they are anything else. Nothing is converted silently.

    Examples
    --------
    >>> rows("targets", np.ones((2, 3), np.float32), 3).shape
    (2, 3)
    """
    if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.ndim != 2:
        what = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(f"{name} must be a float32 array of shape (n, d), got {what}; try np.asarray(x, np.float32)")
    rows_shape(name, value.shape, columns)
    if not value.flags.c_contiguous:
        raise InputError(f"{name} must be C-contiguous; try np.ascontiguousarray(x)")
    good = np.isfinite(np.einsum("ij,ij->i", value, value, dtype=np.float64))
    if not good.all():
        raise InputError(f"{name} has NaN or infinite values in row {int(np.flatnonzero(~good)[0])}")
    return value


def rows_shape(name: str, shape: Sequence[int], columns: int | None = None) -> None:
    """Check the shape of :func:`rows`, wherever they are.

    Raises
    ------
    InputError
        If it is too wide, too long, or another width than ``columns``.

    Examples
    --------
    >>> rows_shape("targets", (2, 3), 3)
    """
    if not 1 <= shape[1] <= 65536:
        raise InputError(f"{name} must have from 1 to 65536 columns, got shape {shape}")
    if shape[0] >= 2**31:
        raise InputError(f"{name} must have fewer than 2**31 rows, got shape {shape}")
    if columns not in (None, shape[1]):
        raise InputError(f"{name} have {shape[1]} columns but the dictionary has {columns}")


def l1_penalty(value: object, problems: int) -> npt.NDArray[np.float64]:
    """Check a positive finite penalty, or one per problem, and return one per problem.

    Raises
    ------
    InputError
        If it is anything else.

    Examples
    --------
    >>> l1_penalty(0.25, 2)
    array([0.25, 0.25])
    """
    try:
        penalties = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"l1_penalty must be a number or one number per target, got {value!r}") from None
    if penalties.shape not in ((), (problems,)):
        raise InputError(f"l1_penalty must be a number or have shape ({problems},), got shape {penalties.shape}")
    if not (np.isfinite(penalties).all() and (penalties > 0).all()):
        raise InputError(f"l1_penalty must be positive and finite, got {value!r}")
    return np.array(np.broadcast_to(penalties, (problems,)))


def l0(value: object) -> int:
    """Check a positive number of words and return it.

    Raises
    ------
    InputError
        If it is anything else.

    Examples
    --------
    >>> l0(np.int64(10))
    10
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value < 2**31:
        raise InputError(f"l0 must be a positive integer (a number of words), got {value!r}")
    return int(value)


def tolerance(value: object) -> float:
    """Check a relative duality gap from 1e-12 to 1 and return it.

    Raises
    ------
    InputError
        If it is anything else.

    Examples
    --------
    >>> tolerance(1e-6)
    1e-06
    """
    if not isinstance(value, (int, float)) or not 1e-12 <= value <= 1:
        raise InputError(f"tolerance must be a number from 1e-12 to 1, got {value!r}")
    return float(value)


def warm_start(value: SparseCodes | None, problems: int, words: int, signed: bool = False) -> Lists:
    """Check codes to start from and return their words; none for None.

    With ``signed``, a word of negative weight is written as itself plus ``words``: the mirrored row of the solvers.

    Raises
    ------
    InputError
        If they belong to another number of problems or to a larger dictionary.

    Examples
    --------
    >>> warm_start(None, 2, 10)
    Lists(indptr=array([0, 0, 0]), indices=array([], dtype=int32))
    >>> one = np.ones(1)
    >>> warm_start(SparseCodes.of([([3, 7], [0.5, -0.2])], one, one, one, np.ones(1, np.int32)), 1, 10, signed=True)
    Lists(indptr=array([0, 2]), indices=array([ 3, 17], dtype=int32))
    """
    if value is None:
        return Lists(np.zeros(problems + 1, np.int64), np.zeros(0, np.int32))
    indptr = np.ascontiguousarray(value.indptr, np.int64)
    indices = np.ascontiguousarray(value.indices, np.int32)
    if indptr.shape != (problems + 1,) or indices.ndim != 1:
        raise InputError(f"warm_start holds {len(indptr) - 1} problems, but there are {problems} targets")
    if indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
        raise InputError("warm_start.indptr must rise from 0 to the number of indices")
    if len(indices) and (indices.min() < 0 or indices.max() >= words):
        raise InputError(f"warm_start has indices outside the dictionary of {words} words")
    if not signed:
        return Lists(indptr, indices)
    values = np.asarray(value.values)
    if values.shape != indices.shape:
        raise InputError(f"warm_start has {len(indices)} indices but {len(values)} values")
    return Lists(indptr, np.where(values < 0, indices + words, indices).astype(np.int32))

"""The kernels on an NVIDIA GPU: argument checks in Python, work in ``csrc/cuda`` on CuPy's current stream.

The definitions are in :mod:`fastconcept.kernels.contract`. Large arrays
may be CuPy's or anything with ``__cuda_array_interface__`` or DLPack (taken without a copy), and then results are CuPy
arrays; NumPy arrays are uploaded, and results come back as NumPy arrays. Geometry (boxes, weights, lists, graphs) is
small and read on the host. ``num_threads`` is accepted and ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from . import checks, cpu_device
from .contract import Array, PreparedBank, SaliencyMaps, SubtreeRanks
from .cuda_device import (
    back,
    beside,
    check_rows,
    device_array,
    device_limit,
    empty,
    finish_uploads,
    is_host,
    noise,
    open_device,
    place,
    pointer,
    product,
    require,
    stream,
    to_host,
    upload,
)
from .cuda_geometry import Axis, Levels, box_chunks, coverage, resize_axis
from .cuda_nnlasso import nnlasso, prepare_dictionary
from .cuda_nnlasso_path import nnlasso_l0
from .threads import check_num_threads

__all__ = [
    "Bank",
    "all_ranks",
    "beside",
    "check_rows",
    "empty",
    "nnlasso",
    "nnlasso_l0",
    "noise",
    "open_device",
    "place",
    "prepare_bank",
    "prepare_dictionary",
    "resize_image",
    "resize_patches",
    "saliency_maps",
    "subtree_ranks",
    "to_host",
    "upload",
]

_TILE_BYTES = 256 << 20  # similarities in memory at a time
_SCRATCH_BYTES = 512 << 20  # of all_ranks
_BLOCKS_PER_MULTIPROCESSOR = 8
_PADDING = 32  # rows of a bank and columns of similarities come in multiples of it
_MAPS_AT_ONCE = 1 << 14  # concepts; keeps the means of 14 x 14 cells within a data-centre GPU's cache
_SPLIT_SCALE = 2.0**-12  # both factors of the product carry 2**6 (csrc/cuda/ranks.cu)
_LARGEST = 1023  # magnitude that fits


class Bank:
    """Concept embeddings on the device, split into two half-precision parts; prepare once where used again.

    Parameters
    ----------
    rows : (N, d) float32
        Concept embeddings, unit rows, on the host or the device.

    Notes
    -----
    Every number is the sum of two of 11 significant bits; the product of a bank and patches takes three of the four
    partial products on the tensor cores, summed in float32: similarities of unit rows err by less than 2e-6, as in
    float32, at the speed of half precision. Equal rows get equal similarities.

    Raises
    ------
    InputError
        If the rows have another type or shape, or are not finite or beyond 1023 in magnitude.
    """

    def __init__(self, rows: Any) -> None:
        self._split, self.dims = _split("bank", rows, None, second_high=True)
        self.shape = (int(rows.shape[0]), self.dims)
        self._levels: tuple[tuple[Any, Any, Any], Levels] | None = None

    def levels(self, child_indptr: Any, child_indices: Any, order: Any) -> Levels:
        """The graph as the kernel walks it, kept for the next call with the same arrays."""
        graph = (child_indptr, child_indices, order)
        if self._levels is None or any(new is not old for new, old in zip(graph, self._levels[0], strict=True)):
            self._levels = (graph, Levels(to_host(child_indptr), to_host(child_indices), to_host(order), self.shape[0]))
            finish_uploads()
        return self._levels[1]


def prepare_bank(rows: Array) -> Bank:
    """The rows as a :class:`Bank`."""
    return Bank(rows)


def _split(name: str, rows: Any, dims: int | None, second_high: bool) -> tuple[Any, int]:
    """Rows as halves [high | high | low] or [high | low | high], padded to a multiple of 8 columns.

    Those of a bank (``second_high``) are followed by rows of zeros, so that every column of a product is written.
    """
    xp, native = require()
    if is_host(rows):
        checks.embeddings(name, rows, dims)
    array = device_array(name, rows, (None, dims), [np.float32], f"n, {'d' if dims is None else dims}")
    count, width = array.shape
    if width == 0:
        raise InputError(f"{name} must have at least one dimension, got shape {array.shape}")
    pitch = -(-3 * width // 8) * 8
    held = max(-(-count // _PADDING) * _PADDING, _PADDING) if second_high else count
    split, invalid = xp.empty((held, pitch), np.float16), xp.zeros(1, np.int32)
    split[count:] = 0
    native.split_rows(pointer(array), count, width, second_high, pitch, pointer(split), pointer(invalid), stream())
    if int(invalid[0]):
        raise InputError(f"{name} contains NaN or infinity, or a magnitude beyond {_LARGEST}")
    return split, int(width)


def _similarities(patches: Any, bank: Any) -> Any:
    """Product of split rows, (n, pitch) float32; columns past the bank's rows are zero."""
    xp, _ = require()
    out = xp.empty((patches.shape[0], bank.shape[0]), np.float32)
    product(patches, bank, out, _SPLIT_SCALE)
    return out


def _tiles(patches: Any, concepts: int) -> list[slice]:
    rows = max(1, _TILE_BYTES // (4 * max(concepts, 1)))
    return [slice(start, min(start + rows, len(patches))) for start in range(0, len(patches), rows)]


def subtree_ranks(
    patches: Array,
    bank: Array | PreparedBank,
    indptr: Array,
    indices: Array,
    queries: Array | None = None,
    *,
    num_threads: int | None = None,
) -> SubtreeRanks:
    """Products on the tensor cores; see :class:`Bank` for how close similarities are."""
    check_num_threads(num_threads)
    xp, native = require()
    prepared = bank if isinstance(bank, Bank) else Bank(bank)
    concepts = prepared.shape[0]
    starts, members = checks.lists(to_host(indptr), to_host(indices), concepts)
    split, _ = _split("patches", patches, prepared.dims, second_high=False)
    asked = None if queries is None else _split("queries", queries, prepared.dims, second_high=True)[0]
    subtrees = len(starts) - 1
    asking = 0 if queries is None else int(queries.shape[0])
    total = subtrees + asking
    ranks = xp.zeros((len(split), total), np.int32)
    best = xp.empty((len(split), total), np.float32)
    device_starts, device_members = xp.asarray(starts), xp.asarray(members.astype(np.int32))
    # In one product with the bank: a query equal to one of its rows is to tie with it, to the last bit.
    compared = prepared._split if asked is None else xp.concatenate([prepared._split, asked])
    first_query = len(prepared._split)
    for tile in _tiles(split, len(compared)):
        similarities = _similarities(split[tile], compared)
        rows = (pointer(similarities), len(similarities), concepts, similarities.shape[1])
        native.subtree_maxima(
            *rows, pointer(device_starts), pointer(device_members), subtrees, pointer(best[tile]), total, stream()
        )
        if asked is not None:
            best[tile, subtrees:] = similarities[:, first_query : first_query + asking]
        native.count_greater(*rows, pointer(best[tile]), total, pointer(ranks[tile]), stream())
    host = is_host(patches)
    return SubtreeRanks(back(ranks, host), back(best, host))


def all_ranks(
    patches: Array,
    bank: Array | PreparedBank,
    child_indptr: Array,
    child_indices: Array,
    order: Array,
    *,
    num_threads: int | None = None,
) -> Array:
    """At most 524,288 concepts; a prepared :class:`Bank` also keeps the prepared graph."""
    check_num_threads(num_threads)
    xp, native = require()
    prepared = bank if isinstance(bank, Bank) else Bank(bank)
    concepts = prepared.shape[0]
    if concepts > native.MAX_RANKED_CONCEPTS:
        raise InputError(f"all_ranks takes at most {native.MAX_RANKED_CONCEPTS} concepts, got {concepts}")
    levels = prepared.levels(child_indptr, child_indices, order)
    split, _ = _split("patches", patches, prepared.dims, second_high=False)
    ranks = xp.empty((len(split), concepts), np.int32)
    per_block = 8 * max(concepts, 1)
    most = min(
        len(split),
        _BLOCKS_PER_MULTIPROCESSOR * device_limit("MultiProcessorCount"),
        max(1, _SCRATCH_BYTES // per_block),
    )
    scratch = xp.empty(most * per_block, np.uint8)
    for tile in _tiles(split, concepts):
        similarities = _similarities(split[tile], prepared._split)
        native.all_ranks(
            pointer(similarities),
            len(similarities),
            concepts,
            similarities.shape[1],
            levels.pointers(),
            levels.count,
            pointer(scratch),
            min(most, len(similarities)),
            pointer(ranks[tile]),
            stream(),
        )
    return back(ranks, is_host(patches))


def saliency_maps(
    values: Array, boxes: Array, weights: Array, shape: tuple[int, int], *, num_threads: int | None = None
) -> SaliencyMaps:
    """Sums in the order of the patches in float64: equal to the reference, to the last bit."""
    check_num_threads(num_threads)
    xp, native = require()
    array = device_array("values", values, (None, None), [np.float32, np.int32], "n, k")
    count, concepts = array.shape
    height, width = checks.sides("shape", shape, checks.MAX_CELLS, area=checks.MAX_CELLS)
    corners = checks.boxes(to_host(boxes), count)
    weighing = checks.array("weights", to_host(weights), (count,), [np.float64])
    cover = coverage(corners, weighing, height, width)
    cells = height * width
    maps = xp.empty((concepts, height, width), np.float32)
    low, high = xp.empty(concepts, np.float64), xp.empty(concepts, np.float64)
    at_once = max(native.CONCEPT_TILE, min(_MAPS_AT_ONCE, _SCRATCH_BYTES // (8 * cells)) // 32 * 32)
    means = xp.empty(-(-min(at_once, concepts) // native.CONCEPT_TILE) * native.CONCEPT_TILE * cells, np.float64)
    for first in range(0, concepts, at_once):
        here = min(at_once, concepts - first)
        native.saliency_maps(
            pointer(array) + 4 * first,
            array.dtype == np.int32,
            concepts,
            here,
            cover.pointers(),
            cells,
            count,
            pointer(means),
            pointer(maps[first:]),
            pointer(low[first:]),
            pointer(high[first:]),
            stream(),
        )
    if array.dtype == np.float32 and not bool(xp.isfinite(low).all()):
        raise InputError("values contains NaN or infinity")
    host = is_host(values)
    return SaliencyMaps(back(maps, host), back(low, host), back(high, host))


def resize_patches(
    image: Array,
    boxes: Array,
    size: tuple[int, int],
    mean: Sequence[float] | Array,
    std: Sequence[float] | Array,
    interpolation: str = "bicubic",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Both passes on the device; ``out`` may be float16 there, for an encoder that takes half precision."""
    check_num_threads(num_threads)
    xp, _ = require()
    pixels = device_array("image", image, (None, None, 3), [np.uint8], "H, W, 3")
    corners = checks.boxes(to_host(boxes))
    height, width = checks.sides("size", size, checks.MAX_SIZE)
    if interpolation not in checks.INTERPOLATIONS:
        raise InputError(f"interpolation must be one of {', '.join(checks.INTERPOLATIONS)}, got {interpolation!r}")
    means, deviations = checks.channels("mean", to_host(mean)), checks.channels("std", to_host(std), positive=True)
    host = is_host(image) if out is None else is_host(out)
    shape = (len(corners), 3, height, width)
    if out is None or host:
        if out is not None:
            checks.writeable("out", out, shape)
        result = xp.empty(shape, np.float32)
    else:
        result = device_array("out", out, shape, [np.float32, np.float16])
    scale = tuple((1.0 / (255.0 * deviations)).tolist())
    shift = tuple((-means / deviations).tolist())
    kind = int(interpolation == "bicubic")
    for chunk in box_chunks(corners, pixels.shape, height, width):
        across = resize_axis(corners[chunk, 2] - corners[chunk, 0], width, kind)
        down = resize_axis(corners[chunk, 3] - corners[chunk, 1], height, kind)
        _resize_chunk(pixels, corners[chunk], (down, across), kind, scale, shift, result[chunk])
    if host and out is not None:
        out[...] = to_host(result)
        return out
    return back(result, host)


def resize_image(image: Array, box: tuple[int, int, int, int], size: tuple[int, int]) -> Array:
    """Done by :func:`resize_patches`; a side beyond 16,384 pixels is left to the CPU."""
    if max(size) > checks.MAX_SIZE:
        resized = cpu_device.resize_image(to_host(image), box, size)
        return resized if is_host(image) else upload(resized)
    # 1 / 255 undoes the division by 255: these are pixels, which rounding makes whole again.
    planes = resize_patches(image, np.array([box], np.int32), size, [0.0] * 3, [1 / 255] * 3)[0]
    pixels: Array = np.rint(planes).astype(np.uint8).transpose(1, 2, 0).copy()
    return pixels


def _resize_chunk(
    pixels: Any,
    corners: Any,
    axes: tuple[Axis, Axis],
    kind: int,
    scale: tuple[float, ...],
    shift: tuple[float, ...],
    out: Any,
) -> None:
    """One launch of both passes for boxes whose intermediate rows fit."""
    xp, native = require()
    down, across = axes
    extents = corners[:, 2:] - corners[:, :2]
    plan = np.column_stack([corners[:, :2], extents, across.table, down.table]).astype(np.int32)
    sizes = 3 * extents[:, 1].astype(np.int64) * across.output
    sizes = -(-sizes // 4) * 4  # the columns are read four bytes at a time
    device_plan, offsets = xp.asarray(plan), xp.asarray(np.cumsum(sizes) - sizes)
    between = xp.empty(int(sizes.sum()), np.uint8)
    native.resize_patches(
        pointer(pixels),
        pixels.shape[1],
        pointer(device_plan),
        pointer(offsets),
        len(plan),
        int(extents[:, 1].max()),
        pointer(between),
        across.pointers(),
        down.pointers(),
        (down.count, across.count),
        (down.output, across.output),
        kind,
        scale,
        shift,
        out.dtype == np.float16,
        pointer(out),
        stream(),
    )

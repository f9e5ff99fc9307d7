"""Ranks on the device (``csrc/cuda/ranks.cu``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import InputError
from .. import arguments
from ..contract import Array, PreparedBank, PreparedPatches, SubtreeRanks
from ..host import is_host, to_host
from ..threads import check_num_threads
from .arrays import back, device_array, pointer, table
from .device import DeviceArray, device_limit, finish_uploads, require, stream
from .levels import Levels
from .product import product

_TILE_BYTES = 256 << 20  # similarities in memory at a time
_STATIC_BYTES = 1 << 10  # of shared memory, beside what all_ranks asks for
_ROOM = 128, 65_532  # values of a row in shared memory at a time
_PADDING = 32  # rows of a bank and columns of similarities come in multiples of it
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

    def __init__(self, rows: Array | PreparedBank) -> None:
        self._split, finite = _split("bank", rows, None, second_high=True)
        finite.check()
        self.dims = int(rows.shape[1])
        self.shape = (int(rows.shape[0]), self.dims)
        self._levels: tuple[tuple[Array, Array, Array], Levels] | None = None

    def levels(self, child_indptr: Array, child_indices: Array, order: Array) -> Levels:
        """The graph as the kernel walks it, kept for the next call with the same arrays."""
        graph = (child_indptr, child_indices, order)
        if self._levels is None or any(new is not old for new, old in zip(graph, self._levels[0], strict=True)):
            self._levels = (graph, Levels(to_host(child_indptr), to_host(child_indices), to_host(order), self.shape[0]))
            finish_uploads()
        return self._levels[1]


def prepare_bank(rows: Array) -> Bank:
    """The rows as a :class:`Bank`."""
    return Bank(rows)


def prepare_patches(patches: Array, bank: Array | PreparedBank, *, num_threads: int | None = None) -> Array:
    """The patches themselves, once they are checked; they stay where they are."""
    check_num_threads(num_threads)
    dims = int(bank.shape[1])
    if is_host(patches):
        arguments.finite("patches", arguments.embeddings("patches", patches, dims))
        return patches
    array: Array = device_array("patches", patches, (None, dims), [np.float32], f"n, {dims}")
    return array


def subtree_ranks(
    patches: Array | PreparedPatches,
    bank: Array | PreparedBank,
    indptr: Array,
    indices: Array,
    queries: Array | None = None,
    *,
    num_threads: int | None = None,
) -> SubtreeRanks:
    """Products on the tensor cores; see :class:`Bank` for how close similarities are."""
    check_num_threads(num_threads)
    xp = require()
    from .. import _cuda as native

    prepared = bank if isinstance(bank, Bank) else Bank(bank)
    concepts = prepared.shape[0]
    starts, members = arguments.lists(to_host(indptr), to_host(indices), concepts)
    split, finite = _split("patches", patches, prepared.dims, second_high=False)
    asked, finite_too = (None, None) if queries is None else _split("queries", queries, prepared.dims, second_high=True)
    subtrees = len(starts) - 1
    asking = 0 if queries is None else int(queries.shape[0])
    total = subtrees + asking
    ranks = xp.zeros((len(split), total), np.int32)
    best = xp.empty((len(split), total), np.float32)
    device_starts, device_members = table(starts), table(members.astype(np.int32))
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
    finite.check()
    if finite_too is not None:
        finite_too.check()
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
    """At most 1,048,576 concepts; a prepared :class:`Bank` also keeps the prepared graph."""
    check_num_threads(num_threads)
    xp = require()
    from .. import _cuda as native

    prepared = bank if isinstance(bank, Bank) else Bank(bank)
    concepts = prepared.shape[0]
    if concepts > native.MAX_RANKED_CONCEPTS:
        raise InputError(f"all_ranks takes at most {native.MAX_RANKED_CONCEPTS} concepts, got {concepts}")
    levels = prepared.levels(child_indptr, child_indices, order)
    split, finite = _split("patches", patches, prepared.dims, second_high=False)
    ranks = xp.empty((len(split), concepts), np.int32)
    room = _room(concepts)
    slots = levels.sizes[0]
    for tile in _tiles(split, concepts):
        similarities = _similarities(split[tile], prepared._split)
        scratch = xp.empty(len(similarities) * slots if 4 * slots > 6 * room else 0, np.int32)
        native.all_ranks(
            pointer(similarities),
            len(similarities),
            concepts,
            similarities.shape[1],
            levels.pointers(),
            levels.sizes,
            room,
            pointer(scratch),
            pointer(ranks[tile]),
            stream(),
        )
    finite.check()
    return back(ranks, is_host(patches))


def _room(concepts: int) -> int:
    """How many values of a row are held at a time: as many as there are, or as fit; a multiple of four."""
    from .. import _cuda as native

    free = device_limit("MaxSharedMemoryPerBlockOptin") - _STATIC_BYTES - native.ranks_shared_bytes(concepts, 0)
    return max(_ROOM[0], min(free // 6, _ROOM[1], concepts + 3) // 4 * 4)


class _Finite:
    """Whether rows were finite and within bounds: a flag in page-locked memory, so that nothing else is waited for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._flag = np.frombuffer(require().cuda.alloc_pinned_memory(4), np.int32, 1)
        self._flag[0] = 0
        self.address = int(self._flag.ctypes.data)
        self._written: Any = None

    def queued(self) -> None:
        """What sets the flag is on the current stream now."""
        self._written = require().cuda.get_current_stream().record()

    def check(self) -> None:
        """Raise an InputError if they were not."""
        self._written.synchronize()
        if self._flag[0]:
            raise InputError(f"{self._name} contains NaN or infinity, or a magnitude beyond {_LARGEST}")


def _split(name: str, rows: object, dims: int | None, second_high: bool) -> tuple[DeviceArray, _Finite]:
    """Rows as halves [high | high | low] or [high | low | high], padded to a multiple of 8 columns.

    Those of a bank (``second_high``) are followed by rows of zeros, so that every column of a product is written.
    """
    xp = require()
    from .. import _cuda as native

    if is_host(rows):
        arguments.embeddings(name, rows, dims)
    array = device_array(name, rows, (None, dims), [np.float32], f"n, {'d' if dims is None else dims}")
    count, width = array.shape
    if width == 0:
        raise InputError(f"{name} must have at least one dimension, got shape {array.shape}")
    pitch = -(-3 * width // 8) * 8
    held = max(-(-count // _PADDING) * _PADDING, _PADDING) if second_high else count
    split, finite = xp.empty((held, pitch), np.float16), _Finite(name)
    if held > count:
        split[count:] = 0
    native.split_rows(pointer(array), count, width, second_high, pitch, pointer(split), finite.address, stream())
    finite.queued()
    return split, finite


def _similarities(patches: DeviceArray, bank: DeviceArray) -> DeviceArray:
    """Product of split rows, (n, pitch) float32; columns past the bank's rows are zero."""
    xp = require()
    out = xp.empty((patches.shape[0], bank.shape[0]), np.float32)
    product(patches, bank, out, _SPLIT_SCALE)
    return out


def _tiles(patches: DeviceArray, concepts: int) -> list[slice]:
    rows = max(1, _TILE_BYTES // (4 * max(concepts, 1)))
    return [slice(start, min(start + rows, len(patches))) for start in range(0, len(patches), rows)]

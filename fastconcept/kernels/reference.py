"""The kernels in plain NumPy and float64: slow, short, and what every other backend is tested against.

The definitions are in :mod:`fastconcept.kernels.contract`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from . import checks
from .contract import Array, PreparedBank, SaliencyMaps, SubtreeRanks
from .cpu_device import (
    beside,
    check_rows,
    empty,
    noise,
    open_device,
    place,
    prepare_bank,
    resize_image,
    to_host,
    upload,
)
from .reference_nnlasso import certificate, nnlasso, nnlasso_l0, prepare_dictionary

__all__ = [
    "all_ranks",
    "beside",
    "certificate",
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

Floats = npt.NDArray[np.floating]

CONSTANT_SPAN = 1e-10  # see saliency_maps


def _embeddings(bank: object, patches: object, queries: object) -> tuple[Floats, ...]:
    bank = checks.embeddings("bank", bank)
    patches = checks.embeddings("patches", patches, bank.shape[1])
    queries = bank[:0] if queries is None else checks.embeddings("queries", queries, bank.shape[1])
    for name, values in (("bank", bank), ("patches", patches), ("queries", queries)):
        checks.finite(name, values)
    return bank, patches, queries


def _similarities(patches: Floats, rows: Floats) -> Iterator[npt.NDArray[np.float64]]:
    """Similarities of one patch at a time to all rows. Equal rows have equal similarities to the last bit, wherever
    they stand: a matrix product alone does not promise that, so every distinct row is multiplied once.
    """
    distinct, where = np.unique(rows, axis=0, return_inverse=True)
    distinct = distinct.astype(np.float64)
    for patch in patches.astype(np.float64):
        yield (distinct @ patch)[where.reshape(-1)]


def subtree_ranks(
    patches: Array,
    bank: Array | PreparedBank,
    indptr: Array,
    indices: Array,
    queries: Array | None = None,
    *,
    num_threads: int | None = None,
) -> SubtreeRanks:
    """A maximum and a count for every patch and subtree."""
    bank, patches, queries = _embeddings(bank, patches, queries)
    starts, members = checks.lists(indptr, indices, len(bank))
    best = np.empty((len(patches), len(starts) - 1 + len(queries)))
    ranks = np.empty(best.shape, np.int32)
    for row, similarities in enumerate(_similarities(patches, np.concatenate([bank, queries]))):
        subtrees = [similarities[members[start:stop]].max() for start, stop in itertools.pairwise(starts)]
        best[row] = [*subtrees, *similarities[len(bank) :]]
        ranks[row] = [(similarities[: len(bank)] > threshold).sum() for threshold in best[row]]
    return SubtreeRanks(ranks, best)


def all_ranks(
    patches: Array,
    bank: Array | PreparedBank,
    child_indptr: Array,
    child_indices: Array,
    order: Array,
    *,
    num_threads: int | None = None,
) -> npt.NDArray[np.int32]:
    """A walk over the graph for every patch."""
    bank, patches, _ = _embeddings(bank, patches, None)
    names = ("child_indptr", "child_indices")
    starts, children = checks.lists(child_indptr, child_indices, len(bank), names, may_be_empty=True)
    if len(starts) != len(bank) + 1:
        raise InputError(f"child_indptr must have length N + 1 = {len(bank) + 1}, got {len(starts)}")
    nodes = checks.bottom_up(order, starts, children)
    ranks = np.empty((len(patches), len(bank)), np.int32)
    for row, similarities in enumerate(_similarities(patches, bank)):
        best = similarities.copy()
        for node in nodes:
            for child in children[starts[node] : starts[node + 1]]:
                best[node] = max(best[node], best[child])
        ranks[row] = len(bank) - np.searchsorted(np.sort(similarities), best, side="right")
    return ranks


def saliency_maps(
    values: Array,
    boxes: Array,
    weights: Array,
    shape: tuple[int, int],
    *,
    num_threads: int | None = None,
) -> SaliencyMaps:
    """One addition for every patch and concept."""
    values = checks.array("values", values, (None, None), [np.float32, np.int32], "n, k")
    boxes = checks.boxes(boxes, len(values))
    weights = checks.array("weights", weights, (len(values),), [np.float64])
    height, width = checks.sides("shape", shape, checks.MAX_CELLS, area=checks.MAX_CELLS)
    checks.finite("values", values)
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise InputError("weights must be positive finite numbers")
    if (boxes[:, :2] >= boxes[:, 2:]).any():
        raise InputError("boxes must not be empty: x0 < x1 and y0 < y1")
    totals = np.zeros((height, width, values.shape[1]))
    coverage = np.zeros((height, width))
    for row, (x0, y0, x1, y1), weight in zip(values, boxes, weights, strict=True):
        window = np.s_[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        totals[window] += weight * row.astype(np.float64)
        coverage[window] += weight
    if not coverage.all():
        raise InputError(f"boxes leave {int((coverage == 0).sum())} of {coverage.size} cells uncovered")
    means = np.moveaxis(totals / coverage[..., None], 2, 0)
    low, high = means.min(axis=(1, 2)), means.max(axis=(1, 2))
    constant = high - low <= CONSTANT_SPAN * np.abs(values.astype(np.float64)).max(axis=0, initial=0)
    span = np.where(constant, 1.0, high - low)[:, None, None]
    maps = np.where(constant[:, None, None], 1.0, 1.0 - (means - low[:, None, None]) / span)
    return SaliencyMaps(maps.astype(np.float32), low, high)


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
) -> npt.NDArray[np.float32]:
    """Pillow, one side at a time."""
    from PIL import Image

    image, boxes, means, deviations, out = checks.resize_arguments(image, boxes, size, mean, std, interpolation, out)
    if ((boxes[:, :2] < 0) | (boxes[:, :2] >= boxes[:, 2:]) | (boxes[:, 2:] > (image.shape[1], image.shape[0]))).any():
        raise InputError("boxes must be inside the image and not empty: 0 <= x0 < x1 <= W and 0 <= y0 < y1 <= H")
    resample = Image.Resampling[interpolation.upper()]
    height, width = out.shape[2:]
    for result, (x0, y0, x1, y1) in zip(out, boxes, strict=True):
        patch = Image.fromarray(np.ascontiguousarray(image[y0:y1, x0:x1])).resize((width, y1 - y0), resample)
        pixels = np.asarray(patch.resize((width, height), resample))
        result[:] = np.moveaxis((pixels / 255.0 - means) / deviations, 2, 0)
    return out

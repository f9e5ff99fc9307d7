"""The kernels in plain NumPy and float64: slow, short, and what every other backend is tested against.

All backends share these names, arguments and results. Arrays are C-contiguous; ``num_threads`` is accepted
everywhere and ignored here. Similarities and sums are float64 here and float32 (sums: float64) elsewhere, so
comparisons between backends allow for that and for nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from . import checks
from .cpu_device import Device, beside, check_rows, empty, noise, place, prepare_bank, resize_image, to_host, upload
from .reference_nnlasso import Dictionary, certificate, nnlasso, nnlasso_l0
from .sparse_codes import SparseCodes

__all__ = [
    "Device",
    "Dictionary",
    "SaliencyMaps",
    "SparseCodes",
    "SubtreeRanks",
    "all_ranks",
    "beside",
    "certificate",
    "check_rows",
    "empty",
    "nnlasso",
    "nnlasso_l0",
    "noise",
    "place",
    "prepare_bank",
    "resize_image",
    "resize_patches",
    "saliency_maps",
    "subtree_ranks",
    "to_host",
    "upload",
]

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

CONSTANT_SPAN = 1e-10  # see saliency_maps


class SubtreeRanks(NamedTuple):
    """Best rank and best similarity of every concept at every patch, both (n, k): int32 and float."""

    ranks: npt.NDArray[np.int32]
    similarities: FloatArray


class SaliencyMaps(NamedTuple):
    """Maps (k, h, w) in [0, 1] and the raw extremes (k,) that were stretched to 0 and 1."""

    maps: npt.NDArray[np.float32]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]


def _embeddings(bank: FloatArray, patches: FloatArray, queries: FloatArray | None) -> tuple[FloatArray, ...]:
    bank = checks.embeddings("bank", bank)
    patches = checks.embeddings("patches", patches, bank.shape[1])
    queries = bank[:0] if queries is None else checks.embeddings("queries", queries, bank.shape[1])
    for name, values in (("bank", bank), ("patches", patches), ("queries", queries)):
        checks.finite(name, values)
    return bank, patches, queries


def _similarities(patches: FloatArray, rows: FloatArray) -> Iterator[npt.NDArray[np.float64]]:
    """Similarities of one patch at a time to all rows. Equal rows have equal similarities to the last bit, wherever
    they stand: a matrix product alone does not promise that, so every distinct row is multiplied once.
    """
    distinct, where = np.unique(rows, axis=0, return_inverse=True)
    distinct = distinct.astype(np.float64)
    for patch in patches.astype(np.float64):
        yield (distinct @ patch)[where.reshape(-1)]


def subtree_ranks(
    patches: FloatArray,
    bank: FloatArray,
    indptr: IntArray,
    indices: IntArray,
    queries: FloatArray | None = None,
    *,
    num_threads: int | None = None,
) -> SubtreeRanks:
    """Best rank of each concept's subtree at each patch: the most similar member, and how many concepts beat it.

    For patch v and concept c with members sub(c):
    ``rank(v, c) = #{s : z(v, s) > max over d in sub(c) of z(v, d)}`` with ``z(v, s) = v . t_s`` (0 is best).
    A query q (a phrase that is not in the bank) has the threshold ``z(v, q)`` instead.

    Parameters
    ----------
    patches : (n, d) float32
        Patch embeddings, unit rows.
    bank : (N, d) float32
        Concept embeddings, unit rows.
    indptr, indices : (k + 1,) and (m,) integers
        Subtree of concept j: ``indices[indptr[j]:indptr[j + 1]]``, rows of the bank; not empty.
    queries : (q, d) float32, optional
        Further concepts outside the bank; their columns follow the k subtrees.

    Returns
    -------
    SubtreeRanks
        ``ranks`` (n, k + q) int32 in [0, N], ``similarities`` (n, k + q). A query equal to a row of the bank ties
        with it exactly.

    Raises
    ------
    InputError
        If an argument has another type or shape or is not finite, a subtree is empty, or an index is no row.

    Examples
    --------
    >>> axes = np.eye(3, dtype=np.float32)
    >>> subtree_ranks(axes[:1], axes, np.array([0, 1, 3]), np.array([0, 1, 2])).ranks
    array([[0, 1]], dtype=int32)
    """
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
    patches: FloatArray,
    bank: FloatArray,
    child_indptr: IntArray,
    child_indices: IntArray,
    order: IntArray,
    *,
    num_threads: int | None = None,
) -> npt.NDArray[np.int32]:
    """Best rank of *every* concept's subtree at each patch, in one pass over the DAG.

    Parameters
    ----------
    patches : (n, d) float32
        Patch embeddings, unit rows.
    bank : (N, d) float32
        Concept embeddings, unit rows.
    child_indptr, child_indices : (N + 1,) and (edges,) integers
        Children of concept j: ``child_indices[child_indptr[j]:child_indptr[j + 1]]``.
    order : (N,) integers
        A permutation of 0..N-1 with every child before its parents.

    Returns
    -------
    (n, N) int32
        Ranks in [0, N); column j as ``subtree_ranks`` gives it for the descendants of j and j itself.

    Raises
    ------
    InputError
        If an argument has another type or shape or is not finite, an index is no row, or `order` does not hold every
        row once with children before parents.

    Examples
    --------
    >>> axes = np.eye(3, dtype=np.float32)  # 0 is the parent of 1 and 2
    >>> all_ranks(axes[2:], axes, np.array([0, 2, 2, 2]), np.array([1, 2]), np.array([1, 2, 0]))
    array([[0, 1, 0]], dtype=int32)
    """
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
    values: FloatArray | IntArray,
    boxes: IntArray,
    weights: FloatArray,
    shape: tuple[int, int],
    *,
    num_threads: int | None = None,
) -> SaliencyMaps:
    """Weighted mean of patch values over every cell a patch covers, then ``1 - min-max``.

    Parameters
    ----------
    values : (n, k) float32 or int32
        One value per patch and concept; *low* is salient (a rank, a log-rank, a negated similarity).
    boxes : (n, 4) int32
        Patches as x0, y0, x1, y1 in cells; parts outside the map count for nothing.
    weights : (n,) float64
        Positive weight of each patch.
    shape : (h, w)
        Cells of the map; every cell must be covered by at least one patch.

    Returns
    -------
    SaliencyMaps
        A concept whose mean is the same in every cell gets a map of ones: it is as present everywhere as anywhere.
        "The same" allows for rounding: means that span at most 1e-10 of the largest magnitude among the concept's
        values (one rank in 82,000 at one of 1,800 patches spans more).

    Raises
    ------
    InputError
        If an argument has another type or shape, a value or weight is not finite, a weight is not positive, a box is
        empty, or a cell is not covered.

    Examples
    --------
    >>> two_halves = np.array([[0, 0, 1, 1], [1, 0, 2, 1]])
    >>> saliency_maps(np.array([[3], [7]], np.int32), two_halves, np.ones(2), (1, 2)).maps
    array([[[1., 0.]]], dtype=float32)
    """
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
    image: npt.NDArray[np.uint8],
    boxes: IntArray,
    size: tuple[int, int],
    mean: Sequence[float] | FloatArray,
    std: Sequence[float] | FloatArray,
    interpolation: str = "bicubic",
    *,
    out: npt.NDArray[np.float32] | None = None,
    num_threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Cut boxes out of one image, resize each as Pillow does (antialiased), and normalise.

    Width first, then height, with 8-bit pixels in between, as Pillow has always done. From version 13 on Pillow takes
    the height first where a box shrinks much more in height than in width, which moves some pixels by a few levels;
    asking it for one side at a time keeps the definition the same in every version.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB pixels.
    boxes : (n, 4) int32
        x0, y0, x1, y1 in pixels, inside the image, not empty. A box is cut out first and then resized:
        pixels outside it never leak in.
    size : (h, w)
        Size of every result.
    mean, std : (3,) float
        Per channel, on the scale where white is 1.
    interpolation : {"bicubic", "bilinear"}
        Pillow's filter of that name.
    out : (n, 3, h, w) float32, optional
        Where to write, so that a caller can use one buffer again and again.

    Returns
    -------
    (n, 3, h, w) float32
        ``(pixel / 255 - mean) / std``, in `out` where that is given.

    Raises
    ------
    InputError
        If an argument has another type or shape, or a box is empty or not inside the image.

    Examples
    --------
    >>> white = np.full((8, 8, 3), 255, np.uint8)
    >>> resize_patches(white, np.array([[0, 0, 4, 4]]), (2, 2), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).max()
    np.float32(1.0)
    """
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

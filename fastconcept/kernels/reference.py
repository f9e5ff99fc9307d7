"""The kernels in plain NumPy and float64: slow, short, and what every other backend is tested against.

All backends share these names, arguments and results. Arrays are C-contiguous; ``num_threads`` is accepted
everywhere and ignored here. Similarities and sums are float64 here and float32 (sums: float64) elsewhere, so
comparisons between backends allow for that and for nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .reference_nnlasso import Dictionary, nnlasso, nnlasso_l0
from .sparse_codes import SparseCodes

__all__ = [
    "Dictionary",
    "SaliencyMaps",
    "SparseCodes",
    "SubtreeRanks",
    "all_ranks",
    "nnlasso",
    "nnlasso_l0",
    "resize_patches",
    "saliency_maps",
    "subtree_ranks",
]

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


class SubtreeRanks(NamedTuple):
    """Best rank and best similarity of every concept at every patch, both (n, k): int32 and float."""

    ranks: npt.NDArray[np.int32]
    similarities: FloatArray


class SaliencyMaps(NamedTuple):
    """Maps (k, h, w) in [0, 1] and the raw extremes (k,) that were stretched to 0 and 1."""

    maps: npt.NDArray[np.float32]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]


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
        ``ranks`` (n, k + q) int32 in [0, N], ``similarities`` (n, k + q).
    """
    bank64 = np.asarray(bank, np.float64)
    similarities = np.asarray(patches, np.float64) @ bank64.T
    columns = [
        similarities[:, indices[start:stop]].max(axis=1) for start, stop in zip(indptr[:-1], indptr[1:], strict=True)
    ]
    if queries is not None:
        columns += list((np.asarray(patches, np.float64) @ np.asarray(queries, np.float64).T).T)
    best = np.stack(columns, axis=1) if columns else np.empty((len(patches), 0))
    ranks = np.stack([(similarities > column[:, None]).sum(axis=1) for column in best.T], axis=1) if columns else best
    return SubtreeRanks(ranks.astype(np.int32), best)


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
    """
    similarities = np.asarray(patches, np.float64) @ np.asarray(bank, np.float64).T
    best = similarities.copy()
    for node in order:
        for child in child_indices[child_indptr[node] : child_indptr[node + 1]]:
            np.maximum(best[:, node], best[:, child], out=best[:, node])
    ranks = np.empty(best.shape, np.int32)
    for row, (values, thresholds) in enumerate(zip(np.sort(similarities, axis=1), best, strict=True)):
        ranks[row] = len(values) - np.searchsorted(values, thresholds, side="right")
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
    """
    height, width = shape
    totals = np.zeros((height, width, values.shape[1]))
    coverage = np.zeros((height, width))
    for row, (x0, y0, x1, y1), weight in zip(values, boxes, weights, strict=True):
        window = np.s_[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        totals[window] += weight * row.astype(np.float64)
        coverage[window] += weight
    means = np.moveaxis(totals / coverage[..., None], 2, 0)
    low, high = means.min(axis=(1, 2)), means.max(axis=(1, 2))
    span = np.where(high > low, high - low, 1.0)[:, None, None]
    return SaliencyMaps((1.0 - (means - low[:, None, None]) / span).astype(np.float32), low, high)


def resize_patches(
    image: npt.NDArray[np.uint8],
    boxes: IntArray,
    size: tuple[int, int],
    mean: FloatArray,
    std: FloatArray,
    interpolation: str = "bicubic",
    *,
    num_threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Cut boxes out of one image, resize each as Pillow does (antialiased), and normalise.

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

    Returns
    -------
    (n, 3, h, w) float32
        ``(pixel / 255 - mean) / std``.
    """
    from PIL import Image

    resample = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[interpolation]
    out = np.empty((len(boxes), 3, *size), np.float32)
    for result, (x0, y0, x1, y1) in zip(out, boxes, strict=True):
        patch = Image.fromarray(np.ascontiguousarray(image[y0:y1, x0:x1])).resize((size[1], size[0]), resample)
        result[:] = np.moveaxis((np.asarray(patch) / 255.0 - mean) / std, 2, 0)
    return out

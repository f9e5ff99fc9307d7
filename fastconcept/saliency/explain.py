"""ConVis: embed overlapping patches, rank the concepts at each, average the ranks into a map.

Giulivi & Boracchi, "Concept Visualization: Explaining the CLIP Multi-modal Embedding Using WordNet",
arXiv 2405.14563. With v a patch's unit embedding, t_s the embedding of concept s and S the bank::

    rank(v, c) = #{ s in S : v . t_s > max over d in sub(c) of v . t_d }
    map(c)     = 1 - minmax( mean over the patches that cover a cell of rank(v, c) )
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..bundle import Preprocess
from ..errors import InputError
from ..kernels.contract import Kernels
from . import patches
from .result import ConceptMap, Explanation, View
from .targets import Target

FloatArray = npt.NDArray[np.float32]


class ImageEncoder(Protocol):
    """What explain needs of an encoder."""

    batch_size: int

    def encode(self, pixels: Any) -> Any:
        """(n, 3, h, w) float32 to unit rows (n, d) float32, on the device where the pixels are."""


@dataclass(frozen=True)
class Options:
    """Every choice of ConVis that its text and code leave open; the defaults follow the reference's map procedure.

    Attributes
    ----------
    fit : {"full", "crop"}
        Look at the whole image at its own aspect ratio, or at its central square (the reference).
    border : {"noise", "constant", "reflect", "inside"}
        What surrounds the image so that patches may hang over its edge: seeded uniform noise (the reference, there
        without a seed), the encoder's mean colour, the image mirrored, or nothing: patches stay inside (the web app).
    aggregate : {"best-then-mean", "mean-then-best"}
        Best rank of the subtree at each patch, then the mean over patches (the map code); or the mean rank of each
        member over patches, then the best member (the web app).
    scale_weights : {"area", "equal"}
        Patch sizes count by area (the code), or equally (the text).
    score : {"rank", "log-rank", "similarity"}
        What is averaged: the rank (the reference), ``log(1 + rank)``, or the negated cosine.
    sizes : tuple of int
        Sides of the square patches in pixels of the working image, whose short side is 224.
    stride : int
        Pixels between neighbouring patches.
    seed : int
        Of the noise.
    """

    fit: str = "full"
    border: str = "noise"
    aggregate: str = "best-then-mean"
    scale_weights: str = "area"
    score: str = "rank"
    sizes: tuple[int, ...] = (128, 64)
    stride: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        choices = {
            "fit": ("full", "crop"),
            "border": ("noise", "constant", "reflect", "inside"),
            "aggregate": ("best-then-mean", "mean-then-best"),
            "scale_weights": ("area", "equal"),
            "score": ("rank", "log-rank", "similarity"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        sizes = self.sizes
        if not sizes or not all(isinstance(size, int) and 4 <= size <= 1024 for size in sizes):
            raise InputError(f"sizes must be one or more integers from 4 to 1024 pixels, got {sizes!r}")
        if not isinstance(self.stride, int) or not 1 <= self.stride <= min(sizes):
            raise InputError(f"stride must be from 1 to the smallest patch size ({min(sizes)}), got {self.stride!r}")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"seed must be an integer that is not negative, got {self.seed!r}")

    @classmethod
    def from_keywords(cls, keywords: dict[str, Any]) -> Options:
        """Options from what a user wrote: a single size may be a number, an unknown name is an :class:`InputError`."""
        if unknown := set(keywords) - set(cls.__dataclass_fields__):
            known = ", ".join(cls.__dataclass_fields__)
            raise InputError(f"unknown option {', '.join(sorted(unknown))}; there are: {known}")
        if "sizes" in keywords:
            sizes = keywords["sizes"]
            keywords = {**keywords, "sizes": (sizes,) if isinstance(sizes, int) else tuple(sizes)}
        return cls(**keywords)

    def describe(self) -> str:
        """The options in one line."""
        sizes = "+".join(str(size) for size in self.sizes)
        return (
            f"crops {sizes} px stride {self.stride}, {self.fit}, border {self.border}, {self.aggregate}, "
            f"{self.scale_weights} weights, {self.score}, seed {self.seed}"
        )


def embed_patches(
    bordered: Any,
    boxes: npt.NDArray[np.int32],
    encoder: ImageEncoder,
    config: Preprocess,
    kernels: Kernels,
    num_threads: int | None,
    timings: dict[str, float],
) -> Any:
    """Resize and encode patches in batches of the encoder's size, so that memory does not grow with their number.

    Returns
    -------
    (n, d) float32 unit rows, where the image is
    """
    parts = []
    for start in range(0, len(boxes), encoder.batch_size):
        began = time.perf_counter()
        pixels = kernels.resize_patches(
            bordered,
            boxes[start : start + encoder.batch_size],
            config.size,
            np.asarray(config.mean, np.float32),
            np.asarray(config.std, np.float32),
            config.interpolation,
            num_threads=num_threads,
        )
        _add(timings, "preprocess", began)
        began = time.perf_counter()
        parts.append(encoder.encode(pixels))
        _add(timings, "encode", began)
    return np.concatenate(parts)


def explain_image(
    image: npt.NDArray[np.uint8],
    targets: Sequence[Target],
    bank: Any,
    whole: Any,
    encoder: ImageEncoder,
    config: Preprocess,
    options: Options,
    kernels: Kernels,
    num_threads: int | None = None,
    timings: dict[str, float] | None = None,
    *,
    uploaded: Any = None,
) -> Explanation:
    """Saliency maps of any number of concepts on one image, in one pass over its patches.

    Parameters
    ----------
    image : (H, W, 3) uint8
        The original, RGB.
    targets : sequence of Target
        What to look for; not empty.
    bank : (N, d) float32, or what ``kernels.prepare_bank`` makes of it
        Unit rows of the concepts that ranks count over.
    whole : (1, d) float32
        Embedding of the whole image, for the scores; on the device of the kernels.
    encoder : ImageEncoder
    config : Preprocess
        Input size and normalisation of the encoder.
    options : Options
    kernels : Kernels
        The image goes up to its device once, and the maps come back;
        what lies between stays there.
    num_threads : int, optional
    timings : dict, optional
        Stages timed so far, in milliseconds; this function adds its own. A GPU works on while this function goes on
        to the next stage: there a stage's time is that of queueing it and waiting for what it needs.
    uploaded : (H, W, 3) uint8, optional
        The image where the kernels read it, if it is there already.

    Returns
    -------
    Explanation
    """
    timings = {} if timings is None else timings
    began = time.perf_counter()
    cell = patches.cell_size(options.sizes, options.stride)
    size = patches.working_size(image.shape[0], image.shape[1], options.fit, cell)
    inside = options.border == "inside"
    grid = patches.patch_grid(*size, options.sizes, options.stride, inside, options.scale_weights)
    region = patches.visible_region(image.shape[0], image.shape[1], options.fit)
    bordered = kernels.resize_image(kernels.upload(image) if uploaded is None else uploaded, region, size)
    if not inside:
        bordered = patches.add_border(bordered, grid.margin, options.border, options.seed, config.mean, kernels)
    _add(timings, "preprocess", began)
    embeddings = embed_patches(bordered, grid.boxes, encoder, config, kernels, num_threads, timings)

    began = time.perf_counter()
    best = _ranks(np.concatenate([embeddings, whole]), targets, bank, kernels, num_threads)
    ranks, similarities = (kernels.to_host(columns[-1]) for columns in best)
    _add(timings, "ranks", began)
    began = time.perf_counter()
    if options.aggregate == "mean-then-best":
        cells, constant = _mean_then_best(embeddings, targets, bank, grid, options.score, kernels, num_threads)
    else:
        values = patch_values(best.ranks[:-1], best.similarities[:-1], options.score)
        maps = kernels.saliency_maps(values, grid.cells, grid.weights, grid.shape, num_threads=num_threads)
        cells, constant = kernels.to_host(maps.maps), kernels.to_host(maps.high == maps.low)
    _add(timings, "maps", began)
    view = View(image, region, cell)
    concepts = tuple(
        ConceptMap(
            concept=target.concept,
            name=target.name,
            note=target.note,
            cells=cells[index],
            constant=bool(constant[index]),
            score=1.0 - int(ranks[index]) / bank.shape[0],
            rank=int(ranks[index]),
            similarity=float(similarities[index]),
            view=view,
        )
        for index, target in enumerate(targets)
    )
    return Explanation(concepts, options.describe(), timings)


def _add(timings: dict[str, float], stage: str, began: float) -> None:
    timings[stage] = timings.get(stage, 0.0) + (time.perf_counter() - began) * 1e3


def _csr(groups: Sequence[npt.NDArray[np.int32]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    indptr = np.zeros(len(groups) + 1, np.int64)
    np.cumsum([len(group) for group in groups], out=indptr[1:])
    return indptr, np.concatenate(groups).astype(np.int32) if groups else np.empty(0, np.int32)


def _ranks(embeddings: Any, targets: Sequence[Target], bank: Any, kernels: Kernels, num_threads: int | None) -> Any:
    """Best ranks with columns in the order of the targets, whether subtrees of the bank or phrases."""
    subtrees = [target.members for target in targets if target.members is not None]
    phrases = [target.embedding for target in targets if target.members is None]
    indptr, indices = _csr(subtrees)
    queries = np.stack(phrases) if phrases else None  # type: ignore[arg-type]  # a phrase has an embedding
    found = kernels.subtree_ranks(embeddings, bank, indptr, indices, queries, num_threads=num_threads)
    in_bank = np.array([target.members is not None for target in targets])
    order = kernels.upload(np.where(in_bank, np.cumsum(in_bank) - 1, len(subtrees) + np.cumsum(~in_bank) - 1))
    return type(found)(*(columns.take(order, axis=1) for columns in found))


def patch_values(ranks: Any, similarities: Any, score: str) -> Any:
    """What is averaged over patches, int32 or float32; low is salient. Arrays of any device, C-contiguous."""
    if score == "rank":
        return ranks
    return np.log1p(ranks.astype(np.float32)) if score == "log-rank" else -similarities.astype(np.float32)


def _mean_then_best(
    embeddings: Any,
    targets: Sequence[Target],
    bank: Any,
    grid: patches.PatchGrid,
    score: str,
    kernels: Kernels,
    num_threads: int | None,
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Mean of each member over the patches of a cell, then the best member of the subtree."""
    cover = np.zeros((*grid.shape, len(grid)))
    for patch, ((x0, y0, x1, y1), weight) in enumerate(zip(grid.cells, grid.weights, strict=True)):
        cover[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0), patch] = weight
    means = kernels.upload((cover / cover.sum(axis=2, keepdims=True)).reshape(-1, len(grid)))
    cells = np.empty((len(targets), *grid.shape), np.float32)
    constant = np.zeros(len(targets), bool)
    for index, target in enumerate(targets):
        members = [] if target.members is None else [np.array([m], np.int32) for m in target.members]
        queries = target.embedding[None] if target.embedding is not None else None
        found = kernels.subtree_ranks(embeddings, bank, *_csr(members), queries, num_threads=num_threads)
        values = patch_values(found.ranks, found.similarities, score).astype(np.float64)
        best = kernels.to_host((means @ values).min(axis=1)).reshape(grid.shape)
        low, high = best.min(), best.max()
        constant[index] = high - low <= 1e-9 * max(1.0, abs(high))
        cells[index] = 1.0 if constant[index] else 1.0 - (best - low) / (high - low)
    return cells, constant

"""Ranks in float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .. import arguments
from ..contract import Array, PreparedBank, PreparedPatches, SubtreeRanks

Rows = npt.NDArray[np.float32]


def prepare_patches(patches: Array, bank: Array | PreparedBank, *, num_threads: int | None = None) -> Rows:
    """The patches themselves."""
    return _embeddings(bank, patches, None)[1]


def subtree_ranks(
    patches: Array | PreparedPatches,
    bank: Array | PreparedBank,
    indptr: Array,
    indices: Array,
    queries: Array | None = None,
    *,
    num_threads: int | None = None,
) -> SubtreeRanks:
    """A maximum and a count for every patch and subtree."""
    bank, patches, queries = _embeddings(bank, patches, queries)
    members = arguments.lists(indptr, indices, len(bank)).rows()
    best = np.empty((len(patches), len(members) + len(queries)))
    ranks = np.empty(best.shape, np.int32)
    for row, similarities in enumerate(_similarities(patches, np.concatenate([bank, queries]))):
        best[row] = [*(similarities[subtree].max() for subtree in members), *similarities[len(bank) :]]
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
    arguments.integers("child_indptr", child_indptr, len(bank) + 1, "N + 1")
    graph = arguments.lists(child_indptr, child_indices, len(bank), names, may_be_empty=True)
    nodes, children = arguments.bottom_up(order, graph), graph.rows()
    ranks = np.empty((len(patches), len(bank)), np.int32)
    for row, similarities in enumerate(_similarities(patches, bank)):
        best = similarities.copy()
        for node in nodes:
            for child in children[node]:
                best[node] = max(best[node], best[child])
        ranks[row] = len(bank) - np.searchsorted(np.sort(similarities), best, side="right")
    return ranks


def _embeddings(bank: object, patches: object, queries: object) -> tuple[Rows, Rows, Rows]:
    bank = arguments.embeddings("bank", bank)
    patches = arguments.embeddings("patches", patches, bank.shape[1])
    queries = bank[:0] if queries is None else arguments.embeddings("queries", queries, bank.shape[1])
    for name, values in (("bank", bank), ("patches", patches), ("queries", queries)):
        arguments.finite(name, values)
    return bank, patches, queries


def _similarities(patches: Rows, rows: Rows) -> Iterator[npt.NDArray[np.float64]]:
    """Similarities of one patch at a time to all rows. Equal rows have equal similarities to the last bit, wherever
    they stand: a matrix product alone does not promise that, so every distinct row is multiplied once.
    """
    distinct, where = np.unique(rows, axis=0, return_inverse=True)
    distinct = distinct.astype(np.float64)
    for patch in patches.astype(np.float64):
        yield (distinct @ patch)[where.reshape(-1)]

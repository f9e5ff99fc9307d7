"""Best ranks of one, a hundred and all concepts, beside sorting, counting in NumPy and a bare sgemm."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.models import random_units
from benchmarks.timing import medians_ms
from fastconcept.kernels import cpu, reference

DIMS = 512
CHECKED = 16  # patches compared with the float64 reference
# Patches, concepts, repetitions: a dense pass at 224 px; the words of ConVis; all nouns of WordNet.
SIZES = ((197, 8_000, 11), (730, 7_082, 11), (730, 82_115, 5))
SORTED = 40  # patches the argsort of the reference procedure is timed on; its time is scaled to all


def random_tree(concepts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Children in CSR layout and a bottom-up order; parents lie up to 200 rows before their children."""
    rng = np.random.default_rng(0)
    rows = np.arange(1, concepts)
    parents = np.maximum(rows - 1 - rng.integers(0, np.minimum(rows, 200)), 0)
    by_parent = np.argsort(parents, kind="stable")
    indptr = np.searchsorted(parents[by_parent], np.arange(concepts + 1))
    return indptr, rows[by_parent], np.arange(concepts)[::-1].copy()


def argsort_ranks(similarities: np.ndarray, members: np.ndarray) -> np.ndarray:
    """As ConVis does it: sort every patch's similarities, look up the best place of a member."""
    best = np.empty(len(similarities), np.int64)
    place = np.empty(similarities.shape[1], np.int64)
    for i, row in enumerate(similarities):
        place[np.argsort(-row)] = np.arange(len(row))
        best[i] = place[members].min()
    return best


def count_ranks(patches: np.ndarray, bank: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The same without a sort, in NumPy: one product, one maximum, one comparison of everything."""
    similarities = patches @ bank.T
    return (similarities > similarities[:, members].max(axis=1, keepdims=True)).sum(axis=1)


def measure(count: int, concepts: int, repetitions: int) -> list[dict[str, Any]]:
    """Three rows: one concept with 91 members, a hundred without sub-concepts, and all concepts."""
    patches, bank = random_units(count, DIMS, seed=1), random_units(concepts, DIMS, seed=2)
    members = np.sort(np.random.default_rng(3).choice(concepts, 91, replace=False))
    hundred = np.arange(101), np.random.default_rng(4).choice(concepts, 100, replace=False)
    indptr, (child_indptr, child_indices, order) = np.array([0, 91]), random_tree(concepts)
    product, ready = np.empty((count, concepts), np.float32), cpu.prepare_bank(bank)
    few = np.ascontiguousarray(patches[:SORTED] @ bank.T)
    times = medians_ms(
        {
            "sgemm": lambda: np.matmul(patches, bank.T, out=product),
            "one": lambda: cpu.subtree_ranks(patches, bank, indptr, members),
            "hundred": lambda: cpu.subtree_ranks(patches, bank, *hundred),
            "one, prepared": lambda: cpu.subtree_ranks(patches, ready, indptr, members),
            "hundred, prepared": lambda: cpu.subtree_ranks(patches, ready, *hundred),
            "count": lambda: count_ranks(patches, bank, members),
            "all": lambda: cpu.all_ranks(patches, bank, child_indptr, child_indices, order),
            "argsort": lambda: argsort_ranks(few, members),
        },
        repetitions,
    )
    argsort_ms = times["sgemm"] + times["argsort"] * count / SORTED
    checked = patches[:CHECKED]
    one = cpu.subtree_ranks(checked, bank, indptr, members).ranks
    exact = reference.subtree_ranks(checked, bank, indptr, members).ranks
    several = cpu.subtree_ranks(checked, bank, *hundred).ranks
    exact_several = reference.subtree_ranks(checked, bank, *hundred).ranks
    every = cpu.all_ranks(checked, bank, child_indptr, child_indices, order)
    exact_every = reference.all_ranks(checked, bank, child_indptr, child_indices, order)
    rows = [("one concept", "one", one, exact), ("100 concepts", "hundred", several, exact_several)]
    rows.append(("all concepts", "all", every, exact_every))
    return [
        {
            "case": f"{count} x {concepts} x {DIMS}, {name}",
            "ours_ms": times[key],
            "prepared_bank_ms": times.get(f"{key}, prepared"),
            "peer": "sgemm + argsort",
            "peer_ms": argsort_ms,
            "ratio": argsort_ms / times[key],
            "numpy_count_ms": times["count"] if key == "one" else None,
            "floor_ms": times["sgemm"],
            "over_floor": times[key] / times["sgemm"],
            "exact_rank_fraction": float((ours == expected).mean()),
            "max_rank_error": int(np.abs(ours - expected).max()),
        }
        for name, key, ours, expected in rows
    ]


def run(options: Any) -> list[dict[str, Any]]:
    """All sizes; with ``quick`` the smallest one, once."""
    if options.quick:
        return measure(*SIZES[0][:2], 1)
    return [row for size in SIZES for row in measure(*size)]


SUITES = {"ranks": run}

"""Contract of subtree_ranks and all_ranks, over every backend."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconcept.errors import InputError
from fastconcept.kernels import cpu, reference


class Problem(NamedTuple):
    """Patches, a bank with some equal rows, a DAG over it, and the subtree of every concept."""

    patches: np.ndarray
    bank: np.ndarray
    child_indptr: np.ndarray
    child_indices: np.ndarray
    order: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray


def csr(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    lengths = [len(members) for members in lists]
    return np.cumsum([0, *lengths]), np.array([i for members in lists for i in members], np.int64)


def unit_rows(rng: np.random.Generator, count: int, dims: int) -> np.ndarray:
    rows = rng.standard_normal((count, dims))
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def problem(seed: int, patches: int, concepts: int, dims: int) -> Problem:
    rng = np.random.default_rng(seed)
    bank = unit_rows(rng, concepts, dims)
    if concepts > 3:
        bank[rng.integers(0, concepts, concepts // 4)] = bank[rng.integers(0, concepts, concepts // 4)]
    names = rng.permutation(concepts)  # names[i] is the concept at depth-first position i: parents come first
    children: list[list[int]] = [[] for _ in range(concepts)]
    for i in range(1, concepts):
        for parent in {int(p) for p in rng.integers(0, i, rng.integers(0, 3))}:  # none, one or two parents
            children[names[parent]].append(int(names[i]))
    order = names[::-1].copy()
    subtrees: list[set[int]] = [set() for _ in range(concepts)]
    for node in order:
        subtrees[node] = {int(node)}.union(*(subtrees[child] for child in children[node]))
    return Problem(
        unit_rows(rng, patches, dims), bank, *csr(children), order, *csr([sorted(members) for members in subtrees])
    )


problems = st.builds(
    problem,
    seed=st.integers(0, 2**32 - 1),
    patches=st.integers(0, 9),
    concepts=st.integers(1, 60),
    dims=st.integers(1, 40),
)
large = problem(7, patches=251, concepts=1000, dims=48)


def ranks_within(similarities: np.ndarray, thresholds: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest rank that similarities wrong by up to `error` each can give."""
    low = (similarities[:, None, :] > thresholds[:, :, None] + 2 * error).sum(axis=2)
    high = (similarities[:, None, :] > thresholds[:, :, None] - 2 * error).sum(axis=2)
    return low, high


def rounding(dims: int) -> float:
    """Bound on the error of a float32 dot product of unit rows, summed in any order."""
    return dims * 2.0**-24


@given(problems)
@settings(max_examples=60, deadline=None)
def test_subtree_ranks_count_the_concepts_that_beat_the_best_member(kernels, given_problem: Problem) -> None:
    check_against_definition(kernels, given_problem)


def test_subtree_ranks_over_several_tiles(kernels) -> None:
    check_against_definition(kernels, large)


def check_against_definition(kernels, p: Problem) -> None:
    queries = np.concatenate([p.patches[:2], p.bank[:3]])
    result = kernels.subtree_ranks(p.patches, p.bank, p.indptr, p.indices, queries)
    concepts = len(p.indptr) - 1
    assert result.ranks.dtype == np.int32
    assert result.ranks.shape == result.similarities.shape == (len(p.patches), concepts + len(queries))
    exact = reference.subtree_ranks(p.patches, p.bank, p.indptr, p.indices, queries)
    error = rounding(p.bank.shape[1])
    np.testing.assert_allclose(result.similarities, exact.similarities, rtol=0, atol=error)
    similarities = p.patches.astype(np.float64) @ p.bank.astype(np.float64).T
    low, high = ranks_within(similarities, exact.similarities, error)
    assert ((low <= result.ranks) & (result.ranks <= high)).all()

"""Graphs in compressed sparse rows, against plain sets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconcept.concepts.graph import Csr, as_nodes
from fastconcept.concepts.hierarchy import Hierarchy
from fastconcept.errors import InputError


@st.composite
def dags(draw: st.DrawFn) -> list[list[int]]:
    """Rows of hypernyms of a graph without cycles: along a random order, targets come earlier."""
    size = draw(st.integers(1, 14))
    order = draw(st.permutations(range(size)))
    rows: list[list[int]] = [[] for _ in range(size)]
    for place, node in enumerate(order):
        rows[node] = draw(st.lists(st.sampled_from(order[:place]), unique=True, max_size=4)) if place else []
    return rows


def descendants(rows: list[list[int]], node: int) -> set[int]:
    """By definition: the node, and whatever has one of its descendants among its targets."""
    below = {node}
    while more := {i for i, row in enumerate(rows) if i not in below and below & set(row)}:
        below |= more
    return below


@given(dags())
def test_subtrees_leaves_and_closures_are_what_their_definitions_say(rows: list[list[int]]) -> None:
    graph = Hierarchy(Csr.from_rows(rows), Csr.from_rows([[] for _ in rows]))
    below = {i: descendants(rows, i) for i in range(len(rows))}
    assert graph.subtree_sizes.tolist() == [len(below[i]) for i in range(len(rows))]
    parents = {target for row in rows for target in row}
    for i in range(len(rows)):
        assert graph.subtree(i).tolist() == sorted(below[i])
        assert graph.leaves(i).tolist() == sorted(below[i] - parents)
        assert graph.closure([i]).tolist() == sorted(j for j in below if i in below[j])
        assert graph.parents(i).tolist() == rows[i]
        assert graph.children(i).tolist() == [j for j, row in enumerate(rows) if i in row]


@given(dags())
def test_the_order_puts_children_first_and_depth_is_the_longest_path(rows: list[list[int]]) -> None:
    graph = Hierarchy(Csr.from_rows(rows), Csr.from_rows([[] for _ in rows]))
    place = np.argsort(graph.order)
    assert sorted(graph.order.tolist()) == list(range(len(rows)))
    for i, row in enumerate(rows):
        assert all(place[i] < place[target] for target in row)
        paths = graph.paths_to_root(i)
        assert graph.depth[i] == max(map(len, paths)) - 1
        assert len(graph.path_to_root(i)) == min(map(len, paths))
        assert graph.path_to_root(i) in paths
        assert len({tuple(path) for path in paths}) == len(paths)
        assert all(b in rows[a] for path in paths for a, b in pairwise(path))


@given(dags(), st.data())
def test_restricting_keeps_the_edges_between_kept_nodes(rows: list[list[int]], data: st.DataObject) -> None:
    nodes = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1))))
    part = Csr.from_rows(rows).restrict(np.array(nodes, np.int32))
    assert [[nodes[j] for j in part.row(i)] for i in range(len(part))] == [
        [j for j in rows[i] if j in nodes] for i in nodes
    ]


@given(dags(), dags())
def test_transposing_twice_and_merging(a: list[list[int]], b: list[list[int]]) -> None:
    graph = Csr.from_rows(a)
    twice = graph.transpose().transpose()
    assert [sorted(row) for row in a] == [twice.row(i).tolist() for i in range(len(a))]
    b = [[j for j in row if j < len(a)] for row in (b + [[]] * len(a))[: len(a)]]
    merged = graph.merge(Csr.from_rows(b))
    assert [merged.row(i).tolist() for i in range(len(a))] == [x + y for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("rows", [[[0]], [[1], [0]], [[], [2], [3], [1], [0]], [[], [0], [1, 4], [2], [3]]])
def test_a_cycle_is_refused(rows: list[list[int]]) -> None:
    with pytest.raises(InputError, match="cycle"):
        Hierarchy(Csr.from_rows(rows), Csr.from_rows([[] for _ in rows]))


def test_a_cycle_through_instances_is_refused() -> None:
    with pytest.raises(InputError, match="cycle"):
        Hierarchy(Csr.from_rows([[1], []]), Csr.from_rows([[], [0]]))


@pytest.mark.parametrize(
    ("indptr", "indices"),
    [
        ([], []),
        ([0, 1], [1]),
        ([0, 1], [-1]),
        ([0, 2], [0]),
        ([1, 1], []),
        ([0, 2, 1], [0]),
        ([0, 1 << 62], [0]),
        ([[0, 1]], [0]),
    ],
)
def test_arrays_that_are_not_rows_of_targets_are_refused(indptr: list[int], indices: list[int]) -> None:
    with pytest.raises(InputError):
        Csr(indptr, indices)


def test_a_chain_of_any_length_needs_no_recursion() -> None:
    size = 5_000
    chain = Hierarchy(Csr.from_rows([[], *([i] for i in range(size - 1))]), Csr.from_rows([[]] * size))
    assert chain.depth[-1] == size - 1
    assert len(chain.path_to_root(size - 1)) == size
    assert len(chain.subtree(0)) == size


def test_paths_are_bounded_where_their_number_explodes() -> None:
    rows = [[], [0], [0], *([2 * level - 3, 2 * level - 2] for level in range(2, 41) for _ in "ab")]
    ladder = Hierarchy(Csr.from_rows(rows), Csr.from_rows([[]] * len(rows)))
    assert len(ladder.paths_to_root(80, limit=50)) == 50


@pytest.mark.parametrize("ids", [[-1], [3], [0.5], [[0]], ["a"], [2**40], [True]])
def test_indices_are_checked(ids: list[object]) -> None:
    with pytest.raises(InputError):
        as_nodes(ids, 3)


def test_no_indices_are_fine() -> None:
    assert as_nodes([], 0).dtype == np.int32


def test_arrays_given_by_the_caller_stay_writeable() -> None:
    indptr, indices = np.array([0, 0, 1]), np.array([0], np.int32)
    graph = Csr(indptr, indices)
    indptr[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        graph.indices[0] = 1

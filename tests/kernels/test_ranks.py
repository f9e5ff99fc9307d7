"""Contract of subtree_ranks and all_ranks, over every backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconcept.errors import InputError
from fastconcept.kernels import cpu, reference
from fastconcept.kernels.contract import Kernels


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


def large() -> Problem:
    """More patches and concepts than one tile holds."""
    return problem(7, patches=401, concepts=1000, dims=48)


def rounding(dims: int) -> float:
    """Bound on the error of a float32 dot product of unit rows, summed in any order."""
    return (dims + 2) * 2.0**-24


def similarities_of(p: Problem, rows: np.ndarray) -> np.ndarray:
    return p.patches.astype(np.float64) @ rows.astype(np.float64).T


def assert_ranks_explained(ranks: np.ndarray, similarities: np.ndarray, thresholds: np.ndarray, dims: int) -> None:
    """Ranks may differ from exact ones by concepts closer to the threshold than float32 can tell, and by no others."""
    close = 2 * rounding(dims)
    for row, (values, limits) in enumerate(zip(np.sort(similarities, axis=1), thresholds, strict=True)):
        lowest = len(values) - np.searchsorted(values, limits + close, side="right")
        highest = len(values) - np.searchsorted(values, limits - close, side="left")
        assert ((lowest <= ranks[row]) & (ranks[row] <= highest)).all()


@given(given_problem=problems)
@settings(max_examples=60)
def test_subtree_ranks_count_the_concepts_that_beat_the_best_member(kernels: Kernels, given_problem: Problem) -> None:
    check_subtree_ranks(kernels, given_problem)


@pytest.mark.many_blocks
def test_subtree_ranks_over_several_tiles(kernels: Kernels) -> None:
    check_subtree_ranks(kernels, large())


def check_subtree_ranks(kernels: Kernels, p: Problem) -> None:
    queries = np.concatenate([p.patches[:2], p.bank[:3]])
    result = kernels.subtree_ranks(p.patches, p.bank, p.indptr, p.indices, queries)
    assert result.ranks.dtype == np.int32
    assert result.ranks.shape == result.similarities.shape == (len(p.patches), len(p.bank) + len(queries))
    exact = similarities_of(p, p.bank)
    starts = np.minimum(p.indptr[:-1], len(p.indices) - 1)
    best = np.concatenate(
        [np.maximum.reduceat(exact[:, p.indices], starts, axis=1), similarities_of(p, queries)], axis=1
    )
    dims = p.bank.shape[1]
    np.testing.assert_allclose(result.similarities, best, rtol=0, atol=rounding(dims))
    assert_ranks_explained(result.ranks, exact, best, dims)


@given(given_problem=problems)
@settings(max_examples=60)
def test_prepared_patches_give_the_same_ranks(kernels: Kernels, given_problem: Problem) -> None:
    check_prepared_patches(kernels, given_problem)


@pytest.mark.many_blocks
def test_prepared_patches_over_several_tiles(kernels: Kernels) -> None:
    check_prepared_patches(kernels, large())


def check_prepared_patches(kernels: Kernels, p: Problem) -> None:
    bank = kernels.prepare_bank(p.bank)
    prepared = kernels.prepare_patches(p.patches, bank)
    assert prepared.shape == p.patches.shape and prepared.nbytes >= p.patches.nbytes
    asked = p.indptr, p.indices, p.bank[:2]
    for ours, plain in zip(
        kernels.subtree_ranks(prepared, bank, *asked), kernels.subtree_ranks(p.patches, bank, *asked), strict=True
    ):
        np.testing.assert_array_equal(ours, plain)


@pytest.fixture(params=["BLAS", "AVX2", "AVX512", "TWIN"])
def product(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every product of the CPU's core in turn, where this processor has it."""
    _cpu = pytest.importorskip("fastconcept.kernels._cpu")
    before = _cpu.product()
    if not _cpu.choose_product(getattr(_cpu.Product, request.param)):
        pytest.skip(f"no {request.param} here")
    yield request.param
    assert _cpu.choose_product(before)


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize(
    ("patches", "concepts", "dims"), [(1, 1, 1), (7, 37, 131), (29, 401, 300), (13, 384, 256), (109, 33, 129)]
)
def test_products_are_right_where_tiles_are_cut_short(
    product: str, patches: int, concepts: int, dims: int, prepared: bool
) -> None:
    rng = np.random.default_rng(dims)
    rows, bank = unit_rows(rng, patches, dims), unit_rows(rng, concepts, dims)
    bank[-1] = bank[0]  # first in a tile and last in the bank: computed side by side with others, and not
    given = cpu.prepare_patches(rows, cpu.prepare_bank(bank) if prepared else bank).similarities
    exact = rows.astype(np.float64) @ bank.astype(np.float64).T
    np.testing.assert_allclose(given, exact, rtol=0, atol=rounding(dims))
    if product != "BLAS":
        np.testing.assert_array_equal(given[:, -1], given[:, 0])


def test_ranks_of_every_product_are_those_of_exact_arithmetic(product: str) -> None:
    p, scale = problem(3, patches=40, concepts=450, dims=200), np.float32(3e18)  # norms whose squares overflow
    alone = np.arange(len(p.bank) + 1)
    for patches, bank in ((p.patches, p.bank), (p.patches * scale, p.bank * scale), (p.patches * 0, p.bank)):
        expected = reference.subtree_ranks(patches, bank, alone, alone[:-1])
        for ready in (bank, cpu.prepare_bank(bank)):
            few = cpu.subtree_ranks(patches, ready, alone[:3], alone[:2])
            np.testing.assert_array_equal(few.ranks, expected.ranks[:, :2])
            np.testing.assert_array_equal(cpu.subtree_ranks(patches, ready, alone, alone[:-1]).ranks, expected.ranks)


def test_a_bank_prepared_for_one_product_serves_another(product: str) -> None:
    p = problem(5, patches=9, concepts=70, dims=33)
    ready, alone = cpu.prepare_bank(p.bank), np.arange(71)
    _cpu = pytest.importorskip("fastconcept.kernels._cpu")
    before = cpu.subtree_ranks(p.patches, ready, alone, alone[:-1])
    for other in (_cpu.Product.TWIN, _cpu.Product.AVX2, _cpu.Product.BLAS):
        _cpu.choose_product(other)
        np.testing.assert_array_equal(cpu.subtree_ranks(p.patches, ready, alone, alone[:-1]).ranks, before.ranks)


def test_a_prepared_bank_says_what_memory_it_takes() -> None:
    rows = np.zeros((70, 33), np.float32)
    rows[0] = 1
    assert rows.nbytes <= cpu.prepare_bank(rows).nbytes <= 2 * rows.nbytes + 31 * 33 * 4
    rows[-1, -1] = np.nan
    with pytest.raises(InputError, match="bank"):
        cpu.prepare_bank(rows)


def test_prepared_patches_belong_to_one_bank() -> None:
    p = problem(1, patches=3, concepts=5, dims=4)
    prepared = cpu.prepare_patches(p.patches, p.bank)
    with pytest.raises(InputError, match="another bank"):
        cpu.subtree_ranks(prepared, p.bank.copy(), p.indptr, p.indices)


@given(given_problem=problems)
@settings(max_examples=60)
def test_all_ranks_are_subtree_ranks_of_every_concept(kernels: Kernels, given_problem: Problem) -> None:
    check_all_ranks(kernels, given_problem)


@pytest.mark.many_blocks
def test_all_ranks_over_several_tiles(kernels: Kernels) -> None:
    check_all_ranks(kernels, large())


def check_all_ranks(kernels: Kernels, p: Problem) -> None:
    ranks = kernels.all_ranks(p.patches, p.bank, p.child_indptr, p.child_indices, p.order)
    assert ranks.dtype == np.int32 and ranks.shape == (len(p.patches), len(p.bank))
    best = kernels.subtree_ranks(p.patches, p.bank, p.indptr, p.indices).similarities.astype(np.float64)
    assert_ranks_explained(ranks, similarities_of(p, p.bank), best, p.bank.shape[1])


@given(given_problem=problems)
@settings(max_examples=40)
def test_a_concept_is_never_beaten_by_its_own_descendants(kernels: Kernels, given_problem: Problem) -> None:
    p = given_problem
    parents = np.repeat(np.arange(len(p.bank)), np.diff(p.child_indptr))
    for ranks in (
        kernels.subtree_ranks(p.patches, p.bank, p.indptr, p.indices).ranks,
        kernels.all_ranks(p.patches, p.bank, p.child_indptr, p.child_indices, p.order),
    ):
        assert (ranks[:, parents] <= ranks[:, p.child_indices]).all()


@given(given_problem=problems)
@settings(max_examples=40)
def test_rank_by_count_is_rank_by_sort(kernels: Kernels, given_problem: Problem) -> None:
    p = given_problem
    alone = np.arange(len(p.bank) + 1)  # every concept without its descendants
    ranks, similarities = kernels.subtree_ranks(p.patches, p.bank, alone, alone[:-1])
    for row, values in zip(ranks, similarities, strict=True):
        place = {value: i for i, value in reversed(list(enumerate(np.sort(values)[::-1])))}  # of the first among equals
        counted = [place[value] for value in values]
        if kernels is reference:
            np.testing.assert_array_equal(row, counted)
        else:  # ranks may be settled more exactly than the similarities returned can say
            assert_ranks_explained(row[None], values[None].astype(np.float64), values[None], p.bank.shape[1])


@pytest.mark.many_blocks
@pytest.mark.parametrize("concepts", [60, 1000])
def test_the_order_of_the_bank_does_not_matter(kernels: Kernels, concepts: int) -> None:
    p = problem(11, patches=20, concepts=concepts, dims=32)
    shuffle = np.random.default_rng(5).permutation(concepts)
    moved = np.argsort(shuffle)  # new row of every concept
    plain = kernels.subtree_ranks(p.patches, p.bank, p.indptr, p.indices)
    shuffled = kernels.subtree_ranks(p.patches, p.bank[shuffle], p.indptr, moved[p.indices])
    if kernels in (cpu, reference):  # exact ranks
        np.testing.assert_array_equal(shuffled.ranks, plain.ranks)
    assert_ranks_explained(
        shuffled.ranks, similarities_of(p, p.bank), plain.similarities.astype(np.float64), p.bank.shape[1]
    )


@pytest.mark.parametrize("concepts", [9, 383, 384, 385, 1000])
def test_ranks_of_a_concept_do_not_depend_on_what_else_is_asked(kernels: Kernels, concepts: int) -> None:
    p = problem(13, patches=10, concepts=concepts, dims=24)
    sizes = np.diff(p.indptr)
    small = int(
        np.flatnonzero(sizes == sizes[sizes <= max(1, concepts // 8)].max())[0]
    )  # a subtree of an eighth at most
    members = p.indices[p.indptr[small] : p.indptr[small + 1]]
    together = kernels.subtree_ranks(p.patches, p.bank, p.indptr, p.indices)
    alone = kernels.subtree_ranks(p.patches, p.bank, np.array([0, len(members)]), members, p.bank[:1])
    if kernels in (cpu, reference):  # exact ranks
        np.testing.assert_array_equal(alone.ranks[:, 0], together.ranks[:, small])
        np.testing.assert_array_equal(alone.similarities[:, 0], together.similarities[:, small])
    best = np.stack([together.similarities[:, small], similarities_of(p, p.bank[:1])[:, 0]], axis=1)
    assert_ranks_explained(alone.ranks, similarities_of(p, p.bank), best.astype(np.float64), p.bank.shape[1])


@pytest.mark.many_blocks
def test_equal_rows_tie_exactly_wherever_they_stand(kernels: Kernels) -> None:
    rng = np.random.default_rng(3)
    bank, patches = unit_rows(rng, 1201, 96), unit_rows(rng, 50, 96)
    twins = rng.permutation(1201)[:400]
    bank[twins] = bank[twins[0]]
    alone = np.arange(1202)
    ranks, similarities = kernels.subtree_ranks(patches, bank, alone, alone[:-1], bank[twins[:5]].copy())
    every = [*twins, *range(1201, 1206)]  # 400 concepts and 5 phrases with one and the same embedding
    assert (ranks[:, every] == ranks[:, every[:1]]).all()
    assert (similarities[:, every] == similarities[:, every[:1]]).all()
    ranks = kernels.all_ranks(patches, bank, np.zeros(1202, int), np.zeros(0, int), alone[:-1])
    assert (ranks[:, twins] == ranks[:, twins[:1]]).all()


def test_nothing_to_do(kernels: Kernels) -> None:
    p = problem(0, patches=0, concepts=5, dims=4)
    assert kernels.subtree_ranks(p.patches, p.bank, p.indptr, p.indices).ranks.shape == (0, 5)
    assert kernels.prepare_patches(p.patches, p.bank).shape == (0, 4)
    assert kernels.all_ranks(p.patches, p.bank, p.child_indptr, p.child_indices, p.order).shape == (0, 5)
    none = np.zeros(0, np.int64)
    assert kernels.subtree_ranks(p.bank, p.bank, np.zeros(1, int), none).ranks.shape == (5, 0)
    lonely = kernels.subtree_ranks(p.bank, p.bank[:0], np.zeros(1, int), none, p.bank[:2])
    np.testing.assert_array_equal(lonely.ranks, np.zeros((5, 2)))


def test_a_patch_equal_to_a_concept_has_rank_zero(kernels: Kernels) -> None:
    bank = np.eye(6, dtype=np.float32)
    ranks = kernels.subtree_ranks(bank, bank, np.arange(7), np.arange(6)).ranks
    np.testing.assert_array_equal(ranks, 1 - np.eye(6))


NAN, INF = np.float32("nan"), np.float32("inf")


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("argument", ["patches", "bank", "queries"])
def test_nan_and_infinity_are_refused(kernels: Kernels, argument: str, value: np.float32) -> None:
    p = problem(1, patches=3, concepts=9, dims=7)
    arrays = {"patches": p.patches, "bank": p.bank, "queries": p.bank[:2].copy()}
    arrays[argument][-1, -1] = value
    with pytest.raises(InputError, match=argument):
        kernels.subtree_ranks(arrays["patches"], arrays["bank"], p.indptr, p.indices, arrays["queries"])
    if argument != "queries":
        with pytest.raises(InputError, match=argument):
            kernels.all_ranks(arrays["patches"], arrays["bank"], p.child_indptr, p.child_indices, p.order)


def bad(**changes: object) -> object:
    return pytest.param(changes, id=" ".join(f"{name}={value}" for name, value in changes.items())[:60])


@pytest.mark.parametrize(
    "changes",
    [
        bad(patches=np.zeros((2, 3))),
        bad(patches=np.zeros((2, 4), np.float32)),
        bad(patches=np.zeros((3, 2), np.float32).T),
        bad(patches=[[1.0, 0.0, 0.0]]),
        bad(bank=np.zeros((5, 0), np.float32)),
        bad(bank=np.zeros(3, np.float32)),
        bad(queries=np.zeros((1, 2), np.float32)),
        bad(indptr=np.array([0, 2, 2, 3])),
        bad(indptr=np.array([0, 3, 2, 3])),
        bad(indptr=np.array([1, 2, 3])),
        bad(indptr=np.array([0, 2])),
        bad(indptr=np.array([0, 2**62, 3])),
        bad(indptr=np.array([], int)),
        bad(indptr=np.array([0.0, 3.0])),
        bad(indices=np.array([0, 1, 5])),
        bad(indices=np.array([0, -1, 2])),
        bad(indices=np.array([0, 2**40, 2])),
        bad(indices=np.array([[0, 1, 2]])),
        bad(num_threads=0),
        bad(num_threads=1.5),
    ],
)
def test_subtree_ranks_refuse_bad_arguments(kernels: Kernels, changes: dict[str, object]) -> None:
    if kernels is reference and "num_threads" in changes:
        pytest.skip("the reference ignores num_threads")
    arguments: dict[str, object] = {
        "patches": np.ones((2, 3), np.float32),
        "bank": np.ones((5, 3), np.float32),
        "indptr": np.array([0, 1, 3]),
        "indices": np.array([0, 1, 2]),
    }
    with pytest.raises(InputError, match=next(iter(changes))):
        kernels.subtree_ranks(**arguments | changes)


@pytest.mark.parametrize(
    "changes",
    [
        bad(child_indptr=np.array([0, 2])),
        bad(child_indptr=np.array([0, 2, 1, 2])),
        bad(child_indptr=np.array([0, 2, 2, 2, 2])),
        bad(child_indices=np.array([1, 3])),
        bad(child_indices=np.array([1, -1])),
        bad(order=np.array([1, 2])),
        bad(order=np.array([1, 1, 0])),
        bad(order=np.array([1, 2, 3])),
        bad(order=np.array([-1, 2, 0])),
        bad(order=np.array([0, 1, 2])),
        bad(order=np.array([1.0, 2.0, 0.0])),
    ],
)
def test_all_ranks_refuse_bad_arguments(kernels: Kernels, changes: dict[str, object]) -> None:
    arguments: dict[str, object] = {
        "patches": np.ones((2, 3), np.float32),
        "bank": np.ones((3, 3), np.float32),
        "child_indptr": np.array([0, 2, 2, 2]),
        "child_indices": np.array([1, 2]),
        "order": np.array([1, 2, 0]),
    }
    with pytest.raises(InputError, match=next(iter(changes)).removesuffix("indices").removesuffix("indptr")):
        kernels.all_ranks(**arguments | changes)


def test_a_cycle_is_refused(kernels: Kernels) -> None:
    rows = np.eye(2, dtype=np.float32)
    with pytest.raises(InputError, match="order"):
        kernels.all_ranks(rows, rows, np.array([0, 1, 2]), np.array([1, 0]), np.array([0, 1]))

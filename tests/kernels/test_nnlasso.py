"""The nonnegative lasso on every backend: optimal, certified, deterministic, and honest about bad input."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconcept.errors import InputError
from fastconcept.kernels import cpu, reference
from fastconcept.kernels.contract import Kernels
from fastconcept.kernels.csr import SparseCodes

Rows = npt.NDArray[np.float32]


def unit_rows(rng: np.random.Generator, n: int, d: int) -> Rows:
    rows = rng.standard_normal((n, d))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def objective(dictionary: Rows, targets: Rows, codes: SparseCodes, i: int) -> float:
    indices, values = codes.row(i)
    residual = targets[i].astype(np.float64) - values @ dictionary[indices].astype(np.float64)
    return float(residual @ residual + codes.l1_penalty[i] * values.sum())


def assert_certified(dictionary: Rows, targets: Rows, codes: SparseCodes, tolerance: float = 1e-6) -> None:
    """The returned certificate is that of the returned code, and good enough."""
    for i in range(len(targets)):
        indices, values = codes.row(i)
        assert (np.diff(indices) > 0).all()
        assert (values > 0).all()
        gap, kkt = reference.certificate(
            dictionary.astype(np.float64), targets[i].astype(np.float64), indices, values, codes.l1_penalty[i]
        )
        assert codes.gap[i] == pytest.approx(gap, abs=1e-9)
        assert codes.kkt[i] == pytest.approx(kkt, abs=1e-9 * max(1.0, codes.l1_penalty[i]))
        assert gap <= tolerance


def same(a: SparseCodes, b: SparseCodes) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


problems = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 24), st.integers(0, 5), st.floats(0.02, 2.5)
)


@settings(max_examples=150, deadline=None)
@given(problems)
def test_optimal_on_random_problems(problem: tuple[int, int, int, int, float]) -> None:
    seed, rows, dimension, count, penalty = problem
    rng = np.random.default_rng(seed)
    dictionary, targets = unit_rows(rng, rows, dimension), unit_rows(rng, count, dimension)
    if rows > 2:
        dictionary[-1] = dictionary[0]
    expected = reference.nnlasso(dictionary, targets, penalty)
    assert_certified(dictionary, targets, expected)
    found = cpu.nnlasso(dictionary, targets, penalty)
    assert_certified(dictionary, targets, found)
    for i in range(count):
        best = objective(dictionary, targets, expected, i)
        assert objective(dictionary, targets, found, i) == pytest.approx(best, rel=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 16))
def test_empty_exactly_from_twice_the_largest_correlation(seed: int, rows: int, dimension: int) -> None:
    rng = np.random.default_rng(seed)
    dictionary, target = unit_rows(rng, rows, dimension), unit_rows(rng, 1, dimension)
    limit = 2 * float((dictionary.astype(np.float64) @ target[0].astype(np.float64)).max())
    for kernels in (reference, cpu):
        if limit > 1e-3:
            assert len(kernels.nnlasso(dictionary, target, limit * 1.0001).indices) == 0
            assert len(kernels.nnlasso(dictionary, target, limit * 0.999).indices) > 0
        else:
            assert len(kernels.nnlasso(dictionary, target, 1e-2).indices) == 0


@pytest.mark.parametrize("penalty", [0.15, 0.25, 0.35])
def test_objective_is_scikit_learns(kernels: Kernels, penalty: float) -> None:
    from sklearn.linear_model import Lasso  # takes a minute on an emulated processor

    rng = np.random.default_rng(1)
    dictionary, targets = unit_rows(rng, 300, 48), unit_rows(rng, 4, 48)
    codes = kernels.nnlasso(dictionary, targets, penalty)
    assert_certified(dictionary, targets, codes)
    for i, target in enumerate(targets):
        peer = Lasso(alpha=penalty / (2 * 48), fit_intercept=False, positive=True, tol=1e-12, max_iter=100_000)
        weights = peer.fit(dictionary.T.astype(np.float64), target.astype(np.float64)).coef_
        residual = target - weights @ dictionary.astype(np.float64)
        theirs = residual @ residual + penalty * weights.sum()
        assert objective(dictionary, targets, codes, i) == pytest.approx(theirs, rel=1e-6)


def test_penalties_may_differ_by_target(kernels: Kernels) -> None:
    rng = np.random.default_rng(2)
    dictionary, targets = unit_rows(rng, 200, 32), unit_rows(rng, 3, 32)
    penalties = np.array([0.1, 0.3, 3.0])
    codes = kernels.nnlasso(dictionary, targets, penalties)
    assert np.array_equal(codes.l1_penalty, penalties)
    assert_certified(dictionary, targets, codes)
    for i, penalty in enumerate(penalties):
        alone = kernels.nnlasso(dictionary, targets[i : i + 1], float(penalty))
        assert np.array_equal(codes.row(i)[0], alone.indices)
        assert np.allclose(codes.row(i)[1], alone.values, rtol=1e-12, atol=0)


def test_duplicate_rows_share_nothing_and_the_first_wins(kernels: Kernels) -> None:
    rng = np.random.default_rng(3)
    base = unit_rows(rng, 40, 16)
    dictionary = np.concatenate([base, base, base])
    targets = unit_rows(rng, 5, 16)
    codes = kernels.nnlasso(dictionary, targets, 0.1)
    assert_certified(dictionary, targets, codes)
    assert len(codes.indices)
    for i in range(5):
        assert len(set(codes.row(i)[0] % 40)) == len(codes.row(i)[0])
    assert np.array_equal(codes.indices, kernels.nnlasso(base, targets, 0.1).indices)


def test_a_row_between_two_others_replaces_one(kernels: Kernels) -> None:
    """The third row lies in the span of the first two, and using it costs less: the Gram matrix is singular."""
    dictionary = np.array([[1, 0, 0], [0, 1, 0], [0.7071068, 0.7071068, 0]], np.float32)
    targets = np.array([[0.8, 0.6, 0.0], [0.6, 0.8, 0.0]], np.float32)
    codes = kernels.nnlasso(dictionary, targets, 0.1)
    assert_certified(dictionary, targets, codes)
    assert list(codes.row(0)[0]) == [0, 2]
    assert list(codes.row(1)[0]) == [1, 2]


def test_nearly_parallel_rows(kernels: Kernels) -> None:
    rng = np.random.default_rng(4)
    base = unit_rows(rng, 30, 20)
    dictionary = np.concatenate([base + rng.normal(0, scale, base.shape) for scale in (0, 1e-3, 1e-5, 1e-7)])
    dictionary = dictionary.astype(np.float32)
    targets = unit_rows(rng, 6, 20)
    assert_certified(dictionary, targets, kernels.nnlasso(dictionary, targets, 0.05))


@pytest.mark.parametrize(("rows", "dimension", "count"), [(1, 1, 1), (1, 7, 3), (5, 3, 0), (0, 4, 2), (0, 4, 0)])
def test_smallest_shapes(kernels: Kernels, rows: int, dimension: int, count: int) -> None:
    rng = np.random.default_rng(5)
    dictionary, targets = unit_rows(rng, rows, dimension), unit_rows(rng, count, dimension)
    for codes in (kernels.nnlasso(dictionary, targets, 0.2), kernels.nnlasso_l0(dictionary, targets, 2)):
        assert codes.indptr.shape == (count + 1,)
        assert codes.gap.shape == codes.kkt.shape == codes.rounds.shape == codes.l1_penalty.shape == (count,)
        assert_certified(dictionary, targets, codes)


def test_zero_target_and_zero_rows(kernels: Kernels) -> None:
    dictionary = np.zeros((3, 4), np.float32)
    dictionary[1, 0] = 1.0
    targets = np.array([[0, 0, 0, 0], [1, 0, 0, 0]], np.float32)
    codes = kernels.nnlasso(dictionary, targets, 0.5)
    assert list(codes.indptr) == [0, 0, 1]
    assert codes.indices[0] == 1
    assert codes.values[0] == pytest.approx(0.75)
    assert list(codes.gap) == [0.0, 0.0]


@pytest.mark.parametrize("scale", [1e-15, 1e-3, 1e4, 1e15])
def test_scale_does_not_matter(kernels: Kernels, scale: float) -> None:
    rng = np.random.default_rng(6)
    dictionary, targets = unit_rows(rng, 50, 12), unit_rows(rng, 2, 12)
    plain = kernels.nnlasso(dictionary, targets, 0.2)
    scaled = kernels.nnlasso(dictionary, targets * np.float32(scale), 0.2 * scale)
    assert np.array_equal(plain.indices, scaled.indices)
    assert np.allclose(plain.values * scale, scaled.values, rtol=1e-5)
    assert scaled.gap.max() <= 1e-6


@pytest.mark.parametrize("l0", [1, 3, 8])
def test_l0_gives_that_many_words(kernels: Kernels, l0: int) -> None:
    rng = np.random.default_rng(7)
    dictionary, targets = unit_rows(rng, 400, 32), unit_rows(rng, 6, 32)
    codes = kernels.nnlasso_l0(dictionary, targets, l0)
    assert list(np.diff(codes.indptr)) == [l0] * 6
    assert_certified(dictionary, targets, codes)
    more = kernels.nnlasso(dictionary, targets, codes.l1_penalty * 0.99)
    assert (np.diff(more.indptr) != l0).any()  # the path leaves l0 words right below


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 20), st.integers(1, 12))
def test_l0_follows_the_same_path_on_every_backend(seed: int, rows: int, dimension: int, l0: int) -> None:
    rng = np.random.default_rng(seed)
    dictionary, targets = unit_rows(rng, rows, dimension), unit_rows(rng, 2, dimension)
    expected, found = reference.nnlasso_l0(dictionary, targets, l0), cpu.nnlasso_l0(dictionary, targets, l0)
    assert np.diff(found.indptr).max() <= l0
    assert np.allclose(expected.l1_penalty, found.l1_penalty, rtol=1e-6)
    assert_certified(dictionary, targets, expected)
    assert_certified(dictionary, targets, found)
    for i in range(2):
        assert objective(dictionary, targets, found, i) == pytest.approx(objective(dictionary, targets, expected, i))


def test_l0_without_a_positive_correlation(kernels: Kernels) -> None:
    codes = kernels.nnlasso_l0(np.eye(3, dtype=np.float32), -np.ones((1, 3), np.float32), 2)
    assert len(codes.indices) == 0
    assert codes.l1_penalty[0] == codes.gap[0] == codes.kkt[0] == 0.0


def test_l0_at_a_tie_gives_fewer(kernels: Kernels) -> None:
    codes = kernels.nnlasso_l0(np.eye(3, dtype=np.float32), np.array([[1.0, 0.5, 0.5]], np.float32), 2)
    assert list(codes.indices) == [0]
    assert codes.l1_penalty[0] == pytest.approx(1.0)


def test_warm_start_changes_the_work_but_not_the_answer(kernels: Kernels) -> None:
    rng = np.random.default_rng(8)
    dictionary, targets = unit_rows(rng, 500, 32), unit_rows(rng, 4, 32)
    before = kernels.nnlasso(dictionary, targets, 0.15)
    moved = (targets + 0.02 * unit_rows(rng, 4, 32)).astype(np.float32)
    warm, cold = kernels.nnlasso(dictionary, moved, 0.15, before), kernels.nnlasso(dictionary, moved, 0.15)
    assert np.array_equal(warm.indices, cold.indices)
    assert np.allclose(warm.values, cold.values, rtol=1e-9)
    assert warm.rounds.sum() < cold.rounds.sum()
    assert_certified(dictionary, moved, warm)


def test_warm_start_from_nonsense_still_ends_at_the_optimum(kernels: Kernels) -> None:
    rng = np.random.default_rng(9)
    dictionary, targets = unit_rows(rng, 60, 10), unit_rows(rng, 2, 10)
    dictionary[5] = 0.0
    cold = kernels.nnlasso(dictionary, targets, 0.1)
    nonsense = cold._replace(indptr=np.array([0, 60, 64]), indices=np.array([*range(60), 5, 5, 7, 7], np.int32))
    warm = kernels.nnlasso(dictionary, targets, 0.1, nonsense)
    assert np.array_equal(warm.indices, cold.indices)
    assert_certified(dictionary, targets, warm)


@pytest.mark.parametrize("count", [1, 2, 3, 70])
def test_same_bits_for_any_number_of_threads_and_in_any_batch(count: int) -> None:
    rng = np.random.default_rng(10)
    base = unit_rows(rng, 1500, 96)
    dictionary, targets = np.concatenate([base, base[:100]]), unit_rows(rng, count, 96)
    prepared = cpu.prepare_dictionary(dictionary)
    codes = cpu.nnlasso(prepared, targets, 0.2, num_threads=1)
    words = cpu.nnlasso_l0(prepared, targets[:3], 4, num_threads=1)
    for threads in (2, 3):
        assert same(codes, cpu.nnlasso(prepared, targets, 0.2, num_threads=threads))
        assert same(words, cpu.nnlasso_l0(prepared, targets[:3], 4, num_threads=threads))
    for i in range(count):
        alone = cpu.nnlasso(prepared, targets[i : i + 1], 0.2)
        assert np.array_equal(codes.row(i)[0], alone.indices)
        assert np.array_equal(codes.row(i)[1], alone.values)


def test_a_narrow_dictionary_is_solved_as_exactly() -> None:
    rng = np.random.default_rng(11)
    dictionary = unit_rows(rng, 900, 24) @ unit_rows(rng, 24, 128)
    dictionary = (dictionary / np.linalg.norm(dictionary, axis=1, keepdims=True)).astype(np.float32)
    targets = unit_rows(rng, 5, 128)
    prepared = cpu.prepare_dictionary(dictionary)
    codes = cpu.nnlasso(prepared, targets, 0.05)
    assert_certified(dictionary, targets, codes)
    plain = cpu.nnlasso(dictionary, targets, 0.05)
    assert np.array_equal(codes.indices, plain.indices)
    assert np.allclose(codes.values, plain.values, rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 90), st.integers(1, 80), st.integers(0, 50), st.floats(-0.3, 0.6))
def test_screening_lists_every_row_that_reaches_the_value(
    seed: int, rows: int, dimension: int, count: int, least: float
) -> None:
    rng = np.random.default_rng(seed)
    dictionary, targets = unit_rows(rng, rows, dimension), unit_rows(rng, count, dimension)
    listed = cpu.prepare_dictionary(dictionary).screen(targets, least, num_threads=2)
    products = targets.astype(np.float64) @ dictionary.astype(np.float64).T
    assert listed.indptr.shape == (count + 1,)
    for i in range(count):
        mine = listed.row(i)
        assert (np.diff(mine) > 0).all()
        assert set(np.flatnonzero(products[i] >= least)) <= set(mine)
        assert (products[i][mine] >= least - 1e-2).all()  # twice what the bound can be for unit rows of 16 bits


def test_screening_rejects_a_value_that_is_no_number() -> None:
    with pytest.raises(InputError, match="finite"):
        cpu.prepare_dictionary(np.eye(3, dtype=np.float32)).screen(np.ones((1, 3), np.float32), float("nan"))


def test_ten_thousand_random_problems() -> None:
    """Small, often degenerate problems (integers, duplicates, more rows than dimensions) against the oracle."""
    rng = np.random.default_rng(12)
    for _ in range(1000):
        rows, dimension = int(rng.integers(1, 14)), int(rng.integers(1, 7))
        dictionary, targets = unit_rows(rng, rows, dimension), unit_rows(rng, 10, dimension)
        if rng.random() < 0.3:
            dictionary, targets = np.round(dictionary * 2), np.round(targets * 2)
        if rows > 3:
            dictionary[rows // 2] = dictionary[0]
        penalties = rng.uniform(0.01, 1.0, 10)
        expected, found = reference.nnlasso(dictionary, targets, penalties), cpu.nnlasso(dictionary, targets, penalties)
        assert max(found.gap.max(), expected.gap.max()) <= 1e-6
        for i in range(10):
            best = objective(dictionary, targets, expected, i)
            assert objective(dictionary, targets, found, i) == pytest.approx(best, rel=2e-6, abs=1e-12)


def bad(**changes: object) -> dict[str, object]:
    arguments: dict[str, object] = {"dictionary": np.eye(3, dtype=np.float32), "targets": np.ones((2, 3), np.float32)}
    return {**arguments, "l1_penalty": 0.2, **changes}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (bad(targets=np.full((2, 3), np.nan, np.float32)), "targets has NaN or infinite values in row 0"),
        (bad(targets=np.array([[1, 1, 1], [1, np.inf, 1]], np.float32)), "row 1"),
        (bad(dictionary=np.full((2, 3), np.nan, np.float32)), "dictionary has NaN"),
        (bad(targets=np.ones((2, 4), np.float32)), "4 columns but the dictionary has 3"),
        (bad(targets=np.ones((2, 3))), "float32"),
        (bad(targets=np.ones(3, np.float32)), r"shape \(n, d\)"),
        (bad(targets=np.ones((2, 6), np.float32)[:, ::2]), "C-contiguous"),
        (bad(dictionary=[[1.0, 2.0, 3.0]]), "list"),
        (bad(dictionary=np.ones((2, 0), np.float32)), "columns"),
        (bad(l1_penalty=0.0), "positive"),
        (bad(l1_penalty=-1), "positive"),
        (bad(l1_penalty=float("nan")), "positive"),
        (bad(l1_penalty=np.ones(3)), r"shape \(2,\)"),
        (bad(l1_penalty="small"), "number"),
        (bad(tolerance=0), "tolerance"),
    ],
)
def test_bad_input_is_named(kernels: Kernels, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kernels.nnlasso(**arguments)


@pytest.mark.parametrize("l0", [0, -1, 2.5, True, "3"])
def test_bad_l0(kernels: Kernels, l0: object) -> None:
    with pytest.raises(InputError, match="l0"):
        kernels.nnlasso_l0(np.eye(3, dtype=np.float32), np.ones((2, 3), np.float32), l0)


@pytest.mark.parametrize(
    ("indptr", "indices", "message"),
    [([0, 1], [0], "1 problems"), ([0, 1, 1], [7], "outside"), ([0, 2, 1], [0], "rise"), ([0, 0, 9], [0], "rise")],
)
def test_bad_warm_start(kernels: Kernels, indptr: list[int], indices: list[int], message: str) -> None:
    arguments = bad()
    arguments["warm_start"] = kernels.nnlasso(**arguments)._replace(
        indptr=np.array(indptr), indices=np.array(indices, np.int32)
    )
    with pytest.raises(InputError, match=message):
        kernels.nnlasso(**arguments)

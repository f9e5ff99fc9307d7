"""The lasso without nonnegativity on every backend: optimal, certified, and the same path and bits."""

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
from tests.kernels.test_nnlasso import same, unit_rows

Rows = npt.NDArray[np.float32]


def objective(dictionary: Rows, targets: Rows, codes: SparseCodes, i: int) -> float:
    indices, values = codes.row(i)
    residual = targets[i].astype(np.float64) - values @ dictionary[indices].astype(np.float64)
    return float(residual @ residual + codes.l1_penalty[i] * np.abs(values).sum())


def assert_certified(dictionary: Rows, targets: Rows, codes: SparseCodes) -> None:
    for i in range(len(targets)):
        indices, values = codes.row(i)
        assert (np.diff(indices) > 0).all()
        assert (values != 0).all()
        assert len(indices) == 0 or (indices.min() >= 0 and indices.max() < len(dictionary))
        gap, kkt = reference.certificate(
            dictionary.astype(np.float64), targets[i].astype(np.float64), indices, values, codes.l1_penalty[i], True
        )
        assert codes.gap[i] == pytest.approx(gap, abs=1e-9)
        assert codes.kkt[i] == pytest.approx(kkt, abs=1e-9 * max(1.0, codes.l1_penalty[i]))
        assert gap <= 1e-6


def test_objective_is_scikit_learns(kernels: Kernels) -> None:
    from sklearn.linear_model import Lasso  # takes a minute on an emulated processor

    rng = np.random.default_rng(1)
    dictionary, targets = unit_rows(rng, 300, 48), unit_rows(rng, 3, 48)
    codes = kernels.nnlasso(dictionary, targets, 0.2, signed=True)
    assert_certified(dictionary, targets, codes)
    assert (codes.values < 0).any() and (codes.values > 0).any()
    for i, target in enumerate(targets):
        peer = Lasso(alpha=0.2 / (2 * 48), fit_intercept=False, tol=1e-12, max_iter=100_000)
        weights = peer.fit(dictionary.T.astype(np.float64), target.astype(np.float64)).coef_
        residual = target - weights @ dictionary.astype(np.float64)
        theirs = residual @ residual + 0.2 * np.abs(weights).sum()
        assert objective(dictionary, targets, codes, i) == pytest.approx(theirs, rel=1e-6)


def test_turning_target_or_rows_around_turns_the_weights(kernels: Kernels) -> None:
    rng = np.random.default_rng(2)
    dictionary, targets = unit_rows(rng, 80, 20), unit_rows(rng, 2, 20)
    plain = kernels.nnlasso(dictionary, targets, 0.2, signed=True)
    for turned in (
        kernels.nnlasso(dictionary, -targets, 0.2, signed=True),
        kernels.nnlasso(-dictionary, targets, 0.2, signed=True),
    ):
        assert np.array_equal(plain.indices, turned.indices)
        assert np.allclose(plain.values, -turned.values, rtol=1e-9, atol=0)


def test_the_constraint_costs_something_and_never_pays(kernels: Kernels) -> None:
    rng = np.random.default_rng(3)
    dictionary, targets = unit_rows(rng, 60, 24), unit_rows(rng, 2, 24)
    free = kernels.nnlasso(dictionary, targets, 0.2, signed=True)
    held = kernels.nnlasso(dictionary, targets, 0.2)
    assert (held.values > 0).all()
    for i in range(2):
        assert objective(dictionary, targets, free, i) < objective(dictionary, targets, held, i)


def test_opposite_rows_are_one_row(kernels: Kernels) -> None:
    """c and -c in one dictionary: each mirrors the other, and a code uses one of them at most."""
    rng = np.random.default_rng(4)
    base = unit_rows(rng, 30, 12)
    dictionary, targets = np.concatenate([base, -base]), unit_rows(rng, 3, 12)
    codes = kernels.nnlasso(dictionary, targets, 0.1, signed=True)
    assert_certified(dictionary, targets, codes)
    alone = kernels.nnlasso(base, targets, 0.1, signed=True)
    for i in range(3):
        assert len(set(codes.row(i)[0] % 30)) == len(codes.row(i)[0])
        assert objective(dictionary, targets, codes, i) == pytest.approx(objective(base, targets, alone, i), rel=1e-6)


def test_the_path_counts_words_of_either_sign(kernels: Kernels) -> None:
    rng = np.random.default_rng(5)
    dictionary, targets = unit_rows(rng, 200, 32), unit_rows(rng, 3, 32)
    for words in (1, 6):
        codes = kernels.nnlasso_l0(dictionary, targets, words, signed=True)
        assert list(np.diff(codes.indptr)) == [words] * 3
        assert_certified(dictionary, targets, codes)
        expected = reference.nnlasso_l0(dictionary, targets, words, signed=True)
        assert np.allclose(codes.l1_penalty, expected.l1_penalty, rtol=1e-6)
    codes = kernels.nnlasso_l0(np.eye(3, dtype=np.float32), np.array([[-1, 0.5, 0.2]], np.float32), 1, signed=True)
    assert list(codes.indices) == [0]
    assert codes.values[0] == pytest.approx(-0.5)


def test_a_warm_start_keeps_its_signs(kernels: Kernels) -> None:
    rng = np.random.default_rng(6)
    dictionary, targets = unit_rows(rng, 300, 32), unit_rows(rng, 3, 32)
    before = kernels.nnlasso(dictionary, targets, 0.15, signed=True)
    moved = (targets + 0.02 * unit_rows(rng, 3, 32)).astype(np.float32)
    cold = kernels.nnlasso(dictionary, moved, 0.15, signed=True)
    warm = kernels.nnlasso(dictionary, moved, 0.15, before, signed=True)
    assert_certified(dictionary, moved, warm)
    assert np.array_equal(warm.indices, cold.indices)
    assert np.allclose(warm.values, cold.values, rtol=1e-9)
    assert warm.rounds.sum() < cold.rounds.sum()
    with pytest.raises(InputError, match="values"):
        kernels.nnlasso(dictionary, moved, 0.15, before._replace(values=before.values[:-1]), signed=True)


@pytest.mark.parametrize(("rows", "dimension", "count"), [(1, 1, 1), (5, 3, 0), (0, 4, 2), (1, 5, 2)])
def test_smallest_shapes(kernels: Kernels, rows: int, dimension: int, count: int) -> None:
    rng = np.random.default_rng(7)
    dictionary, targets = unit_rows(rng, rows, dimension), -unit_rows(rng, count, dimension)
    for codes in (
        kernels.nnlasso(dictionary, targets, 0.2, signed=True),
        kernels.nnlasso_l0(dictionary, targets, 2, signed=True),
    ):
        assert codes.indptr.shape == (count + 1,)
        assert_certified(dictionary, targets, codes)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 20), st.floats(0.02, 2.0), st.booleans())
def test_optimal_on_random_problems(seed: int, rows: int, dimension: int, penalty: float, rounded: bool) -> None:
    rng = np.random.default_rng(seed)
    dictionary, targets = unit_rows(rng, rows, dimension), unit_rows(rng, 3, dimension)
    if rounded:
        dictionary, targets = np.round(dictionary * 2), np.round(targets * 2)
    if rows > 2:
        dictionary[-1] = -dictionary[0]
    expected = reference.nnlasso(dictionary, targets, penalty, signed=True)
    found = cpu.nnlasso(dictionary, targets, penalty, signed=True)
    assert_certified(dictionary, targets, expected)
    assert_certified(dictionary, targets, found)
    for i in range(3):
        best = objective(dictionary, targets, expected, i)
        assert objective(dictionary, targets, found, i) == pytest.approx(best, rel=2e-6, abs=1e-12)


def test_same_bits_for_any_number_of_threads_and_in_any_batch() -> None:
    rng = np.random.default_rng(8)
    prepared, targets = cpu.prepare_dictionary(unit_rows(rng, 1500, 96)), unit_rows(rng, 50, 96)
    codes = cpu.nnlasso(prepared, targets, 0.2, signed=True, num_threads=1)
    words = cpu.nnlasso_l0(prepared, targets[:3], 4, signed=True, num_threads=1)
    for threads in (2, 3):
        assert same(codes, cpu.nnlasso(prepared, targets, 0.2, signed=True, num_threads=threads))
        assert same(words, cpu.nnlasso_l0(prepared, targets[:3], 4, signed=True, num_threads=threads))
    for i in (0, 17, 49):
        alone = cpu.nnlasso(prepared, targets[i : i + 1], 0.2, signed=True)
        assert np.array_equal(codes.row(i)[0], alone.indices)
        assert np.array_equal(codes.row(i)[1], alone.values)

"""Metrics and statistics against cases counted by hand, and what they do where their library is not installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconcept.errors import InputError, MissingDependencyError
from fastconcept.evaluate import bootstrap as statistics
from fastconcept.evaluate import metrics

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=30)


@given(scores, scores)
def test_auroc_and_fpr_are_what_they_say(positive: list[int], negative: list[int]) -> None:
    above = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert metrics.auroc(positive, negative) == pytest.approx(np.mean(above))
    passed = [t for t in positive if np.mean(np.array(positive) >= t) >= 0.95 - 1e-9]
    assert metrics.fpr_at_tpr(positive, negative) == pytest.approx(np.mean(np.array(negative) >= max(passed)))


def test_areas_of_bootstrap_samples_are_those_of_the_drawn_scores() -> None:
    generator = np.random.default_rng(0)
    positive, negative = (generator.integers(0, 6, size).astype(np.float32) for size in (10, 15))
    drawn, others = (generator.multinomial(n, np.full(n, 1 / n), 20) for n in (10, 15))
    areas = metrics.weighted_auroc(positive, negative, drawn.astype(float), others.astype(float))
    for area, mine, theirs in zip(areas, drawn, others, strict=True):
        assert area == pytest.approx(metrics.auroc(np.repeat(positive, mine), np.repeat(negative, theirs)))


def test_scores_must_be_there_and_finite() -> None:
    for positive, negative in (([], [1]), ([1], []), ([np.nan], [1])):
        with pytest.raises(InputError):
            metrics.auroc(positive, negative)


@given(st.integers(0, 1000))
def test_top_k_is_that_of_scikit_learn(seed: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(seed)
    table, labels = generator.random((12, 7)), generator.integers(0, 7, 12)
    ranks = metrics.true_ranks(table, labels)
    for k in (1, 3, 5):
        theirs = sklearn.top_k_accuracy_score(labels, table, k=k, labels=np.arange(7))
        assert metrics.recall_at(ranks, k) == pytest.approx(theirs)


def test_a_model_that_scores_all_alike_is_never_right() -> None:
    assert metrics.recall_at(metrics.true_ranks(np.ones((4, 3)), [0, 1, 2, 0]), 1) == 0


def test_cases_of_one_image_are_drawn_together() -> None:
    generator = np.random.default_rng(1)
    images = generator.random((40, 1)) < 0.5
    once = statistics.paired_bootstrap(images * 1.0, np.zeros((40, 1)))
    thrice = np.repeat(images * 1.0, 3, axis=0)
    together = statistics.paired_bootstrap(thrice, np.zeros((120, 1)), np.repeat(np.arange(40), 3).tolist())
    apart = statistics.paired_bootstrap(thrice, np.zeros((120, 1)))
    assert together == pytest.approx(once) and apart[0] == pytest.approx(once[0])
    assert apart[2] - apart[1] < 0.8 * (once[2] - once[1])
    assert statistics.paired_bootstrap(thrice, np.zeros((120, 1)), ["one image"] * 120) == pytest.approx([once[0]] * 3)


def test_the_paired_interval_covers_a_known_difference() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for seed in range(100):
        ours, theirs = (generator.random((80, 1)) < rate for rate in (0.6, 0.4))
        _, low, high = statistics.paired_bootstrap(ours * 1.0, theirs * 1.0, repeats=400, seed=seed)
        covered += low <= 0.2 <= high
    assert 88 <= covered <= 100


def test_the_threshold_is_chosen_for_each_method_anew() -> None:
    ours, theirs = np.array([[1.0, 0.0]] * 5), np.array([[0.0, 1.0]] * 5)
    assert statistics.paired_bootstrap(ours, theirs)[0] == 0.0


def test_samples_are_resampled_apart_and_columns_together() -> None:
    one, two = np.random.default_rng(0).standard_normal((2, 30, 3))
    one[:, 2], two[:, 2] = one[:, 0], two[:, 0]

    def difference(drawn: np.ndarray, others: np.ndarray) -> np.ndarray:
        assert (drawn.sum(axis=1) == 30).all() and (others.sum(axis=1) == 30).all()
        return drawn @ one / 30 - others @ two / 30

    value, low, high = statistics.bootstrap(difference, 30, 30, repeats=500)
    np.testing.assert_allclose(value, one.mean(axis=0) - two.mean(axis=0))
    assert (low < value).all() and (value < high).all()
    assert (low[0], high[0]) == pytest.approx((low[2], high[2]))
    spread = np.sqrt((one.var(axis=0, ddof=1) + two.var(axis=0, ddof=1)) / 30)
    np.testing.assert_allclose(high - low, 2 * 1.96 * spread, rtol=0.15)
    np.testing.assert_array_equal(low, statistics.bootstrap(difference, 30, 30, repeats=500)[1])
    single = statistics.bootstrap(lambda drawn, others: drawn @ one[:1] - others @ two / 30, 1, 30, repeats=50)
    assert (single[1] < single[2]).all()  # a sample of one stays as it is


def test_a_permutation_test_finds_what_depends_on_the_labels_and_no_more() -> None:
    labels = np.repeat([0.0, 1.0], 40)
    values = np.random.default_rng(0).standard_normal((80, 50))
    values[:, 7] += 2 * labels

    def slope(drawn: np.ndarray) -> np.ndarray:
        return (drawn - 0.5) @ values / 40

    test = statistics.permutation_test(slope, labels, repeats=999)
    np.testing.assert_allclose(test.observed, slope(labels[None])[0])
    assert test.p[7] == pytest.approx(1 / 1000) and np.flatnonzero(test.q <= 0.05).tolist() == [7]
    others = np.delete(test.p, 7)
    assert abs((others <= 0.5).mean() - 0.5) < 0.2 and others.min() > 0
    assert (test.q >= test.p).all() and 0 <= test.by_chance < 0.5


def test_a_permutation_test_of_a_few_items_takes_every_order() -> None:
    values = np.arange(4.0)[:, None]
    test = statistics.permutation_test(lambda drawn: (drawn - 1.5) @ values, np.arange(4.0))
    assert test.p[0] == pytest.approx(2 / 24)


@pytest.mark.parametrize("package", ["scipy", "sklearn"])
def test_what_is_not_installed_is_named_with_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = {"scipy": "scipy", "sklearn": "scikit-learn"}[package]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf'{name} is not installed.*"fastconcept\[evaluate\]"'):
        statistics.paired_bootstrap(np.eye(3), np.eye(3)) if package == "scipy" else metrics.auroc([1], [0])

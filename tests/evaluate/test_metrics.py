"""Metrics and statistics against scikit-learn, scipy, and cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconcept.errors import InputError
from fastconcept.evaluate import bootstrap as statistics
from fastconcept.evaluate import metrics

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=30)


@given(scores, scores)
def test_auroc_and_fpr_are_those_of_scikit_learn(positive: list[int], negative: list[int]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    truth, values = [1] * len(positive) + [0] * len(negative), positive + negative
    assert metrics.auroc(positive, negative) == pytest.approx(sklearn.roc_auc_score(truth, values))
    false, true, _ = sklearn.roc_curve(truth, values, drop_intermediate=False)
    assert metrics.fpr_at_tpr(positive, negative) == pytest.approx(false[np.argmax(true >= 0.95 - 1e-9)])


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
    drawn = statistics.resamples(["a", "b", "a", "b", "c"], 200, seed=1)
    assert (drawn[:, 0] == drawn[:, 2]).all() and (drawn[:, 1] == drawn[:, 3]).all()
    assert (drawn[:, 0] + drawn[:, 1] + drawn[:, 4] == 3).all() and len(np.unique(drawn[:, 4])) > 1


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


def test_false_discoveries_are_controlled_as_scipy_does() -> None:
    scipy = pytest.importorskip("scipy.stats")
    p = np.random.default_rng(0).random(50) ** 2
    np.testing.assert_allclose(statistics.benjamini_hochberg(p), scipy.false_discovery_control(p))


def test_permutation_p_of_a_null_is_spread_evenly() -> None:
    draws = np.random.default_rng(0).standard_normal((1001, 2000))
    p = statistics.permutation_p(draws[0], draws[1:])
    assert abs((p <= 0.1).mean() - 0.1) < 0.03 and p.min() > 0

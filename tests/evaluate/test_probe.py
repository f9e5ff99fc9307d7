"""Probes find planted classes in codes by the right words; controls do not, and what cannot be probed is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconcept.datasets.dataset import Dataset
from fastconcept.engine import Engine
from fastconcept.errors import InputError
from fastconcept.evaluate.probe import probe
from fastconcept.evaluate.probes import Probes, fitted, folds_of
from tests.planted import mixed

Rows = Callable[..., Dataset]
FEW: dict[str, Any] = {"l1_penalties": (0.3,), "folds": 3, "repeats": 50}


def test_probes_find_the_words_that_carry_a_class(planted: Engine, write_rows: Rows) -> None:
    codes = [*mixed(12, cat=1, grass=0.7), *mixed(12, dog=1, grass=0.7), *mixed(12, car=1, grass=0.7)]
    data = write_rows([*codes, {"snow": 1.0}], noise=0.05, label=["cat"] * 12 + ["dog"] * 12 + ["car"] * 12 + ["ship"])
    result = probe(planted, data, **FEW)
    rows = {row.input: row for row in result.rows}
    for name in ("dense", "codes", "recomposed", "dense to recomposed", "recomposed to dense"):
        assert rows[name].accuracy == rows[name].worst == 1.0, name
    assert rows["codes"].per_class == {"car": 1.0, "cat": 1.0, "dog": 1.0}
    assert rows["shuffled labels"].accuracy < 0.7 and rows["shuffled labels"].against_codes[2] < 0
    assert rows["random projection"].l0 == 2.0 and rows["random vocabulary"].used is not None
    assert rows["codes"].used == 4 and rows["codes"].l0 == pytest.approx(2, abs=0.2)
    assert {each.label: each.words[0][0] for each in result.classes} == {"car": "car", "cat": "cat", "dog": "dog"}
    assert all(word != "grass" or share < 0.2 for each in result.classes for word, _, share in each.words)
    assert [name for name, _ in result.bad] == ["rows.npz[36]"] and "no other item" in result.bad[0].reason
    report = result.report({})
    assert "cat (cat)" in report.to_html() and "100.0% from the weights of 2.0 words" in report.finding


def test_two_classes_and_groups(planted: Engine, write_rows: Rows) -> None:
    combinations = [(a, b) for a in ("cat", "dog") for b in ("grass", "sand") for _ in range(4)]
    data = write_rows(
        [{a: 1.0, b: 0.8} for a, b in combinations],
        label=[a for a, _ in combinations],
        place=[b for _, b in combinations],
    )
    result = probe(planted, data, nuisance="place", l0s=[2], folds=2, repeats=50)
    assert result.groups == "group of label and place" and result.rows[1].asked == 2
    assert {each.label: each.words[0][0] for each in result.classes} == {"cat": "cat", "dog": "dog"}


def test_what_cannot_be_probed(planted: Engine, write_rows: Rows) -> None:
    with pytest.raises(InputError, match="two classes of label with two items each at least; got cat: 3"):
        probe(planted, write_rows(mixed(3, cat=1), label=["cat"] * 3), **FEW)
    data = write_rows([*mixed(2, cat=1), *mixed(2, dog=1)], label=["cat", "cat", "dog", "dog"])
    assert probe(planted, data, **FEW).count == 4  # the smallest data there can be
    with pytest.raises(InputError, match="two folds"):
        probe(planted, data, folds=1)
    with pytest.raises(InputError, match="a penalty or a number"):
        probe(planted, data, l1_penalties=())


def test_sparse_and_dense_rows_give_the_same_probe() -> None:
    """Codes stay sparse: nothing may make them dense, and the model is that of the dense rows."""
    sparse = pytest.importorskip("scipy.sparse")
    generator = np.random.default_rng(0)
    rows = generator.random((40, 30)) * (generator.random((40, 30)) < 0.2)
    labels = np.where(rows[:, 0] + rows[:, 1] > rows[:, 2], "a", "b")

    class Sparse(sparse.csr_array):  # type: ignore[misc, name-defined]
        def toarray(self, *_: object, **__: object) -> None:
            raise AssertionError("codes were made dense")

        todense = __array__ = toarray

    dense, compact = fitted(rows, labels, 0), fitted(Sparse(rows), labels, 0)
    assert dense[1] == pytest.approx(compact[1]) and dense[0].C == compact[0].C
    np.testing.assert_allclose(dense[0].coef_, compact[0].coef_, atol=1e-2)
    fold = folds_of(labels, 4, 0)
    assert Probes(Sparse(rows), labels, fold, 0).right(Sparse(rows)).mean() > 0.5


def test_folds_spread_every_class() -> None:
    labels = np.array(["a"] * 10 + ["b"] * 3 + ["c"] * 2)
    fold = folds_of(labels, 5, 1)
    assert np.bincount(fold[:10]).tolist() == [2] * 5
    assert len(set(fold[10:13])) == 3 and len(set(fold[13:])) == 2

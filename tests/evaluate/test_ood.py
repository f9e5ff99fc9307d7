"""Out-of-distribution detection tells planted sides apart, by scores that are what they say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastconcept.datasets.dataset import Dataset
from fastconcept.engine import Engine
from fastconcept.errors import ConceptError, InputError
from fastconcept.evaluate.ood import SCORES, negatives, ood, scores, split
from tests.planted import mixed

Rows = Callable[..., Dataset]


def test_ood_tells_planted_sides_apart(planted: Engine, write_rows: Rows) -> None:
    data = write_rows([*mixed(40, lion=1), *mixed(40, car=1)], label=["lion.n.01"] * 40 + ["car.n.01"] * 40)
    result = ood(planted, data, "big_cat.n.01", null_seeds=3, repeats=200)
    assert result.counts == (40, 40) and not result.bad
    rows = {row.score: row for row in result.rows}
    assert set(rows) == set(SCORES)
    for score in ("leaves", "definition"):
        assert rows[score].auroc == 1.0 and rows[score].fpr95 == 0.0
    for control, areas in rows["leaves"].null.items():
        assert len(areas) == 3 and rows["leaves"].lift[control][0] == pytest.approx(1 - np.mean(areas))
        assert rows["lemmas"].null[control] != [rows["lemmas"].auroc] * 3
    inside, outside = result.values["leaves"]
    leaves = planted.bank.embeddings[planted.bank.leaves("big_cat.n.01")]
    unit = np.eye(32, dtype=np.float32)[2]
    assert inside.mean() == pytest.approx((leaves @ unit).max(), abs=0.02) and outside.max() < inside.min()


def test_ood_scores_by_their_definitions(planted: Engine) -> None:
    rows = np.random.default_rng(1).standard_normal((7, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    result = scores(planted, rows, "big_cat.n.01", ("mcm", "neglabel"))
    bank, scale = planted.bank, planted.bundle.manifest.logit_scale
    inside = bank.leaves("big_cat.n.01")
    near = np.exp(scale * (rows @ bank.embeddings[inside].T).astype(np.float64))
    np.testing.assert_allclose(result["mcm"], near.max(axis=1) / near.sum(axis=1), rtol=1e-4)
    far = np.exp(scale * (rows @ bank.embeddings[negatives(bank, inside)].T).astype(np.float64))
    np.testing.assert_allclose(result["neglabel"], near.sum(axis=1) / (near.sum(axis=1) + far.sum(axis=1)), rtol=1e-4)
    with pytest.raises(InputError, match="unknown score"):
        scores(planted, rows, "big_cat.n.01", ("energy",))


def test_ood_needs_two_sides(planted: Engine, write_rows: Rows) -> None:
    data = write_rows(mixed(4, lion=1), label=["lion.n.01", "lion.n.01", "zzz.n.01", "a thing that is not there"])
    with pytest.raises(InputError, match="out-of-distribution"):
        ood(planted, data, "big_cat.n.01")
    assert [name for name, _ in split(data, "big_cat.n.01", None)[1]] == ["rows.npz[2]", "rows.npz[3]"]
    with pytest.raises(InputError, match="share"):
        split(data, "feline.n.01", "big_cat.n.01")
    with pytest.raises(ConceptError):
        split(data, "big_catt.n.01", None)

"""Zero-shot classification finds planted classes, dense and decomposed, and null controls do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastconcept.datasets.dataset import Dataset
from fastconcept.engine import Engine
from fastconcept.errors import InputError
from fastconcept.evaluate.zeroshot import class_embeddings, zeroshot
from tests.planted import mixed

Rows = Callable[..., Dataset]


def test_zeroshot_dense_decomposed_and_null(planted: Engine, write_rows: Rows) -> None:
    codes = [*mixed(30, cat=1, grass=0.3), *mixed(30, dog=1, sand=0.3), *mixed(30, car=1, night=0.3)]
    data = write_rows(codes, noise=0.05, label=["cat"] * 30 + ["dog"] * 30 + ["car"] * 29 + ["ship"])
    result = zeroshot(planted, data, classes=["cat", "dog", "car"], l1_penalties=(0.1, 1.5), repeats=200)
    dense, fine, coarse = result.rows
    assert dense.top1 == fine.top1 == 1.0 and fine.retention == 1.0 and result.count == 89
    assert 2 <= fine.l0 < 4 and coarse.l0 < 1.01 < fine.l0 and coarse.cosine < fine.cosine
    assert fine.null["shuffled-definitions"][1] == 0.0
    assert fine.lift["shuffled-definitions"] == pytest.approx((1.0, 1.0, 1.0))
    words, accuracy = fine.null["random-vocabulary"]
    assert words == pytest.approx(fine.l0, rel=0.25) and 0 <= accuracy <= 1.0
    assert [name for name, _ in result.bad] == ["rows.npz[89]"]
    assert dense.against_dense == (0.0, 0.0, 0.0) and coarse.dictionary == "own"
    with pytest.raises(InputError, match="no item"):
        zeroshot(planted, data, classes=["ship wreck"])


def test_curves_of_several_dictionaries(planted: Engine, write_rows: Rows) -> None:
    data = write_rows([*mixed(10, cat=1, grass=0.6), *mixed(10, dog=1, grass=0.6)], label=["cat"] * 10 + ["dog"] * 10)
    sweep = {"l1_penalties": (0.1, 3.0), "nulls": (), "repeats": 50}
    result = zeroshot(planted, data, dictionaries=["classes"], **sweep)
    assert [(row.dictionary, row.l1_penalty) for row in result.others] == [("classes", 0.1), ("classes", 3.0)]
    fine, nothing = result.others
    assert fine.top1 == 1.0 and fine.l0 == 1.0 and nothing.l0 == 0.0 and nothing.against_dense[2] < 0
    kept = result.words_to_keep()
    assert kept["own"] == pytest.approx(result.rows[1].l0) and kept["classes"] == 1.0
    report = result.report({})
    assert "95 % of it is kept by own at 2.0 words, classes at 1.0 words" in report.finding
    assert "own, cosine" in report.to_html() and "Other dictionaries" in report.to_markdown()
    with pytest.raises(InputError, match="needs captions"):
        zeroshot(planted, data, dictionaries=["captions"], **sweep)


def test_class_prompts(planted: Engine) -> None:
    one = class_embeddings(planted, ["lion.n.01"], ["a photo of a {}"])
    np.testing.assert_allclose(one, planted.encode_text(["a photo of a lion"]), atol=1e-6)
    told = class_embeddings(planted, ["cat.n.01"], ["{definition}"])
    definition = "feline mammal usually having thick soft fur and no ability to roar: domestic cats; wildcats"
    np.testing.assert_allclose(told, planted.encode_text([definition]), atol=1e-6)
    both = class_embeddings(planted, ["cat"], ["a {}", "a {} in the grass"])
    sums = planted.encode_text(["a cat"]) + planted.encode_text(["a cat in the grass"])
    np.testing.assert_allclose(both, sums / np.linalg.norm(sums), atol=1e-6)
    with pytest.raises(InputError, match="template"):
        class_embeddings(planted, ["cat"], ["a {colour} cat"])

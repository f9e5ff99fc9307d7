"""Ablations on a planted world, the dictionaries they choose from, and what counts as a relevant word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastconcept.datasets.dataset import Dataset
from fastconcept.datasets.items import Item
from fastconcept.engine import Engine
from fastconcept.errors import InputError
from fastconcept.evaluate.ablate import BASELINE, ablate
from fastconcept.evaluate.other_codes import nearest, omp
from fastconcept.evaluate.relevance import Relevance
from fastconcept.evaluate.vocabularies import uncentred, vocabulary
from fastconcept.kernels.csr import SparseCodes
from fastconcept.sparse.dictionary import Dictionary
from tests.planted import WORDS, mixed

Rows = Callable[..., Dataset]


@pytest.fixture
def photographs(write_rows: Rows) -> Dataset:
    codes = [*mixed(12, cat=1, grass=0.7), *mixed(12, dog=1, sand=0.7)]
    return write_rows(codes, noise=0.05, label=["cat"] * 12 + ["dog"] * 12)


def test_one_choice_at_a_time(planted: Engine, photographs: Dataset) -> None:
    result = ablate(planted, photographs, l0s=(1, 2), dictionary_sizes=(6, 100), repeats=100)
    rows = {(row.design, row.asked): row for row in result.rows}
    designs = list(dict.fromkeys(row.design for row in result.rows))
    assert designs[:7] == [BASELINE, "signed", "no image mean", "no dictionary mean", "no means", "omp", "nearest"]
    assert designs[7:] == ["own:6", "classes", "random-words", "random-rows"]
    assert [name for name, _ in result.bad] == ["captions", "bigrams", "own:100"]
    own = rows[BASELINE, 2]
    assert own.top1 == result.dense == 1.0 and own.l0 == 2.0 and own.negative == 0.0 and own.cosine > 0.97
    assert own.relevance == 0.5 and own.against == dict.fromkeys(("top1", "cosine", "relevance"), (0.0, 0.0, 0.0))
    assert rows[BASELINE, 1].relevance > 0.9  # the animal first, then what it stands on
    assert own.over_chance[1] > 0 and rows["random-rows", 2].against["cosine"][2] < 0
    assert rows["classes", 2].dictionary == 2 and result.judged == result.count == 24
    page = result.report({}).to_html()
    assert "Top-1, by method" in page and "Relevance, by vocabulary" in page and "own:6" in page


def test_signs_are_seen(planted: Engine, write_rows: Rows) -> None:
    """What the embedding points away from has a negative weight, and only without nonnegativity."""
    data = write_rows([*mixed(4, cat=1, sand=-0.8), *mixed(4, dog=1, sand=-0.8)], label=["cat"] * 4 + ["dog"] * 4)
    result = ablate(planted, data, l0s=(2,), dictionary_sizes=(), vocabularies=(), repeats=20)
    rows = {row.design: row for row in result.rows}
    assert rows["signed"].negative == rows["omp"].negative == 0.5 and rows[BASELINE].negative == 0.0
    assert rows["signed"].against["cosine"][1] > 0 and rows["nearest"].negative == 0.0
    assert rows["signed"].relevance == 0.5  # a word that says what is not there is not relevant


def test_bad_input(planted: Engine, photographs: Dataset) -> None:
    with pytest.raises(InputError, match="l0s"):
        ablate(planted, photographs, l0s=(0,))
    with pytest.raises(InputError, match="classes has 2 words, fewer than the 5"):
        ablate(planted, photographs, l0s=(1,), dictionary_sizes=(), vocabularies=["classes:5"])
    for name, message in (
        ("no such", "is no vocabulary"),
        ("own:0", "above 1"),
        ("own:99", "has 12 words, fewer than the 99"),
        ("captions", "needs captions"),
        ("classes", "two words"),
    ):
        with pytest.raises(InputError, match=message):
            vocabulary(planted, name)


def test_vocabularies(planted: Engine, tmp_path: Path) -> None:
    captions = ["A cat in the grass.", "The cat and a dog in the grass", "cat tree"]
    assert vocabulary(planted, "captions", captions=captions).words[:3] == ("cat", "the", "grass")
    words = vocabulary(planted, "bigrams:6", captions=captions).words
    assert words[:4] == ("cat", "the", "grass", "and") and len(words) == 6 and words[4] == "in the"
    assert vocabulary(planted, "classes", classes=["house_cat.n.01", "dog", "dog"]).words == ("domestic cat", "dog")
    drawn = vocabulary(planted, "random-words:400", seed=1)
    assert len(drawn) == 400 and drawn.words == vocabulary(planted, "random-words:400", seed=1).words
    small, large = (set(vocabulary(planted, f"own:{size}").words) for size in (4, 8))
    assert small < large <= set(WORDS)
    (tmp_path / "words.txt").write_text("cat\ndog\ncat\n\nsnow\n")
    assert vocabulary(planted, str(tmp_path / "words.txt")).words == ("cat", "dog", "snow")
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((30, 16)) + 1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    made = Dictionary.from_embeddings([f"w{i}" for i in range(30)], rows)
    np.testing.assert_allclose(uncentred(made), rows, atol=1e-6)


def test_relevance_is_of_label_and_captions() -> None:
    items = [
        Item("a", label="lion.n.01", captions=("A big cat on sand, at night.",)),
        Item("b", label="car.n.01"),
        Item("c"),
        Item("d", label="no word at all"),
    ]
    judge = Relevance(items)
    assert judge.known.tolist() == [True, True, False, False]
    relevant = {word: judge.is_relevant(word, 0) for word in ("lions", "feline", "sand", "sand at", "on sand", "tiger")}
    assert relevant == {"lions": True, "feline": True, "sand": True, "sand at": True, "on sand": True, "tiger": False}
    assert judge.is_relevant("convertible", 1) and not judge.is_relevant("entity", 1)  # above every label
    number = np.ones(4)
    codes = SparseCodes.of(
        [([0, 1], [1, 1]), ([0, 1], [1, -1]), ([], []), ([1], [1])], number, number, number, np.ones(4, np.int32)
    )
    assert judge.shares(codes, ["lion", "car"]).tolist() == [0.5, 0.0, 0.0, 0.0]
    assert replace(items[2], label="lion.n.01").label and judge.by_chance(codes, ["lion", "car"], 0).shape == (4,)


def test_other_codes_have_the_words_asked_for(planted: Engine) -> None:
    rows = np.eye(32, dtype=np.float32)[[0]] * 0.9 + np.eye(32, dtype=np.float32)[[5]] * 0.3
    rows -= np.eye(32, dtype=np.float32)[[6]] * 0.2
    rows /= np.linalg.norm(rows)
    pursued = omp(rows, planted.dictionary, planted.image_mean, 3)[0]
    assert dict(pursued.top()) == pytest.approx({"cat": rows[0, 0], "grass": rows[0, 5], "sand": rows[0, 6]}, abs=1e-6)
    close = nearest(rows, planted.dictionary, planted.image_mean, 3)[0]
    assert dict(close.top()) == pytest.approx({"cat": rows[0, 0], "grass": rows[0, 5]}, abs=1e-6)
    assert np.isnan(close.gap) and close.l0 == 2

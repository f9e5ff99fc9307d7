"""Concept histograms tell planted groups apart, and class names are among the words of their class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastconcept.datasets.dataset import Dataset
from fastconcept.engine import Engine
from fastconcept.errors import InputError
from fastconcept.evaluate.concepts import concepts
from tests.planted import mixed

Rows = Callable[..., Dataset]


def test_concepts_of_groups_and_their_difference(planted: Engine, write_rows: Rows) -> None:
    codes = [*mixed(40, cat=0.6, grass=0.4), *mixed(40, cat=0.6, sand=0.4)]
    data = write_rows(codes, label=["cat"] * 80, place=["field"] * 40 + ["beach"] * 40)
    result = concepts(planted, data, by="place", compare=("beach", "field"), l1_penalty=0.1, repeats=400, top=5)
    everything, beach, field = result.groups
    assert (everything.count, beach.count, field.count) == (80, 40, 40)
    assert everything.words[0][0] == "cat" and [w for w, _ in beach.words[:2]] == ["cat", "sand"]
    words = {entry.word: entry for entry in result.differences}
    assert words["sand"].low > 0 > words["grass"].high and words["sand"].q < 0.05 and words["sand"].effect > 3
    assert result.differing >= 2 and result.differing_by_chance < 0.5
    single = planted.decompose(embeddings=data.embeddings, l1_penalty=0.1)
    mean = np.mean([dict(single[k].top())["sand"] for k in range(40, 80)])
    assert words["sand"].means[0] == pytest.approx(mean)
    with pytest.raises(InputError, match="forest has 0 items"):
        concepts(planted, data, by="place", compare=("beach", "forest"))


def test_class_names_are_among_their_words(planted: Engine, write_rows: Rows) -> None:
    data = write_rows(
        [*mixed(9, cat=1), *mixed(9, dog=1), *mixed(9, lion=1)], label=["cat"] * 9 + ["dog"] * 9 + ["lion"] * 9
    )
    result = concepts(planted, data, l1_penalty=0.3)
    assert result.named == 1.0 and result.named_null == 0.0

"""An edit hides the label that depends on the words, and keeps the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastconcept.datasets.dataset import Dataset
from fastconcept.engine import Engine
from fastconcept.errors import ConceptError, InputError
from fastconcept.evaluate.edit import edit, scaled_embeddings
from fastconcept.evaluate.weights import decompose_dataset
from tests.planted import WORDS

Rows = Callable[..., Dataset]


def test_editing_hides_the_nuisance_and_keeps_the_target(planted: Engine, write_rows: Rows) -> None:
    pytest.importorskip("sklearn")
    combinations = [(a, b) for a in ("cat", "dog") for b in ("grass", "sand") for _ in range(15)]
    data = write_rows(
        [{a: 1.0, b: 0.8} for a, b in combinations],
        label=[a for a, _ in combinations],
        place=[b for _, b in combinations],
    )
    result = edit(planted, data, ["grass", "sand"], nuisance="place", l1_penalty=0.1, folds=3)
    dense, plain, edited, null = result.rows
    assert dense.target == plain.target == edited.target == 1.0 and edited.worst == 1.0
    assert plain.nuisance == 1.0 and edited.nuisance <= 0.6 and edited.retrained <= 0.75 < null.nuisance
    assert result.words == ("grass", "sand") and result.touched == 1.0
    same = edit(planted, data, ["grass", "sand"], nuisance="place", l1_penalty=0.1, folds=3, scale=1.0)
    assert same.rows[2].nuisance == same.rows[1].nuisance
    with pytest.raises(ConceptError):
        edit(planted, data, ["gras"], nuisance="place")
    with pytest.raises(InputError, match="two values"):
        edit(planted, data, ["grass"], nuisance="absent")
    with pytest.raises(InputError, match="at least one word"):
        edit(planted, data, [], nuisance="place")


def test_editing_is_without(planted: Engine, write_rows: Rows) -> None:
    data = write_rows([{"cat": 1, "grass": 0.5}, {"dog": 1}])
    result = decompose_dataset(planted, data, l1_penalty=0.1)
    changed = scaled_embeddings(planted, result, np.array([WORDS.index("grass")]), 0.0)
    expected = planted.decompose(embeddings=data.embeddings, l1_penalty=0.1)[0].without("grass").embedding
    np.testing.assert_allclose(changed[0], expected, atol=1e-6)

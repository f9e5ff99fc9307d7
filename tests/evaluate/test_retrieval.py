"""Retrieval finds planted captions both ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fastconcept.datasets.dataset import Dataset
from fastconcept.engine import Engine
from fastconcept.errors import InputError
from fastconcept.evaluate.retrieval import retrieval

Rows = Callable[..., Dataset]


def test_retrieval_finds_captions_both_ways(planted: Engine, write_rows: Rows) -> None:
    data = write_rows([{"cat": 1, "grass": 1}, {"dog": 1, "sand": 1}, {"car": 1}], label=["a", "b", "c"])
    captions = (("a cat on grass", "grass"), ("a dog on sand",), ("a car", "cars in a row"))
    items = tuple(replace(item, captions=text) for item, text in zip(data.items, captions, strict=True))
    silent = replace(data.items[0], name="silent")
    result = retrieval(planted, replace(data, items=(*items, silent)), l1_penalties=(0.1,), repeats=50)
    assert (result.images, result.captions) == (3, 5) and result.bad == [("silent", "has no caption")]
    assert [row.kind for row in result.rows] == ["dense", "decomposed images", "decomposed both"]
    for row in result.rows:
        assert row.text_to_image[1] == row.image_to_text[1] == 1.0
        assert row.null["shuffled-definitions"][0] < 1.0
    with pytest.raises(InputError, match="caption"):
        retrieval(planted, data)

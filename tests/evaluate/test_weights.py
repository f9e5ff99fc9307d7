"""What items say about a key."""

from __future__ import annotations

import pytest

from fastconcept.datasets.items import Item
from fastconcept.errors import ConceptError
from fastconcept.evaluate.weights import group_values


def test_what_items_say() -> None:
    items = [
        Item("a", label="lion.n.01", box_labels=("dog.n.01", "car.n.01"), attributes={"year": "3"}),
        Item("b", label="car.n.01", box_labels=("a thing",)),
        Item("c"),
    ]
    assert group_values(items, "year") == ["3", None, None]
    assert group_values(items, "has:animal.n.01") == ["yes", "no", "no"]
    assert group_values(items, "below:feline.n.01") == ["yes", "no", "no"]
    with pytest.raises(ConceptError):
        group_values(items, "has:feeline.n.01")

"""Results: boxes in pixels of the original, maps at both resolutions, pictures, plain values."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from fastconcept.errors import ConceptError, InputError
from fastconcept.saliency.components import largest_component
from fastconcept.saliency.result import ConceptMap, Explanation, View


def concept_map(cells: np.ndarray, region: tuple[int, int, int, int] = (10, 0, 110, 50)) -> ConceptMap:
    image = np.random.default_rng(0).integers(0, 256, (50, 120, 3), dtype=np.uint8)
    view = View(image, region, (cells.shape[0] * 16, cells.shape[1] * 16))
    return ConceptMap("cat", "cat.n.01", "", cells.astype(np.float32), False, 0.9, 7, 0.3, view)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_largest_component_agrees_with_skimage(mask: np.ndarray) -> None:
    measure = pytest.importorskip("skimage.measure")
    found = largest_component(mask)
    labels = measure.label(mask, connectivity=1)
    if not mask.any():
        assert found is None
        return
    areas = {region.area: region.bbox for region in reversed(measure.regionprops(labels))}
    top, left, bottom, right = areas[max(areas)]
    assert found == (left, top, right, bottom)


def test_box_is_in_pixels_of_the_original() -> None:
    cells = np.zeros((2, 4))
    cells[1, 2:] = 1
    assert concept_map(cells).box() == (60.0, 25.0, 110.0, 50.0)
    with pytest.raises(InputError, match="threshold"):
        concept_map(cells).box(1.5)


def test_maps_at_both_resolutions() -> None:
    cells = np.linspace(0, 1, 8).reshape(2, 4)
    found = concept_map(cells)
    assert found.map.shape == (32, 64) and (found.map[:16, :16] == 0).all() and (found.map[16:, 48:] == 1).all()
    full = found.resized()
    assert full.shape == (50, 120) and full.dtype == np.float32
    assert (full[:, :10] == 0).all() and (full[:, 110:] == 0).all()
    np.testing.assert_array_equal(np.unique(found.resized(smooth=False)[:, 10:110]), cells.astype(np.float32).ravel())


def test_explanation_indexes_draws_and_serialises() -> None:
    seen = Explanation((concept_map(np.eye(3)), concept_map(np.ones((3, 3)))), "crops", {"stride": 16}, {"encode": 1.0})
    assert seen.maps.shape == (2, 48, 48) and len(seen) == 2 and len(list(seen)) == 2
    assert repr(seen) == "<Explanation of 2 by crops: cat 0.9000, cat 0.9000>"
    assert seen["cat"] is seen[0] and seen["cat.n.01"] is seen[0]
    with pytest.raises(ConceptError, match="was not explained") as caught:
        seen["dog"]
    assert caught.value.suggestions == ("cat", "cat")
    assert seen[0].overlay(box=True).size == (120, 50)
    assert seen.overlay().mode == "RGB"
    assert seen._repr_html_().count("<img") == 2 and "&lt;" not in seen._repr_html_()
    assert json.loads(json.dumps(seen.to_dict()))["concepts"][0]["box"] == [10, 0, 43.33, 16.67]

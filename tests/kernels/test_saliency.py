"""Contract of saliency_maps, over every backend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconcept.errors import InputError
from fastconcept.kernels import reference
from fastconcept.kernels.contract import Kernels


def draw(seed: int, height: int, width: int, patches: int, concepts: int, kind: str) -> tuple[np.ndarray, ...]:
    """Values, boxes and weights; the first box covers everything, others may lie partly or wholly outside."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(-6, max(height, width) + 2, (patches, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 9, (patches, 2))], axis=1).astype(np.int32)
    boxes[0] = [0, 0, width, height]
    if kind == "ranks":
        values = rng.integers(0, 82_115, (patches, concepts)).astype(np.int32)
    else:
        values = rng.standard_normal((patches, concepts)).astype(np.float32)
    weights = rng.choice([1.0, 0.25, 1 / 3], patches) if seed % 2 else rng.uniform(1e-3, 10, patches)
    return values, boxes, weights


cases = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(1, 15),
    st.integers(1, 15),
    st.integers(1, 40),
    st.integers(0, 70),
    st.sampled_from(["ranks", "similarities"]),
)


@given(case=cases)
@settings(max_examples=80)
def test_maps_are_weighted_means_stretched(kernels: Kernels, case: tuple[int, int, int, int, int, str]) -> None:
    values, boxes, weights = draw(*case)
    shape = case[1:3]
    ours = kernels.saliency_maps(values, boxes, weights, shape)
    exact = reference.saliency_maps(values, boxes, weights, shape)
    assert ours.maps.shape == (values.shape[1], *shape) and ours.maps.dtype == np.float32
    scale = np.abs(values.astype(np.float64)).max(axis=0, initial=0)
    np.testing.assert_array_less(np.abs(ours.low - exact.low), 1e-9 * scale + 1e-300)
    np.testing.assert_array_less(np.abs(ours.high - exact.high), 1e-9 * scale + 1e-300)
    span = np.maximum(exact.high - exact.low, 1e-300)
    np.testing.assert_array_less(np.abs(ours.maps - exact.maps).max(axis=(1, 2)), 2e-7 + 1e-9 * scale / span)


@given(case=cases)
@settings(max_examples=40)
def test_maps_fill_the_range(kernels: Kernels, case: tuple[int, int, int, int, int, str]) -> None:
    values, boxes, weights = draw(*case)
    maps, low, high = kernels.saliency_maps(values, boxes, weights, case[1:3])
    assert (maps >= 0).all() and (maps <= 1).all()
    assert (maps.max(axis=(1, 2)) == 1).all()
    stretched = maps.min(axis=(1, 2)) == 0
    assert ((low == high) | stretched | (maps == 1).all(axis=(1, 2))).all()


@pytest.mark.parametrize("value", [0, 3, 82_114])
def test_constant_values_give_ones_whatever_the_weights(kernels: Kernels, value: int) -> None:
    _, boxes, weights = draw(4, 14, 14, 200, 1, "ranks")
    values = np.full((200, 2), value, np.int32)
    maps, low, high = kernels.saliency_maps(values, boxes, weights, (14, 14))
    assert (maps == 1).all()
    np.testing.assert_allclose([low, high], value, rtol=1e-12)


def test_the_smallest_real_difference_is_not_taken_for_rounding(kernels: Kernels) -> None:
    values = np.full((1800, 1), 82_114, np.int32)
    boxes = np.tile(np.array([0, 0, 2, 1], np.int32), (1800, 1))
    values[0], boxes[0] = 82_113, [0, 0, 1, 1]  # one rank, at one of 1,800 patches, in one of two cells
    maps, _, _ = kernels.saliency_maps(values, boxes, np.ones(1800), (1, 2))
    np.testing.assert_array_equal(maps, [[[1, 0]]])


def test_light_patches_are_not_drowned_by_heavy_ones(kernels: Kernels) -> None:
    boxes = np.array([[0, 0, 1, 1], [1, 0, 2, 1], [2, 0, 3, 1]], np.int32)
    values = np.array([[7], [5], [6]], np.int32)
    maps, _, _ = kernels.saliency_maps(values, boxes, np.array([1e12, 1e-12, 1.0]), (1, 3))
    np.testing.assert_allclose(maps, [[[0, 1, 0.5]]])


def test_low_values_are_salient(kernels: Kernels) -> None:
    boxes = np.array([[0, 0, 1, 1], [1, 0, 2, 1]], np.int32)
    maps, low, high = kernels.saliency_maps(np.array([[3, 9], [7, 1]], np.int32), boxes, np.ones(2), (1, 2))
    np.testing.assert_array_equal(maps, [[[1, 0]], [[0, 1]]])
    assert (list(low), list(high)) == ([3, 1], [7, 9])


def bad(**changes: object) -> object:
    return pytest.param(changes, id=" ".join(f"{name}={value}" for name, value in changes.items())[:60])


@pytest.mark.parametrize(
    "changes",
    [
        bad(values=np.zeros((2, 1))),
        bad(values=np.zeros(2, np.int32)),
        bad(values=np.zeros((2, 4), np.int32)[:, ::2]),
        bad(values=np.array([[0], [np.nan]], np.float32)),
        bad(values=np.array([[-np.inf], [0]], np.float32)),
        bad(boxes=np.array([[0, 0, 2, 2]])),
        bad(boxes=np.array([[0, 0, 2, 2], [1, 1, 1, 2]])),
        bad(boxes=np.array([[0, 0, 2, 2], [1, 2, 2, 1]])),
        bad(boxes=np.array([[0, 0, 2, 1], [0, 0, 1, 2]])),  # leaves a cell uncovered
        bad(boxes=np.array([[5, 5, 9, 9], [-4, -4, -1, -1]])),
        bad(boxes=np.array([[0, 0, 2, 2], [0, 0, 2**31, 2]])),
        bad(boxes=np.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])),
        bad(weights=np.array([1.0, 0.0])),
        bad(weights=np.array([1.0, -1.0])),
        bad(weights=np.array([1.0, np.nan])),
        bad(weights=np.array([np.inf, 1.0])),
        bad(weights=np.ones(3)),
        bad(weights=np.ones(2, np.float32)),
        bad(shape=(0, 2)),
        bad(shape=(2,)),
        bad(shape=(2.0, 2.0)),
        bad(shape=(2**20, 2**20)),
    ],
)
def test_bad_arguments_are_refused(kernels: Kernels, changes: dict[str, object]) -> None:
    arguments: dict[str, object] = {
        "values": np.zeros((2, 1), np.int32),
        "boxes": np.array([[0, 0, 2, 2], [0, 0, 1, 1]], np.int32),
        "weights": np.ones(2),
        "shape": (2, 2),
    }
    with pytest.raises(InputError, match=next(iter(changes))):
        kernels.saliency_maps(**arguments | changes)


def test_extreme_boxes_are_cut_to_the_map(kernels: Kernels) -> None:
    low, high = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    boxes = np.array([[low, low, high, high], [low, low, -1, -1], [high - 1, 0, high, high]], np.int32)
    maps, _, _ = kernels.saliency_maps(np.array([[1], [2], [3]], np.int32), boxes, np.ones(3), (3, 4))
    assert (maps == 1).all()

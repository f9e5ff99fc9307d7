"""Boxes and their measures: against pycocotools and scipy, and the small print of each protocol worked out by hand."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastconcept.errors import InputError, MissingDependencyError
from fastconcept.evaluate import boxes
from fastconcept.evaluate.components import find_components
from fastconcept.saliency.components import largest_component

masks = arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(masks, st.booleans())
def test_components_are_those_of_scipy(mask: np.ndarray, diagonal: bool) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    values = np.random.default_rng(0).random(mask.shape)
    parts = find_components(np.stack([mask, ~mask]), diagonal, values)
    first = parts.owners == 0
    found, areas = parts.boxes[first], parts.areas[first]
    labels, count = ndimage.label(mask, np.ones((3, 3)) if diagonal else None)
    expected = sorted(
        (
            (x.start, y.start, x.stop, y.stop),
            int((labels == k + 1).sum()),
            round(values[labels == k + 1].max(), 9),
            round(values[labels == k + 1].sum(), 9),
        )
        for k, (y, x) in enumerate(ndimage.find_objects(labels))
    )
    told = zip(found.tolist(), areas.tolist(), parts.peaks[first].round(9), parts.sums[first].round(9), strict=True)
    assert sorted((tuple(box), *rest) for box, *rest in told) == expected
    assert len(areas) == count


@given(masks)
def test_the_part_that_gets_the_box(mask: np.ndarray) -> None:
    values = np.random.default_rng(1).random(mask.shape)
    parts = find_components(mask[None], values=values)
    if not mask.any():
        assert largest_component(mask) is None and not len(parts.select())
        return
    assert largest_component(mask) == tuple(parts.boxes[parts.areas.argmax()])
    x0, y0, x1, y1 = parts.boxes[parts.select("peak")[0]]
    assert values[y0:y1, x0:x1].max() >= values[mask].max()
    assert parts.sums[parts.select("heaviest")[0]] == parts.sums.max()


def test_components_without_scipy_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingDependencyError, match=r"fastconcept\[evaluate\]"):
        find_components(np.ones((1, 2, 2), bool))


def test_iou_is_that_of_pycocotools() -> None:
    mask = pytest.importorskip("pycocotools.mask")
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 50, (2, 30, 2))
    sizes = generator.uniform(0.1, 40, (2, 30, 2))
    ours = boxes.iou(*np.concatenate([corners, corners + sizes], axis=2))
    theirs = mask.iou(*np.concatenate([corners, sizes], axis=2), np.zeros(30, np.uint8))
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert boxes.iou([[0, 0, 0, 0]], [[0, 0, 0, 0]]) == 0


def test_convis_curve_by_hand() -> None:
    cells = np.array([[0.2, 0.9, 1.0], [0.0, 0.9, 0.4]])
    curve = boxes.convis_curve(cells, np.array([[1 / 3, 0, 1, 1]]))
    assert curve[0] == pytest.approx(4 / 6)  # all six cells are at or above 0
    assert curve[1] == curve[20] == pytest.approx(4 / 6)  # five cells, still as wide as the map
    assert curve[21] == curve[40] == 1.0  # the four right ones
    assert curve[41] == curve[90] == 1.0  # three of them, with the same tight box
    assert curve[91] == curve[99] == pytest.approx(1 / 4)


def test_the_best_of_several_true_boxes_counts() -> None:
    cells = np.array([[1.0, 0.0, 0.0, 1.0]])
    truth = np.array([[0.75, 0, 1, 1], [0, 0, 0.25, 1]])
    assert boxes.convis_curve(cells, truth)[50] == 1.0
    assert boxes.pointing_game(cells, truth[:1]) == 0.5 and boxes.pointing_game(cells, truth) == 1.0


def test_wsol_takes_inclusive_ends_and_every_component() -> None:
    cells = np.zeros((224, 224), np.float32)
    cells[10:30, 20:60], cells[100:110, 100:110] = 1.0, 1.0
    truth = np.array([[100, 100, 110, 110]]) / 224
    largest, best = boxes.wsol_curves(cells, truth)
    assert (largest[:255] == 0).all()  # the largest component is the other one
    # The protocol takes x0 + w for the last pixel: 100..110 is eleven pixels, as the floor of the true end is.
    assert best[:255] == pytest.approx(1.0) and best[255] == 0
    assert boxes.max_box_accuracy([largest], 0.5, inclusive=True) == (0.0, 0)


def test_wsol_reaches_the_last_pixel_of_the_image() -> None:
    largest, best = boxes.wsol_curves(np.ones((3, 5)), np.array([[0.0, 0.0, 1.0, 1.0]]))
    assert largest[0] == best[0] == 1.0 and largest[254] == 1.0 and largest[255] == 0.0


def test_delta_is_strict_for_convis_and_not_for_wsol() -> None:
    assert boxes.max_box_accuracy([[0.5]]) == (0.0, 0)
    assert boxes.max_box_accuracy([[0.5]], inclusive=True) == (1.0, 0)


def test_boxes_are_cut_to_the_region() -> None:
    np.testing.assert_allclose(boxes.to_unit([[-5, 10, 30, 200]], (10, 0, 110, 100)), [[0, 0.1, 0.2, 1]])
    with pytest.raises(InputError, match="no box reaches"):
        boxes.to_unit([[0, 0, 9, 9]], (10, 0, 110, 100))


def test_fewer_thresholds_are_some_of_all() -> None:
    cells, truth = np.random.default_rng(2).random((5, 6)), np.array([[0.1, 0.2, 0.6, 0.9]])
    for fine, coarse in zip(boxes.wsol_curves(cells, truth), boxes.wsol_curves(cells, truth, 64), strict=True):
        np.testing.assert_array_equal(coarse[::4], fine[::4])
        np.testing.assert_array_equal(coarse[:252].reshape(63, 4).std(axis=1), np.zeros(63))


def test_peak_and_heaviest_part_by_hand() -> None:
    cells = np.array([[0.5, 0.5, 0.5, 0.0, 0.9, 0.9, 0.0, 1.0]])
    truth = [np.array([[start / 8, 0, end / 8, 1]]) for start, end in ((0, 3), (7, 8), (4, 6))]
    for part, box in zip(boxes.PARTS, truth, strict=True):
        assert boxes.convis_curve(cells, box, part)[45] == 1.0, part
        assert sum(boxes.convis_curve(cells, box, other)[45] for other in boxes.PARTS) == 1.0

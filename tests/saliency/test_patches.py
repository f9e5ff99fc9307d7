"""Geometry: the patches of the reference, whole cells, every cell covered, bounds before work."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconcept.errors import InputError
from fastconcept.saliency import patches


def test_the_reference_needs_730_of_its_1800_patches() -> None:
    grid = patches.patch_grid(224, 224, {128: 16, 64: 16}, False)
    assert len(grid) == 730 and grid.shape == (14, 14) and grid.margin == 128
    sides = grid.boxes[:, 2] - grid.boxes[:, 0]
    assert (sides == 128).sum() == 441 and (sides == 64).sum() == 289
    assert grid.boxes.min() >= 0 and grid.boxes.max() <= 480


@given(
    height=st.integers(1, 4000),
    width=st.integers(1, 4000),
    sizes=st.lists(st.integers(1, 12).map(lambda n: n * 16), min_size=1, max_size=3),
    stride=st.sampled_from([16, 32]),
    inside=st.booleans(),
    fit=st.sampled_from(["full", "crop"]),
)
def test_cells_are_whole_and_every_cell_is_covered(
    height: int, width: int, sizes: list[int], stride: int, inside: bool, fit: str
) -> None:
    stride = min(stride, *sizes)
    cell = patches.cell_size(sizes, stride)
    size = patches.working_size(height, width, fit, cell)
    assert size[0] % cell == 0 and size[1] % cell == 0 and min(size) == 224
    if max(size) > 2000:
        return
    grid = patches.patch_grid(*size, dict.fromkeys(sizes, stride), inside)
    covered = np.zeros(grid.shape, int)
    for x0, y0, x1, y1 in grid.cells:
        covered[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] += 1
    assert covered.min() >= 1
    assert ((grid.cells * cell + grid.margin) == grid.boxes).all()
    bordered = np.array([size[1], size[0]]) + 2 * grid.margin
    assert (grid.boxes[:, :2] >= 0).all() and (grid.boxes[:, 2:] <= bordered).all()


def test_equal_weights_make_both_sizes_count_the_same() -> None:
    grid = patches.patch_grid(224, 224, {128: 16, 64: 16}, False)
    side = grid.boxes[:, 2] - grid.boxes[:, 0]
    in_first_cell = (grid.cells[:, :2] <= 0).all(axis=1) & (grid.cells[:, 2:] > 0).all(axis=1)
    weights = grid.weights("equal")
    totals = [weights[in_first_cell & (side == size)].sum() for size in (128, 64)]
    assert totals[0] == totals[1]


def test_too_many_patches_and_patches_too_large_are_refused() -> None:
    with pytest.raises(InputError, match="more than 50,000 patches"):
        patches.patch_grid(224, 224 * 5000, {64: 16}, False)
    with pytest.raises(InputError, match="do not fit inside"):
        patches.patch_grid(224, 224, {256: 16}, True)


def test_parts_of_a_grid() -> None:
    grid = patches.patch_grid(224, 304, {64: 16, 32: 16}, False)
    everything, rows = grid.select()
    assert (rows == np.arange(len(grid))).all() and (everything.boxes == grid.boxes).all()
    small, rows = grid.select((32,))
    assert (rows == np.flatnonzero(grid.sides == 32)).all() and (small.boxes == grid.boxes[rows]).all()
    inside = grid.select((64,), inside=True)[0]
    assert 0 < len(inside) < (grid.sides == 64).sum()
    pairs = zip(grid.sides.tolist(), grid.weights("equal").tolist(), strict=True)
    assert set(pairs) == {(64, 1.0), (32, 4.0)}
    with pytest.raises(InputError, match="128 px"):
        grid.select((128,))
    with pytest.raises(InputError, match="every 16 px, not every 24"):
        grid.select((64,), strides=(24,))
    with pytest.raises(patches.Uncovered, match="do not cover"):
        patches.PatchGrid((2, 2), 32, 0, np.array([[0, 0, 32, 32]], np.int32), {32: 32}).select()


@pytest.mark.parametrize("border", ["noise", "constant", "reflect"])
def test_borders(border: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    bordered = patches.add_border(image, 64, border, 3, (0.5, 0.25, 1.0))
    assert bordered.shape == (160, 176, 3) and (bordered[64:96, 64:112] == image).all()
    if border == "constant":
        assert bordered[0, 0].tolist() == [128, 64, 255]
    if border == "reflect":
        assert (bordered[63, 64:112] == image[0]).all()
    if border == "noise":
        again, other = (patches.add_border(image, 64, border, seed, (0, 0, 0)) for seed in (3, 4))
        assert (again == bordered).all() and (other != bordered).any()

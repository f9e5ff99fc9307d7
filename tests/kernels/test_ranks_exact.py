"""Compiled ranks equal the float64 reference exactly, also where float32 cannot tell two concepts apart."""

from __future__ import annotations

import numpy as np
import pytest

from fastconcept.kernels import cpu, reference


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def crowded(rng: np.random.Generator, rows: int, dims: int, spread: float) -> np.ndarray:
    """Unit rows so close together that many similarities differ by less than float32 can resolve."""
    return unit(rng.standard_normal(dims) + spread * rng.standard_normal((rows, dims)))


@pytest.mark.parametrize("spread", [1.0, 1e-3, 3e-7])
@pytest.mark.parametrize("dims", [3, 64, 512])
def test_ranks_are_those_of_exact_arithmetic(spread: float, dims: int) -> None:
    rng = np.random.default_rng(dims)
    bank, patches = crowded(rng, 900, dims, spread), unit(rng.standard_normal((50, dims)))
    queries = np.concatenate([bank[5:8], crowded(rng, 3, dims, spread)])
    indptr = np.array([0, 1, 40, 940], np.int64)
    indices = np.concatenate([[17], rng.choice(900, 39, replace=False), np.arange(900)])
    ours = cpu.subtree_ranks(patches, bank, indptr, indices, queries)
    expected = reference.subtree_ranks(patches, bank, indptr, indices, queries)
    np.testing.assert_array_equal(ours.ranks, expected.ranks)
    np.testing.assert_allclose(ours.similarities, expected.similarities, rtol=0, atol=1e-7)
    few = cpu.subtree_ranks(patches, bank, indptr[:3], indices[:40])  # counted another way than many, and in tiles
    np.testing.assert_array_equal(few.ranks, expected.ranks[:, :2])
    wide = cpu.subtree_ranks(patches, bank, indptr[[0, 3]] - [0, 40], indices[40:])
    np.testing.assert_array_equal(wide.ranks, expected.ranks[:, 2:3])
    float32_ranks = (patches @ bank.T > (patches @ bank[17])[:, None]).sum(axis=1)
    if spread == 3e-7:  # the test would be empty if float32 got these right
        assert (float32_ranks != expected.ranks[:, 0]).any()


def test_rows_that_are_not_of_unit_length() -> None:
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.integers(-15, 15, (300, 1))
    bank = (rng.standard_normal((300, 32)) * scale).astype(np.float32)
    patches = (rng.standard_normal((20, 32)) * 1e3).astype(np.float32)
    indptr, indices = np.arange(301), np.arange(300)
    ours, expected = (k.subtree_ranks(patches, bank, indptr, indices) for k in (cpu, reference))
    np.testing.assert_array_equal(ours.ranks, expected.ranks)


def test_many_concepts_where_similarities_overflow() -> None:
    rng = np.random.default_rng(0)
    bank, patches = unit(rng.standard_normal((100, 200))), unit(rng.standard_normal((4, 200)))
    bank[3], bank[4], bank[5] = 3e38, -3e38, np.where(np.arange(200) % 2, 3e38, -3e38)  # products beyond float32
    patches[1:] *= np.float32(1e3)
    ranks = cpu.subtree_ranks(patches, bank, np.arange(101), np.arange(100)).ranks
    assert ((ranks >= 0) & (ranks <= 100)).all()  # infinite and undefined similarities: no rank is right, none is wild

"""Kernels with arguments of any shape, type and value; under AddressSanitizer by ``make fuzz-asan``."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastconcept.kernels import _cpu, backend
from tests.fuzz.properties import inputs, only_our_errors

if (core := os.environ.get("FASTCONCEPT_CORE")) and not _cpu.__file__.startswith(core):
    raise RuntimeError(f"the tests are meant for the core in {core}, but {_cpu.__file__} was imported")

KERNELS = backend("cpu")
sides = st.integers(0, 9)
floats = st.floats(width=32) | st.sampled_from([0.0, 1.0, -1.0])
types = st.sampled_from([np.float32] * 6 + [np.float64, np.float16, np.int32, np.uint8])
integers = st.integers(-2, 12) | st.sampled_from([-(2**31), 2**31 - 1])


def matrices(width: int) -> st.SearchStrategy[Any]:
    usual = arrays(np.float32, st.tuples(sides, st.just(width)), elements=st.floats(-1, 1, width=32))
    odd = types.flatmap(lambda kind: arrays(kind, st.lists(sides, min_size=1, max_size=3).map(tuple)))
    return usual | usual | usual | odd


def indices() -> st.SearchStrategy[Any]:
    return arrays(np.int32, st.integers(0, 12), elements=integers) | arrays(np.int64, 3)


@given(st.data())
@inputs(60, 0.01)
def test_ranks(data: st.DataObject) -> None:
    patches, bank = data.draw(matrices(4)), data.draw(matrices(4))
    parts = [data.draw(indices()) for _ in range(3)]
    with only_our_errors():
        KERNELS.subtree_ranks(patches, bank, parts[0], parts[1], num_threads=1)
    with only_our_errors():
        KERNELS.all_ranks(patches, bank, *parts, num_threads=1)


@given(st.data())
@inputs(60, 0.01)
def test_maps_and_pictures(data: st.DataObject) -> None:
    boxes = data.draw(arrays(np.int32, st.tuples(sides, st.just(4)), elements=integers))
    shape = (data.draw(integers.filter(lambda n: n < 100)), data.draw(integers.filter(lambda n: n < 100)))
    with only_our_errors():
        KERNELS.saliency_maps(
            data.draw(matrices(len(boxes))), boxes, data.draw(matrices(1)).ravel(), shape, num_threads=1
        )
    picture = data.draw(arrays(np.uint8, st.tuples(sides, sides, st.integers(2, 4))))
    statistics = [tuple(data.draw(st.lists(floats, min_size=3, max_size=3))) for _ in range(2)]
    with only_our_errors():
        KERNELS.resize_patches(picture, boxes, shape, *statistics, data.draw(st.sampled_from(["bicubic", "x"])))


@given(st.data())
@inputs(40, 0.01)
def test_sparse_codes(data: st.DataObject) -> None:
    dictionary, targets = data.draw(matrices(4)), data.draw(matrices(4))
    penalty = data.draw(st.floats(0.01, 2) | st.sampled_from([0.0, -1.0, float("nan"), float("inf")]))
    with only_our_errors():
        KERNELS.nnlasso(dictionary, targets, penalty, num_threads=1)
    with only_our_errors():
        KERNELS.nnlasso_l0(dictionary, targets, data.draw(st.integers(-1, 6)), num_threads=1)

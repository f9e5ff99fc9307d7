"""Frames, pictures and modes of any size: streams, windows and dense passes, preprocessing, decompositions."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.fuzz.engines import colours
from tests.fuzz.properties import inputs, numbers, odd_values, only_our_errors

ENGINE = colours()
sides = st.integers(0, 40) | st.sampled_from([1, 2, 200])
shapes = st.tuples(sides, sides, st.sampled_from([3, 3, 3, 1, 4, 2]))
frames = shapes.flatmap(lambda shape: st.integers(0, 255).map(lambda level: np.full(shape, level, np.uint8)))
frames |= arrays(st.sampled_from([np.float32, np.uint16, np.int64, np.bool_]), st.tuples(sides, sides))
times = st.floats() | st.integers(0, 9) | st.just(10**400)
layouts = st.fixed_dictionaries(
    {"mode": st.sampled_from(["crops", "windows", "dense"])},
    optional={
        "sizes": st.lists(st.integers(1, 70) | numbers, min_size=1, max_size=3),
        "stride": st.integers(1, 40) | numbers,
        "short_side": st.integers(0, 90) | numbers,
        "border": st.sampled_from(["noise", "inside", "constant", "clip"]),
        "fit": st.sampled_from(["full", "crop"]),
        "class_bias": odd_values,
    },
)


@given(st.lists(frames | st.tuples(times, frames) | odd_values, max_size=4), layouts, odd_values)
@inputs(8, 0.02)
def test_streams(pictures: list[Any], layout: dict[str, Any], odd: Any) -> None:
    pace = {"every": 1} if odd is None else {"every": 1, "tolerance": odd}
    with (
        only_our_errors(),
        ENGINE.stream(pictures, ["red"], **{"stride": 16, "sizes": [16], **layout}, **pace) as stream,
    ):
        for seen in stream:
            assert seen.explanation.maps.shape[0] == 1


@given(frames | odd_values, layouts)
@inputs(40, 0.03)
def test_modes(picture: Any, layout: dict[str, Any]) -> None:
    with only_our_errors():
        seen = ENGINE.explain(picture, ["red", "blue"], **{"stride": 16, "sizes": [16], "short_side": 32, **layout})
        for one in seen if isinstance(seen, list) else [seen]:
            assert one.maps.shape[0] == 2 and np.isfinite(one.maps).all()


outs = arrays(st.sampled_from([np.float32, np.float64]), st.tuples(st.integers(0, 3), *map(st.just, (3, 8, 8))))


@given(st.lists(frames | odd_values, max_size=3) | frames | odd_values, outs | odd_values)
@inputs(30, 0.02)
def test_preprocessing(pictures: Any, out: Any) -> None:
    with only_our_errors():
        ENGINE.preprocess(pictures, out=out)
    with only_our_errors():
        pixels = ENGINE.preprocess(pictures)
        assert pixels.shape[1:] == (3, 8, 8) and np.isfinite(pixels).all()


@given(
    st.lists(arrays(np.float32, 3, elements=st.floats(width=32)), max_size=3) | odd_values,
    st.fixed_dictionaries({}, optional={"l0": odd_values, "l1_penalty": odd_values}),
)
@inputs(40, 0.02)
def test_decompositions(rows: Any, chosen: dict[str, Any]) -> None:
    with only_our_errors():
        ENGINE.decompose(embeddings=rows, **chosen)

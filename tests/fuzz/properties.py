"""What every fuzz test shares: how many inputs it gets, changed bytes and documents, and what may happen to them."""

from __future__ import annotations

import copy
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fastconcept.errors import FastconceptError

INPUTS = int(os.environ.get("FASTCONCEPT_FUZZ_INPUTS", "0"))  # of all tests together; 0 for the few of `make test`
MAX_SECONDS, MAX_MEBIBYTES = 20.0, 6 << 10  # of the processor for one input; of the whole process
_unit = 1024 if sys.platform == "linux" else 1


def inputs(few: int, share: float) -> Callable[[Any], Any]:
    """Settings of a test: ``few`` inputs in `make test`, its share of all in `make fuzz`."""
    count = max(few, int(INPUTS * share))
    health = list(HealthCheck)
    return settings(
        max_examples=count, derandomize=not INPUTS, deadline=None, suppress_health_check=health, database=None
    )


@contextmanager
def only_our_errors() -> Iterator[None]:
    """Any result is right, and any error of ours; nothing else, nothing slow, nothing large."""
    began = time.process_time()  # what other processes do to the clock on the wall is not ours
    try:
        yield
    except FastconceptError as error:
        assert str(error).strip(), "an error must say something"
    assert time.process_time() - began < MAX_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _unit < MAX_MEBIBYTES << 20


@st.composite
def changed_bytes(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One of some files with bytes replaced, cut out, doubled or appended."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        some = draw(st.binary(min_size=1, max_size=9))
        match draw(st.integers(0, 3)):
            case 0:
                content[at : at + len(some)] = some
            case 1:
                del content[at : at + draw(st.integers(1, 200))]
            case 2:
                content[at:at] = content[at : at + 50]
            case _:
                content = content[:at]
    return bytes(content)


numbers = st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([0, 1, -1, 10**400, 2**31, 2**63, 1e300])
odd_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=40) | st.sampled_from(["\ud800", "a\0b", "../x", "a" * 400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def changed_document(draw: st.DrawFn, original: Any) -> Any:
    """A JSON document of which some values, at any depth, are replaced, left out or moved."""
    document = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 4))):
        place = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.integers(0, 3)):
                place = place[key]
                continue
            if draw(st.booleans()):
                place[key] = draw(odd_values)
            else:
                del place[key]
            break
    return document

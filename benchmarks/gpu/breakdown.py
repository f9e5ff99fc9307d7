"""Where the time of a call goes: every kernel and product of it, timed by events on the device."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .encoders import DIM
from .measure import BATCH, GAP, NOUNS, PATCHES, PATH_WORDS, PENALTY, WORDS, grid, nouns, sparse_targets
from .verify import unit_rows

CALLERS = ("nnlasso", "nnlasso_path", "ranks")  # modules that multiply


@contextlib.contextmanager
def watched() -> Iterator[dict[str, list[tuple[Any, Any]]]]:
    """Every native kernel and every product, as pairs of events."""
    import importlib

    import cupy

    native = importlib.import_module("fastconcept.kernels._cuda")
    rooms = [importlib.import_module(f"fastconcept.kernels.cuda.{name}") for name in CALLERS]
    pairs: dict[str, list[tuple[Any, Any]]] = defaultdict(list)

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            start, stop = cupy.cuda.Event(), cupy.cuda.Event()
            start.record()
            result = work(*arguments)
            stop.record()
            pairs[name].append((start, stop))
            return result

        return run

    kernels = [name for name in dir(native) if callable(getattr(native, name)) and not name.startswith("_")]
    before = [(native, name, getattr(native, name)) for name in kernels if "bytes" not in name]
    before += [(room, "product", room.product) for room in rooms if hasattr(room, "product")]
    for room, name, work in before:
        setattr(room, name, timed(name, work))
    try:
        yield pairs
    finally:
        for room, name, work in before:
            setattr(room, name, work)


def broken_down(name: str, work: Callable[[], Any]) -> dict[str, Any]:
    """Milliseconds of a whole call on the host's clock, and of its kernels on the device."""
    import cupy

    for _ in range(3):
        work()
    cupy.cuda.Device().synchronize()
    began = time.perf_counter()
    work()
    cupy.cuda.Device().synchronize()
    whole = 1e3 * (time.perf_counter() - began)
    with watched() as pairs:
        work()
    cupy.cuda.Device().synchronize()
    times = {kind: [round(cupy.cuda.get_elapsed_time(*pair), 4) for pair in found] for kind, found in pairs.items()}
    kernels = {kind: {"calls": len(spent), "ms": sum(spent), "each": spent[:24]} for kind, spent in times.items()}
    return {"name": f"breakdown {name}", "whole_ms": whole, "kernels": kernels}


def break_down() -> list[dict[str, Any]]:
    """The calls that have a target."""
    import cupy

    from fastconcept.kernels import cuda

    patches, cells, lists = cupy.asarray(unit_rows(PATCHES, DIM)), grid(), ([0, 91], list(range(91)))
    bank, graph = cuda.prepare_bank(unit_rows(NOUNS, DIM, 1)), nouns(NOUNS)
    ranks = cuda.all_ranks(patches, bank, *graph)
    dictionary = cuda.prepare_dictionary(unit_rows(WORDS, DIM, 3))
    targets = cupy.asarray(sparse_targets(unit_rows(WORDS, DIM, 3), BATCH))
    subtree = tuple(np.array(part) for part in lists)
    return [
        broken_down("ranks of one concept", lambda: cuda.subtree_ranks(patches, bank, *subtree)),
        broken_down("ranks of all concepts", lambda: cuda.all_ranks(patches, bank, *graph)),
        broken_down("maps of all concepts", lambda: cuda.saliency_maps(ranks, *cells, (14, 14))),
        broken_down(f"nnlasso, {BATCH}", lambda: cuda.nnlasso(dictionary, targets, PENALTY, tolerance=GAP)),
        broken_down("nnlasso, 1", lambda: cuda.nnlasso(dictionary, targets[:1], PENALTY, tolerance=GAP)),
        broken_down("nnlasso_l0, 64", lambda: cuda.nnlasso_l0(dictionary, targets[:64], PATH_WORDS)),
    ]

"""Times on the device: each kernel beside its floor, and the solver beside its peers."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from .encoders import DIM, SIDE
from .floors import Ceilings, Work, floor_ms, maps_work, ranks_work, resize_work, solve_work
from .peers import admm, fista, largest_gap, rounds_to_gap
from .steps import median_ms
from .verify import patch_boxes, tree, unit_rows

PATCHES, SMALL_BANK, NOUNS = 730, 7082, 82115
WORDS, BATCH, PENALTY, GAP = 10_000, 4096, 0.25, 1e-4
CELLS, PATH_WORDS = 14, 10


def beside_floor(name: str, time: dict[str, float], work: Work, ceilings: Ceilings) -> dict[str, Any]:
    """One row: the time, the floor on this card, and their ratio.

    >>> row = beside_floor("maps", {"ms": 2.0, "p90_ms": 2.1}, Work(4e9), Ceilings(4e12, 1, 1, 1))
    >>> row["floor_ms"], row["over_floor"]
    (1.0, 2.0)
    """
    floor = floor_ms(work, ceilings)
    return {"name": name, **time, "floor_ms": floor, "over_floor": time["ms"] / floor}


def grid() -> tuple[np.ndarray, np.ndarray]:
    """The faithful patches as cells of the map, and their weights."""
    pixels = patch_boxes()
    cells = (pixels - 128) // 16
    return cells.astype(np.int32), 1.0 / (cells[:, 2] - cells[:, 0]).astype(np.float64) ** 2


def nouns(concepts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The graph of WordNet's nouns where all are asked for and safetensors, which reads it, is there; or a tree."""
    if concepts != NOUNS or importlib.util.find_spec("safetensors") is None:
        return tree(concepts)
    from fastconcept.concepts.taxonomy import Taxonomy

    graph = Taxonomy.builtin()
    return graph.child_indptr, graph.child_indices, graph.order


def time_kernels(ceilings: Ceilings) -> list[dict[str, Any]]:
    """Ranks, maps and resize at the sizes of an explanation."""
    import cupy

    from fastconcept.kernels import cuda

    rows = []
    patches = cupy.asarray(unit_rows(PATCHES, DIM))
    cells, weights = grid()
    for concepts in (SMALL_BANK, NOUNS):
        bank, graph = cuda.prepare_bank(unit_rows(concepts, DIM, 1)), nouns(concepts)
        for members in (91, concepts):
            lists = np.array([0, members]), np.arange(members)
            time = median_ms(lambda lists=lists, bank=bank: cuda.subtree_ranks(patches, bank, *lists))
            label = "one concept" if members == 91 else "the root"
            rows.append(
                beside_floor(f"ranks {label} {concepts}", time, ranks_work(PATCHES, concepts, DIM, 1), ceilings)
            )
        time = median_ms(lambda bank=bank, graph=graph: cuda.all_ranks(patches, bank, *graph))
        work = ranks_work(PATCHES, concepts, DIM, concepts)
        rows.append(beside_floor(f"ranks all {concepts}", time, work, ceilings))
        ranks = cuda.all_ranks(patches, bank, *graph)
        time = median_ms(lambda ranks=ranks: cuda.saliency_maps(ranks, cells, weights, (CELLS, CELLS)))
        rows.append(beside_floor(f"maps all {concepts}", time, maps_work(PATCHES, concepts, CELLS**2), ceilings))

        def both(bank: Any = bank, graph: Any = graph) -> None:
            cuda.saliency_maps(cuda.all_ranks(patches, bank, *graph), cells, weights, (CELLS, CELLS))

        total = Work(work.bytes + 4.0 * concepts * CELLS**2, work.operations)
        rows.append(beside_floor(f"ranks and maps all {concepts}", median_ms(both), total, ceilings))
    image = cupy.asarray(np.random.default_rng(0).integers(0, 256, (480, 480, 3), dtype=np.uint8))
    for dtype in (np.float32, np.float16):
        out = cupy.empty((PATCHES, 3, SIDE, SIDE), dtype)
        arguments = (image, patch_boxes(), (SIDE, SIDE), (0.5,) * 3, (0.25,) * 3)
        time = median_ms(lambda out=out, arguments=arguments: cuda.resize_patches(*arguments, out=out))
        work = resize_work(PATCHES, SIDE * SIDE, image.nbytes)
        work = work._replace(bytes=work.bytes * np.dtype(dtype).itemsize / 4)
        rows.append(beside_floor(f"resize 730 {np.dtype(dtype).name}", time, work, ceilings))
    return rows


def sparse_targets(words: np.ndarray, count: int) -> np.ndarray:
    """Unit rows made of a dozen words and noise, so that codes are as sparse as those of images."""
    rng = np.random.default_rng(5)
    chosen, shares = rng.integers(0, len(words), (count, 12)), rng.random((count, 12))
    rows = np.einsum("nk,nkd->nd", shares, words[chosen]) / 2 + rng.standard_normal((count, words.shape[1])) * 0.04
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def time_solver(ceilings: Ceilings) -> list[dict[str, Any]]:
    """Codes per second over batch sizes, at two gaps."""
    import cupy

    from fastconcept.kernels import cuda

    words = unit_rows(WORDS, DIM, 3)
    dictionary, rows = cuda.prepare_dictionary(words), []
    for batch in (1, 64, BATCH):
        targets = cupy.asarray(sparse_targets(words, batch))
        for tolerance in (GAP, 1e-6):
            time = median_ms(
                lambda t=targets, g=tolerance: cuda.nnlasso(dictionary, t, PENALTY, tolerance=g), repeat=10
            )
            codes = cuda.nnlasso(dictionary, targets, PENALTY, tolerance=tolerance)
            work = solve_work(batch, WORDS, DIM, tolerance < 1e-5)
            row = beside_floor(f"nnlasso {batch} gap {tolerance:g}", time, work, ceilings)
            row.update(
                per_second=1e3 * batch / time["ms"],
                largest_gap=float(codes.gap.max()),
                mean_l0=len(codes.indices) / batch,
                mean_rounds=float(codes.rounds.mean()),
            )
            rows.append(row)
        time = median_ms(lambda t=targets: cuda.nnlasso_l0(dictionary, t, PATH_WORDS), repeat=5, warmup=2)
        rows.append(
            {"name": f"nnlasso_l0 {batch} of {PATH_WORDS} words", **time, "per_second": 1e3 * batch / time["ms"]}
        )
    return rows


def time_peers() -> list[dict[str, Any]]:
    """ADMM and FISTA in torch on the same batch, with the gap they end at; rounds chosen on a sample to reach ours."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    words = unit_rows(WORDS, DIM, 3)
    dictionary = torch.from_numpy(words).cuda()
    targets = torch.from_numpy(sparse_targets(words, BATCH)).cuda()
    rows = []
    for name, solver in (("ADMM", admm), ("FISTA", fista)):
        rounds = rounds_to_gap(solver, dictionary, targets[:64], PENALTY, GAP, 3200)
        used = rounds or 3200
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        weights = solver(dictionary, targets, PENALTY, used)
        stop.record()
        stop.synchronize()
        ms = start.elapsed_time(stop)
        gap = largest_gap(dictionary, targets[:256], weights[:256], PENALTY)
        rows.append({"name": name, "ms": ms, "per_second": 1e3 * BATCH / ms, "rounds": used, "largest_gap": gap})
    return rows

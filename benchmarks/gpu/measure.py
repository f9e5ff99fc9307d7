"""Times on the device: each kernel beside its floor, the solver beside its peers, encoders, the whole explanation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .encoders import DIM, SIDE, export_onnx, flops, vision_transformer
from .floors import Ceilings, Work, floor_ms, maps_work, ranks_work, resize_work, solve_work
from .peers import admm, fista, largest_gap, rounds_to_gap
from .steps import Missing, attempt, median_ms
from .verify import patch_boxes, tree, unit_rows

PATCHES, SMALL_BANK, NOUNS = 730, 7082, 82115
WORDS, BATCH, PENALTY, GAP = 10_000, 4096, 0.25, 1e-4
TARGETS_MS = {"ranks one concept 82115": 1.0, "ranks and maps all 82115": 3.0, "explain ViT-B/32": 40.0}
TARGET_SOLVES = 300_000  # per second
CELLS = 14


def beside_floor(name: str, time: dict[str, float], work: Work, ceilings: Ceilings) -> dict[str, Any]:
    """One row: the time, the floor on this card, their ratio, and the target where there is one.

    >>> row = beside_floor("maps", {"ms": 2.0, "p90_ms": 2.1}, Work(4e9), Ceilings(4e12, 1, 1, 1))
    >>> row["floor_ms"], row["over_floor"]
    (1.0, 2.0)
    """
    floor = floor_ms(work, ceilings)
    row = {"name": name, **time, "floor_ms": floor, "over_floor": time["ms"] / floor}
    if name in TARGETS_MS:
        row["target_ms"], row["reached"] = TARGETS_MS[name], time["ms"] <= TARGETS_MS[name]
    return row


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """The faithful patches as cells of the map, and their weights."""
    pixels = patch_boxes()
    cells = (pixels - 128) // 16
    return cells.astype(np.int32), 1.0 / (cells[:, 2] - cells[:, 0]).astype(np.float64) ** 2


def time_kernels(ceilings: Ceilings) -> list[dict[str, Any]]:
    """Ranks, maps and resize at the sizes of an explanation."""
    import cupy

    from fastconcept.kernels import cuda

    rows = []
    patches = cupy.asarray(unit_rows(PATCHES, DIM))
    cells, weights = _grid()
    for concepts in (SMALL_BANK, NOUNS):
        bank, graph = cuda.Bank(unit_rows(concepts, DIM, 1)), tree(concepts)
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
    dictionary, rows = cuda.Dictionary(words), []
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
            if batch == BATCH and tolerance == GAP:
                row["target_per_second"], row["reached"] = TARGET_SOLVES, row["per_second"] >= TARGET_SOLVES
            rows.append(row)
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


def _runtimes(patch: int, folder: Path) -> dict[str, Callable[[], Callable[[Any], Any]]]:
    """Every way to run the encoder: a function that prepares it and returns pixels -> rows on the device."""
    import cupy
    import torch

    def compiled() -> Callable[[Any], Any]:
        model = vision_transformer(patch).cuda().to(torch.bfloat16)
        run = torch.compile(model, mode="max-autotune-no-cudagraphs")

        def encode(pixels: Any) -> Any:
            with torch.no_grad(), torch.cuda.stream(_torch_stream()):
                return cupy.from_dlpack(run(torch.from_dlpack(pixels).to(torch.bfloat16)))

        return encode

    def onnxruntime(provider: str) -> Callable[[Any], Any]:
        import onnxruntime as ort

        if provider not in ort.get_available_providers():
            raise Missing(f"this onnxruntime has no {provider}")
        session = ort.InferenceSession(str(export_onnx(patch, folder)), providers=[provider])
        if session.get_providers()[0] != provider:
            raise Missing(f"{provider} did not start")

        def encode(pixels: Any) -> Any:
            out = cupy.empty((len(pixels), DIM), np.float32)
            binding = session.io_binding()
            binding.bind_input("pixels", "cuda", 0, np.float32, pixels.shape, pixels.data.ptr)
            binding.bind_output("embeddings", "cuda", 0, np.float32, out.shape, out.data.ptr)
            cupy.cuda.get_current_stream().synchronize()
            session.run_with_iobinding(binding)
            return out

        return encode

    def tensorrt() -> Callable[[Any], Any]:
        import hashlib
        import json

        from fastconcept.encoders.tensorrt import TensorRTEncoder, import_tensorrt
        from fastconcept.export.half_onnx import halve
        from fastconcept.export.tensorrt import build_plan

        trt = import_tensorrt()
        model = folder / f"half_{patch}.onnx"
        halve(export_onnx(patch, folder), model)
        plan = build_plan(trt, model, (SIDE, SIDE), (PATCHES,), False, folder / "timing")
        path = folder / f"{patch}.engine"
        path.write_bytes(plan)
        facts = {
            "sha256": hashlib.sha256(plan).hexdigest(),
            "tensorrt": trt.__version__,
            "compute_capability": cupy.cuda.Device().compute_capability,
        }
        path.with_name(path.name + ".json").write_text(json.dumps(facts))
        return TensorRTEncoder(path, DIM).encode

    return {
        "torch.compile bfloat16": compiled,
        "ONNX Runtime CUDA float32": lambda: onnxruntime("CUDAExecutionProvider"),
        "ONNX Runtime TensorRT float32": lambda: onnxruntime("TensorrtExecutionProvider"),
        "TensorRT float16": tensorrt,
    }


def _torch_stream() -> Any:
    """CuPy's current stream, for torch to work on."""
    import cupy
    import torch

    pointer = cupy.cuda.get_current_stream().ptr
    return torch.cuda.ExternalStream(pointer) if pointer else torch.cuda.default_stream()


def time_encoders(ceilings: Ceilings) -> list[dict[str, Any]]:
    """730 crops through every runtime, then the whole explanation with each that works."""
    import cupy

    rows = []
    pixels = cupy.random.random((PATCHES, 3, SIDE, SIDE), dtype=np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        for patch in (32, 16):
            for name, prepare in _runtimes(patch, Path(scratch)).items():

                def step(name: str = name, prepare: Any = prepare, patch: int = patch) -> dict[str, Any]:
                    encode = prepare()
                    work = Work(pixels.nbytes, flops(patch, PATCHES))
                    row = beside_floor(f"{name} ViT-B/{patch}", median_ms(lambda: encode(pixels), 10), work, ceilings)
                    row["explain"] = time_explain(encode, f"explain ViT-B/{patch}")
                    return row

                rows.append(attempt(f"encoder {name} ViT-B/{patch}", step))
    return rows


def time_explain(encode: Callable[[Any], Any], name: str) -> dict[str, Any]:
    """From an image on the host to one map on the host: upload, 730 crops, encoder, ranks among all nouns, map."""
    import cupy

    from fastconcept.kernels import cuda

    image = np.random.default_rng(0).integers(0, 256, (480, 480, 3), dtype=np.uint8)
    bank, lists = cuda.Bank(unit_rows(NOUNS, DIM, 1)), (np.array([0, 91]), np.arange(91))
    cells, weights = _grid()

    def whole() -> np.ndarray:
        crops = cuda.resize_patches(cupy.asarray(image), patch_boxes(), (SIDE, SIDE), (0.5,) * 3, (0.25,) * 3)
        ranks = cuda.subtree_ranks(cupy.asarray(encode(crops), dtype=np.float32), bank, *lists).ranks
        maps: np.ndarray = cuda.to_host(cuda.saliency_maps(ranks, cells, weights, (CELLS, CELLS)).maps)
        return maps

    row: dict[str, Any] = {"name": name, **median_ms(whole, 10)}
    if name in TARGETS_MS:
        row["target_ms"], row["reached"] = TARGETS_MS[name], row["ms"] <= TARGETS_MS[name]
    return row

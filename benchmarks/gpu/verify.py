"""Every kernel against the float64 reference on the device, with NumPy alone: ``python -m benchmarks.gpu.verify``.

The contract tests need pytest, hypothesis and the CPU build; this needs none of them. compute-sanitizer runs it.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

import numpy as np


def unit_rows(count: int, dims: int, seed: int = 0) -> np.ndarray:
    """Random unit rows, float32."""
    rows = np.random.default_rng(seed).standard_normal((count, dims)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def tree(concepts: int, branching: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Children (indptr, indices) and a bottom-up order of a complete tree."""
    parents = (np.arange(1, concepts) - 1) // branching
    counts = np.bincount(parents, minlength=concepts)
    return np.concatenate([[0], np.cumsum(counts)]), np.arange(1, concepts), np.arange(concepts)[::-1].copy()


def patch_boxes() -> np.ndarray:
    """The 730 patches of a faithful explanation, in pixels of the padded 480 x 480 image."""
    boxes = [
        (x, y, x + side, y + side)
        for side in (128, 64)
        for y in range(0, 480 - side + 1, 16)
        for x in range(0, 480 - side + 1, 16)
        if 128 - side < min(x, y) and max(x, y) < 352
    ]
    return np.array(boxes, np.int32)


def checks(kernels: Any, reference: Any, scale: int) -> dict[str, float]:
    """Largest differences from the reference, each checked against its tolerance."""
    rng = np.random.default_rng(1)
    concepts, dims, patches = 400 * scale, 64, 16
    found: dict[str, float] = {}

    def within(name: str, value: float, limit: float) -> None:
        found[name] = float(value)
        if not value <= limit:
            raise AssertionError(f"{name}: {value} is beyond {limit}")

    bank, rows, graph = unit_rows(concepts, dims), unit_rows(patches, dims, 2), tree(concepts)
    bank[concepts // 2 :: 7] = bank[3]
    exact, ours = reference.all_ranks(rows, bank, *graph), kernels.all_ranks(rows, bank, *graph)
    within("all_ranks", np.abs(exact - ours).max(), 1 + concepts // 1000)
    lists = np.array([0, 1, 1 + concepts]), np.concatenate([[5], np.arange(concepts)])
    exact, ours = (module.subtree_ranks(rows, bank, *lists, rows[:2]) for module in (reference, kernels))
    within("similarities", np.abs(exact.similarities - ours.similarities).max(), 2e-6)
    within("subtree_ranks", np.abs(exact.ranks - ours.ranks).max(), 1 + concepts // 1000)
    within("ranks of everything", np.abs(ours.ranks[:, 1]).max(), 0)
    cells = np.array([(x, y, x + 4, y + 4) for y in range(-2, 14) for x in range(-2, 14)], np.int32)
    values = rng.integers(0, 80_000, (len(cells), 70)).astype(np.int32)
    weights = np.full(len(cells), 1.0 / 16)
    exact, ours = (module.saliency_maps(values, cells, weights, (14, 14)) for module in (reference, kernels))
    within("saliency_maps", np.abs(exact.maps - ours.maps).max(), 1e-6)
    image = rng.integers(0, 256, (150, 200, 3), dtype=np.uint8)
    boxes = np.array([[0, 0, 200, 150], [3, 4, 67, 68], [10, 10, 138, 138], [199, 149, 200, 150]], np.int32)
    arguments = (image, boxes, (224, 224), np.zeros(3), np.ones(3))
    exact, ours = reference.resize_patches(*arguments), kernels.resize_patches(*arguments)
    within("resize_patches", np.abs(exact - ours).max(), 1.01 / 255)
    words, targets = unit_rows(200 * scale, dims, 3), unit_rows(12, dims, 4)
    exact = reference.nnlasso(words, targets, 0.15)
    for tolerance in (1e-4, 1e-6):
        codes = kernels.nnlasso(words, targets, 0.15, tolerance=tolerance)
        within(f"nnlasso gap {tolerance:g}", codes.gap.max(), tolerance)
    within("nnlasso support", float(not np.array_equal(codes.indices, exact.indices)), 0)
    within("nnlasso weights", np.abs(codes.values - exact.values).max(), 1e-6)
    return found


def zero_products() -> None:
    """Write zeros where cuBLAS writes next: initcheck does not see its stores through Hopper's copy engine."""
    room: Any = importlib.import_module("fastconcept.kernels.cuda.ranks")
    multiply = room.product

    def product(left: Any, right: Any, out: Any, *rest: Any) -> None:
        out.fill(0)
        multiply(left, right, out, *rest)

    room.product = product


def product_alone() -> float:
    """A half-precision product of cuBLAS and a sum of CuPy, without a kernel of ours: what initcheck says of these."""
    import cupy

    from fastconcept.kernels.cuda.product import product

    out = cupy.empty((16, 416), np.float32)
    left, right = (cupy.asarray(np.ones((rows, 192), np.float16)) for rows in (16, 416))
    product(left, right, out)
    return float(out.sum()) / (16 * 416 * 192)


def main() -> None:
    """Check once, print the differences, fail loudly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=5)
    parser.add_argument("--zero-products", action="store_true", help="for initcheck")
    parser.add_argument("--product-alone", action="store_true", help="check nothing; what initcheck finds without us")
    given = parser.parse_args()
    from fastconcept.kernels import backend, reference

    if given.product_alone:
        print(f"part of the sum: {product_alone():.3g}")
        return
    if given.zero_products:
        zero_products()
    for name, value in checks(backend("cuda"), reference, given.scale).items():
        print(f"{name}: {value:.3g}")


if __name__ == "__main__":
    main()

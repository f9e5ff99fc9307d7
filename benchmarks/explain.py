"""The whole explain job against the reference procedure on the same encoder: 1,800 patches, one at a time, sorted."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.models import random_units, random_vit_b_32, teacher_bundle
from fastconcept import kernels
from fastconcept.bundle import Preprocess
from fastconcept.encoders.image_tower import ImageTower
from fastconcept.encoders.onnx import ImageEncoder
from fastconcept.encoders.opening import open_image_onnx
from fastconcept.encoders.preprocess import preprocess_image
from fastconcept.saliency.explain import explain
from fastconcept.saliency.layout import Layout
from fastconcept.saliency.reading import Reading
from fastconcept.saliency.targets import Target

STAGES = ("decode", "preprocess", "ranks", "maps")  # everything but the encoder


def photograph() -> np.ndarray:
    """A CC0 photograph from scikit-image."""
    from skimage import data

    return np.ascontiguousarray(data.chelsea())


def reference_job(
    image: np.ndarray, encoder: ImageEncoder, config: Preprocess, bank: np.ndarray, members: np.ndarray, patches: int
) -> np.ndarray:
    """ConVis as its code does it: every patch on its own, a full argsort, one addition per pixel.

    ``patches`` cuts the loop short for timing; the caller scales.
    """
    side = min(image.shape[:2])
    top, left = round((image.shape[0] - side) / 2), round((image.shape[1] - side) / 2)
    square = Image.fromarray(image[top : top + side, left : left + side]).resize((224, 224), Image.Resampling.BICUBIC)
    padded = np.random.default_rng(0).integers(0, 256, (480, 480, 3), dtype=np.uint8)
    padded[128:352, 128:352] = np.asarray(square)
    canvas, total = Image.fromarray(padded), np.zeros((480, 480))
    corners = [(x, y, size) for size in (128, 64) for y in range(0, 480, 16) for x in range(0, 480, 16)]
    step = max(1, len(corners) // patches)
    for x, y, size in corners[::step]:
        pixels = preprocess_image(np.asarray(canvas.crop((x, y, x + size, y + size))), config)
        similarities = bank @ encoder.encode(pixels[None])[0]
        ranks = np.empty(len(bank), np.int64)
        ranks[np.argsort(-similarities)] = np.arange(len(bank))
        total[y : y + size, x : x + size] += ranks[members].min()
    centre = total[128:352, 128:352]
    return 1 - (centre - centre.min()) / (centre.max() - centre.min())


def measure(
    case: str, encoder: ImageEncoder, config: Preprocess, bank: np.ndarray, members: np.ndarray, quick: bool
) -> dict[str, Any]:
    """One row: our job and the reference's on one image, one concept."""
    image = photograph()
    tower = ImageTower(encoder, config, kernels.backend("cpu"))
    layout = Layout(fit="crop", stride=64 if quick else 16)
    target = Target("bird.n.01", "bird.n.01", "", members)
    explain(image, [target], bank, tower, Layout(sizes=(128,), stride=128))  # warm up
    patches = 60 if quick else 1800
    began = time.perf_counter()
    expected = reference_job(image, encoder, config, bank, members, patches)
    reference_ms = (time.perf_counter() - began) * 1e3
    began = time.perf_counter()
    seen = explain(image, [target], bank, tower, layout, Reading("rank"))
    ours_ms = (time.perf_counter() - began) * 1e3
    timings = seen.timings_ms
    overhead = sum(timings.get(stage, 0.0) for stage in STAGES)
    return {
        "case": case,
        "ours_ms": ours_ms,
        "peer": "reference procedure",
        "peer_ms": reference_ms,
        "ratio": reference_ms / ours_ms,
        "not_encoder_percent": 100 * overhead / ours_ms,
        "max_abs_diff": None if quick else float(np.abs(seen.maps[0] - expected).max()),
        "stages_ms": {stage: round(value, 2) for stage, value in timings.items()},
    }


def run(options: Any) -> list[dict[str, Any]]:
    """The development model (where at hand) and a random ViT-B/32."""
    rows = []
    if (path := teacher_bundle(options)) is not None:
        import fastconcept as fc

        engine = fc.load(path)
        config, bank = engine.bundle.manifest.preprocess, engine.bank
        members = bank.subtree("bird.n.01")
        rows.append(measure("development model", engine.image_encoder, config, bank.embeddings, members, options.quick))
    config = Preprocess((224, 224), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    encoder = open_image_onnx(random_vit_b_32(), 512)
    members = np.arange(91, dtype=np.int32)
    rows.append(measure("ViT-B/32, random", encoder, config, random_units(7082, 512), members, options.quick))
    return rows


SUITES = {"explain": run}

"""Bulk jobs beside the engine that they call: images a second over the same small files, in one run, in turns."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

import fastconcept as fc
from fastconcept.jobs.batch import batch
from fastconcept.jobs.tasks import Decompose

_TURNS = 2


def run(options: Any) -> list[dict[str, Any]]:
    """One row per turn: rates of ``decompose(list of paths)`` and of ``batch``, listing and files included."""
    count = 200 if options.quick else 10_000
    engine, rows = fc.load(), []
    with tempfile.TemporaryDirectory() as folder:
        paths = _pictures(Path(folder, "photos"), count)
        _ = engine.decompose(paths[:64]).cosine  # opens everything
        for turn in range(_TURNS):
            began = time.perf_counter()
            _ = engine.decompose(paths).cosine
            alone = time.perf_counter() - began
            began = time.perf_counter()
            batch(Decompose(), Path(folder, "photos"), Path(folder, f"out-{turn}"), engine=lambda: engine)
            job = time.perf_counter() - began
            rates = {"engine_per_second": count / alone, "batch_per_second": count / job}
            rows.append({"case": f"decompose {count} images, turn {turn}", **rates, "batch_to_engine": alone / job})
    return rows


def _pictures(folder: Path, count: int) -> list[str]:
    """Crops of photographs, 160 pixels wide, as JPEG."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    photographs = [np.asarray(picture) for picture in (data.chelsea(), data.coffee(), data.rocket(), data.astronaut())]
    for number in range(count):
        pixels = photographs[number % len(photographs)]
        top, left = generator.integers(0, pixels.shape[0] - 160), generator.integers(0, pixels.shape[1] - 160)
        Image.fromarray(pixels[top : top + 160, left : left + 160]).save(folder / f"{number:06d}.jpg")
    return [str(path) for path in sorted(folder.iterdir())]


SUITES = {"batch": run}

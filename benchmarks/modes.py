"""Every mode of evidence on one photograph, stage by stage, beside what people do with random crops of CLIP.

The peer is the procedure of OpenVINO's notebook *CLIP language saliency map*: square crops of random size and place are
embedded one at a time, and every crop adds the cosine of its embedding and the text, less that of the whole picture, to
the pixels that it covers. It has no ranks and no WordNet, and is written again here from its description.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import fastconcept as fc
from benchmarks.explain import photograph
from fastconcept.bench import FAST_WINDOWS
from fastconcept.encoders.preprocess import preprocess_image
from fastconcept.export.precision import map_spearman

CROPS = 300  # n_iters of the notebook
LEAST_SIDE = 50  # min_crop_size of the notebook
CONCEPT, PHRASE = "cat.n.01", "a photo of a cat"


def random_crops(engine: fc.Engine, image: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """The saliency map of the notebook, (H, W), not scaled."""
    rng, config = np.random.default_rng(seed), engine.bundle.manifest.preprocess
    query = engine.encode_text(PHRASE)[0]

    def similarity(picture: np.ndarray) -> float:
        row = engine.image_encoder.encode(preprocess_image(np.ascontiguousarray(picture), config)[None])[0]
        return float(row @ query)

    height, width = image.shape[:2]
    whole, saliency = similarity(image), np.zeros((height, width))
    for _ in range(count):
        side = int(rng.integers(LEAST_SIDE, min(height, width)))
        x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
        saliency[y : y + side, x : x + side] += similarity(image[y : y + side, x : x + side]) - whole
    return saliency


def run(options: Any) -> list[dict[str, Any]]:
    """One row per way to a map: milliseconds in all and by stage, and how its map correlates with that of crops."""
    image, engine = photograph(), fc.load()
    choices = {"crops": {"mode": "crops"}, "windows": {"mode": "windows"}, "windows, fast": FAST_WINDOWS}
    rows: list[dict[str, Any]] = []
    maps: dict[str, np.ndarray] = {}
    for name, choice in choices.items():
        explain = partial(engine.explain, image, CONCEPT, **choice)
        explain()
        seen, total = _quickest(explain, 1 if options.quick or name == "crops" else 5)
        maps[name] = seen[0].resized()
        stages = {f"{stage}_ms": spent for stage, spent in seen.timings_ms.items()}
        rows.append({"case": name, "total_ms": total, **stages})
    count = 20 if options.quick else CROPS
    saliency, total = _quickest(lambda: random_crops(engine, image, count), 1)
    maps[f"random crops ({count})"] = saliency
    rows.append({"case": f"random crops ({count})", "total_ms": total})
    for row, found in zip(rows, maps.values(), strict=True):
        row["times_crops"] = rows[0]["total_ms"] / row["total_ms"]
        row["spearman_with_crops"] = map_spearman(maps["crops"][None, ::4, ::4], found[None, ::4, ::4])
    return rows


def _quickest(function: Callable[[], Any], repetitions: int) -> tuple[Any, float]:
    """The result and the milliseconds of the quickest call."""
    best, quickest = None, np.inf
    for _ in range(repetitions):
        began = time.perf_counter()
        result = function()
        spent = (time.perf_counter() - began) * 1e3
        if spent < quickest:
            best, quickest = result, spent
    return best, float(quickest)


SUITES = {"modes": run}

"""How long each stage takes, for this bundle and these images: what ``fastconcept bench`` measures."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .encoders.preprocess import preprocess_image
from .engine import Engine
from .errors import InputError

Progress = Callable[[int, int], None]
PERCENTILES = (50, 90, 99)


def synthetic_jpeg(height: int, width: int, seed: int = 0) -> bytes:
    """A seeded picture of smooth colour and fine grain, as JPEG: decodes about as fast as a photograph.

    Examples
    --------
    >>> synthetic_jpeg(8, 8) == synthetic_jpeg(8, 8)
    True
    """
    from PIL import Image

    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((width, height))
    grain = rng.normal(0, 12, (height, width, 3))
    pixels = np.clip(np.asarray(coarse, np.float64) + grain, 0, 255).astype(np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def summarize(samples: Sequence[float]) -> dict[str, float]:
    """Percentiles of milliseconds: ``{"p50": ..., "p90": ..., "p99": ...}``.

    Examples
    --------
    >>> summarize([1.0, 2.0, 3.0])["p50"]
    2.0
    """
    return {f"p{q}": round(float(np.percentile(samples, q)), 4) for q in PERCENTILES}


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # a process inherits its parent's peak from getrusage, but not from here
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def _milliseconds(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return (time.perf_counter() - began) * 1e3, result


def _explain_stages(engine: Engine, image: bytes, concepts: Sequence[str]) -> dict[str, float]:
    return engine.explain(image, concepts).timings_ms


def _decompose_stages(engine: Engine, image: bytes, l1_penalty: float) -> dict[str, float]:
    decode, pixels = _milliseconds(lambda: engine.load_image(image))
    preprocess, ready = _milliseconds(lambda: preprocess_image(pixels, engine.bundle.manifest.preprocess)[None])
    encode, embedding = _milliseconds(lambda: engine.image_encoder.encode(ready))
    solve, _ = _milliseconds(lambda: engine.decompose(embeddings=embedding, l1_penalty=l1_penalty))
    return {"decode": decode, "preprocess": preprocess, "encode": encode, "solve": solve}


def _series(run: Callable[[], dict[str, float]], repeats: int, tick: Callable[[], None]) -> dict[str, Any]:
    """Percentiles per stage and of their total; the first call, with memory for this image's size, is apart."""
    first, _ = _milliseconds(run)
    samples: list[dict[str, float]] = []
    for _ in range(repeats):
        samples.append(run())
        tick()
    stages = {stage: summarize([sample[stage] for sample in samples]) for stage in samples[0]}
    stages["total"] = summarize([sum(sample.values()) for sample in samples])
    return {"first_call_ms": round(first, 3), "stages_ms": stages}


def _throughput(engine: Engine, batch_sizes: Sequence[int], repeats: int, tick: Callable[[], None]) -> dict[str, Any]:
    """Images encoded and embeddings decomposed per second, by batch size (best of the repeats)."""
    height, width = engine.bundle.manifest.preprocess.size
    pixels = np.random.default_rng(0).standard_normal((max(batch_sizes), 3, height, width), np.float32)
    embeddings: npt.NDArray[np.float32] = engine.image_encoder.encode(pixels)
    result: dict[str, dict[str, float]] = {"encode": {}, "decompose": {}}
    for size in batch_sizes:
        runs = {
            "encode": partial(engine.image_encoder.encode, pixels[:size], size),
            "decompose": partial(engine.decompose, embeddings=embeddings[:size]),
        }
        for name, run in runs.items():
            run()
            best = min(_milliseconds(run)[0] for _ in range(repeats))
            result[name][str(size)] = round(size / best * 1e3, 2)
        tick()
    return result


def measure(
    engine: Engine,
    images: dict[str, bytes],
    concepts: Sequence[str],
    *,
    repeats: int = 20,
    batch_sizes: Sequence[int] = (1, 4, 16, 64),
    l1_penalty: float = 0.25,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time explain and decompose on some images, stage by stage, and their throughput.

    Parameters
    ----------
    engine : Engine
    images : dict of name to bytes
        Image files' contents.
    concepts : sequence of str
        What explain looks for.
    repeats : int
        Timed calls per image and method; one more is made first and reported apart.
    batch_sizes : sequence of int
        For the throughput.
    l1_penalty : float
    progress : callable, optional
        Called as ``progress(done, total)``.

    Returns
    -------
    dict
        Plain values: ``warm_up_ms`` (what :meth:`Engine.warmup` took), ``latency`` per image and method
        (milliseconds, p50/p90/p99 per stage), ``throughput`` per second by batch size, ``peak_memory_mb``.

    Raises
    ------
    InputError
        If there is no image or ``repeats`` or a batch size is not positive.
    """
    if not images or repeats < 1 or not batch_sizes or min(batch_sizes) < 1:
        raise InputError("a benchmark needs an image, and repeats and batch sizes of at least 1")
    total, done = len(images) * 2 * repeats + len(batch_sizes), 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    warm_up = engine.warmup(concepts=concepts, batch=max(batch_sizes))
    latency: dict[str, Any] = {}
    for name, content in images.items():
        latency[name] = {
            "explain": _series(partial(_explain_stages, engine, content, concepts), repeats, tick),
            "decompose": _series(partial(_decompose_stages, engine, content, l1_penalty), repeats, tick),
        }
    throughput = _throughput(engine, batch_sizes, min(repeats, 5), tick)
    return {"warm_up_ms": warm_up, "latency": latency, "throughput": throughput, "peak_memory_mb": peak_memory_mb()}


def compare(now: dict[str, Any], before: dict[str, Any]) -> list[dict[str, Any]]:
    """Medians of two reports side by side, for the stages both have.

    Parameters
    ----------
    now, before : dict
        Reports of :func:`measure`.

    Returns
    -------
    list of dict
        ``image, method, stage, before_ms, now_ms, ratio``; a ratio above 1 is slower now.

    Examples
    --------
    >>> one = {"latency": {"a": {"explain": {"stages_ms": {"encode": {"p50": 2.0}}}}}}
    >>> two = {"latency": {"a": {"explain": {"stages_ms": {"encode": {"p50": 3.0}}}}}}
    >>> compare(two, one)[0]["ratio"]
    1.5
    """
    rows = []
    for image, methods in now.get("latency", {}).items():
        for method, series in methods.items():
            old = before.get("latency", {}).get(image, {}).get(method, {}).get("stages_ms", {})
            for stage, values in series["stages_ms"].items():
                if stage in old and old[stage]["p50"] > 0:
                    times = {"before_ms": old[stage]["p50"], "now_ms": values["p50"]}
                    ratio = round(times["now_ms"] / times["before_ms"], 3)
                    rows.append({"image": image, "method": method, "stage": stage, **times, "ratio": ratio})
    return rows

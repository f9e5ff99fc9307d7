"""How long explain and decompose take, stage by stage, for one bundle and some images."""

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

from .engine import Engine
from .errors import InputError
from .saliency.layout import Layout

Progress = Callable[[int, int], None]
PERCENTILES = (50, 90, 99)
FAST_WINDOWS: dict[str, Any] = {"mode": "windows", "sizes": 128, "stride": 32, "border": "clip"}  # as of Engine.stream


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


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """The median and two slow percentiles of some times: ``{"p50": ..., "p90": ..., "p99": ...}``.

    Examples
    --------
    >>> percentiles([1.0, 2.0, 3.0])["p50"]
    2.0
    """
    return {f"p{q}": round(float(np.percentile(milliseconds, q)), 4) for q in PERCENTILES}


def peak_memory_mib() -> float:
    """Largest resident size of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # a process inherits its parent's peak from getrusage, but not from here
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds that a call takes, and its result."""
    began = time.perf_counter()
    result = work()
    return (time.perf_counter() - began) * 1e3, result


def _explain_stages(engine: Engine, image: bytes, concepts: Sequence[str], options: dict[str, Any]) -> dict[str, float]:
    return engine.explain(image, concepts, **options).timings_ms


def _explanations(modes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What is measured for some modes: the name of a row, and its options of ``Engine.explain``."""
    rows: dict[str, dict[str, Any]] = {}
    for mode in modes:
        rows["explain" if mode == "crops" else f"explain, {mode}"] = {"mode": mode}
        if mode == "windows":
            rows["explain, windows, fast"] = FAST_WINDOWS
    return rows


def _decompose_stages(engine: Engine, image: bytes, l1_penalty: float | None) -> dict[str, float]:
    tower = engine.parts.image_tower()
    with engine.place:
        decode, pixels = _timed(lambda: engine.load_image(image))
        preprocess, ready = _timed(lambda: tower.prepared([engine.kernels.upload(pixels)]))
        encode, embedding = _timed(lambda: tower.encoder.encode(ready))
        solve, _ = _timed(lambda: engine.decompose(embeddings=engine.kernels.to_host(embedding), l1_penalty=l1_penalty))
    return {"decode": decode, "preprocess": preprocess, "encode": encode, "solve": solve}


def _latency(stages: Callable[[], dict[str, float]], repeats: int, step: Callable[[], None]) -> dict[str, Any]:
    """Percentiles of each stage and of their total.

    The first call allocates memory for images of this size, so its time is reported separately.
    """
    first, _ = _timed(stages)
    calls: list[dict[str, float]] = []
    for _ in range(repeats):
        calls.append(stages())
        step()
    summary = {stage: percentiles([call[stage] for call in calls]) for stage in calls[0]}
    summary["total"] = percentiles([sum(call.values()) for call in calls])
    return {"first_call_ms": round(first, 3), "stages_ms": summary}


def _throughput(engine: Engine, batch_sizes: Sequence[int], repeats: int, step: Callable[[], None]) -> dict[str, Any]:
    """Images encoded and embeddings decomposed per second, by batch size; the quickest of the repeats counts."""
    height, width = engine.bundle.manifest.preprocess.size
    pixels = np.random.default_rng(0).standard_normal((max(batch_sizes), 3, height, width), np.float32)
    embeddings: npt.NDArray[np.float32] = engine.image_encoder.encode(pixels)
    rates: dict[str, dict[str, float]] = {"encode": {}, "decompose": {}}
    for size in batch_sizes:
        methods = {
            "encode": partial(engine.image_encoder.encode, pixels[:size], size),
            "decompose": partial(engine.decompose, embeddings=embeddings[:size]),
        }
        for name, method in methods.items():
            method()
            quickest = min(_timed(method)[0] for _ in range(repeats))
            rates[name][str(size)] = round(size / quickest * 1e3, 2)
        step()
    return rates


def measure(
    engine: Engine,
    images: dict[str, bytes],
    concepts: Sequence[str],
    *,
    modes: Sequence[str] | None = None,
    repeats: int = 10,
    batch_sizes: Sequence[int] = (1, 4, 16, 64),
    l1_penalty: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the latency of explain and decompose on each image, and the throughput of both.

    Parameters
    ----------
    engine : Engine
    images : dict of name to bytes
        Contents of image files.
    concepts : sequence of str
        Concepts for explain.
    modes : sequence of str, optional
        Modes of evidence to explain with; by default all that the model has. Windows are measured twice, with their
        defaults and with the fast choice that streams use.
    repeats : int
        Number of timed calls per image and method, after a first one that is reported separately.
    batch_sizes : sequence of int
        Batch sizes at which throughput is measured.
    l1_penalty : float, optional
        Penalty of decompose; by default the engine's.
    progress : callable, optional
        Called as ``progress(done, total)``.

    Returns
    -------
    dict
        Plain values: ``warm_up_ms`` (milliseconds that :meth:`Engine.warmup` took), ``latency`` (per image and method:
        milliseconds, p50/p90/p99 of each stage), ``throughput`` (per second, by batch size) and ``peak_memory_mib``.

    Raises
    ------
    InputError
        If there is no image or no batch size, or a number is not positive.
    """
    if not images or repeats < 1 or not batch_sizes or min(batch_sizes) < 1:
        raise InputError("a benchmark needs an image, and repeats and batch sizes of at least 1")
    explanations = _explanations(engine.parts.modes if modes is None else modes)
    for options in explanations.values():
        Layout(**options)  # a mode that does not exist costs nothing but the error
    total, done = len(images) * (len(explanations) + 1) * repeats + len(batch_sizes), 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    warm_up = engine.warmup(concepts=concepts, batch=max(batch_sizes))
    latency: dict[str, Any] = {}
    for name, content in images.items():
        latency[name] = {
            **{
                row: _latency(partial(_explain_stages, engine, content, concepts, options), repeats, step)
                for row, options in explanations.items()
            },
            "decompose": _latency(partial(_decompose_stages, engine, content, l1_penalty), repeats, step),
        }
    throughput = _throughput(engine, batch_sizes, min(repeats, 5), step)
    return {"warm_up_ms": warm_up, "latency": latency, "throughput": throughput, "peak_memory_mib": peak_memory_mib()}


def compare_reports(report: dict[str, Any], earlier: dict[str, Any]) -> list[dict[str, Any]]:
    """Medians of two reports side by side, for the stages that both have.

    Parameters
    ----------
    report, earlier : dict
        Results of :func:`measure`.

    Returns
    -------
    list of dict
        ``image, method, stage, before_ms, now_ms, ratio``; a ratio above 1 means slower than before.

    Examples
    --------
    >>> before = {"latency": {"a": {"explain": {"stages_ms": {"encode": {"p50": 2.0}}}}}}
    >>> now = {"latency": {"a": {"explain": {"stages_ms": {"encode": {"p50": 3.0}}}}}}
    >>> compare_reports(now, before)[0]["ratio"]
    1.5
    """
    rows = []
    for image, methods in report.get("latency", {}).items():
        for method, latency in methods.items():
            old = earlier.get("latency", {}).get(image, {}).get(method, {}).get("stages_ms", {})
            for stage, values in latency["stages_ms"].items():
                if stage in old and old[stage]["p50"] > 0:
                    times = {"before_ms": old[stage]["p50"], "now_ms": values["p50"]}
                    ratio = round(times["now_ms"] / times["before_ms"], 3)
                    rows.append({"image": image, "method": method, "stage": stage, **times, "ratio": ratio})
    return rows

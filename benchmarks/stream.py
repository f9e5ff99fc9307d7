"""Streams with the built-in model: frames per second, latency, and what a scene costs in which nothing moves.

The moving film is a camera that pans over a CC0 photograph, at the size and speed of an ordinary webcam; the still one
stands. ``FASTCONCEPT_CLIPS``, a directory of videos, adds a row for each of them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import fastconcept as fc

CONCEPTS = ["bicycle.n.01", "person.n.01", "car.n.01"]
HEIGHT, WIDTH, RATE = 360, 480, 25
BARS = {"frames_per_second": 12.0, "latency_p95_ms": 150.0, "cpu_moving_to_still": 5.0}


def write_film(path: Path, seconds: float, moves: bool) -> None:
    """A window on scikit-image's photograph of an astronaut, which pans to and fro, or stands."""
    from PIL import Image
    from skimage import data

    from fastconcept.stream.recording import recording

    photo = Image.fromarray(data.astronaut()).resize((840, 840))
    with recording(path) as video:
        for frame in range(round(seconds * RATE)):
            x = round(180 + 180 * np.sin(frame / RATE)) if moves else 180
            video.add(photo.crop((x, 60, x + WIDTH, 60 + HEIGHT)), frame / RATE)


def measure(engine: fc.Engine, path: Path, case: str, seconds: float) -> dict[str, Any]:
    """One row: a film that is played, every frame explained that there is time for, and drawn."""
    stages: dict[str, list[float]] = {}
    with engine.stream(str(path), CONCEPTS) as stream:
        for frame in stream:
            frame.overlay()
            for stage, spent in frame.explanation.timings_ms.items():
                stages.setdefault(stage, []).append(spent)
            if frame.time > seconds:
                break
    went = stream.statistics
    return {
        "case": case,
        "frames_per_second": went.frames_per_second,
        "latency_p50_ms": went.latency_ms["p50"],
        "latency_p95_ms": went.latency_ms["p95"],
        "oldest_ms": went.largest_age_ms,
        "stale": went.stale,
        "unchanged": went.kept,
        "cpu_share": went.cpu_seconds / went.seconds,
        **{f"{stage}_ms": float(np.median(spent)) for stage, spent in stages.items()},
    }


def cpu_per_frame(engine: fc.Engine, path: Path, seconds: float) -> float:
    """Milliseconds of all processors for a frame, where every frame is explained and none is drawn."""
    with engine.stream(str(path), CONCEPTS, every=1) as stream:
        for frame in stream:
            if frame.time > seconds:
                break
    return stream.statistics.cpu_seconds / stream.statistics.shown * 1e3


def run(options: Any) -> list[dict[str, Any]]:
    """A row per film, and the ratio of processor time between the one that moves and the one that does not."""
    seconds = 2.0 if options.quick else 10.0
    engine = fc.load()
    engine.warmup(images=[(HEIGHT, WIDTH)], concepts=CONCEPTS, mode="windows")
    rows, costs = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for case, moves in (("moving", True), ("still", False)):
            write_film(Path(folder, f"{case}.mp4"), seconds, moves)
            rows.append(measure(engine, Path(folder, f"{case}.mp4"), case, seconds))
            costs[case] = rows[-1]["cpu_ms_per_frame"] = cpu_per_frame(engine, Path(folder, f"{case}.mp4"), seconds / 3)
    rows[1]["cpu_moving_to_still"] = costs["moving"] / costs["still"]
    clips = os.environ.get("FASTCONCEPT_CLIPS")
    for path in sorted(Path(clips).glob("*.mp4")) if clips else ():
        rows.append(measure(engine, path, path.name, seconds))
    return rows


SUITES = {"stream": run}

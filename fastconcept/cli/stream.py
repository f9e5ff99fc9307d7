"""``fastconcept stream``: where is each concept in a video, while it plays?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from ..errors import InputError
from ..saliency.layout import Layout
from ..stream.recording import Recording, recording, video_format
from ..stream.result import StreamedFrame
from ..stream.stream import Pace, Stream
from ..stream.video import without_password
from . import output
from .options import ConceptsOption, OutputOption, SharedEngine, SharedReading, fitted_layout
from .verb import Answer, Shared, verb

_PACE = Pace()
_FAST = {"mode": "windows", "border": "clip", "sizes": ["128"], "stride": ["32"]}  # defaults of Engine.stream


def _writable_video(path: Path | None) -> Path | None:
    if path is not None:
        video_format(path)
    return output.writable(path)


@verb
def command(
    engine: SharedEngine,
    layout: Annotated[Layout, Shared(fitted_layout, **_FAST)],
    reading: SharedReading,
    frames: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Video file, camera (/dev/video0) or URL.", show_default=False)
    ],
    concepts: ConceptsOption = [],
    out: Annotated[
        Path | None,
        OutputOption(callback=_writable_video, help="Video file (.mp4, .mov, .mkv) for the frames with their maps."),
    ] = None,
    every: Annotated[
        int, typer.Option(min=0, help="Explain every N-th frame and drop none; 0 for the latest frame, as in a camera.")
    ] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many frames.")] = None,
    max_age_ms: Annotated[
        float, typer.Option(help="Show no map whose evidence is older, in milliseconds.")
    ] = _PACE.max_age_ms,
    tolerance: Annotated[
        float, typer.Option(help="Mean difference up to which a square counts as unchanged, of 255 levels.")
    ] = _PACE.tolerance,
    smoothing_ms: Annotated[
        float, typer.Option(help="Time constant of an exponential mean over maps, in milliseconds; 0 for none.")
    ] = _PACE.smoothing_ms,
    score_age_ms: Annotated[
        float, typer.Option(help="How old the embedding that scores are about may be; 0 for that of every frame.")
    ] = _PACE.score_age_ms,
    l1_penalty: Annotated[
        float | None,
        typer.Option("--l1-penalty", "--l1", help="Decompose every frame with this penalty, too; by default none is."),
    ] = None,
) -> Answer:
    """Follow concepts through a video, a camera or a network stream; Ctrl+C ends it."""
    if not concepts:
        raise InputError("name at least one concept to follow, for instance -c person.n.01")
    stream = engine.stream(
        frames,
        concepts,
        every=every,
        max_age_ms=max_age_ms,
        tolerance=tolerance,
        smoothing_ms=smoothing_ms,
        score_age_ms=score_age_ms,
        l1_penalty=l1_penalty,
        **{**vars(layout), **reading.keywords()},
    )
    seen: list[dict[str, Any]] = []
    with stream, _optional_recording(out) as video, output.status_line("streaming") as status:
        try:
            for frame in stream:
                seen.append(frame.to_dict())
                if video is not None:
                    video.add(frame.overlay(), frame.time)
                status(_status(stream, frame))
                if limit is not None and len(seen) >= limit:
                    break
        except KeyboardInterrupt:
            pass  # how people stop a camera: what was seen until then is the answer
    document = {
        "bundle": str(engine.bundle.path),
        "device": engine.device,
        "source": without_password(frames),
        "mode": layout.mode,
        "statistics": stream.statistics.to_dict(),
        "frames": seen,
    }
    return Answer(document, _text(stream, seen), [out])


@contextmanager
def _optional_recording(path: Path | None) -> Iterator[Recording | None]:
    if path is None:
        yield None
    else:
        with recording(path) as video:
            yield video


def _status(stream: Stream, frame: StreamedFrame) -> str:
    scores = ", ".join(f"{concept.concept} {concept.score:.3f}" for concept in frame.explanation)
    rate = stream.statistics.frames_per_second
    return f"{frame.time:6.1f} s  {rate:.1f} frames/s  {frame.latency_ms:.0f} ms  {scores}"


def _text(stream: Stream, seen: list[dict[str, Any]]) -> list[Any]:
    went = stream.statistics
    lines: list[Any] = [
        f"{went.shown} frames shown in {went.seconds:.1f} s: {went.frames_per_second:.1f} frames/s "
        f"({went.kept} unchanged, {went.dropped} dropped, {went.stale} too old to show)"
    ]
    if not seen:
        return lines
    slow = ", ".join(f"{name} {value:.0f} ms" for name, value in went.latency_ms.items())
    lines.append(f"latency: {slow}; oldest evidence shown: {went.largest_age_ms:.0f} ms")
    table = Table("concept", "mean score", "best at", "box there (x0 y0 x1 y1)", box=None, pad_edge=False)
    for place, concept in enumerate(seen[0]["concepts"]):
        scores = [frame["concepts"][place]["score"] for frame in seen]
        best = seen[int(np.argmax(scores))]
        box = " ".join(f"{edge:.0f}" for edge in best["concepts"][place]["box"])
        table.add_row(concept["concept"], f"{np.mean(scores):.4f}", f"{best['time']:.2f} s", box)
    return [*lines, table]

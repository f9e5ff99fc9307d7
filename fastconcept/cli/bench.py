"""``fastconcept bench``: how fast your bundle is on your device, with your images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table

from .. import bench as benchmark
from ..environment import environment
from ..errors import InputError
from . import output
from .options import ConceptsOption, SharedEngine, split
from .verb import Answer, verb


@verb
def command(
    engine: SharedEngine,
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Image files; by default one synthetic image.", show_default=False),
    ] = None,
    synthetic: Annotated[list[str] | None, typer.Option(metavar="WxH", help="Sizes of synthetic images.")] = None,
    concepts: ConceptsOption = ["animal.n.01"],
    modes: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Modes of evidence, with commas; by default all that the model has."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed calls per image and method.")] = 10,
    batch_sizes: Annotated[list[str], typer.Option(help="Batch sizes for the throughput, with commas.")] = [
        "1,4,16,64"
    ],
    l1_penalty: Annotated[
        float | None, typer.Option("--l1-penalty", "--l1", help="Penalty of decompose; by default that of the bundle.")
    ] = None,
    earlier: Annotated[Path | None, typer.Option(help="Report of an earlier --json run to compare with.")] = None,
) -> Answer:
    """Measure latency by stage, throughput by batch size, and peak memory."""
    before = _read_report(earlier) if earlier is not None else None
    contents = {path.name: _read(path) for path in images or []}
    for size in split(synthetic or ([] if images else ["640x480"]), str, "--synthetic"):
        contents[size] = benchmark.synthetic_jpeg(*_height_and_width(size))
    with output.progress_bar("measuring") as progress:
        report = benchmark.measure(
            engine,
            contents,
            concepts,
            modes=split(modes, str, "--modes") if modes else None,
            repeats=repeats,
            batch_sizes=split(batch_sizes, int, "--batch-sizes"),
            l1_penalty=l1_penalty,
            progress=progress,
        )
    document = {
        "bundle": str(engine.bundle.path),
        "model": engine.bundle.manifest.model,
        "device": engine.device,
        "encoder": engine.encoder,
        "concepts": concepts,
        "environment": environment(),
        **report,
    }
    if before is not None:
        document["comparison"] = benchmark.compare_reports(report, before)
    return Answer(document, _text(document))


def _height_and_width(size: str) -> tuple[int, int]:
    """``640x480`` to (480, 640)."""
    width, _, height = size.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and 1 <= int(width) <= 8192 and 1 <= int(height) <= 8192):
        raise InputError(f"--synthetic takes WIDTHxHEIGHT of at most 8192 pixels, for instance 640x480; got {size!r}")
    return int(height), int(width)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _read_report(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(_read(path))
    except ValueError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("latency"), dict):
        raise InputError(f"{path} is not a report of `fastconcept bench --json`")
    return document


def _text(document: dict[str, Any]) -> list[RenderableType]:
    warm_up = ", ".join(f"{part} {ms:.0f} ms" for part, ms in document["warm_up_ms"].items())
    return [
        f"{document['model']} on {document['device']}, {document['environment']['cpu']}",
        f"warm-up: {warm_up}",
        _latency_table(document["latency"]),
        _throughput_table(document["throughput"]),
        f"peak memory: {document['peak_memory_mib']:.0f} MiB",
        *map(_comparison_line, document.get("comparison", [])),
    ]


def _latency_table(latency: dict[str, Any]) -> Table:
    columns = ("image", "method", "stage", *(f"p{q} ms" for q in benchmark.PERCENTILES))
    table = Table(*columns, box=None, pad_edge=False)
    for image, methods in latency.items():
        for method, times in methods.items():
            table.add_row(image, method, "first call", f"{times['first_call_ms']:.2f}", "", "", style="dim")
            for stage, values in times["stages_ms"].items():
                table.add_row(image, method, stage, *(f"{values[f'p{q}']:.3f}" for q in benchmark.PERCENTILES))
    return table


def _throughput_table(throughput: dict[str, Any]) -> Table:
    table = Table("batch size", "images encoded per s", "embeddings decomposed per s", box=None, pad_edge=False)
    for size, rate in throughput["encode"].items():
        table.add_row(size, f"{rate:,.1f}", f"{throughput['decompose'][size]:,.1f}")
    return table


def _comparison_line(row: dict[str, Any]) -> str:
    verdict = "slower" if row["ratio"] > 1.1 else "faster" if row["ratio"] < 0.9 else "same"
    times = f"{row['before_ms']:.3f} -> {row['now_ms']:.3f} ms, {row['ratio']:.2f}x"
    return f"{row['image']} {row['method']} {row['stage']}: {times}, {verdict}"

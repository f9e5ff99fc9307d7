"""``fastconcept bench``: your bundle, your device, your image sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from .. import bench as benchmark
from ..errors import InputError
from . import output
from .info import environment
from .options import (
    BundleOption,
    DeviceOption,
    EncoderOption,
    JsonOption,
    ProviderOption,
    ThreadsOption,
    open_engine,
)


def command(
    image: Annotated[list[Path], typer.Option("--image", help="Image file; may be repeated.")] = [],  # noqa: B006
    size: Annotated[list[str], typer.Option("--size", help="Synthetic image, WIDTHxHEIGHT; may be repeated.")] = [],  # noqa: B006
    concept: Annotated[list[str], typer.Option("--concept", "-c", help="What explain looks for.")] = ["animal.n.01"],  # noqa: B006
    repeats: Annotated[int, typer.Option(min=1, help="Timed calls per image and method.")] = 10,
    batch_size: Annotated[list[int], typer.Option(help="For the throughput; may be repeated.")] = [1, 4, 16, 64],  # noqa: B006
    l1: Annotated[float, typer.Option("--l1", help="Penalty of decompose.")] = 0.25,
    compare: Annotated[Path | None, typer.Option(help="Earlier --json report to compare medians with.")] = None,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    provider: ProviderOption = None,
    encoder: EncoderOption = "onnx",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure latency per stage, throughput by batch size and peak memory."""
    earlier = _read_report(compare) if compare is not None else None
    images = {path.name: _read(path) for path in image}
    for text in size or ([] if image else ["640x480"]):
        images[text] = benchmark.synthetic_jpeg(*_parse_size(text))
    engine = open_engine(bundle, device, provider, encoder, threads)
    with output.progress_bar("measuring") as progress:
        report = benchmark.measure(
            engine, images, concept, repeats=repeats, batch_sizes=batch_size, l1_penalty=l1, progress=progress
        )
    model = {
        "bundle": str(engine.bundle.path),
        "model": engine.bundle.manifest.model,
        "device": device,
        "encoder": encoder,
    }
    document = {**model, "concepts": concept, "environment": environment(), **report}
    if earlier is not None:
        document["comparison"] = benchmark.compare(report, earlier)
    if as_json:
        output.print_json(document)
    else:
        _print(document, output.console())


def _parse_size(text: str) -> tuple[int, int]:
    """``640x480`` to (height, width)."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and 1 <= int(width) <= 8192 and 1 <= int(height) <= 8192):
        raise InputError(f"--size must be WIDTHxHEIGHT of at most 8192 pixels, for instance 640x480; got {text!r}")
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
        raise InputError(f"{path} is not a report of `fastconcept bench --json`") from None
    if not isinstance(document, dict) or not isinstance(document.get("latency"), dict):
        raise InputError(f"{path} is not a report of `fastconcept bench --json`")
    return document


def _print(document: dict[str, Any], console: Console) -> None:
    console.print(f"{document['model']} on {document['device']}, {document['environment']['cpu']}")
    spent = ", ".join(f"{part} {ms:.0f} ms" for part, ms in document["warm_up_ms"].items())
    console.print(f"warm-up: {spent}")
    table = Table("image", "method", "stage", "p50 ms", "p90 ms", "p99 ms", box=None, pad_edge=False)
    for image, methods in document["latency"].items():
        for method, series in methods.items():
            table.add_row(image, method, "first call", f"{series['first_call_ms']:.2f}", "", "", style="dim")
            for stage, values in series["stages_ms"].items():
                table.add_row(image, method, stage, *(f"{values[f'p{q}']:.3f}" for q in benchmark.PERCENTILES))
    console.print(table)
    table = Table("batch size", "images encoded /s", "embeddings decomposed /s", box=None, pad_edge=False)
    for size, rate in document["throughput"]["encode"].items():
        table.add_row(size, f"{rate:,.1f}", f"{document['throughput']['decompose'][size]:,.1f}")
    console.print(table)
    console.print(f"peak memory {document['peak_memory_mb']:.0f} MiB")
    for row in document.get("comparison", []):
        mark = "slower" if row["ratio"] > 1.1 else "faster" if row["ratio"] < 0.9 else "same"
        before, now = f"{row['before_ms']:.3f}", f"{row['now_ms']:.3f}"
        line = f"{row['image']} {row['method']} {row['stage']}: {before} -> {now} ms, {row['ratio']:.2f}x, {mark}"
        console.print(line)

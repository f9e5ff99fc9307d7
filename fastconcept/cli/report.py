"""``fastconcept report``: one page about an image or a directory of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ImageError, InputError
from ..report.page import page
from ..report.sight import Sight, find_images, look
from ..saliency.explain import Options
from . import output
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
    images: Annotated[list[Path], typer.Argument(help="Image files or directories.", show_default=False)],
    out: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("report.html"),
    limit: Annotated[int, typer.Option(min=1, help="Images at most.")] = 24,
    stride: Annotated[int, typer.Option(help="Pixels between patches; 16 is finer and four times as slow.")] = 32,
    score: Annotated[str, typer.Option(help="rank, log-rank or similarity.")] = "log-rank",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be read.")] = False,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    provider: ProviderOption = None,
    encoder: EncoderOption = "onnx",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one page: maps by level of the hierarchy, words, whole-image scores. It needs no network."""
    engine = open_engine(bundle, device, provider, encoder, threads)
    paths = find_images([str(path) for path in images])
    left_out, paths = len(paths) - limit, paths[:limit]
    options = Options(stride=stride, score=score)
    sights: list[Sight] = []
    skipped: list[tuple[str, str]] = []
    with output.progress_bar("report") as progress:
        for done, path in enumerate(paths, start=1):
            try:
                sights.append(look(engine, path, Path(path).name, options=options))
            except ImageError as error:
                if strict:
                    raise
                skipped.append((Path(path).name, str(error)))
            progress(done, len(paths))
    if not sights:
        raise InputError(f"none of the {len(paths)} files can be read; the first: {skipped[0][1]}")
    with output.whole_file(out) as stream:
        stream.write(page(sights, engine.bundle.manifest.model, skipped).encode("utf-8"))
    if as_json:
        output.print_json(
            {
                "page": str(out),
                "images": [
                    {
                        "image": sight.name,
                        "levels": {level.name: [m.to_dict() for m in level.maps] for level in sight.levels},
                        "words": [list(entry) for entry in sight.words.top()] if sight.words is not None else [],
                    }
                    for sight in sights
                ],
                "skipped": [list(entry) for entry in skipped],
                "left_out": max(0, left_out),
            }
        )
        return
    console = output.console()
    for name, reason in skipped:
        console.print(f"skipped {name}: {reason}")
    if left_out > 0:
        console.print(f"{left_out} more images were left out; see --limit")
    console.print(f"wrote {out} ({len(sights)} images)")

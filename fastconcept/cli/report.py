"""``fastconcept report``: one page about images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..datasets.images import distinct_names, find_images
from ..encoders.pipeline import decoded
from ..errors import ImageError, InputError
from ..files import whole_file
from ..report.page import page
from ..report.sight import Sight, look
from ..saliency.layout import Layout
from . import output
from .options import OutputOption, SharedEngine, SharedReading, fitted_layout
from .verb import Answer, Shared, verb


@verb
def command(
    engine: SharedEngine,
    layout: Annotated[Layout, Shared(fitted_layout, stride=["32"])],
    reading: SharedReading,
    images: Annotated[list[Path], typer.Argument(help="Image files or directories.", show_default=False)],
    out: Annotated[Path, OutputOption(callback=output.writable, help="HTML file to write.")] = Path("report.html"),
    limit: Annotated[int, typer.Option(min=1, help="Largest number of images.")] = 24,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be read.")] = False,
) -> Answer:
    """Write a page about images: maps of the concepts seen, words, scores. It works offline."""
    paths = find_images(*images)
    left_out, paths = max(0, len(paths) - limit), paths[:limit]
    sights: list[Sight] = []
    skipped: list[tuple[str, str]] = []
    pictures = decoded(paths, engine.load_image, engine.num_threads)
    with output.progress_bar("report") as progress:
        for name in output.counted(distinct_names(paths), progress):
            _, picture = next(pictures)  # the next one is decoded while this one is explained
            try:
                sights.append(look(engine, picture(), name, layout=layout, reading=reading))
            except ImageError as error:
                if strict:
                    raise
                skipped.append((name, str(error)))
    if not sights:
        raise InputError(f"none of the images could be read, {len(paths)} in all; the first: {skipped[0][1]}")
    with whole_file(out) as stream:
        stream.write(page(sights, engine.bundle.manifest.model, skipped).encode("utf-8", "backslashreplace"))
    document = {
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
        "left_out": left_out,
    }
    text = [output.printable(f"skipped {name}: {reason}") for name, reason in skipped]
    if left_out:
        text.append(f"left out {left_out} more images; raise --limit to have them")
    return Answer(document, text, [out])

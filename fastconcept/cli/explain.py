"""``fastconcept explain``: where in an image is each concept?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from .. import viz
from ..errors import InputError
from ..files import whole_file
from ..protocol.documents import about_images
from ..saliency.result import Explanation
from . import output
from .options import ConceptsOption, ImagesArgument, OutputOption, SharedEngine, SharedLayout, SharedReading
from .verb import Answer, verb


@verb
def command(
    engine: SharedEngine,
    layout: SharedLayout,
    reading: SharedReading,
    images: ImagesArgument,
    concepts: ConceptsOption = [],
    out: Annotated[
        Path | None,
        OutputOption(callback=output.writable_picture, help="Picture file for the maps, laid over the images."),
    ] = None,
    npy: Annotated[
        Path | None,
        typer.Option(callback=output.writable, help="NumPy file (.npy) for the maps (k, H, W) of one image."),
    ] = None,
    box: Annotated[bool, typer.Option("--box/--no-box", help="Draw each concept's box.")] = False,
) -> Answer:
    """Draw where each concept is in an image; without -c, the concepts that the model sees best."""
    if npy is not None and len(images) > 1:
        raise InputError(f"--npy holds the maps of one image, got {len(images)} images")
    with output.progress_bar("explaining") as progress:
        options = {**vars(layout), **reading.keywords()}
        explanations = engine.explain(output.counted(images, progress), concepts or None, **options)
    if out is not None:
        pictures = [explanation.overlay(box) for explanation in explanations]
        output.save_picture(viz.strip(pictures, per_row=1), out)
    if npy is not None:
        with whole_file(npy) as stream:
            np.save(stream, explanations[0].maps, allow_pickle=False)
    answers = list(zip(images, explanations, strict=True))
    entries = ((str(path), explanation.to_dict()) for path, explanation in answers)
    document = about_images(str(engine.bundle.path), entries, device=engine.device)
    return Answer(document, [_table(path, explanation) for path, explanation in answers], [out, npy])


def _table(path: Path, explanation: Explanation) -> Table:
    columns = ("concept", "score", "rank", "box (x0 y0 x1 y1)", "note")
    table = Table(*columns, title=output.printable(path.name), title_justify="left", box=None, pad_edge=False)
    for concept in explanation:
        edges = " ".join(f"{edge:.0f}" for edge in concept.box())
        table.add_row(concept.concept, f"{concept.score:.4f}", str(concept.rank), edges, concept.note)
    return table

"""``fastconcept concepts``: what does the model see in an image?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ..protocol.documents import about_images
from ..saliency.survey import SeenConcepts
from . import output
from .options import BelowOption, ImagesArgument, SharedEngine, SharedLayout, TopOption, split
from .verb import Answer, verb


@verb
def command(
    engine: SharedEngine,
    layout: SharedLayout,
    images: ImagesArgument,
    top: TopOption = 10,
    below: BelowOption = None,
    place: Annotated[
        str | None, typer.Option(metavar="X,Y", help="Only what is seen at this point of the image, in pixels.")
    ] = None,
) -> Answer:
    """List the concepts that the model sees in an image, best first."""
    point: Any = None if place is None else tuple(split([place], float, "--place"))
    with output.progress_bar("looking") as progress:
        seen = [
            engine.concepts(path, top, below, place=point, **vars(layout)) for path in output.counted(images, progress)
        ]
    answers = list(zip(images, seen, strict=True))
    entries = ((str(path), concepts.to_dict()) for path, concepts in answers)
    document = about_images(str(engine.bundle.path), entries, device=engine.device)
    return Answer(document, [_table(path, concepts) for path, concepts in answers])


def _table(path: Path, concepts: SeenConcepts) -> Table:
    columns = ("concept", "score", "rank", "patches", "definition")
    table = Table(*columns, title=output.printable(path.name), title_justify="left", box=None, pad_edge=False)
    for concept in concepts:
        numbers = (f"{concept.score:.2f}", str(concept.rank), f"{concept.patches:.0%}")
        table.add_row(concept.name, *numbers, concept.definition)
    return table

"""``fastconcept evaluate study``: questions for a user study of the explorer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...evaluate.study import study
from .. import output
from ..data import Source
from ..options import OutputOption, SharedEngine
from ..verb import Answer, Shared, verb


@verb
def command(
    engine: SharedEngine,
    source: Annotated[Source, Shared(Source)],
    out: Annotated[Path, OutputOption(callback=output.writable, help="JSON file for the questions.")] = Path(
        "questions.json"
    ),
    count: Annotated[int, typer.Option(min=1, help="Number of questions.")] = 20,
    choices: Annotated[int, typer.Option(min=2, max=10, help="Captions of each question.")] = 4,
    distractors: Annotated[
        str, typer.Option(help="The wrong captions: near, those most similar to the right one, or random.")
    ] = "near",
) -> Answer:
    """Make questions for `fastconcept explore --study` from images with captions, such as those of COCO."""
    with output.progress_bar("study") as progress:
        questions = study(
            engine,
            source.open(),
            count=count,
            choices=choices,
            distractors=distractors,
            seed=source.seed,
            progress=progress,
        )
    questions.save(out)
    text = [f"{len(questions.questions)} questions with {choices} captions each"]
    text += [output.printable(f"skipped {name}: {reason}") for name, reason in questions.bad[:20]]
    return Answer({**questions.to_dict(), "bad_rows": len(questions.bad)}, text, [out])

"""``fastconcept evaluate zeroshot``: how well do dense and decomposed embeddings classify?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...datasets.texts import read_lines
from ...evaluate.zeroshot import zeroshot
from .. import output
from ..options import split
from ..verb import Answer, verb
from .run import CaptionsOption, L1PenaltiesOption, NullsOption, SharedRun, captions_of


@verb
def command(
    run: SharedRun,
    classes: Annotated[Path | None, typer.Option(help="Text file of class names, one a line.")] = None,
    templates: Annotated[
        list[str], typer.Option(metavar="TEXT", help="Prompt with {} or {definition}; may be repeated.")
    ] = ["a photo of a {}"],
    l1_penalties: L1PenaltiesOption = ["0.05,0.1,0.15,0.2,0.25,0.35"],
    nulls: NullsOption = ["random-vocabulary,shuffled-definitions"],
    dictionaries: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Other dictionaries to draw beside, with commas; see evaluate ablate."),
    ] = None,
    captions: CaptionsOption = None,
) -> Answer:
    """How well do dense and decomposed embeddings classify?"""
    with output.progress_bar("zeroshot") as progress:
        result = zeroshot(
            run.engine,
            run.dataset,
            classes=None if classes is None else read_lines(classes),
            templates=templates,
            l1_penalties=split(l1_penalties, float, "--l1-penalties"),
            nulls=split(nulls, str, "--nulls"),
            dictionaries=split(dictionaries or [], str, "--dictionaries"),
            captions=captions_of(captions),
            seed=run.seed,
            progress=progress,
        )
    return run.answer(result.report(run.settings))

"""``fastconcept evaluate ablate``: what does each choice of SpLiCE contribute?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...datasets.texts import read_lines
from ...evaluate.ablate import ablate
from .. import output
from ..options import split
from ..verb import Answer, verb
from .run import CaptionsOption, SharedRun, captions_of


@verb
def command(
    run: SharedRun,
    classes: Annotated[Path | None, typer.Option(help="Text file of class names, one a line.")] = None,
    templates: Annotated[
        list[str], typer.Option(metavar="TEXT", help="Prompt with {} or {definition}; may be repeated.")
    ] = ["a photo of a {}"],
    l0s: Annotated[
        list[str], typer.Option("--l0s", metavar="NUMBERS", help="Numbers of words to try, with commas.")
    ] = ["5,10,20"],
    dictionary_sizes: Annotated[
        list[str], typer.Option(metavar="NUMBERS", help="Sizes of smaller dictionaries to try, with commas.")
    ] = ["100,300,1000,3000"],
    vocabularies: Annotated[
        list[str],
        typer.Option(metavar="NAMES", help="Other dictionaries to try, with commas; text files of words, too."),
    ] = ["classes,random-words,captions,bigrams,random-rows"],
    captions: CaptionsOption = None,
) -> Answer:
    """What do nonnegativity, centring, the lasso and the dictionary each contribute?"""
    with output.progress_bar("ablate") as progress:
        result = ablate(
            run.engine,
            run.dataset,
            classes=None if classes is None else read_lines(classes),
            templates=templates,
            l0s=split(l0s, int, "--l0s"),
            dictionary_sizes=split(dictionary_sizes, int, "--dictionary-sizes"),
            vocabularies=split(vocabularies, str, "--vocabularies"),
            captions=captions_of(captions),
            seed=run.seed,
            progress=progress,
        )
    return run.answer(result.report({**run.settings, "templates": " | ".join(templates)}))

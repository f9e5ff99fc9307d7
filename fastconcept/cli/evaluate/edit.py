"""``fastconcept evaluate edit``: what does a linear probe still know once words are taken out?"""

from __future__ import annotations

from typing import Annotated

import typer

from ...evaluate.edit import edit
from .. import output
from ..options import SharedSparsity
from ..verb import Answer, verb
from .run import SharedRun


@verb
def command(
    run: SharedRun,
    sparsity: SharedSparsity,
    words: Annotated[list[str], typer.Option("--words", "-w", metavar="WORD", help="Word to edit; may be repeated.")],
    nuisance: Annotated[str, typer.Option(help="What the edit should hide; see --target.")],
    target: Annotated[
        str, typer.Option(help="What should stay: label, an attribute, has:CONCEPT or below:CONCEPT.")
    ] = "label",
    scale: Annotated[float, typer.Option(help="Factor of the words' weights; 0 removes them.")] = 0.0,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
) -> Answer:
    """What does a linear probe still know once words are taken out?"""
    with output.progress_bar("edit") as progress:
        result = edit(
            run.engine,
            run.dataset,
            words,
            target=target,
            nuisance=nuisance,
            scale=scale,
            folds=folds,
            **sparsity,
            seed=run.seed,
            progress=progress,
        )
    return run.answer(result.report({**run.settings, "target": target, "nuisance": nuisance}))

"""``fastconcept evaluate probe``: how much of a label do codes hold, beside dense embeddings?"""

from __future__ import annotations

from typing import Annotated

import typer

from ...evaluate.probe import probe
from .. import output
from ..options import split
from ..verb import Answer, verb
from .run import L1PenaltiesOption, SharedRun


@verb
def command(
    run: SharedRun,
    target: Annotated[
        str, typer.Option(help="What probes are trained for: label, an attribute, has:CONCEPT or below:CONCEPT.")
    ] = "label",
    nuisance: Annotated[
        str | None, typer.Option(help="The worst group is then one of target and nuisance; see --target.")
    ] = None,
    l1_penalties: L1PenaltiesOption = ["0.05,0.15,0.25,0.35"],
    l0s: Annotated[
        list[str] | None, typer.Option("--l0s", metavar="NUMBERS", help="Numbers of words to try instead, with commas.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
) -> Answer:
    """How much of a label do codes hold, beside dense embeddings, and by which words?"""
    with output.progress_bar("probe") as progress:
        result = probe(
            run.engine,
            run.dataset,
            target=target,
            nuisance=nuisance,
            l1_penalties=split(l1_penalties, float, "--l1-penalties"),
            l0s=split(l0s or [], int, "--l0s"),
            folds=folds,
            seed=run.seed,
            progress=progress,
        )
    return run.answer(result.report({**run.settings, "nuisance": nuisance}))

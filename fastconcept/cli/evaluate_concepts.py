"""``fastconcept evaluate concepts | edit | drift``: what the words of whole datasets say."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import InputError
from ..evaluate.concepts import concepts
from ..evaluate.drift import drift
from ..evaluate.edit import edit as edit_words
from . import output
from .data import SharedRun
from .options import SharedSparsity
from .verb import Answer, verb


@verb
def summarize(
    run: SharedRun,
    sparsity: SharedSparsity,
    by: Annotated[str, typer.Option(help="Grouping: label, an attribute, has:CONCEPT or below:CONCEPT.")] = "label",
    compare: Annotated[
        list[str] | None, typer.Option(metavar="VALUE", help="Value of --by; give two of them to compare the groups.")
    ] = None,
) -> Answer:
    """Which words do classes consist of, and which tell two groups apart?"""
    if compare is not None and len(compare) != 2:
        raise InputError(f"--compare is given twice or not at all, got {len(compare)} groups")
    with output.progress_bar("concepts") as progress:
        result = concepts(
            run.engine,
            run.dataset,
            by=by,
            compare=(compare[0], compare[1]) if compare else None,
            **sparsity,
            seed=run.seed,
            progress=progress,
        )
    return run.answer(result.report(run.settings))


@verb
def edit(
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
        result = edit_words(
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


@verb
def trace(
    run: SharedRun,
    sparsity: SharedSparsity,
    by: Annotated[str, typer.Option(help="Attribute that orders the items, such as a year or a batch.")],
    rate: Annotated[float, typer.Option(help="False discovery rate of the alarms.")] = 0.05,
) -> Answer:
    """Do the weights of words move over ordered groups?"""
    with output.progress_bar("drift") as progress:
        result = drift(run.engine, run.dataset, by, rate=rate, **sparsity, seed=run.seed, progress=progress)
    return run.answer(result.report(run.settings))

"""``fastconcept evaluate concepts | edit | drift``: what the words of whole datasets say."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import InputError
from ..evaluate import concepts as distribution
from ..evaluate import drift, summaries
from ..evaluate import edit as editing
from ..pages.document import Report
from . import output
from .evaluation import L0Option, L1Option, Run


def summarize(
    ran: Run,
    by: Annotated[str, typer.Option(help="label, an attribute, has:CONCEPT or below:CONCEPT.")] = "label",
    compare: Annotated[list[str], typer.Option(help="A value of --by; give it twice to compare.")] = [],  # noqa: B006
    l1: L1Option = None,
    l0: L0Option = None,
) -> Report:
    """Which words do classes consist of, and which tell two groups apart?"""
    if len(compare) not in (0, 2):
        raise InputError(f"--compare is given twice or not at all, got {len(compare)} groups")
    pair = (compare[0], compare[1]) if compare else None
    with output.progress_bar("concepts") as progress:
        found = distribution.summarize(
            ran.engine, ran.dataset, by=by, compare=pair, l1_penalty=l1, l0=l0, seed=ran.seed, progress=progress
        )
    return summaries.concepts(found, ran.settings)


def edit(
    ran: Run,
    word: Annotated[list[str], typer.Option("--word", "-w", help="Word to remove or scale; may be repeated.")],
    nuisance: Annotated[str, typer.Option(help="Label that the edit should hide; see --target.")],
    target: Annotated[str, typer.Option(help="label, an attribute, has:CONCEPT or below:CONCEPT.")] = "label",
    scale: Annotated[float, typer.Option(help="Factor of the words' weights; 0 removes them.")] = 0.0,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    l1: L1Option = None,
    l0: L0Option = None,
) -> Report:
    """What does a linear probe still know once words are taken out?"""
    with output.progress_bar("edit") as progress:
        found = editing.edit(
            ran.engine,
            ran.dataset,
            word,
            target=target,
            nuisance=nuisance,
            scale=scale,
            l1_penalty=l1,
            l0=l0,
            folds=folds,
            seed=ran.seed,
            progress=progress,
        )
    return summaries.editing(found, {**ran.settings, "target": target, "nuisance": nuisance})


def trace(
    ran: Run,
    by: Annotated[str, typer.Option(help="What orders the items: an attribute, such as a year or a batch.")],
    rate: Annotated[float, typer.Option(help="False discovery rate of the alarms.")] = 0.05,
    l1: L1Option = None,
    l0: L0Option = None,
) -> Report:
    """Do concept weights move over ordered groups?"""
    with output.progress_bar("drift") as progress:
        found = drift.trace(
            ran.engine, ran.dataset, by, l1_penalty=l1, l0=l0, rate=rate, seed=ran.seed, progress=progress
        )
    return summaries.drift(found, ran.settings)

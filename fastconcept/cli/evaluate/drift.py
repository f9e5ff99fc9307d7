"""``fastconcept evaluate drift``: do the weights of words move over ordered groups?"""

from __future__ import annotations

from typing import Annotated

import typer

from ...evaluate.drift import drift
from .. import output
from ..options import SharedSparsity
from ..verb import Answer, verb
from .run import SharedRun


@verb
def command(
    run: SharedRun,
    sparsity: SharedSparsity,
    by: Annotated[str, typer.Option(help="Attribute that orders the items, such as a year or a batch.")],
    rate: Annotated[float, typer.Option(help="False discovery rate of the alarms.")] = 0.05,
) -> Answer:
    """Do the weights of words move over ordered groups?"""
    with output.progress_bar("drift") as progress:
        result = drift(run.engine, run.dataset, by, rate=rate, **sparsity, seed=run.seed, progress=progress)
    return run.answer(result.report(run.settings))

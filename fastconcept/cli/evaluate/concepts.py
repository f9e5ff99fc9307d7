"""``fastconcept evaluate concepts``: which words do classes consist of?"""

from __future__ import annotations

from typing import Annotated

import typer

from ...errors import InputError
from ...evaluate.concepts import concepts
from .. import output
from ..options import SharedSparsity
from ..verb import Answer, verb
from .run import SharedRun


@verb
def command(
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

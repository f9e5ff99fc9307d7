"""``fastconcept evaluate modes``: how far do the faster modes of evidence agree with crops?"""

from __future__ import annotations

from typing import Annotated

import typer

from ...evaluate.modes import modes
from .. import output
from ..options import SharedLayout, SharedReading, split
from ..verb import Answer, verb
from .run import SharedRunWithObjects


@verb
def command(
    run: SharedRunWithObjects,
    layout: SharedLayout,
    reading: SharedReading,
    compared: Annotated[
        list[str], typer.Option("--modes", metavar="NAMES", help="Modes to compare with crops; by default all.")
    ] = [],
) -> Answer:
    """How far do the faster modes of evidence agree with crops, and how much faster are they?"""
    names = split(compared, str, "--modes") if compared else None
    with output.progress_bar("modes") as progress:
        result = modes(
            run.engine, run.dataset, modes=names, layout=layout, reading=reading, seed=run.seed, progress=progress
        )
    return run.answer(result.report(run.settings))

"""``fastconcept evaluate retrieval``: do captions find their image, and images their captions?"""

from __future__ import annotations

from ...evaluate.retrieval import retrieval
from .. import output
from ..options import split
from ..verb import Answer, verb
from .run import L1PenaltiesOption, NullsOption, SharedRun


@verb
def command(
    run: SharedRun,
    l1_penalties: L1PenaltiesOption = ["0.05,0.1,0.25"],
    nulls: NullsOption = ["random-vocabulary,shuffled-definitions"],
) -> Answer:
    """Do captions find their image, and images their captions?"""
    with output.progress_bar("retrieval") as progress:
        result = retrieval(
            run.engine,
            run.dataset,
            l1_penalties=split(l1_penalties, float, "--l1-penalties"),
            nulls=split(nulls, str, "--nulls"),
            seed=run.seed,
            progress=progress,
        )
    return run.answer(result.report(run.settings))

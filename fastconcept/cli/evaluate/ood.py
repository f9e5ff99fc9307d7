"""``fastconcept evaluate ood``: does an image show something below a concept, or something else?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...datasets.texts import read_json
from ...errors import InputError
from ...evaluate.ood import ood, report
from .. import output
from ..options import split
from ..verb import Answer, verb
from .run import NullsOption, SharedRun


@verb
def command(
    run: SharedRun,
    inside: Annotated[str | None, typer.Option(help="Concept that in-distribution images show.")] = None,
    outside: Annotated[str | None, typer.Option(help="Concept of the others; by default every other label.")] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="JSON list of {in_root, out_root, in_files, out_files}, instead of --inside.")
    ] = None,
    nulls: NullsOption = ["shuffled-definitions,random-vocabulary"],
    null_seeds: Annotated[int, typer.Option(min=1, help="Seeds of each control.")] = 10,
) -> Answer:
    """Does an image show something below a concept, or something else?"""
    if (inside is None) == (pairs is None):
        raise InputError("give --inside CONCEPT, or --pairs FILE with several pairs")
    results = []
    for one, other, names in [(inside, outside, None)] if inside is not None else _pairs(pairs):
        with output.progress_bar(f"{one} / {other or 'others'}") as progress:
            result = ood(
                run.engine,
                run.dataset if names is None else run.dataset.only(names),
                one,
                other,
                nulls=split(nulls, str, "--nulls"),
                null_seeds=null_seeds,
                seed=run.seed,
                progress=progress,
            )
        results.append(result)
    return run.answer(report(results, run.settings))


def _pairs(path: Path | None) -> list[tuple[str, str | None, set[str] | None]]:
    try:
        entries = read_json(path) if path is not None else None
        if not isinstance(entries, list) or not entries:
            raise TypeError("at least one pair is needed")
        return [
            (str(e["in_root"]), str(e["out_root"]), {*map(str, e["in_files"]), *map(str, e["out_files"])})
            for e in entries
        ]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a JSON list of pairs with in_root, out_root and their files: {error!r}"
        ) from None

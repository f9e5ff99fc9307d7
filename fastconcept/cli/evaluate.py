"""``fastconcept evaluate VERB DATA``: the experiments of the papers on any labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..evaluate.ood import ood, report
from ..evaluate.retrieval import retrieval
from ..evaluate.zeroshot import zeroshot
from . import evaluate_concepts, evaluate_localize, output
from .data import NullsOption, SharedRun
from .options import L1PenaltiesOption, split
from .verb import Answer, verb

app = typer.Typer(
    help="Run an experiment on labelled images, next to controls that an honest method must beat.", no_args_is_help=True
)

app.command("localize")(evaluate_localize.localize)
app.command("concepts")(evaluate_concepts.summarize)
app.command("edit")(evaluate_concepts.edit)
app.command("drift")(evaluate_concepts.trace)


@app.command("ood")
@verb
def detect(
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
        entries = json.loads(Path(path or "").read_text(encoding="utf-8"))
        return [
            (str(e["in_root"]), str(e["out_root"]), {*map(str, e["in_files"]), *map(str, e["out_files"])})
            for e in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a JSON list of pairs with in_root, out_root and their files: {error!r}"
        ) from None


@app.command("zeroshot")
@verb
def classify(
    run: SharedRun,
    classes: Annotated[Path | None, typer.Option(help="Text file of class names, one a line.")] = None,
    templates: Annotated[
        list[str], typer.Option(metavar="TEXT", help="Prompt with {} or {definition}; may be repeated.")
    ] = ["a photo of a {}"],
    l1_penalties: L1PenaltiesOption = ["0.05,0.1,0.15,0.2,0.25,0.35"],
    nulls: NullsOption = ["random-vocabulary,shuffled-definitions"],
) -> Answer:
    """How well do dense and decomposed embeddings classify?"""
    with output.progress_bar("zeroshot") as progress:
        result = zeroshot(
            run.engine,
            run.dataset,
            classes=None if classes is None else _lines(classes),
            templates=templates,
            l1_penalties=split(l1_penalties, float, "--l1-penalties"),
            nulls=split(nulls, str, "--nulls"),
            seed=run.seed,
            progress=progress,
        )
    return run.answer(result.report(run.settings))


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"no file of class names at {path}")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


@app.command("retrieval")
@verb
def retrieve(
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

"""``fastconcept evaluate TASK DATA``: the experiments of the papers on any labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..evaluate import ood, retrieval, summaries, zeroshot
from ..pages.document import Report
from . import evaluate_concepts, evaluate_localize, output
from .evaluation import Run, verb

app = typer.Typer(help="Run an experiment of the papers: metrics, null controls and a report.", no_args_is_help=True)

app.command("concepts")(verb(evaluate_concepts.summarize))
app.command("edit")(verb(evaluate_concepts.edit))
app.command("drift")(verb(evaluate_concepts.trace))
app.command("localize")(verb(evaluate_localize.localize, boxed=True))


@app.command("ood")
@verb
def detect(
    ran: Run,
    inside: Annotated[str | None, typer.Option("--in", help="In-distribution concept.")] = None,
    outside: Annotated[str | None, typer.Option("--out", help="The other side; default: every other label.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="JSON list of {in_root, out_root, in_files, out_files}.")] = None,
    null: Annotated[list[str], typer.Option(help="Null control; may be repeated.")] = [  # noqa: B006
        "shuffled-definitions",
        "random-vocabulary",
    ],
    null_seeds: Annotated[int, typer.Option(min=1, help="Seeds of each null control.")] = 10,
) -> Report:
    """Does an image show something below a concept, or something else?"""
    if (inside is None) == (pairs is None):
        raise InputError("give --in CONCEPT, or --pairs FILE with several pairs")
    asked = [(inside, outside, None)] if inside is not None else _pairs(pairs)
    found = []
    for within, without, names in asked:
        chosen = ran.dataset if names is None else ran.dataset.only(names)
        with output.progress_bar(f"{within} / {without or 'others'}") as progress:
            result = ood.detect(
                ran.engine, chosen, within, without, nulls=null, null_seeds=null_seeds, seed=ran.seed, progress=progress
            )
        found.append(result)
    return summaries.ood(found, ran.settings)


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
    ran: Run,
    classes: Annotated[Path | None, typer.Option(help="Text file of class names, one per line.")] = None,
    template: Annotated[list[str], typer.Option(help="Prompt with {} or {definition}; may be repeated.")] = [  # noqa: B006
        "a photo of a {}"
    ],
    penalty: Annotated[list[float], typer.Option("--l1", help="l1 penalty; may be repeated.")] = [  # noqa: B006
        0.05,
        0.1,
        0.15,
        0.2,
        0.25,
        0.35,
    ],
    null: Annotated[list[str], typer.Option(help="Null control; may be repeated.")] = [  # noqa: B006
        "random-vocabulary",
        "shuffled-definitions",
    ],
) -> Report:
    """How well do dense and decomposed embeddings classify?"""
    chosen = None
    if classes is not None:
        if not classes.is_file():
            raise InputError(f"no file of class names at {classes}")
        chosen = [line.strip() for line in classes.read_text(encoding="utf-8").splitlines() if line.strip()]
    with output.progress_bar("zeroshot") as progress:
        found = zeroshot.classify(
            ran.engine,
            ran.dataset,
            classes=chosen,
            templates=template,
            penalties=penalty,
            nulls=null,
            seed=ran.seed,
            progress=progress,
        )
    return summaries.zeroshot(found, ran.settings)


@app.command("retrieval")
@verb
def retrieve(
    ran: Run,
    penalty: Annotated[list[float], typer.Option("--l1", help="l1 penalty; may be repeated.")] = [0.05, 0.1, 0.25],  # noqa: B006
    null: Annotated[list[str], typer.Option(help="Null control; may be repeated.")] = [  # noqa: B006
        "random-vocabulary",
        "shuffled-definitions",
    ],
) -> Report:
    """Find images by captions and captions by images."""
    with output.progress_bar("retrieval") as progress:
        found = retrieval.retrieve(
            ran.engine, ran.dataset, penalties=penalty, nulls=null, seed=ran.seed, progress=progress
        )
    return summaries.retrieval(found, ran.settings)

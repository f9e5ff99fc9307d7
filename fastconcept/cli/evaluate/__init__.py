"""``fastconcept evaluate VERB DATA``: the experiments of the papers on any labelled images; one file per verb."""

from __future__ import annotations

import typer

from . import ablate, answers, concepts, drift, edit, localize, modes, ood, probe, retrieval, study, zeroshot

app = typer.Typer(
    help="Run an experiment on labelled images, next to controls that an honest method must beat.", no_args_is_help=True
)
app.command("localize")(localize.command)
app.command("modes")(modes.command)
app.command("ood")(ood.command)
app.command("zeroshot")(zeroshot.command)
app.command("ablate")(ablate.command)
app.command("probe")(probe.command)
app.command("retrieval")(retrieval.command)
app.command("concepts")(concepts.command)
app.command("edit")(edit.command)
app.command("drift")(drift.command)
app.command("study")(study.command)
app.command("answers")(answers.command)

"""``fastconcept batch VERB SOURCE -o DIR``: a method of the engine over any number of images; one file per verb."""

from __future__ import annotations

import typer

from . import concepts, decompose, embed, explain
from .run import BatchCommand

app = typer.Typer(
    help="Run over thousands or millions of images, on this machine or on a Ray cluster, into parquet files.",
    no_args_is_help=True,
)
app.command("decompose", cls=BatchCommand)(decompose.command)
app.command("explain", cls=BatchCommand)(explain.command)
app.command("concepts", cls=BatchCommand)(concepts.command)
app.command("embed", cls=BatchCommand)(embed.command)

"""``fastconcept evaluate answers``: how often were people of a user study right?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...evaluate.answers import answers
from ...files import whole_file
from .. import output
from ..options import OutputOption
from ..verb import Answer, verb


@verb
def command(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="ANSWERS", help="SQLite file that `fastconcept explore --study` wrote.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, OutputOption(callback=output.writable, help="CSV file for the answers, one a row.")
    ] = None,
) -> Answer:
    """How often were people right who saw only maps? Accuracy per person, with its interval."""
    result = answers(path)
    report = result.report({"answers": str(path)})
    if out is not None:
        with whole_file(out) as stream:
            stream.write(result.to_csv().encode())
    return Answer(report.to_dict(), [output.markdown(report.to_markdown())], [out])

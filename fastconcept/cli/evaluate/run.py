"""What the verbs of ``fastconcept evaluate`` share: the engine and the data they run on, and how they end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ...datasets.dataset import Dataset, open_dataset
from ...engine import Engine
from ...pages.document import Report
from .. import output
from ..data import Source
from ..options import OutputOption, SharedEngine
from ..verb import Answer, Shared

NullsOption = Annotated[
    list[str], typer.Option(metavar="NAMES", help="Controls that an honest method must beat, with commas.")
]
L1PenaltiesOption = Annotated[
    list[str], typer.Option("--l1-penalties", "--l1", metavar="NUMBERS", help="Penalties to try, with commas.")
]

CaptionsOption = Annotated[
    Path | None, typer.Option(help="Data with captions that vocabularies take words from; by default DATA itself.")
]


def captions_of(path: Path | None) -> list[str] | None:
    """All captions of a dataset; None for none."""
    return None if path is None else [text for item in open_dataset(path).items for text in item.captions]


@dataclass(frozen=True)
class Run:
    """An experiment about to be run.

    Attributes
    ----------
    engine : Engine
    dataset : Dataset
    seed : int
    settings : dict
        What the report says about the model and the data.
    out : path, optional
        Directory for the report's files.
    """

    engine: Engine
    dataset: Dataset
    seed: int
    settings: dict[str, object]
    out: Path | None

    def answer(self, report: Report) -> Answer:
        """The report, after its files were written where that was asked for."""
        written = report.save(self.out) if self.out is not None else []
        return Answer(report.to_dict(), [output.markdown(report.to_markdown())], written)


_ReportsOption = Annotated[
    Path | None,
    OutputOption(callback=output.writable_folder, help="Directory for the report as .json, .md and .html."),
]


def open_run(engine: SharedEngine, source: Annotated[Source, Shared(Source)], out: _ReportsOption = None) -> Run:
    """A run on whole images or embeddings."""
    return _run(engine, source, source.open(), out)


def open_run_with_objects(
    engine: SharedEngine,
    source: Annotated[Source, Shared(Source)],
    masks: Annotated[
        Path | None, typer.Option(rich_help_panel="Data", help="Directory of PNG masks, laid out as the images are.")
    ] = None,
    out: _ReportsOption = None,
) -> Run:
    """A run on the items that have boxes or masks."""
    return _run(engine, source, source.open(masks, with_objects=True), out)


def _run(engine: Engine, source: Source, dataset: Dataset, out: Path | None) -> Run:
    manifest = engine.bundle.manifest
    settings: dict[str, object] = {
        "model": f"{manifest.model} {manifest.pretrained or ''}".strip(),
        "data": f"{dataset.name} ({dataset.layout})",
        "where": ", ".join(source.where or ()),
        "items": len(dataset),
        "seed": source.seed,
    }
    return Run(engine, dataset, source.seed, settings, out)


SharedRun = Annotated[Run, Shared(open_run)]
SharedRunWithObjects = Annotated[Run, Shared(open_run_with_objects)]

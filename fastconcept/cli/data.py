"""What verbs about labelled data share: the options that choose the data, and how a run ends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..datasets import dataset as datasets
from ..engine import Engine
from ..errors import InputError
from ..pages.document import Report
from .options import OutputOption, SharedEngine
from .verb import Answer, Shared

_data = partial(typer.Option, rich_help_panel="Data")
NullsOption = Annotated[
    list[str], typer.Option(metavar="NAMES", help="Controls that an honest method must beat, with commas.")
]


@dataclass(frozen=True)
class Source:
    """The data that the options describe."""

    data: Annotated[
        Path,
        typer.Argument(
            help="Images with labels (directory, .json, .csv) or embeddings (.npy, .npz, .parquet); see docs/evaluate.",
            show_default=False,
        ),
    ]
    images: Annotated[Path | None, _data(help="Directory with the images of an annotation file.")] = None
    labels: Annotated[Path | None, _data(help="JSON file that maps labels to concepts.")] = None
    where: Annotated[
        list[str] | None, _data(metavar="KEY=PATTERN", help="Use only items that match; may be repeated.")
    ] = None
    sample: Annotated[
        int | None, _data(help="Use at most N items, drawn at random; -N uses all items but those that N would draw.")
    ] = None
    strict: Annotated[bool, _data("--strict", help="Stop at the first bad row instead of counting it.")] = False
    seed: Annotated[int, _data(min=0, help="Seed of samples, controls and bootstrap.")] = 0

    def open(self, masks: Path | None = None, with_objects: bool = False) -> datasets.Dataset:
        """Read the dataset and keep the items that are asked for."""
        dataset = datasets.open_dataset(self.data, images=self.images, masks=masks, strict=self.strict)
        if self.where:
            dataset = dataset.where(**dict(map(_key_and_pattern, self.where)))
        if self.labels is not None:
            dataset = dataset.relabelled(datasets.read_label_names(self.labels))
        if with_objects:
            dataset = dataset.with_objects()
        return dataset if self.sample is None else dataset.sample(self.sample, self.seed)


def _key_and_pattern(text: str) -> tuple[str, str]:
    key, equals, pattern = text.partition("=")
    if not equals:
        raise InputError(f"--where takes KEY=PATTERN, for instance subset=coco; got {text!r}")
    return key, pattern


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
    dataset: datasets.Dataset
    seed: int
    settings: dict[str, object]
    out: Path | None

    def answer(self, report: Report) -> Answer:
        """The report, after its files were written where that was asked for."""
        written = report.save(self.out) if self.out is not None else []
        return Answer(report.to_dict(), [report.to_markdown()], written)


_ReportsOption = Annotated[Path | None, OutputOption(help="Directory for the report as .json, .md and .html.")]


def open_run(engine: SharedEngine, source: Annotated[Source, Shared(Source)], out: _ReportsOption = None) -> Run:
    """A run on whole images or embeddings."""
    return _run(engine, source, source.open(), out)


def open_run_with_objects(
    engine: SharedEngine,
    source: Annotated[Source, Shared(Source)],
    masks: Annotated[Path | None, _data(help="Directory of PNG masks, laid out as the images are.")] = None,
    out: _ReportsOption = None,
) -> Run:
    """A run on the items that have boxes or masks."""
    return _run(engine, source, source.open(masks, with_objects=True), out)


def _run(engine: Engine, source: Source, dataset: datasets.Dataset, out: Path | None) -> Run:
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

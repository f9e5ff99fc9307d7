"""Options that the verbs of ``fastconcept evaluate`` share, the data they open, and how they end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..engine import Engine
from ..errors import InputError
from ..tasks import datasets, summaries
from ..tasks.reporting import Report
from . import output

DataArgument = Annotated[
    Path,
    typer.Argument(
        help="ImageFolder directory, CUB-200-2011, COCO or record .json, .csv, or embeddings (.npy, .npz, .parquet).",
        show_default=False,
    ),
]
ImagesOption = Annotated[Path | None, typer.Option("--images", help="Where an annotation file's images are.")]
MasksOption = Annotated[
    Path | None,
    typer.Option("--masks", help="Directory of PNG masks that mirrors the images."),
]
LabelsOption = Annotated[Path | None, typer.Option("--labels", help="JSON object of label: concept.")]
WhereOption = Annotated[list[str], typer.Option("--where", help="KEY=PATTERN; only items that match. Repeatable.")]
SampleOption = Annotated[
    int | None, typer.Option("--sample", help="At most so many items, drawn at random; -N: all but the N that N draws.")
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Stop at the first bad row instead of counting it.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of samples, controls and bootstrap.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Directory for TASK.json, TASK.md and TASK.html.")
]
L1Option = Annotated[float | None, typer.Option("--l1", help="Penalty, as in SpLiCE; default 0.25.")]
L0Option = Annotated[int | None, typer.Option("--l0", help="About how many words, instead of a penalty.")]


@dataclass(frozen=True)
class Run:
    """The engine and data of one run, and what its report says about them."""

    engine: Engine
    dataset: datasets.Dataset
    settings: summaries.Settings


def open_run(
    data: Path,
    images: Path | None,
    labels: Path | None,
    where: list[str],
    sample: int | None,
    strict: bool,
    seed: int,
    engine: Engine,
    boxed: bool = False,
    masks: Path | None = None,
) -> Run:
    """Read a dataset, keep what was asked for, and note what the report must say about it."""
    dataset = datasets.open_dataset(data, images=images, masks=masks, strict=strict)
    patterns = {}
    for entry in where:
        key, equals, pattern = entry.partition("=")
        if not equals:
            raise InputError(f"--where takes KEY=PATTERN, for instance subset=coco; got {entry!r}")
        patterns[key] = pattern
    if patterns:
        dataset = dataset.where(**patterns)
    if labels is not None:
        dataset = dataset.relabelled(datasets.read_label_names(labels))
    if boxed:
        dataset = dataset.with_objects()
    if sample is not None:
        dataset = dataset.sample(sample, seed)
    manifest = engine.bundle.manifest
    settings: summaries.Settings = {
        "model": f"{manifest.model} {manifest.pretrained or ''}".strip(),
        "data": f"{dataset.name} ({dataset.layout})",
        "where": ", ".join(where),
        "items": len(dataset),
        "seed": seed,
    }
    return Run(engine, dataset, settings)


def finish(report: Report, folder: Path | None, as_json: bool) -> None:
    """Write the report's files where a directory is given, and print it."""
    written = report.save(folder) if folder is not None else []
    if as_json:
        output.print_json(report.to_dict())
        return
    console = output.console()
    console.print(report.to_markdown(), markup=False)
    for path in written:
        console.print(f"wrote {path}", markup=False)

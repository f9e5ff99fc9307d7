"""What the verbs of ``fastconcept evaluate`` share: options, the data they open, and how they end."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ..datasets import dataset as datasets
from ..engine import Engine
from ..errors import InputError
from ..evaluate import summaries
from ..pages.document import Report
from . import output
from .options import (
    BundleOption,
    DeviceOption,
    EncoderOption,
    JsonOption,
    ProviderOption,
    ThreadsOption,
    open_engine,
)

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
    seed: int


def verb(question: Callable[..., Report], *, boxed: bool = False) -> Callable[..., None]:
    """A verb with the options that all verbs share, out of a function that has only its own.

    Parameters
    ----------
    question : callable
        Takes a :class:`Run` and its own options, gives a report.
    boxed : bool
        The verb looks at items with boxes or masks only, and takes ``--masks``.

    Returns
    -------
    callable
        With the signature that typer reads: the data, the options of the question, the shared ones.
    """
    own = list(inspect.signature(question, eval_str=True).parameters.values())[1:]
    shared = [p for p in inspect.signature(_open_run, eval_str=True).parameters.values() if boxed or p.name != "masks"]

    def command(**given: Any) -> None:
        out, as_json = given.pop("out"), given.pop("as_json")
        mine = {parameter.name: given.pop(parameter.name) for parameter in own}
        finish(question(_open_run(**given, boxed=boxed), **mine), out, as_json)

    named = [parameter for parameter in shared if parameter.name != "boxed"]
    ends = inspect.signature(finish, eval_str=True).parameters
    listed = [named[0], *own, *named[1:], ends["out"], ends["as_json"]]
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in listed]
    command.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]  # what typer reads
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in keywords}
    command.__doc__ = question.__doc__
    return command


def _open_run(
    data: DataArgument,
    images: ImagesOption = None,
    masks: MasksOption = None,
    labels: LabelsOption = None,
    where: WhereOption = [],  # noqa: B006
    sample: SampleOption = None,
    strict: StrictOption = False,
    seed: SeedOption = 0,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    provider: ProviderOption = None,
    encoder: EncoderOption = "onnx",
    threads: ThreadsOption = None,
    boxed: bool = False,
) -> Run:
    """Open the engine, read a dataset, keep what was asked for, and note what the report must say about it."""
    engine = open_engine(bundle, device, provider, encoder, threads)
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
    return Run(engine, dataset, settings, seed)


def finish(report: Report, out: OutputOption = None, as_json: JsonOption = False) -> None:
    """Write the report's files where a directory is given, and print it."""
    written = report.save(out) if out is not None else []
    if as_json:
        output.print_json(report.to_dict())
        return
    console = output.console()
    console.print(report.to_markdown())
    for path in written:
        console.print(f"wrote {path}")

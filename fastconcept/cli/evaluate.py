"""``fastconcept evaluate TASK DATA``: the experiments of the papers on any labelled images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..engine import Engine
from ..errors import InputError
from ..saliency.explain import Options
from ..tasks import (
    datasets,
    distribution,
    drift,
    editing,
    localization,
    localization_sweep,
    ood,
    retrieval,
    summaries,
    zeroshot,
)
from ..tasks.patch_maps import Reading
from ..tasks.reporting import Report
from . import output
from .options import BundleOption, DeviceOption, JsonOption, ProviderOption, ThreadsOption, open_engine

app = typer.Typer(help="Run an experiment of the papers: metrics, null controls and a report.", no_args_is_help=True)

DataArgument = Annotated[
    Path,
    typer.Argument(
        help="ImageFolder directory, CUB-200-2011, COCO or record .json, .csv, or embeddings (.npy, .npz, .parquet).",
        show_default=False,
    ),
]
ImagesOption = Annotated[Path | None, typer.Option("--images", help="Where an annotation file's images are.")]
LabelsOption = Annotated[Path | None, typer.Option("--labels", help="JSON object of label: concept.")]
WhereOption = Annotated[list[str], typer.Option("--where", help="KEY=PATTERN; only items that match. Repeatable.")]
SampleOption = Annotated[int | None, typer.Option("--sample", min=1, help="At most so many items, drawn at random.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Stop at the first bad row instead of counting it.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of samples, controls and bootstrap.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Directory for TASK.json, TASK.md and TASK.html.")
]
L1Option = Annotated[float | None, typer.Option("--l1", help="Penalty, as in SpLiCE; default 0.25.")]
L0Option = Annotated[int | None, typer.Option("--l0", help="About how many words, instead of a penalty.")]


@dataclass(frozen=True)
class _Run:
    """The engine and data of one run, and what its report says about them."""

    engine: Engine
    dataset: datasets.Dataset
    settings: summaries.Settings


def _open(
    data: Path,
    images: Path | None,
    labels: Path | None,
    where: list[str],
    sample: int | None,
    strict: bool,
    seed: int,
    engine: Engine,
    boxed: bool = False,
) -> _Run:
    dataset = datasets.open_dataset(data, images=images, strict=strict)
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
        dataset = dataset.with_boxes()
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
    return _Run(engine, dataset, settings)


def _finish(report: Report, folder: Path | None, as_json: bool) -> None:
    written = report.save(folder) if folder is not None else []
    if as_json:
        output.print_json(report.to_dict())
        return
    console = output.console()
    console.print(report.to_markdown(), markup=False)
    for path in written:
        console.print(f"wrote {path}", markup=False)


def _readings(text: str) -> list[tuple[int, ...]]:
    try:
        return [tuple(int(size) for size in group.split("+")) for group in text.split(",")]
    except ValueError:
        raise InputError(f"--sweep takes patch sizes such as 128+64,128,64; got {text!r}") from None


@app.command("localize")
def localize(
    data: DataArgument,
    protocol: Annotated[str, typer.Option(help="wsol (whole image) or convis (central square).")] = "wsol",
    max_area: Annotated[float, typer.Option(help="Only objects that cover at most this part of the image.")] = 1.0,
    concept: Annotated[str | None, typer.Option("--concept", "-c", help="Look for this instead of the labels.")] = None,
    score: Annotated[str, typer.Option(help="rank, log-rank or similarity.")] = "log-rank",
    aggregate: Annotated[str, typer.Option(help="best-then-mean or mean-then-best.")] = "best-then-mean",
    scale_weights: Annotated[str, typer.Option(help="area or equal.")] = "area",
    border: Annotated[str, typer.Option(help="noise, constant, reflect or inside.")] = "noise",
    size: Annotated[list[int], typer.Option(help="Patch size in pixels; may be repeated.")] = [128, 64],  # noqa: B006
    stride: Annotated[int, typer.Option(help="Pixels between patches.")] = 16,
    smooth: Annotated[bool, typer.Option("--smooth/--no-smooth", help="Interpolate between cells.")] = False,
    null: Annotated[list[str], typer.Option(help="Null control; may be repeated.")] = ["shuffled-definitions"],  # noqa: B006
    sweep: Annotated[str | None, typer.Option(help="Also try these patch sizes in every reading: 128+64,128.")] = None,
    sweep_borders: Annotated[str, typer.Option(help="Borders of the sweep, with commas.")] = "noise",
    cache: Annotated[Path | None, typer.Option(help="Directory in which patch embeddings are kept.")] = None,
    images: ImagesOption = None,
    labels: LabelsOption = None,
    where: WhereOption = [],  # noqa: B006
    sample: SampleOption = None,
    strict: StrictOption = False,
    seed: SeedOption = 0,
    out: OutputOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do the maps of a concept lie on the boxes of its objects?"""
    engine = open_engine(bundle, device, provider, threads)
    ran = _open(data, images, labels, where, sample, strict, seed, engine, boxed=True)
    kept = str(cache) if cache is not None else None
    options = Options("full", border, aggregate, scale_weights, score, tuple(size), stride, seed)
    reading = Reading((), False, aggregate, scale_weights, score, smooth)
    with output.progress_bar("localize") as progress:
        found = localization.localize(
            engine,
            ran.dataset,
            protocol=protocol,
            concept=concept,
            max_area=max_area,
            options=options,
            reading=reading,
            nulls=null,
            seed=seed,
            cache=kept,
            progress=progress,
        )
    rows: list[localization_sweep.SweepRow] = []
    if sweep is not None:
        tried = localization_sweep.readings(_readings(sweep), (False, True))
        with output.progress_bar("sweep") as progress:
            rows = localization_sweep.sweep(
                engine,
                ran.dataset,
                tried,
                options=options,
                borders=sweep_borders.split(","),
                concept=concept,
                max_area=max_area,
                seed=seed,
                cache=kept,
                progress=progress,
            )
    settings = {**ran.settings, "objects up to": f"{max_area:.0%} of the image" if max_area < 1 else None}
    _finish(summaries.localization(found, settings, rows), out, as_json)


@app.command("ood")
def detect(
    data: DataArgument,
    inside: Annotated[str | None, typer.Option("--in", help="In-distribution concept.")] = None,
    outside: Annotated[str | None, typer.Option("--out", help="The other side; default: every other label.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="JSON list of {in_root, out_root, in_files, out_files}.")] = None,
    null: Annotated[list[str], typer.Option(help="Null control; may be repeated.")] = [  # noqa: B006
        "shuffled-definitions",
        "random-vocabulary",
    ],
    null_seeds: Annotated[int, typer.Option(min=1, help="Seeds of each null control.")] = 10,
    images: ImagesOption = None,
    labels: LabelsOption = None,
    where: WhereOption = [],  # noqa: B006
    sample: SampleOption = None,
    strict: StrictOption = False,
    seed: SeedOption = 0,
    out: OutputOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Does an image show something below a concept, or something else?"""
    if (inside is None) == (pairs is None):
        raise InputError("give --in CONCEPT, or --pairs FILE with several pairs")
    engine = open_engine(bundle, device, provider, threads)
    ran = _open(data, images, labels, where, sample, strict, seed, engine)
    asked = [(inside, outside, None)] if inside is not None else _pairs(pairs)
    found = []
    for within, without, names in asked:
        chosen = ran.dataset if names is None else ran.dataset.only(names)
        with output.progress_bar(f"{within} / {without or 'others'}") as progress:
            result = ood.detect(
                engine, chosen, within, without, nulls=null, null_seeds=null_seeds, seed=seed, progress=progress
            )
        found.append(result)
    _finish(summaries.ood(found, ran.settings), out, as_json)


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
def classify(
    data: DataArgument,
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
    images: ImagesOption = None,
    labels: LabelsOption = None,
    where: WhereOption = [],  # noqa: B006
    sample: SampleOption = None,
    strict: StrictOption = False,
    seed: SeedOption = 0,
    out: OutputOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """How well do dense and decomposed embeddings classify?"""
    engine = open_engine(bundle, device, provider, threads)
    ran = _open(data, images, labels, where, sample, strict, seed, engine)
    chosen = None
    if classes is not None:
        if not classes.is_file():
            raise InputError(f"no file of class names at {classes}")
        chosen = [line.strip() for line in classes.read_text(encoding="utf-8").splitlines() if line.strip()]
    with output.progress_bar("zeroshot") as progress:
        found = zeroshot.classify(
            engine,
            ran.dataset,
            classes=chosen,
            templates=template,
            penalties=penalty,
            nulls=null,
            seed=seed,
            progress=progress,
        )
    _finish(summaries.zeroshot(found, ran.settings), out, as_json)


@app.command("retrieval")
def retrieve(
    data: DataArgument,
    penalty: Annotated[list[float], typer.Option("--l1", help="l1 penalty; may be repeated.")] = [0.05, 0.1, 0.25],  # noqa: B006
    null: Annotated[list[str], typer.Option(help="Null control; may be repeated.")] = [  # noqa: B006
        "random-vocabulary",
        "shuffled-definitions",
    ],
    images: ImagesOption = None,
    where: WhereOption = [],  # noqa: B006
    sample: SampleOption = None,
    strict: StrictOption = False,
    seed: SeedOption = 0,
    out: OutputOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find images by captions and captions by images."""
    engine = open_engine(bundle, device, provider, threads)
    ran = _open(data, images, None, where, sample, strict, seed, engine)
    with output.progress_bar("retrieval") as progress:
        found = retrieval.retrieve(engine, ran.dataset, penalties=penalty, nulls=null, seed=seed, progress=progress)
    _finish(summaries.retrieval(found, ran.settings), out, as_json)


@app.command("concepts")
def summarize(
    data: DataArgument,
    by: Annotated[str, typer.Option(help="label, an attribute, has:CONCEPT or below:CONCEPT.")] = "label",
    compare: Annotated[list[str], typer.Option(help="A value of --by; give it twice to compare.")] = [],  # noqa: B006
    l1: L1Option = None,
    l0: L0Option = None,
    images: ImagesOption = None,
    labels: LabelsOption = None,
    where: WhereOption = [],  # noqa: B006
    sample: SampleOption = None,
    strict: StrictOption = False,
    seed: SeedOption = 0,
    out: OutputOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Which words do classes consist of, and which tell two groups apart?"""
    if len(compare) not in (0, 2):
        raise InputError(f"--compare is given twice or not at all, got {len(compare)} groups")
    engine = open_engine(bundle, device, provider, threads)
    ran = _open(data, images, labels, where, sample, strict, seed, engine)
    pair = (compare[0], compare[1]) if compare else None
    with output.progress_bar("concepts") as progress:
        found = distribution.summarize(
            engine, ran.dataset, by=by, compare=pair, l1_penalty=l1, l0=l0, seed=seed, progress=progress
        )
    _finish(summaries.concepts(found, ran.settings), out, as_json)


@app.command("edit")
def edit(
    data: DataArgument,
    word: Annotated[list[str], typer.Option("--word", "-w", help="Word to remove or scale; may be repeated.")],
    nuisance: Annotated[str, typer.Option(help="Label that the edit should hide; see --target.")],
    target: Annotated[str, typer.Option(help="label, an attribute, has:CONCEPT or below:CONCEPT.")] = "label",
    scale: Annotated[float, typer.Option(help="Factor of the words' weights; 0 removes them.")] = 0.0,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    l1: L1Option = None,
    l0: L0Option = None,
    images: ImagesOption = None,
    labels: LabelsOption = None,
    where: WhereOption = [],  # noqa: B006
    sample: SampleOption = None,
    strict: StrictOption = False,
    seed: SeedOption = 0,
    out: OutputOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What does a linear probe still know once words are taken out?"""
    engine = open_engine(bundle, device, provider, threads)
    ran = _open(data, images, labels, where, sample, strict, seed, engine)
    with output.progress_bar("edit") as progress:
        found = editing.edit(
            engine,
            ran.dataset,
            word,
            target=target,
            nuisance=nuisance,
            scale=scale,
            l1_penalty=l1,
            l0=l0,
            folds=folds,
            seed=seed,
            progress=progress,
        )
    _finish(summaries.editing(found, {**ran.settings, "target": target, "nuisance": nuisance}), out, as_json)


@app.command("drift")
def trace(
    data: DataArgument,
    by: Annotated[str, typer.Option(help="What orders the items: an attribute, such as a year or a batch.")],
    rate: Annotated[float, typer.Option(help="False discovery rate of the alarms.")] = 0.05,
    l1: L1Option = None,
    l0: L0Option = None,
    images: ImagesOption = None,
    where: WhereOption = [],  # noqa: B006
    sample: SampleOption = None,
    strict: StrictOption = False,
    seed: SeedOption = 0,
    out: OutputOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do concept weights move over ordered groups?"""
    engine = open_engine(bundle, device, provider, threads)
    ran = _open(data, images, None, where, sample, strict, seed, engine)
    with output.progress_bar("drift") as progress:
        found = drift.trace(engine, ran.dataset, by, l1_penalty=l1, l0=l0, rate=rate, seed=seed, progress=progress)
    _finish(summaries.drift(found, ran.settings), out, as_json)

"""``fastconcept evaluate TASK DATA``: the experiments of the papers on any labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..saliency.explain import Options
from ..tasks import localization, localization_sweep, ood, retrieval, summaries, zeroshot
from ..tasks.patch_maps import Reading
from . import evaluate_concepts, output
from .evaluation import (
    DataArgument,
    ImagesOption,
    LabelsOption,
    OutputOption,
    SampleOption,
    SeedOption,
    StrictOption,
    WhereOption,
    finish,
    open_run,
)
from .options import BundleOption, DeviceOption, JsonOption, ProviderOption, ThreadsOption, open_engine

app = typer.Typer(help="Run an experiment of the papers: metrics, null controls and a report.", no_args_is_help=True)

app.command("concepts")(evaluate_concepts.summarize)
app.command("edit")(evaluate_concepts.edit)
app.command("drift")(evaluate_concepts.trace)


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
    wsol_steps: Annotated[int, typer.Option(help="Thresholds of the wsol measures; divides 256.")] = 256,
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
    tried = [] if sweep is None else localization_sweep.readings(_readings(sweep), (False, True))
    engine = open_engine(bundle, device, provider, threads)
    ran = open_run(data, images, labels, where, sample, strict, seed, engine, boxed=True)
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
            wsol_steps=wsol_steps,
            cache=kept,
            progress=progress,
        )
    rows: list[localization_sweep.SweepRow] = []
    if tried:
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
    finish(summaries.localization(found, settings, rows), out, as_json)


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
    ran = open_run(data, images, labels, where, sample, strict, seed, engine)
    asked = [(inside, outside, None)] if inside is not None else _pairs(pairs)
    found = []
    for within, without, names in asked:
        chosen = ran.dataset if names is None else ran.dataset.only(names)
        with output.progress_bar(f"{within} / {without or 'others'}") as progress:
            result = ood.detect(
                engine, chosen, within, without, nulls=null, null_seeds=null_seeds, seed=seed, progress=progress
            )
        found.append(result)
    finish(summaries.ood(found, ran.settings), out, as_json)


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
    ran = open_run(data, images, labels, where, sample, strict, seed, engine)
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
    finish(summaries.zeroshot(found, ran.settings), out, as_json)


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
    ran = open_run(data, images, None, where, sample, strict, seed, engine)
    with output.progress_bar("retrieval") as progress:
        found = retrieval.retrieve(engine, ran.dataset, penalties=penalty, nulls=null, seed=seed, progress=progress)
    finish(summaries.retrieval(found, ran.settings), out, as_json)

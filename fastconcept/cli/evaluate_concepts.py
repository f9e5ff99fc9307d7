"""``fastconcept evaluate concepts | edit | drift``: what the words of whole datasets say."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import InputError
from ..tasks import distribution, drift, editing, summaries
from . import output
from .evaluation import (
    DataArgument,
    ImagesOption,
    L0Option,
    L1Option,
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
    ran = open_run(data, images, labels, where, sample, strict, seed, engine)
    pair = (compare[0], compare[1]) if compare else None
    with output.progress_bar("concepts") as progress:
        found = distribution.summarize(
            engine, ran.dataset, by=by, compare=pair, l1_penalty=l1, l0=l0, seed=seed, progress=progress
        )
    finish(summaries.concepts(found, ran.settings), out, as_json)


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
    ran = open_run(data, images, labels, where, sample, strict, seed, engine)
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
    finish(summaries.editing(found, {**ran.settings, "target": target, "nuisance": nuisance}), out, as_json)


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
    ran = open_run(data, images, None, where, sample, strict, seed, engine)
    with output.progress_bar("drift") as progress:
        found = drift.trace(engine, ran.dataset, by, l1_penalty=l1, l0=l0, rate=rate, seed=seed, progress=progress)
    finish(summaries.drift(found, ran.settings), out, as_json)

"""``fastconcept evaluate localize``: do the maps of a concept lie on its objects, and which choice lifts them?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..evaluate import localize as localization
from ..evaluate import summaries
from ..evaluate import sweep as localization_sweep
from ..evaluate.patch_maps import Reading
from ..pages.document import Report
from ..saliency.explain import Options
from ..saliency.patches import WORKING_SIZE
from . import output
from .evaluation import Run


def localize(
    ran: Run,
    protocol: Annotated[str, typer.Option(help="wsol (whole image) or convis (central square).")] = "wsol",
    max_area: Annotated[float, typer.Option(help="Only objects that cover at most this part of the image.")] = 1.0,
    concept: Annotated[str | None, typer.Option("--concept", "-c", help="Look for this instead of the labels.")] = None,
    score: Annotated[str, typer.Option(help="rank, log-rank or similarity.")] = "log-rank",
    aggregate: Annotated[str, typer.Option(help="best-then-mean or mean-then-best.")] = "best-then-mean",
    scale_weights: Annotated[str, typer.Option(help="area or equal.")] = "area",
    border: Annotated[str, typer.Option(help="noise, constant, reflect or inside.")] = "noise",
    size: Annotated[list[int], typer.Option(help="Patch size in pixels; may be repeated.")] = [128, 64],  # noqa: B006
    stride: Annotated[list[int], typer.Option(help="Pixels between patches; once, or once per --size.")] = [16],  # noqa: B006
    short_side: Annotated[int, typer.Option(min=0, help="Of the working image; 0: as it is.")] = WORKING_SIZE,
    smooth: Annotated[bool, typer.Option("--smooth/--no-smooth", help="Interpolate between cells.")] = False,
    part: Annotated[str, typer.Option(help="Part that gets the box: largest, peak or heaviest.")] = "largest",
    null: Annotated[list[str], typer.Option(help="Null control; may be repeated.")] = ["shuffled-definitions"],  # noqa: B006
    sweep: Annotated[
        str | None, typer.Option(help="Also try these patch sizes, size/stride where it differs: 128+64,128/32+32/8.")
    ] = None,
    sweep_scores: Annotated[str, typer.Option(help="Scores of the sweep, with commas.")] = "rank,log-rank,similarity",
    sweep_aggregates: Annotated[str, typer.Option(help="Its aggregations.")] = "best-then-mean,mean-then-best",
    sweep_borders: Annotated[str, typer.Option(help="Its borders.")] = "noise",
    sweep_sides: Annotated[str, typer.Option(help="Its short sides in pixels; 0: as it is.")] = str(WORKING_SIZE),
    sweep_parts: Annotated[str, typer.Option(help="Its parts that get the box.")] = "largest",
    wsol_steps: Annotated[int, typer.Option(help="Thresholds of the wsol measures; divides 256.")] = 256,
    cache: Annotated[Path | None, typer.Option(help="Directory in which patch embeddings are kept.")] = None,
) -> Report:
    """Do the maps of a concept lie on the boxes of its objects?"""
    tried = [] if sweep is None else _readings(sweep, sweep_scores.split(","), sweep_aggregates.split(","))
    strides = stride * len(size) if len(stride) == 1 else stride
    options = Options("full", border, aggregate, scale_weights, score, tuple(size), min(stride, default=16), ran.seed)
    reading = Reading((), False, aggregate, scale_weights, score, smooth)
    sides = _numbers(sweep_sides, "--sweep-sides")
    kept = str(cache) if cache is not None else None
    with output.progress_bar("localize") as progress:
        found = localization.localize(
            ran.engine,
            ran.dataset,
            protocol=protocol,
            concept=concept,
            max_area=max_area,
            options=options,
            reading=reading,
            strides=strides,
            short_side=short_side,
            part=part,
            nulls=null,
            seed=ran.seed,
            wsol_steps=wsol_steps,
            cache=kept,
            progress=progress,
        )
    rows: list[localization_sweep.SweepRow] = []
    if tried:
        with output.progress_bar("sweep") as progress:
            rows = localization_sweep.sweep(
                ran.engine,
                ran.dataset,
                tried,
                protocol=protocol,
                options=options,
                borders=sweep_borders.split(","),
                short_sides=sides,
                parts=sweep_parts.split(","),
                nulls=[control for control in null if control in localization_sweep.NULLS],
                concept=concept,
                max_area=max_area,
                seed=ran.seed,
                cache=kept,
                progress=progress,
            )
    asked = len(set(tried)) * len(set(sweep_borders.split(","))) * len(set(sides)) * len(set(sweep_parts.split(",")))
    settings = {**ran.settings, "objects up to": f"{max_area:.0%} of the image" if max_area < 1 else None}
    if len(rows) < asked:
        settings["left out of the sweep"] = f"{asked - len(rows)} choices that do not cover every image"
    return summaries.localization(found, settings, rows)


def _readings(text: str, scores: list[str], aggregates: list[str]) -> list[Reading]:
    """What to try, out of ``128+64,128/32+32/8``: groups of patch sizes, each with its stride after a slash or not."""
    sizes, strides = [], []
    for group in text.split(","):
        pairs = [part.partition("/") for part in group.split("+")]
        slashes = {slash for _, slash, _ in pairs}
        try:
            sizes.append(tuple(int(size) for size, _, _ in pairs))
            strides.append(tuple(int(step) for _, slash, step in pairs if slash))
        except ValueError:
            slashes = {"", "/"}
        if len(slashes) > 1:
            raise InputError(f"--sweep takes patch sizes such as 128+64,128/32+32/8; got {text!r}")
    return localization_sweep.readings(sizes, (False, True), strides, scores, aggregates)


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"{option} takes numbers with commas, got {text!r}") from None

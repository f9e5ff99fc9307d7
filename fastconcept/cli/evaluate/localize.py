"""``fastconcept evaluate localize``: do the maps of a concept lie on its objects, and which choice lifts them?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ...errors import InputError
from ...evaluate import localize as localization
from ...evaluate import sweep as localization_sweep
from ...saliency.layout import Layout
from ...saliency.patches import WORKING_SIZE
from ...saliency.reading import Reading
from .. import output
from ..options import SharedReading, layout_options, split
from ..verb import Answer, Shared, verb
from .run import NullsOption, SharedRunWithObjects

_sweep = partial(typer.Option, rich_help_panel="Sweep")


@verb
def command(
    run: SharedRunWithObjects,
    layout: Annotated[Layout, Shared(layout_options)],
    reading: SharedReading,
    protocol: Annotated[str, typer.Option(help="wsol, on the whole image, or convis, on its central square.")] = "wsol",
    max_area: Annotated[float, typer.Option(help="Use only objects that cover at most this part of the image.")] = 1.0,
    concept: Annotated[str | None, typer.Option("--concept", "-c", help="Look for this instead of the labels.")] = None,
    smooth: Annotated[
        bool, typer.Option("--smooth/--no-smooth", help="Interpolate between the cells of a map.")
    ] = False,
    part: Annotated[
        str, typer.Option(help="Part of the map that gets the box: largest, peak or heaviest.")
    ] = "largest",
    nulls: NullsOption = ["shuffled-definitions"],
    wsol_steps: Annotated[int, typer.Option(help="Number of thresholds of the wsol measures; divides 256.")] = 256,
    cache: Annotated[Path | None, typer.Option(help="Directory that keeps patch embeddings for the next run.")] = None,
    modes: Annotated[
        list[str], typer.Option(metavar="NAMES", help="Further modes in the same table, with their controls.")
    ] = [],
    sweep: Annotated[
        str | None, _sweep(help="Patch sizes to try as well, with strides if they differ: 128+64,128/32+32/8.")
    ] = None,
    sweep_scores: Annotated[str, _sweep(help="Scores to try.")] = "rank,log-rank,similarity",
    sweep_aggregates: Annotated[str, _sweep(help="Aggregations to try.")] = "best-then-mean,mean-then-best",
    sweep_borders: Annotated[str, _sweep(help="Borders to try.")] = "noise",
    sweep_short_sides: Annotated[str, _sweep(help="Short sides to try.")] = str(WORKING_SIZE),
    sweep_parts: Annotated[str, _sweep(help="Parts to try.")] = "largest",
) -> Answer:
    """Do the maps of a concept lie on the boxes of its objects?"""
    reading = replace(reading, smooth=smooth)
    controls, kept = split(nulls, str, "--nulls"), str(cache) if cache is not None else None
    tried = [] if sweep is None else _readings(sweep, sweep_scores.split(","), sweep_aggregates.split(","))
    borders, parts = sweep_borders.split(","), sweep_parts.split(",")
    short_sides = split([sweep_short_sides], int, "--sweep-short-sides")
    with output.progress_bar("localize") as progress:
        result = localization.localize(
            run.engine,
            run.dataset,
            protocol=protocol,
            concept=concept,
            max_area=max_area,
            layout=layout,
            reading=reading,
            part=part,
            nulls=controls,
            seed=run.seed,
            wsol_steps=wsol_steps,
            cache=kept,
            modes=split(modes, str, "--modes") if modes else (),
            progress=progress,
        )
    settings = {**run.settings, "objects up to": f"{max_area:.0%} of the image" if max_area < 1 else None}
    if not tried:
        return run.answer(result.report(settings))
    with output.progress_bar("sweep") as progress:
        rows = localization_sweep.sweep(
            run.engine,
            run.dataset,
            tried,
            protocol=protocol,
            layout=layout,
            borders=borders,
            short_sides=short_sides,
            parts=parts,
            nulls=[control for control in controls if control in localization_sweep.NULLS],
            concept=concept,
            max_area=max_area,
            seed=run.seed,
            cache=kept,
            progress=progress,
        )
    choices = len(set(tried)) * len(set(borders)) * len(set(short_sides)) * len(set(parts))
    if len(rows) < choices:
        settings["left out of the sweep"] = f"{choices - len(rows)} choices that do not cover every image"
    return run.answer(result.report(settings, rows))


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

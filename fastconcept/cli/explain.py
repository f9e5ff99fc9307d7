"""``fastconcept explain``: where in an image is each concept?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from ..saliency.result import Explanation
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


def command(
    image: Annotated[Path, typer.Argument(help="Image file.", show_default=False)],
    concept: Annotated[
        list[str], typer.Option("--concept", "-c", help="Synset, wnid, word or phrase; may be repeated.")
    ] = [],  # noqa: B006  (typer copies it)
    out: Annotated[Path | None, typer.Option("--output", "-o", help="Write the overlays to this picture.")] = None,
    npy: Annotated[Path | None, typer.Option("--npy", help="Write the maps (k, H, W) to this .npy file.")] = None,
    box: Annotated[bool, typer.Option("--box/--no-box", help="Draw each concept's box.")] = False,
    fit: Annotated[str, typer.Option(help="full or crop.")] = "full",
    border: Annotated[str, typer.Option(help="noise, constant, reflect or inside.")] = "noise",
    aggregate: Annotated[str, typer.Option(help="best-then-mean or mean-then-best.")] = "best-then-mean",
    scale_weights: Annotated[str, typer.Option(help="area or equal.")] = "area",
    score: Annotated[str, typer.Option(help="rank, log-rank or similarity.")] = "rank",
    size: Annotated[list[int], typer.Option(help="Patch size in pixels; may be repeated.")] = [128, 64],  # noqa: B006
    stride: Annotated[int, typer.Option(help="Pixels between patches.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    provider: ProviderOption = None,
    encoder: EncoderOption = "onnx",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw where each concept is in an image."""
    engine = open_engine(bundle, device, provider, encoder, threads)
    seen = engine.explain(
        image,
        concept,
        fit=fit,
        border=border,
        aggregate=aggregate,
        scale_weights=scale_weights,
        score=score,
        sizes=tuple(size),
        stride=stride,
        seed=seed,
    )
    if out is not None:
        output.save_picture(seen.overlay(box), out)
    if npy is not None:
        with output.whole_file(npy) as stream:
            np.save(stream, seen.maps, allow_pickle=False)
    if as_json:
        document = {"image": str(image), "bundle": str(engine.bundle.path), "device": device, **seen.to_dict()}
        output.print_json(document)
    else:
        output.console().print(_table(seen))
        for path in (out, npy):
            if path is not None:
                output.console().print(f"wrote {path}")


def _table(seen: Explanation) -> Table:
    table = Table("concept", "score", "rank", "box (x0 y0 x1 y1)", "note", box=None, pad_edge=False)
    for found in seen:
        edges = " ".join(f"{edge:.0f}" for edge in found.box())
        table.add_row(found.concept, f"{found.score:.4f}", str(found.rank), edges, found.note)
    return table

"""``fastconcept decompose``: which few words add up to an image's embedding?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.bar import Bar
from rich.table import Table

from .. import viz
from ..engine import DEFAULT_L1_PENALTY, Engine
from ..sparse.result import Decomposition
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
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    l1: Annotated[float | None, typer.Option("--l1", help="Penalty, as in SpLiCE; default 0.25.")] = None,
    l0: Annotated[int | None, typer.Option("--l0", help="About how many words, instead of a penalty.")] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Words shown per image.")] = 12,
    out: Annotated[Path | None, typer.Option("--output", "-o", help="Write a bar chart to this picture.")] = None,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    provider: ProviderOption = None,
    encoder: EncoderOption = "onnx",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say an image in a few words: a sparse, nonnegative code over the vocabulary."""
    engine = open_engine(bundle, device, provider, encoder, threads)
    penalty = DEFAULT_L1_PENALTY if l1 is None and l0 is None else l1  # with l0 every image has its own
    timings: dict[str, float] = {}
    began = time.perf_counter()
    embeddings = engine.encode_image(images)
    timings["encode"] = (time.perf_counter() - began) * 1e3
    began = time.perf_counter()
    found = list(engine.decompose(embeddings=embeddings, l1_penalty=penalty, l0=l0))
    timings["solve"] = (time.perf_counter() - began) * 1e3
    if out is not None:
        output.save_picture(_charts(engine, images, found, top), out)
    if as_json:
        output.print_json(
            {
                "bundle": str(engine.bundle.path),
                "l1_penalty": penalty,
                "images": [{"image": str(path), **words.to_dict()} for path, words in zip(images, found, strict=True)],
                "timings_ms": timings,
            }
        )
        return
    for path, words in zip(images, found, strict=True):
        output.console().print(_bars(path, words, top))
    if out is not None:
        output.console().print(f"wrote {out}")


def _bars(path: Path, words: Decomposition, top: int) -> Table:
    title = f"{path.name}: {words.l0} words, cosine {words.cosine:.3f}"
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    shown = words.top(top)
    for word, weight in shown:
        bar = Bar(shown[0][1], 0, weight, width=40, color="bright_blue")
        table.add_row(word, bar, f"{weight:.4f}")
    return table


def _charts(engine: Engine, images: list[Path], found: list[Decomposition], top: int) -> object:
    charts = [
        viz.bar_chart(words.top(top), f"{words.l0} words, cosine {words.cosine:.3f}", engine.load_image(path))
        for path, words in zip(images, found, strict=True)
    ]
    return viz.strip(charts, per_row=1)

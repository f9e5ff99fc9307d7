"""``fastconcept decompose``: which few words add up to an image's embedding?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.bar import Bar
from rich.table import Table

from .. import viz
from ..protocol.documents import about_images
from ..sparse.result import Decomposition
from . import output
from .options import ImagesArgument, OutputOption, SharedEngine, SharedSparsity
from .verb import Answer, verb


@verb
def command(
    engine: SharedEngine,
    images: ImagesArgument,
    sparsity: SharedSparsity,
    top: Annotated[int, typer.Option(min=1, help="Words shown per image.")] = 12,
    out: Annotated[
        Path | None, OutputOption(callback=output.writable_picture, help="Picture file for bar charts of the words.")
    ] = None,
) -> Answer:
    """Describe an image in a few words, each with its weight."""
    l0 = sparsity["l0"]
    l1_penalty = engine.penalty(sparsity["l1_penalty"], l0)  # None: with l0 every image has its own
    timings: dict[str, float] = {}
    began = time.perf_counter()
    with output.progress_bar("encoding") as progress:
        embeddings = engine.encode_image(output.counted(images, progress))
    timings["encode"] = (time.perf_counter() - began) * 1e3
    began = time.perf_counter()
    decompositions = list(engine.decompose(embeddings=embeddings, l1_penalty=l1_penalty, l0=l0))
    timings["solve"] = (time.perf_counter() - began) * 1e3
    answers = list(zip(images, decompositions, strict=True))
    if out is not None:
        charts = [viz.bar_chart(code.top(top), _title(code), engine.load_image(path)) for path, code in answers]
        output.save_picture(viz.strip(charts, per_row=1), out)
    entries = ((str(path), code.to_dict()) for path, code in answers)
    document = about_images(str(engine.bundle.path), entries, l1_penalty=l1_penalty)
    return Answer(document | {"timings_ms": timings}, [_bars(path, code, top) for path, code in answers], [out])


def _title(code: Decomposition) -> str:
    return f"{code.l0} words, cosine {code.cosine:.3f}"


def _bars(path: Path, code: Decomposition, top: int) -> Table | str:
    title = f"{output.printable(path.name)}: {_title(code)}"
    if not code.l0:
        return f"{title}; a smaller --l1-penalty leaves some"
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    words = code.top(top)
    for word, weight in words:
        table.add_row(word, Bar(words[0][1], 0, weight, width=40, color="bright_blue"), f"{weight:.4f}")
    return table

"""Options that verbs share: which model on which device, how maps are made, how sparse a code is.

Every option has the name of the Python keyword that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..encoders.decode import MAX_PIXELS
from ..engine import Engine, load
from ..errors import InputError
from ..saliency.layout import Layout
from ..saliency.reading import Reading
from .verb import Shared

Value = TypeVar("Value")
_LAYOUT, _READING = Layout(), Reading()
_model = partial(typer.Option, rich_help_panel="Model")
_maps = partial(typer.Option, rich_help_panel="Maps")

OutputOption = partial(typer.Option, "--output", "-o")
ConceptsOption = Annotated[
    list[str],
    typer.Option("--concepts", "-c", metavar="CONCEPT", help="Synset, wnid, word or phrase; may be repeated."),
]
TopOption = Annotated[int, typer.Option(min=1, max=1000, help="Number of concepts per image.")]
BelowOption = Annotated[str | None, typer.Option(help="Only concepts below this one, for instance animal.n.01.")]
ImagesArgument = Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)]


def split(values: list[str], kind: Callable[[str], Value], option: str) -> list[Value]:
    """Values of an option that takes several, repeated or with commas: ``--sizes 128,64``.

    Raises
    ------
    InputError
        If one of them is not of the kind.

    Examples
    --------
    >>> split(["128,64", "32"], int, "--sizes")
    [128, 64, 32]
    """
    words = [word.strip() for value in values for word in value.split(",")]
    try:
        return [kind(word) for word in words]
    except ValueError:
        raise InputError(f"{option} takes numbers, with commas or repeated; got {','.join(values)!r}") from None


def model_options(
    bundle: Annotated[
        str | None, _model("--bundle", "-b", help="Directory, name of an installed bundle, or hf-hub:owner/name.")
    ] = None,
    bank: Annotated[str | None, _model(help="Concept bank of the bundle; by default its first.")] = None,
    dictionary: Annotated[str | None, _model(help="Dictionary of the bundle; by default its first.")] = None,
    device: Annotated[str, _model(help="cpu or cuda:N. Another device is never used instead.")] = "cpu",
    providers: Annotated[
        list[str] | None,
        _model(metavar="NAMES", help="ONNX Runtime execution providers, with commas; by default those of the device."),
    ] = None,
    encoder: Annotated[
        str, _model(help="What runs the image encoder: onnx, tensorrt, or the path of a .plan file.")
    ] = "onnx",
    num_threads: Annotated[int | None, _model(help="CPU threads; by default all that the process may use.")] = None,
    max_pixels: Annotated[int, _model(help="Largest image that is decoded, in pixels.")] = MAX_PIXELS,
    decode: Annotated[
        str, _model(help="How images are decoded for the encoder: exact, or fast (large JPEGs at a reduced size).")
    ] = "exact",
) -> dict[str, Any]:
    """Keywords of ``load``."""
    return {
        "bundle": bundle,
        "device": device,
        "providers": split(providers, str, "--providers") if providers else None,
        "encoder": encoder,
        "bank": bank,
        "dictionary": dictionary,
        "num_threads": num_threads,
        "max_pixels": max_pixels,
        "decode": decode,
    }


def open_engine(options: Annotated[dict[str, Any], Shared(model_options)]) -> Engine:
    """The engine that the options describe; its files are read when first needed."""
    return load(**options)


def layout_options(
    mode: Annotated[
        str,
        _maps(
            help="Evidence: crops, a patch at a time; windows, a pass per patch size; "
            "occlusion, what each cell of one pass adds; dense, the tokens of one pass."
        ),
    ] = _LAYOUT.mode,
    border: Annotated[
        str,
        _maps(
            help="Beyond the edge of the image: noise, constant, reflect, clip (patches end there), or inside (none)."
        ),
    ] = _LAYOUT.border,
    sizes: Annotated[list[str], _maps(metavar="PIXELS", help="Patch sizes, with commas.")] = [
        ",".join(map(str, _LAYOUT.sizes))
    ],
    stride: Annotated[
        list[str],
        _maps(
            metavar="PIXELS",
            help="Pixels between patches, if not 16, or 32 for windows; half of it takes four times as long.",
        ),
    ] = [],
    short_side: Annotated[
        int, _maps(min=0, help="Short side of the working image in pixels; 0 keeps the image's own.")
    ] = _LAYOUT.short_side,
    seed: Annotated[int, _maps(min=0, help="Seed of the noise.")] = _LAYOUT.seed,
    class_bias: Annotated[
        float, _maps(help="Dense only: part of the whole image's embedding that is taken off every token's, 0 to 1.")
    ] = _LAYOUT.class_bias,
) -> Layout:
    """Where patches lie, for verbs that decide themselves which part of the image is looked at."""
    steps = split(stride, int, "--stride")
    return Layout(
        mode=mode,
        border=border,
        sizes=tuple(split(sizes, int, "--sizes")),
        stride=tuple(steps) if len(steps) > 1 else steps[0] if steps else None,
        short_side=short_side,
        seed=seed,
        class_bias=class_bias,
    )


def fitted_layout(
    layout: Annotated[Layout, Shared(layout_options)],
    fit: Annotated[
        str, _maps(help="What is looked at: full, the whole image, or crop, its central square.")
    ] = _LAYOUT.fit,
) -> Layout:
    """Which places of an image are embedded."""
    return replace(layout, fit=fit)


def reading_options(
    score: Annotated[str, _maps(help="What is averaged over patches: log-rank, rank or similarity.")] = _READING.score,
    aggregate: Annotated[
        str, _maps(help="Order in which sub-concepts and patches are merged: best-then-mean or mean-then-best.")
    ] = _READING.aggregate,
    scale_weights: Annotated[
        str, _maps(help="How much each patch size counts: area or equal.")
    ] = _READING.scale_weights,
) -> Reading:
    """How evidence is read into maps."""
    return Reading(score, aggregate, scale_weights)


def sparsity(
    l1_penalty: Annotated[
        float | None,
        typer.Option("--l1-penalty", "--l1", help="Penalty, as in SpLiCE; by default that of the bundle."),
    ] = None,
    l0: Annotated[int | None, typer.Option("--l0", help="About how many words to use, instead of a penalty.")] = None,
) -> dict[str, Any]:
    """Keywords of ``decompose``: a penalty or a number of words."""
    return {"l1_penalty": l1_penalty, "l0": l0}


SharedEngine = Annotated[Engine, Shared(open_engine)]
SharedLayout = Annotated[Layout, Shared(fitted_layout)]
SharedReading = Annotated[Reading, Shared(reading_options)]
SharedSparsity = Annotated[dict[str, Any], Shared(sparsity)]

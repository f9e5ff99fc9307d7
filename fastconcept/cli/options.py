"""Options that several verbs share, and the engine they ask for."""

from __future__ import annotations

from typing import Annotated

import typer

from ..engine import Engine, load

BundleOption = Annotated[
    str | None,
    typer.Option("--bundle", "-b", help="Bundle: a directory, an installed name, or hf-hub:owner/name."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu or cuda:N; never falls back silently.")]
ProviderOption = Annotated[
    list[str] | None, typer.Option("--provider", help="ONNX Runtime execution provider; may be repeated.")
]
EncoderOption = Annotated[
    str,
    typer.Option("--encoder", help="What runs the image tower: onnx, tensorrt or the path of an *.engine file."),
]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="CPU threads; default: all that are granted.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def open_engine(
    bundle: str | None, device: str, providers: list[str] | None, encoder: str, threads: int | None
) -> Engine:
    """The engine that the shared options describe."""
    return load(bundle, device=device, providers=providers or None, encoder=encoder, num_threads=threads)

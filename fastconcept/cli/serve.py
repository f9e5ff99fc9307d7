"""``fastconcept serve``: the engine over HTTP."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..serve.limits import Limits
from . import output
from .options import SharedEngine, split
from .verb import Answer, Shared, verb

_limit = partial(typer.Option, rich_help_panel="Limits")


def limits(
    max_body: Annotated[int, _limit(min=1, help="MiB of one request.")] = 32,
    max_bodies: Annotated[int, _limit(min=1, help="MiB of all requests that are being worked on.")] = 256,
    max_images: Annotated[int, _limit(min=1, help="Images, and texts, of one request.")] = 16,
    max_concepts: Annotated[int, _limit(min=1, help="Concepts of one request.")] = 64,
    max_patches: Annotated[int, _limit(min=1, help="Patches of one image.")] = 4000,
    max_waiting: Annotated[int, _limit(min=1, help="Jobs in each queue; further requests get 429.")] = 256,
    max_batch: Annotated[int, _limit(min=1, help="Images of several requests that are encoded together.")] = 32,
    batch_window: Annotated[
        float, _limit(min=0, help="Milliseconds that the first image of a batch waits for others.")
    ] = 2.0,
    request_timeout: Annotated[float, _limit(min=0.001, help="Seconds until a request is given up.")] = 120.0,
    drain_timeout: Annotated[float, _limit(min=1, help="Seconds that requests have to finish after SIGTERM.")] = 30.0,
    max_store: Annotated[
        int, _limit(min=0, help="MiB of photographs, evidence and results that are remembered.")
    ] = 512,
) -> Limits:
    """What the server takes on at most."""
    return Limits(
        max_body=max_body,
        max_bodies=max_bodies,
        max_images=max_images,
        max_concepts=max_concepts,
        max_patches=max_patches,
        max_waiting=max_waiting,
        max_batch=max_batch,
        batch_window=batch_window,
        request_timeout=request_timeout,
        drain_timeout=drain_timeout,
        max_store=max_store,
    )


@verb
def command(
    engine: SharedEngine,
    limits: Annotated[Limits, Shared(limits)],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 means all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8000,
    hosts: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Names that the server answers to; by default all, on loopback its own."),
    ] = None,
    api_keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of API keys, one a line; requests then need one.")
    ] = None,
    cors_origins: Annotated[
        list[str] | None, typer.Option(metavar="ORIGINS", help="Other web pages that may use the server.")
    ] = None,
) -> Answer:
    """Answer requests over HTTP until SIGTERM or Ctrl-C (needs the extra named serve)."""
    from ..serve import check_installed

    check_installed()
    from ..serve import run
    from ..serve.app import make_app
    from ..serve.guard import read_keys

    names = split(hosts, str, "--hosts") if hosts else None
    if names is None and run.is_loopback(host):
        names = [*run.LOOPBACK, host]
    app = make_app(
        engine,
        limits=limits,
        api_keys=() if api_keys is None else read_keys(api_keys),
        hosts=names,
        cors_origins=split(cors_origins, str, "--cors-origins") if cors_origins else (),
    )
    bound = run.bind(host, port)
    engine.warmup(images=())

    def answer_requests() -> None:
        run.log_to_stderr()
        run.serve(app, bound)

    document = {"url": run.url_of(bound), "bundle": str(engine.bundle.path), "device": engine.device}
    text = [f"{output.printable(engine.bundle.manifest.model)} answers at {run.url_of(bound)} (Ctrl-C ends it)"]
    return Answer(document, text, then=answer_requests)

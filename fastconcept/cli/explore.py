"""``fastconcept explore``: the explorer in a browser, over a server of this machine."""

from __future__ import annotations

import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..datasets.images import find_images
from ..errors import InputError
from ..saliency.layout import Layout
from . import output
from .options import SharedEngine, fitted_layout
from .verb import Answer, Shared, verb


@verb
def command(
    engine: SharedEngine,
    layout: Annotated[Layout, Shared(fitted_layout, mode="windows")],
    images: Annotated[
        list[Path] | None, typer.Argument(help="Image files, or directories of them.", show_default=False)
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of images.")] = 2000,
    study: Annotated[
        Path | None,
        typer.Option(metavar="QUESTIONS", help="Questions of a user study; `fastconcept evaluate study` makes them."),
    ] = None,
    answers: Annotated[
        Path, typer.Option(callback=output.writable, help="SQLite file for the answers of the study.")
    ] = Path("answers.sqlite"),
) -> Answer:
    """Explore maps of concepts in a browser, by hierarchy, search and comparison (needs the extra named serve)."""
    from ..serve import check_installed

    check_installed()
    from ..serve import run
    from ..serve.app import make_app
    from ..serve.explorer.explorer import modes_of
    from ..serve.explorer.opening import add_explorer, add_study

    if study is not None and images:
        raise InputError("a study brings its own images; leave out either --study or the images")
    paths = find_images(*images, recursive=True)[:limit] if images else []
    text = []
    quickest = modes_of(engine)[0]
    if layout.mode == "windows" != quickest:  # the default of this verb, which not every model has
        text.append(f"This model has no mode windows; maps are made by {quickest}.")
        layout = replace(layout, mode=quickest)
    layout = replace(layout, mode=engine.parts.resolve_mode(layout.mode))
    if layout.mode not in modes_of(engine):
        raise InputError(f"mode must be one of {', '.join(modes_of(engine))}; got {layout.mode!r}")
    app = make_app(engine, hosts=run.LOOPBACK, api=study is None)
    explorer = add_explorer(app, paths, layout) if study is None else add_study(app, study, answers, layout)
    bound = run.bind("127.0.0.1", port)
    engine.warmup(images=())
    url = run.url_of(bound)

    def show() -> None:
        explorer.folder.start()
        if browser:
            webbrowser.open(url)
        try:
            run.serve(app, bound)
        finally:
            explorer.folder.close()

    document = {"url": url, "bundle": str(engine.bundle.path), "device": engine.device, "images": len(paths)}
    return Answer(document, [*text, f"The explorer is at {url} (Ctrl-C ends it)"], then=show)

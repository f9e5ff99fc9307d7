"""The explorer put onto an application: over photographs, or over the questions of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette

from ...saliency.layout import Layout
from .explorer import Explorer
from .routes import explorer_routes
from .study import Study
from .study_routes import study_routes


def add_explorer(app: Starlette, paths: Sequence[Path] = (), layout: Layout = Layout()) -> Explorer:
    """Serve the explorer at the root of an application that ``make_app`` made.

    Parameters
    ----------
    app : Starlette
    paths : sequence of Path
        Photographs to begin with.
    layout : Layout
        How evidence is made.

    Returns
    -------
    Explorer
    """
    explorer = Explorer(app.state.service, paths, layout)
    app.router.routes.extend(explorer_routes(explorer))
    return explorer


def add_study(app: Starlette, questions: Path, answers: Path, layout: Layout = Layout()) -> Study:
    """Serve a study instead: maps of its images can be explored, the images themselves are not sent.

    Parameters
    ----------
    app : Starlette
        Made with ``api=False``, so that it has no other route that answers about the images.
    questions : Path
        JSON file of :class:`fastconcept.evaluate.study.Questions`.
    answers : Path
        SQLite file for the answers.
    layout : Layout

    Returns
    -------
    Study

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    study = Study(app.state.service, questions, answers, layout)
    app.router.routes.extend(study_routes(study))
    return study

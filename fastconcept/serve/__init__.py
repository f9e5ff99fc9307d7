"""HTTP: an engine behind a server. ``make_app`` and all that runs it need the extra named ``serve``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..errors import MissingDependencyError

PACKAGES = ("starlette", "uvicorn", "httptools", "prometheus_client", "python_multipart")


def check_installed() -> None:
    """Raise a :class:`MissingDependencyError` unless the packages of the extra are there."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingDependencyError(package, "serve")


def __getattr__(name: str) -> Any:
    """``make_app``, imported when it is first asked for."""
    if name != "make_app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_installed()
    from .app import make_app

    return make_app

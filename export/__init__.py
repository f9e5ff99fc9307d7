"""Export: from a model in torch to a bundle. Needs the extra named export; what runs a bundle does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..bundle import Preprocess

if TYPE_CHECKING:
    from .build import export_model, export_open_clip
    from .contents import Contents

__all__ = ["Contents", "Preprocess", "export_model", "export_open_clip"]
_MODULES = {"Contents": "contents", "export_model": "build", "export_open_clip": "build"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import fastconcept.export`` stays light."""
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)

"""fastconcept explains what a CLIP model sees, in words, in real time.

>>> import fastconcept as fc
>>> engine = fc.load("path/to/bundle")                            # doctest: +SKIP
>>> seen = engine.explain("cat.jpg", ["feline.n.01", "a red ball"])  # doctest: +SKIP
>>> words = engine.decompose("cat.jpg", l1_penalty=0.25)          # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Engine", "__version__", "errors", "load"]

if TYPE_CHECKING:
    from . import errors
    from .engine import Engine, load


def __getattr__(name: str) -> Any:
    """Import the engine when it is first asked for, so that ``import fastconcept`` stays quick."""
    if name in ("Engine", "load"):
        from . import engine

        return getattr(engine, name)
    if name == "errors":
        import importlib

        return importlib.import_module(".errors", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

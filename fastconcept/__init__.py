"""fastconcept explains what a CLIP model sees, in words.

>>> import fastconcept as fc
>>> engine = fc.load()                                               # doctest: +SKIP
>>> engine.concepts("cat.jpg", top=10)                               # doctest: +SKIP
>>> seen = engine.explain("cat.jpg", ["feline.n.01", "a red ball"])  # doctest: +SKIP
>>> words = engine.decompose("cat.jpg", l1_penalty=0.25)             # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "AverageWeights",
    "ConceptBank",
    "ConceptMap",
    "Decomposition",
    "Decompositions",
    "Dictionary",
    "Engine",
    "Evidence",
    "Explanation",
    "Parts",
    "Preprocess",
    "SeenConcept",
    "SeenConcepts",
    "StreamedFrame",
    "__version__",
    "errors",
    "load",
]

# ONNX Runtime 1.32 writes the id of a device and a database for its telemetry into the user's cache as it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from . import errors
    from .bundle import Preprocess
    from .concepts.bank import ConceptBank
    from .engine import Engine, load
    from .parts import Parts
    from .saliency.evidence import Evidence
    from .saliency.result import ConceptMap, Explanation
    from .saliency.survey import SeenConcept, SeenConcepts
    from .sparse.dictionary import Dictionary
    from .sparse.result import AverageWeights, Decomposition, Decompositions
    from .stream.result import StreamedFrame

_HOMES = {
    "AverageWeights": "sparse.result",
    "ConceptBank": "concepts.bank",
    "ConceptMap": "saliency.result",
    "Decomposition": "sparse.result",
    "Decompositions": "sparse.result",
    "Dictionary": "sparse.dictionary",
    "Engine": "engine",
    "Evidence": "saliency.evidence",
    "Explanation": "saliency.result",
    "Parts": "parts",
    "Preprocess": "bundle",
    "SeenConcept": "saliency.survey",
    "SeenConcepts": "saliency.survey",
    "StreamedFrame": "stream.result",
    "load": "engine",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import fastconcept`` stays quick."""
    if name == "errors":
        return importlib.import_module(".errors", __name__)
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

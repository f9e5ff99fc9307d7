"""Where TensorRT engines are kept, and which of them fits a model and a device.

An engine is code for one kind of device, so it is no part of a bundle: ``python -m fastconcept.export.tensorrt BUNDLE``
builds it where it will run, and keeps it here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import DeviceError

PREFERRED = ("float16", "bfloat16", "float32")
_MAX_NOTES_BYTES = 1 << 20


def cache_directory() -> Path:
    """``FASTCONCEPT_ENGINES``, or ``fastconcept/engines`` in the user's cache."""
    chosen = os.environ.get("FASTCONCEPT_ENGINES")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastconcept" / "engines"


def kept_engines(model_sha256: str, folder: Path | None = None) -> list[tuple[Path, dict[str, Any]]]:
    """Engines of one model and what they were built from, the preferred precision first; damaged notes are passed over.

    Examples
    --------
    >>> kept_engines("0" * 64, Path("/nonexistent"))
    []
    """
    found = []
    for notes in sorted((folder or cache_directory()).glob("*.engine.json")):
        engine = notes.with_suffix("")
        try:
            facts = json.loads(notes.read_text(encoding="utf-8")) if notes.stat().st_size <= _MAX_NOTES_BYTES else {}
        except (OSError, ValueError):
            continue
        key = facts.get("key") if isinstance(facts, dict) else None
        if isinstance(key, dict) and key.get("model_sha256") == model_sha256 and engine.is_file():
            found.append((engine, key))
    order = {precision: place for place, precision in enumerate(PREFERRED)}
    return sorted(found, key=lambda item: order.get(str(item[1].get("precision")), len(order)))


def find_engine_for(model_sha256: str, compute_capability: str, version: str, folder: Path | None = None) -> Path:
    """The engine of a model for this kind of device and this version of TensorRT.

    Parameters
    ----------
    model_sha256 : str
        Of the bundle's image encoder.
    compute_capability : str
        Of the device, such as ``"90"``.
    version : str
        Of TensorRT.
    folder : Path, optional
        The cache.

    Raises
    ------
    DeviceError
        If there is none; it says what there is, and how to build one.
    """
    kept = kept_engines(model_sha256, folder)
    for path, key in kept:
        if (key.get("compute_capability"), key.get("tensorrt")) == (compute_capability, version):
            return path
    others = {f"TensorRT {key.get('tensorrt')} on {key.get('compute_capability')}" for _, key in kept}
    raise DeviceError(
        f"no TensorRT engine of this model for TensorRT {version} on compute capability {compute_capability} in "
        f"{folder or cache_directory()} (there: {', '.join(sorted(others)) or 'none of this model'}); build it here: "
        "python -m fastconcept.export.tensorrt BUNDLE"
    )

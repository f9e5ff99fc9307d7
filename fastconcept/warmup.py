"""What :meth:`fastconcept.engine.Engine.warmup` does, below the engine so that it stays short."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import InputError

PHRASE = "a photo"


def warm_up(
    engine: Any,
    images: Sequence[tuple[int, int]],
    concepts: str | Sequence[str] | None,
    batch: int,
    l0: int | None,
    options: Mapping[str, Any],
) -> dict[str, float]:
    """Load, then explain and decompose once; arguments, result and errors as for ``Engine.warmup``."""
    sizes = [_checked(size, engine.max_pixels) for size in images]
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= 4096:
        raise InputError(f"batch must be from 1 to 4096 images, got {batch!r}")
    manifest, spent = engine.bundle.manifest, {}
    explains, decomposes = bool(manifest.banks), bool(manifest.dictionaries and manifest.image_mean)
    began = time.perf_counter()
    _ = engine.image_encoder, engine.text_encoder
    if explains:
        _ = engine.prepared_bank
    if decomposes:
        _ = engine.dictionary, engine.image_mean
    spent["load"] = _since(began)
    if explains and sizes:
        began = time.perf_counter()
        chosen = [engine.bank.names[0], PHRASE] if concepts is None else concepts
        for size in sizes:
            engine.explain(_picture(*size), chosen, **options)
        spent["explain"] = _since(began)
    if decomposes:
        began = time.perf_counter()
        _ = engine.decompose([_picture(*(sizes or [(64, 64)])[0])] * batch, l0=l0).cosine
        spent["decompose"] = _since(began)
    return spent


def _checked(size: Any, max_pixels: int) -> tuple[int, int]:
    whole = isinstance(size, Sequence) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)
    if not whole or size[0] * size[1] > max_pixels:
        raise InputError(f"images must be (height, width) pairs of at most {max_pixels:,} pixels, got {size!r}")
    return size[0], size[1]


def _picture(height: int, width: int) -> Any:
    """Noise: every patch differs."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1e3, 3)

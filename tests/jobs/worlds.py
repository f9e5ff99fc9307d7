"""A model that is quick to open and quick to run: the mean colour of an image, in a world of three words."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastconcept import Engine, Preprocess
from fastconcept.concepts.bank import ConceptBank
from fastconcept.sparse.dictionary import Dictionary

WORDS = ["red", "green", "blue"]


def colours(seconds: float = 0.0, **options: Any) -> Engine:
    """An engine of three dimensions; ``seconds`` is how long each batch takes."""

    def encode(pixels: Any) -> Any:
        time.sleep(seconds)
        return np.asarray(pixels).mean(axis=(2, 3)) + 1e-3

    return Engine.from_parts(
        embedding_dim=3,
        preprocess=Preprocess((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        image_encoder=encode,
        bank=ConceptBank(np.eye(3), phrases=WORDS),
        dictionary=Dictionary(WORDS, np.eye(3, dtype=np.float32), np.zeros(3, np.float32)),
        image_mean=np.zeros(3, np.float32),
        **options,
    )


def picture(number: int, kind: str = "PNG") -> bytes:
    """A plain image whose colour is its number."""
    colour = (number * 37 % 256, number * 11 % 256, 40 + number % 200)
    stream = io.BytesIO()
    Image.new("RGB", (16, 12), colour).save(stream, kind)
    return stream.getvalue()


def folder_of(path: Path, count: int, damaged: int = 0) -> list[str]:
    """Images in two class folders, of which every ``damaged``-th is cut off; returns their paths in order."""
    for number in range(count):
        place = path / ("cats", "dogs")[number % 2] / f"{number:05d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        data = picture(number)
        place.write_bytes(data[:40] if damaged and number % damaged == 0 else data)
    return sorted(map(str, path.rglob("*.png")))

"""A model in a world of three words, in every mode, so quick that thousands of inputs take seconds."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastconcept as fc
from fastconcept.encoders.split import SplitEncoder
from fastconcept.sparse.dictionary import Dictionary

WORDS = ["red", "green", "blue"]
STRIDE = 4


def _unit(rows: Any) -> Any:
    rows = rows + np.float32(1e-3)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def _cells(pixels: Any) -> Any:
    """Means over cells of four pixels, (n, 3, h, w)."""
    n, channels, height, width = pixels.shape
    assert height % STRIDE == 0 == width % STRIDE
    cells = pixels.reshape(n, channels, height // STRIDE, STRIDE, width // STRIDE, STRIDE)
    return np.ascontiguousarray(cells.mean(axis=(3, 5), dtype=np.float32))


class _Maps:
    stride = STRIDE

    def encode(self, pixels: Any) -> Any:
        return _cells(pixels)


class _Head:
    def encode(self, means: Any) -> Any:
        return _unit(means)


class _Tokens:
    stride, batch_size = STRIDE, 4

    def encode(self, pixels: Any) -> Any:
        cells = _cells(pixels)
        tokens = cells.reshape(*cells.shape[:2], -1).transpose(0, 2, 1)
        return _unit(np.concatenate([tokens.mean(axis=1, keepdims=True), tokens], axis=1))


def _texts(texts: list[str]) -> Any:
    return np.array([[len(text) % 7, text.count("a"), 1.0] for text in texts])


def colours() -> fc.Engine:
    """The engine: an embedding is the mean colour."""
    return fc.Engine.from_parts(
        embedding_dim=3,
        preprocess=fc.Preprocess((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        image_encoder=lambda pixels: pixels.mean(axis=(2, 3)) + np.float32(1e-3),
        split_encoder=SplitEncoder(_Maps(), _Head()),
        dense_encoder=_Tokens(),
        text_encoder=_texts,
        bank=fc.ConceptBank(np.eye(3), phrases=WORDS),
        dictionary=Dictionary(WORDS, np.eye(3), np.zeros(3)),
        image_mean=np.zeros(3, np.float32),
        num_threads=1,
    )

"""A planted world: an engine of 32 dimensions whose dictionary, texts and embeddings are known."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.concepts.bank import ConceptBank
from fastconcept.datasets.dataset import Dataset, open_dataset
from fastconcept.engine import Engine
from fastconcept.sparse.dictionary import Dictionary

WORDS = ["cat", "dog", "lion", "car", "water", "grass", "sand", "night", "snow", "rain", "tree", "house"]


def mixed(count: int, **words: float) -> list[dict[str, float]]:
    """The same code ``count`` times with weights that vary a little."""
    generator = np.random.default_rng(count)
    return [{word: weight * generator.uniform(0.8, 1.2) for word, weight in words.items()} for _ in range(count)]


class PlantedTexts:
    """A text is the sum of the directions of the words in it."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(texts), 32), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for k, word in enumerate(WORDS):
                row[k] += word in text
            row[30:] = 1e-3 * zlib.crc32(text.encode()) / 2**32, 0.1  # no two texts are equal
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="session")
def planted(tiny_bundle: Path) -> Engine:
    """The tiny engine with a dictionary of orthogonal words, no image mean, and a bank whose felines are directions."""
    engine = fc.load(tiny_bundle)
    taxonomy = engine.bank.taxonomy
    assert taxonomy is not None
    rows = np.random.default_rng(0).standard_normal((len(taxonomy), 32)).astype(np.float32)
    for node in taxonomy.subtree(taxonomy.index("big_cat.n.01")).tolist():
        rows[node] = 0.1 * rows[node] + 2 * np.eye(32, dtype=np.float32)[2]
    return Engine(
        engine.parts.replace(
            bank=ConceptBank(rows, taxonomy=taxonomy),
            dictionary=Dictionary(WORDS, np.eye(12, 32, dtype=np.float32), np.zeros(32, np.float32)),
            image_mean=np.zeros(32, np.float32),
            text_encoder=PlantedTexts(),
        )
    )


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Dataset]:
    """Writes embeddings made of weighted words plus noise, with labels and attributes, and reads them as a dataset."""

    def write(codes: Sequence[dict[str, float]], noise: float = 0.02, **columns: Any) -> Dataset:
        generator = np.random.default_rng(0)
        rows = noise * generator.standard_normal((len(codes), 32))
        for row, code in zip(rows, codes, strict=True):
            for word, weight in code.items():
                row[WORDS.index(word)] += weight
        path = tmp_path / "rows.npz"
        np.savez(path, embeddings=rows.astype(np.float32), **{name: np.array(v) for name, v in columns.items()})
        return open_dataset(path)

    return write

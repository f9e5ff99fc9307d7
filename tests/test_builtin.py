"""The model inside the package: complete, small, used by default, and of some use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.bundle import Bundle, find_bundle

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def engine() -> fc.Engine:
    return fc.load()


def test_it_is_the_default_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTCONCEPT_BUNDLE", raising=False)
    path = find_bundle()
    assert path == Path(fc.__file__).parent / "data" / "builtin" and find_bundle("builtin") == path
    bundle = Bundle(path)
    bundle.verify()
    manifest = bundle.manifest
    assert manifest.model == "lite0-words" and list(manifest.banks) == ["convis"] and manifest.image_mean
    assert any("MODEL_CARD" in licence for licence in manifest.licences)
    assert sum(size for _, size in manifest.files.values()) <= 40 * MEGABYTE
    package = sum(file.stat().st_size for file in Path(fc.__file__).parent.rglob("*") if file.is_file())
    assert package <= 60 * MEGABYTE  # unpacked, with build products; the wheel is half of it
    assert json.loads((path / "parity.json").read_text())["min_cosine"] >= 0.999


def test_how_many_concepts_and_words(engine: fc.Engine) -> None:
    assert 7_000 <= len(engine.bank) <= 9_000
    assert 3_000 <= len(engine.dictionary) <= 5_000
    assert {"man", "living room", "striped", "coffee cup"} <= set(engine.dictionary.words)
    assert {"feline.n.01", "cup.n.01", "beagle.n.01", "entity.n.01"} <= set(engine.bank.names)


def test_explain_and_decompose_a_photograph(engine: fc.Engine) -> None:
    data = pytest.importorskip("skimage.data")
    seen = engine.explain(data.chelsea(), ["feline.n.01", "entity.n.01", "a striped pet"], sizes=(128,), stride=64)
    assert seen.maps.shape[0] == 3 and np.isfinite(seen.maps).all()
    assert seen["entity.n.01"].constant and not seen["feline.n.01"].constant
    words = engine.decompose(data.chelsea(), l0=10)
    assert 1 <= words.l0 <= 10 and words.gap <= 1e-6 and 0 < words.cosine <= 1


@pytest.mark.parametrize(("photo", "concept"), [("chelsea", "feline.n.01"), ("coffee", "cup.n.01")])
def test_it_knows_what_it_sees_better_than_chance(engine: fc.Engine, photo: str, concept: str) -> None:
    """The subtree of the true concept is nearer to its photograph than to the other photographs."""
    data = pytest.importorskip("skimage.data")
    names = ["chelsea", "coffee", "rocket"]
    members = engine.bank.subtree(concept)
    rows = engine.encode_image([getattr(data, name)() for name in names])
    best = (rows @ engine.bank.embeddings.T).argsort(axis=1)[:, ::-1]
    ranks = {name: int(np.isin(row, members).argmax()) for name, row in zip(names, best, strict=True)}
    assert ranks[photo] == min(ranks.values())


@pytest.mark.parametrize(
    ("photo", "expected"),
    [("coffee", {"espresso", "coffee"}), ("chelsea", {"cat", "tabby cat"}), ("rocket", {"missile", "rocket"})],
)
def test_its_words_are_those_a_person_would_use(engine: fc.Engine, photo: str, expected: set[str]) -> None:
    data = pytest.importorskip("skimage.data")
    words = [word for word, _ in engine.decompose(getattr(data, photo)(), l0=10).top(5)]
    assert expected & set(words)


def test_patches_are_read_at_fewer_pixels_than_photographs(engine: fc.Engine) -> None:
    preprocess = engine.bundle.manifest.preprocess
    assert preprocess.size == (224, 224) and preprocess.patch_size == (128, 128)

"""What an image shows without being asked: planted concepts are found, relatives are not repeated."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.errors import ConceptError, InputError

OPTIONS = {"sizes": (64,), "stride": 32, "border": "constant"}
RED, GREEN = "cheetah.n.01", "persian_cat.n.01"


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> fc.Engine:
    """The felines of WordNet, of which one means red and one green, and an encoder that sees colours."""
    engine = fc.load(tiny_bundle)
    taxonomy = engine.bank.taxonomy
    assert taxonomy is not None
    rows = 0.05 * np.random.default_rng(0).standard_normal((len(taxonomy), 32)).astype(np.float32)
    rows[:, :2] = 0
    rows[:, 2] += 1
    rows[taxonomy.index(RED)], rows[taxonomy.index(GREEN)] = np.eye(32)[0], np.eye(32)[1]

    def mean_colour(pixels: np.ndarray) -> np.ndarray:
        embeddings = np.zeros((len(pixels), 32), np.float32)
        embeddings[:, :3] = pixels.mean(axis=(2, 3))
        return embeddings

    preprocess = fc.Preprocess((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    bank = fc.ConceptBank(rows, taxonomy=taxonomy)
    return fc.Engine.from_parts(embedding_dim=32, preprocess=preprocess, image_encoder=mean_colour, bank=bank)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    pixels = np.full((128, 192, 3), 9, np.uint8)
    pixels[:, :150, 0] = pixels[:, 150:, 1] = 250
    return pixels


def test_what_is_planted_is_seen(engine: fc.Engine, picture: np.ndarray) -> None:
    seen = engine.concepts(picture, 5, **OPTIONS)
    assert seen.names[:2] == [RED, GREEN]  # by area
    assert seen[0].rank == 0 and seen[0].patches > seen[1].patches > 0
    assert list(seen[0].definition) and [s.score for s in seen] == sorted((s.score for s in seen), reverse=True)
    json.dumps(seen.to_dict())
    assert RED in seen._repr_html_() and repr(seen).startswith(f"<SeenConcepts of {len(seen)}: {seen[0].name} ")


def test_no_concept_stands_above_another(engine: fc.Engine, picture: np.ndarray) -> None:
    taxonomy = engine.bank.taxonomy
    assert taxonomy is not None
    seen = engine.concepts(picture, 30, **OPTIONS)
    nodes = [taxonomy.index(name) for name in seen.names]
    for node in nodes:
        assert not set(taxonomy.subtree(node).tolist()) & (set(nodes) - {node})


def test_below_keeps_to_a_subtree(engine: fc.Engine, picture: np.ndarray) -> None:
    taxonomy = engine.bank.taxonomy
    assert taxonomy is not None
    cats = {taxonomy.names[node] for node in taxonomy.subtree(taxonomy.index("domestic_cat.n.01"))}
    seen = engine.concepts(picture, 4, "domestic_cat.n.01", **OPTIONS)
    assert seen.names[0] == GREEN and set(seen.names) <= cats - {"domestic_cat.n.01"}
    for unknown in ("dog.n.01", "no such thing at all"):
        with pytest.raises(ConceptError):
            engine.concepts(picture, 4, unknown, **OPTIONS)
    with pytest.raises(InputError, match="top"):
        engine.concepts(picture, 0)


def test_a_place_shows_what_is_there(engine: fc.Engine, picture: np.ndarray) -> None:
    evidence = engine.evidence(picture, **OPTIONS)
    left, right = (engine.concepts(evidence, 3, place=(x, 64)) for x in (10, 185))
    assert left.names[0] == RED and right.names[0] == GREEN
    assert left[0].patches == 1.0 and left[0].score > right[1].score
    assert engine.concepts(picture, 3, place=(10, 64), **OPTIONS).names == left.names
    for outside in ((192, 5), (-1, 5), (5, float("nan")), (1, 2, 3), "ab"):
        with pytest.raises(InputError, match="place"):
            engine.concepts(evidence, place=outside)


def test_explain_without_concepts_shows_what_is_seen(engine: fc.Engine, picture: np.ndarray) -> None:
    seen = engine.concepts(picture, 4, **OPTIONS)
    explanation = engine.explain(picture, **OPTIONS)
    assert [concept.name for concept in explanation] == seen.names
    one, two = engine.explain([picture, picture], [RED], **OPTIONS)
    np.testing.assert_array_equal(one.maps, two.maps)


def test_evidence_is_read_again_without_encoding(
    engine: fc.Engine, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = engine.evidence(picture, **OPTIONS)
    expected = engine.explain(picture, [RED, GREEN], score="rank", **OPTIONS)
    monkeypatch.setattr(engine.image_encoder, "encode", lambda *_: pytest.fail("encoded again"))
    again = engine.read(evidence, [RED, GREEN], score="rank")
    np.testing.assert_array_equal(again.maps, expected.maps)
    third = engine.read(evidence, [GREEN, RED], score="rank")  # from what the second call has kept
    np.testing.assert_array_equal(third.maps, expected.maps[::-1])
    assert third[RED].to_dict() == expected[RED].to_dict()
    assert evidence.nbytes > evidence.image.nbytes + len(evidence) * len(engine.bank) * 4
    assert copy.deepcopy(evidence).kept.nbytes == 0
    assert again.options == expected.options and again.options["sizes"] == (64,) and again.mode == "crops"
    before = dict(again.timings_ms)
    assert engine.concepts(evidence).names[0] == RED
    assert again.timings_ms == before and "maps" not in evidence.timings_ms  # a result's times are its own


def test_a_bank_of_phrases_is_surveyed_too() -> None:
    bank = fc.ConceptBank(np.eye(3), phrases=["red", "green", "blue"])
    preprocess = fc.Preprocess((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    engine = fc.Engine.from_parts(
        embedding_dim=3, preprocess=preprocess, image_encoder=lambda pixels: pixels.mean(axis=(2, 3)), bank=bank
    )
    picture = np.full((64, 64, 3), 9, np.uint8)
    picture[..., 2] = 200
    assert engine.concepts(picture, 2, border="inside", sizes=64, stride=64).names == ["blue", "red"]

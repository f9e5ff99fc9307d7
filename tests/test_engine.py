"""The engine with the built-in model: equal to a naive ConVis, lawful, deterministic, and clear about bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastconcept as fc
from fastconcept.encoders.preprocess import preprocess_image
from fastconcept.engine import Engine
from fastconcept.errors import BundleError, ConceptError, DeviceError, ImageError, InputError
from tests.saliency.naive_convis import naive_maps

COARSE = {"stride": 32}  # a quarter of the patches, where the grid does not matter
CONCEPTS = ["bird.n.01", "owl.n.01", "entity.n.01", "dog.n.01", "artifact.n.01"]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return fc.load()


@pytest.mark.parametrize(("photo", "stride"), [(0, 16), (1, 32)])
def test_equal_to_naive_convis(engine: Engine, photographs: list[Path], photo: int, stride: int) -> None:
    path = photographs[photo]
    seen = engine.explain(path, CONCEPTS, fit="crop", seed=5, score="rank", stride=stride)

    def encode(patches: list[Image.Image]) -> np.ndarray:
        config = engine.bundle.manifest.preprocess
        config = replace(config, size=config.patch_size or config.size)
        return engine.image_encoder.encode(np.stack([preprocess_image(np.asarray(patch), config) for patch in patches]))

    subtrees = [engine.bank.subtree(concept) for concept in CONCEPTS]
    expected = naive_maps(engine.load_image(path), encode, engine.bank.embeddings, subtrees, seed=5, stride=stride)
    np.testing.assert_allclose(seen.maps, expected, rtol=0, atol=1e-6)
    assert seen["entity.n.01"].constant and (seen["entity.n.01"].map == 1).all()
    assert seen["entity.n.01"].rank == 0 and seen["entity.n.01"].score == 1.0


def test_a_wider_concept_never_ranks_worse(engine: Engine, photographs: list[Path]) -> None:
    chain = ["macaw.n.01", "parrot.n.01", "bird.n.01", "vertebrate.n.01", "entity.n.01"]
    seen = engine.explain(photographs[0], chain, **COARSE)
    scores = [found.score for found in seen]
    assert scores == sorted(scores)


def test_same_input_same_bytes(engine: Engine, photographs: list[Path]) -> None:
    path, concepts = photographs[0], ["dog.n.01", "a red ball"]
    first = engine.explain(path, concepts, **COARSE)
    assert (engine.explain(path, concepts, **COARSE).maps == first.maps).all()
    assert (fc.load().explain(path, concepts, **COARSE).maps == first.maps).all()
    assert (engine.explain(path, concepts, seed=1, **COARSE).maps != first.maps).any()


def test_one_pass_serves_all_concepts(engine: Engine, photographs: list[Path]) -> None:
    path, concepts = photographs[0], ["a red ball", "dog.n.01", "bird.n.01", "a blue sky"]
    together = engine.explain(path, concepts, fit="crop", **COARSE)
    for concept in concepts:
        alone = engine.explain(path, concept, fit="crop", **COARSE)[0]
        np.testing.assert_allclose(alone.cells, together[concept].cells, atol=1e-5)


@pytest.fixture(scope="module")
def plain(engine: Engine, photographs: list[Path]) -> np.ndarray:
    """The map of a dog with every option at its default but the grid."""
    return engine.explain(photographs[0], "dog.n.01", **COARSE)[0].cells


@pytest.mark.parametrize(
    "options",
    [
        {"border": "constant"},
        {"border": "reflect"},
        {"border": "inside"},
        {"aggregate": "mean-then-best"},
        {"scale_weights": "equal"},
        {"score": "rank"},
        {"score": "similarity"},
        {"sizes": 96, "stride": 32},
        {"aggregate": "mean-then-best", "score": "similarity", "border": "inside"},
    ],
)
def test_every_option_gives_a_map(
    engine: Engine, photographs: list[Path], plain: np.ndarray, options: dict[str, object]
) -> None:
    image = engine.load_image(photographs[0])
    seen = engine.explain(image, ["dog.n.01", "entity.n.01", "a red ball"], **{**COARSE, **options})
    assert seen.maps.min() >= 0 and seen.maps.max() == 1 and not np.isnan(seen.maps).any()
    assert seen[0].cells.shape != plain.shape or (seen[0].cells != plain).any()
    if "aggregate" not in options and options.get("score") != "similarity":
        assert seen["entity.n.01"].constant


def test_how_concepts_are_understood(engine: Engine, photographs: list[Path]) -> None:
    path = photographs[0]
    asked = ["n02121620", "cat", "Polar Bear", "a cat that wears a red hat"]
    found = engine.explain(path, asked, sizes=128, stride=64)
    assert [concept.name for concept in found][:2] == ["cat.n.01", "cat.n.01"] and "bear" in found[2].name
    assert "first" in found["cat"].note and not found["n02121620"].note
    assert "phrase" in found[3].note and found[3].rank >= 0


def test_bad_concepts_images_and_options(engine: Engine, photographs: list[Path], tmp_path: Path) -> None:
    path = photographs[0]
    with pytest.raises(ConceptError) as caught:
        engine.explain(path, "dgo.n.01")
    assert "dog.n.01" in caught.value.suggestions
    for empty in ([], "", ["dog", " "]):
        with pytest.raises(ConceptError, match=r"no concept|must be a string"):
            engine.explain(path, empty)
    with pytest.raises(ImageError, match="no image file"):
        engine.explain(tmp_path / "absent.jpg", "dog")
    with pytest.raises(ImageError, match=r"^images\[0\]: the image is"):
        engine.explain([b"no image", path], "dog")
    for name, value in [("fit", "wide"), ("sizes", ()), ("stride", 0), ("stride", 300), ("seed", -1)]:
        with pytest.raises(InputError, match=f"{name} must be"):
            engine.explain(path, "dog", **{name: value})
    with pytest.raises(TypeError, match="size"):
        engine.explain(path, "dog", size=64)
    with pytest.raises(DeviceError, match="unknown device 'tpu'"):
        fc.load(engine.bundle.path, device="tpu")
    with pytest.raises(DeviceError, match="NoSuchProvider"):
        fc.load(engine.bundle.path, providers=["NoSuchProvider"]).encode_text("dog")
    with pytest.raises(BundleError, match="no concept bank"):
        _ = fc.load(engine.bundle.path, bank="absent").bank


def test_decompose_images_texts_embeddings(engine: Engine, photographs: list[Path]) -> None:
    paths = photographs[:3]
    batch = engine.decompose(paths, l1_penalty=engine.l1_penalty)
    one = engine.decompose(str(paths[0]))
    assert len(batch) == 3 and one.top(3) == batch[0].top(3)
    assert one.gap <= 1e-6 and 0 < one.l0 < 100 and 0 < one.cosine <= 1
    rows = engine.encode_image(paths)
    np.testing.assert_array_equal(engine.decompose(embeddings=rows).codes.indices, batch.codes.indices)
    assert engine.decompose(embeddings=rows[0]).top() == one.top()
    assert engine.decompose(paths[0], l0=5).l0 <= 5
    assert engine.decompose(texts="a dog on a beach").l0 > 0
    word = one.top(1)[0][0]
    np.testing.assert_allclose(engine.recompose(dict(one.top())), one.embedding, atol=1e-6)
    assert word not in dict(one.without(word).top())


def test_a_bundle_names_the_penalty(engine: Engine) -> None:
    [row] = engine.encode_text(["dog"])
    assert engine.l1_penalty == engine.bundle.manifest.l1_penalty == 0.5
    assert engine.decompose(embeddings=row).l1_penalty == engine.l1_penalty
    assert engine.decompose(embeddings=row, l0=2).l1_penalty != engine.l1_penalty
    parts = {"embedding_dim": row.shape[-1], "dictionary": engine.dictionary, "image_mean": engine.image_mean}
    assert Engine.from_parts(**parts).decompose(embeddings=row).l1_penalty == 0.25


def test_averages(engine: Engine, photographs: list[Path]) -> None:
    paths, seen = photographs[:5], []
    averages = engine.average(paths, ["a", "b", "a", "b", "a"], progress=seen.append)
    assert list(averages) == ["a", "b"] and averages["a"].count == 3 and seen[-1] == 5
    whole = engine.average(paths)["all"]
    expected = engine.decompose(paths).average()
    np.testing.assert_allclose(whole.weights.values, expected.weights.values, rtol=1e-9)
    with pytest.raises(InputError, match="fewer labels"):
        engine.average(paths, ["a"])


def test_bad_decompositions(engine: Engine) -> None:
    row = engine.encode_text("dog")
    with pytest.raises(InputError, match="exactly one"):
        engine.decompose()
    with pytest.raises(InputError, match="exactly one"):
        engine.decompose(embeddings=row, texts="dog")
    with pytest.raises(InputError, match="exactly one"):
        engine.decompose(embeddings=row, l1_penalty=0.25, l0=3)
    with pytest.raises(InputError, match="NaN"):
        engine.decompose(embeddings=np.full_like(row, np.nan))
    with pytest.raises(InputError, match="5 columns"):
        engine.decompose(embeddings=row[:, :5])
    with pytest.raises(InputError, match="must be positive"):
        engine.decompose(embeddings=row, l1_penalty=-1.0)
    with pytest.raises(InputError, match="kind must be"):
        engine.recompose({"dog": 1.0}, kind="sound")

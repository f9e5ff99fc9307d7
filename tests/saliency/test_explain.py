"""explain against the naive ConVis, with an encoder small enough to run anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fastconcept import kernels
from fastconcept.bundle import Preprocess
from fastconcept.encoders.image_tower import ImageTower
from fastconcept.encoders.preprocess import preprocess_image
from fastconcept.errors import ConceptError, InputError
from fastconcept.saliency import explain as convis
from fastconcept.saliency.layout import Layout
from fastconcept.saliency.reading import Reading
from fastconcept.saliency.result import Explanation
from fastconcept.saliency.targets import Target
from tests.saliency.naive_convis import naive_maps

CONFIG = Preprocess((8, 8), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
MEMBERS = [[3], [3, 4, 5], list(range(40))]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class LinearEncoder:
    """Pixels times a fixed matrix: different patches get different embeddings, and nothing is slow."""

    batch_size = 64

    def __init__(self) -> None:
        self.matrix = np.random.default_rng(1).standard_normal((3 * 8 * 8, 12)).astype(np.float32)
        self.largest = 0

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        self.largest = max(self.largest, len(pixels))
        return unit(pixels.reshape(len(pixels), -1) @ self.matrix)


@pytest.fixture(scope="module")
def bank() -> np.ndarray:
    return unit(np.random.default_rng(2).standard_normal((40, 12)))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((300, 200)))


def explain(
    image: np.ndarray, bank: np.ndarray, backend: str = "cpu", phrases: int = 0, **options: object
) -> Explanation:
    encoder = LinearEncoder()
    targets = [Target(str(m), str(m), "", np.array(m, np.int32)) for m in MEMBERS]
    for index in range(phrases):
        targets.insert(2 * index, Target(f"p{index}", f"p{index}", "", None, bank[MEMBERS[0][0] + index]))
    tower = ImageTower(encoder, CONFIG, kernels.backend(backend))
    layout, reading = split(options)
    seen = convis.explain(image, targets, bank, tower, layout, reading)
    assert encoder.largest <= encoder.batch_size
    return seen


def split(options: dict[str, object]) -> tuple[Layout, Reading]:
    """Options by their keywords, as ``Engine.explain`` splits them."""
    names = {"score", "aggregate", "scale_weights"}
    reading = Reading(**{name: value for name, value in options.items() if name in names})
    return Layout(**{name: value for name, value in options.items() if name not in names}), reading


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_equal_to_naive_convis(image: np.ndarray, bank: np.ndarray, backend: str) -> None:
    encoder = LinearEncoder()

    def encode(patches: list[Image.Image]) -> np.ndarray:
        return encoder.encode(np.stack([preprocess_image(np.asarray(patch), CONFIG) for patch in patches]))

    expected = naive_maps(image, encode, bank, [np.array(m) for m in MEMBERS], seed=7)
    seen = explain(image, bank, backend, fit="crop", seed=7, score="rank")
    np.testing.assert_allclose(seen.maps, expected, rtol=0, atol=1e-6)
    assert [found.constant for found in seen] == [False, False, True]


def test_a_phrase_equal_to_a_concept_has_its_map(image: np.ndarray, bank: np.ndarray) -> None:
    seen = explain(image, bank, phrases=2)
    assert [found.concept for found in seen] == ["p0", "[3]", "p1", "[3, 4, 5]", str(MEMBERS[2])]
    np.testing.assert_array_equal(seen["p0"].cells, seen["[3]"].cells)
    assert seen["p0"].rank == seen["[3]"].rank


@pytest.mark.parametrize("score", ["rank", "log-rank", "similarity"])
@pytest.mark.parametrize("border", ["noise", "constant", "reflect", "inside"])
def test_for_single_concepts_both_orders_of_averaging_agree(
    image: np.ndarray, bank: np.ndarray, score: str, border: str
) -> None:
    first = explain(image, bank, score=score, border=border, aggregate="best-then-mean", stride=32)
    second = explain(image, bank, score=score, border=border, aggregate="mean-then-best", stride=32, phrases=1)
    np.testing.assert_allclose(first["[3]"].cells, second["[3]"].cells, atol=1e-5)
    np.testing.assert_allclose(first["[3]"].cells, second["p0"].cells, atol=1e-5)
    difference = np.abs(first["[3, 4, 5]"].cells - second["[3, 4, 5]"].cells).max()
    assert difference > 1e-3  # for a subtree they are different questions


def test_scales_can_count_equally(image: np.ndarray, bank: np.ndarray) -> None:
    area, equal = (explain(image, bank, scale_weights=weights, stride=32) for weights in ("area", "equal"))
    assert np.abs(area[0].cells - equal[0].cells).max() > 1e-3
    one_size = [explain(image, bank, scale_weights=weights, sizes=(64,), stride=32) for weights in ("area", "equal")]
    np.testing.assert_allclose(one_size[0].maps, one_size[1].maps, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fit": "wide"},
        {"border": None},
        {"sizes": ()},
        {"sizes": (2,)},
        {"sizes": ("128",)},
        {"stride": 65},
        {"stride": 0},
        {"seed": -1},
        {"seed": 0.5},
        {"score": ""},
        {"sizes": (64, 64)},
        {"stride": (16,)},
        {"short_side": 4},
        {"mode": "denser"},
    ],
)
def test_wrong_options(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        split(wrong)


def test_unknown_results(image: np.ndarray, bank: np.ndarray) -> None:
    with pytest.raises(ConceptError):
        explain(image, bank, sizes=(128,), stride=128)["absent"]

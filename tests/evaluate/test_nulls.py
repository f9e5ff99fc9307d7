"""Null controls take one thing away and leave the rest, the engine they are given included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.engine import Engine
from fastconcept.errors import InputError
from fastconcept.evaluate.nulls import CONTROLS, RandomEncoder, apply_control, random_rows


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return fc.load(tiny_bundle)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def test_each_control_takes_away_what_it_says(engine: Engine, photo: np.ndarray) -> None:
    bank, words = engine.bank.embeddings.copy(), engine.dictionary.embeddings.copy()
    texts = ["a dog", "a cat", "the sea"]
    plain = engine.encode_text(texts)
    changed = {}
    for control in CONTROLS:
        null = apply_control(engine, control, seed=1)
        assert null.bank.names == engine.bank.names and null.dictionary.words == engine.dictionary.words
        changed[control] = (
            (null.bank.embeddings != bank).any(),
            (null.dictionary.embeddings != words).any(),
            (null.encode_text(texts) != plain).any(),
            (null.encode_image(photo) != engine.encode_image(photo)).any(),
            (null.image_mean != engine.image_mean).any(),
        )
    assert changed == {
        "random-vocabulary": (True, True, False, False, False),
        "shuffled-definitions": (True, True, True, False, False),
        "random-encoder": (False, False, False, True, True),
    }
    np.testing.assert_array_equal(engine.bank.embeddings, bank)
    np.testing.assert_array_equal(engine.encode_text(texts), plain)


def test_shuffled_definitions_are_the_same_rows_elsewhere(engine: Engine) -> None:
    null = apply_control(engine, "shuffled-definitions", seed=4)
    assert (null.bank.embeddings != engine.bank.embeddings).any(axis=1).all()
    np.testing.assert_array_equal(
        np.sort(null.bank.embeddings, axis=0), np.sort(np.asarray(engine.bank.embeddings), axis=0)
    )


def test_seeds_decide(engine: Engine, photo: np.ndarray) -> None:
    for control in CONTROLS:
        one, same, other = (apply_control(engine, control, seed) for seed in (1, 1, 2))
        what = (lambda e: e.encode_image(photo)) if control == "random-encoder" else (lambda e: e.bank.embeddings)
        np.testing.assert_array_equal(what(one), what(same))
        assert (what(one) != what(other)).any()


def test_random_rows_keep_the_second_moments() -> None:
    rows = np.random.default_rng(0).standard_normal((4000, 64)) @ np.diag(np.linspace(2, 0, 64))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    drawn = random_rows(rows, seed=0)
    np.testing.assert_allclose(drawn.T @ drawn / 4000, rows.T @ rows / 4000, atol=0.005)
    assert np.abs(drawn[:, 63]).max() == 0


def test_the_random_encoder_keeps_like_pictures_alike() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.standard_normal((2, 1, 3, 32, 32)).astype(np.float32)
    encoder = RandomEncoder(16, seed=0)
    near, far = (encoder.encode(one)[0] @ encoder.encode(x)[0] for x in (one + np.float32(0.001), other))
    assert near > 0.99 > far
    with pytest.raises(InputError):
        encoder.encode(np.ones((1, 3, 4, 4), np.float32))


def test_unknown_controls_are_refused(engine: Engine) -> None:
    with pytest.raises(InputError, match="random-encoder"):
        apply_control(engine, "nothing")

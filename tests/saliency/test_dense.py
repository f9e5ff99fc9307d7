"""Dense evidence: a token is a patch, the whole comes from the same pass, and large images are tiled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.bundle import parse_manifest
from fastconcept.errors import BundleError, InputError
from fastconcept.saliency.dense import MAX_TOKENS, tile_starts

SIDE, TOKEN = 32, 8
PREPROCESS = fc.Preprocess((SIDE, SIDE), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


class TokenMeans:
    """A tower without attention: a token is its mean colour and a constant, the whole picture the mean of tokens."""

    stride, batch_size = TOKEN, 3
    shapes: list[tuple[int, ...]] = []  # noqa: RUF012 (what it was given, for all instances)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        self.shapes.append(pixels.shape)
        count, _, height, width = pixels.shape
        cells = pixels.reshape(count, 3, height // TOKEN, TOKEN, width // TOKEN, TOKEN).mean(axis=(3, 5))
        tokens = cells.reshape(count, 3, -1).transpose(0, 2, 1)
        tokens = np.concatenate([tokens, np.ones((*tokens.shape[:2], 1), np.float32)], axis=2)
        return unit(np.concatenate([tokens.mean(axis=1, keepdims=True), tokens], axis=1))


class Whole:
    """The same tower for whole pictures."""

    batch_size = 16

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(TokenMeans().encode(pixels)[:, 0])


def make_engine() -> fc.Engine:
    return fc.Engine.from_parts(
        embedding_dim=4,
        preprocess=PREPROCESS,
        image_encoder=Whole(),
        dense_encoder=TokenMeans(),
        bank=fc.ConceptBank(np.eye(4), phrases=["red", "green", "blue", "dark"]),
    )


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_token_is_a_patch_of_the_map() -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[32:48, 16:32, 0] = 255
    seen = make_engine().explain(image, "red", mode="dense", score="similarity")["red"]
    assert seen.cells.shape == (4, 6) and np.unravel_index(seen.cells.argmax(), (4, 6)) == (2, 1)
    assert seen.box(0.9) == (16, 32, 32, 48)


def test_all_comes_from_one_pass_at_the_images_own_shape() -> None:
    TokenMeans.shapes.clear()
    evidence = make_engine().evidence(picture(50, 100), mode="dense")
    assert TokenMeans.shapes == [(1, 3, 32, 64)] and len(evidence) == 4 * 8
    assert evidence.layout.mode == "dense" and evidence.whole.shape == (1, 4)
    larger = make_engine().evidence(picture(50, 100), mode="dense", short_side=448, fit="crop")
    assert larger.grid.shape == (8, 8) and larger.region == (25, 0, 75, 50)
    own = make_engine().evidence(picture(50, 100), mode="dense", short_side=0)
    assert own.grid.shape == (6, 12)


def test_tiles_of_a_large_image_agree_where_the_tower_sees_one_token() -> None:
    image = picture(300, 800)
    TokenMeans.shapes.clear()
    evidence = make_engine().evidence(image, mode="dense", short_side=0)
    assert len(evidence) == 38 * 100 > MAX_TOKENS
    assert max(shape[0] for shape in TokenMeans.shapes) == 3 and {s[2:] for s in TokenMeans.shapes} == {(32, 32)}
    down, across = evidence.grid.shape
    from PIL import Image

    small = np.asarray(Image.fromarray(image).resize((across * TOKEN, down * TOKEN), Image.Resampling.BICUBIC))
    cells = (small / 255 - 0.5) / 0.25
    means = cells.reshape(down, TOKEN, across, TOKEN, 3).mean(axis=(1, 3)).reshape(-1, 3)
    expected = unit(np.concatenate([means, np.ones((len(means), 1))], axis=1))
    np.testing.assert_allclose(evidence.rows, expected, atol=1e-4)
    np.testing.assert_allclose(evidence.whole, make_engine().encode_image(image), atol=1e-6)


@pytest.mark.parametrize("tile", [1, 2, 7, 14])
def test_tiles_cover_every_token(tile: int) -> None:
    for length in range(tile, 60):
        starts = tile_starts(length, tile)
        assert {place for start in starts for place in range(start, start + tile)} == set(range(length))


def test_the_bias_of_the_whole_is_taken_off_every_token() -> None:
    image = picture(64, 64)
    plain, less = (make_engine().evidence(image, mode="dense", class_bias=bias) for bias in (0.0, 0.75))
    np.testing.assert_allclose(less.rows, unit(plain.rows - 0.75 * plain.whole), atol=1e-6)
    np.testing.assert_array_equal(less.whole, plain.whole)


def test_what_dense_evidence_does_not_have_is_refused(tiny_bundle: Path) -> None:
    engine, image = make_engine(), picture(40, 40)
    for wrong in ({"sizes": 64}, {"stride": 8}, {"border": "reflect"}):
        with pytest.raises(InputError, match="is a token"):
            engine.evidence(image, mode="dense", **wrong)
    for mode, bias in (("crops", 0.5), ("dense", 1.5), ("dense", True)):
        with pytest.raises(InputError, match="class_bias"):
            engine.evidence(image, mode=mode, class_bias=bias)
    with pytest.raises(InputError, match="at most 50,000"):
        engine.evidence(picture(20, 400), mode="dense", short_side=4096)
    for mode in ("windows", "dense:gem"):
        with pytest.raises(InputError, match="it has: crops, dense"):
            engine.evidence(image, mode=mode)
    for mode in ("crops:gem", "other", ""):
        with pytest.raises(InputError, match="mode must be one of"):
            engine.evidence(image, mode=mode)
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    right = {"towers": {"gem": "image_encoder.onnx"}, "weights": None, "stride": 8}
    parsed = parse_manifest(json.dumps({**manifest, "dense": right})).dense
    assert parsed is not None and parsed.towers == {"gem": "image_encoder.onnx"}
    for field, value in (("towers", {}), ("towers", {"a b": "x.onnx"}), ("towers", {"gem": "x.bin"}), ("stride", 0)):
        with pytest.raises(BundleError, match="dense"):
            parse_manifest(json.dumps({**manifest, "dense": {**right, field: value}}))
    with pytest.raises(BundleError, match=r"absent\.onnx"):
        parse_manifest(json.dumps({**manifest, "dense": {**right, "towers": {"gem": "absent.onnx"}}}))

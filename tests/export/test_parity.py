"""The parity report notices what differs."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconcept.bundle import Bundle
from fastconcept.encoders.onnx import ImageEncoder, TextEncoder
from fastconcept.encoders.tokenizer import Tokenizer
from fastconcept.errors import ExportError
from fastconcept.export.clip import load_clip
from fastconcept.export.model import Model, unit_rows
from fastconcept.export.parity import (
    MIN_COSINE,
    check_parity,
    measure_parity,
    parity_images,
    parity_texts,
    run_original,
)

pytest.importorskip("open_clip")


@pytest.fixture(scope="module")
def tiny(tiny_checkpoint: str) -> Model:
    return load_clip(tiny_checkpoint)


@pytest.fixture
def report(tiny_bundle: Path) -> dict[str, Any]:
    return dict(json.loads((tiny_bundle / "parity.json").read_text()))


def test_an_export_carries_its_report(report: dict[str, Any], tiny_bundle: Path) -> None:
    assert report["images"]["count"] >= 64 and report["texts"]["count"] >= 256
    assert report["min_cosine"] > 0.999999 and report["tokens_equal"]
    assert max(report[kind]["max_abs_difference"] for kind in ("images", "texts", "preprocessing")) < 1e-5
    assert report["tolerance"] == {"min_cosine": MIN_COSINE}
    summary = Bundle(tiny_bundle).manifest.parity
    assert summary["min_cosine"] == report["min_cosine"] and summary["texts"] == report["texts"]["count"]


def test_pictures_of_many_kinds() -> None:
    pictures, again = parity_images(), parity_images()
    assert len(pictures) == 64 and all(np.array_equal(*pair) for pair in zip(pictures, again, strict=True))
    assert all(picture.dtype == np.uint8 and picture.ndim == 3 for picture in pictures)
    assert len({picture.shape for picture in pictures}) > 50
    assert any(np.ptp(picture) == 0 for picture in pictures)
    assert not np.array_equal(parity_images(seed=1)[0], pictures[0])


def test_texts_of_many_kinds() -> None:
    texts = parity_texts(["furry animal"] * 1000)
    assert len(texts) == 256 == len(parity_texts()) and texts == parity_texts(["furry animal"] * 1000)
    assert texts.count("furry animal") == 128 and "" in texts and max(map(len, texts)) > 1000


def test_tolerances(report: dict[str, Any]) -> None:
    check_parity(report)
    for change in (
        {"images": {**report["images"], "min_cosine": 0.9999}},
        {"texts": {**report["texts"], "min_cosine": float("nan")}},
        {"texts": {**report["texts"], "count": 255}},
        {"images": {**report["images"], "count": 63}},
        {"tokens_equal": False},
    ):
        with pytest.raises(ExportError):
            check_parity(report | change)
    with pytest.raises(ExportError, match=r"below 1\.1"):
        check_parity(report, min_cosine=1.1)


def test_another_model_is_noticed(tiny: Model, tiny_bundle: Path) -> None:
    import torch

    tokenizer = Tokenizer(tiny_bundle / "tokenizer.json", 77)
    image_encoder = ImageEncoder(tiny_bundle / "image_encoder.onnx", 32)
    encoders = image_encoder, TextEncoder(tiny_bundle / "text_encoder.onnx", tokenizer, 32)
    images, texts = parity_images(4), ["a dog", "a cat"]
    same = measure_parity(run_original(tiny, images, texts), *encoders, dynamic_text=True)
    assert same["min_cosine"] > 0.999999 and same["tokens_equal"]
    other = copy.deepcopy(tiny.original_text.tower)
    with torch.no_grad():
        other.visual.proj *= torch.linspace(0.8, 1.2, 32)
        other.text_projection *= torch.linspace(0.8, 1.2, 32)
    images_and_texts = {"image": unit_rows(other, "encode_image"), "original_text": unit_rows(other, "encode_text")}
    changed_rows = run_original(replace(tiny, **images_and_texts), images, texts)
    changed = measure_parity(changed_rows, *encoders, dynamic_text=True)
    assert changed["images"]["min_cosine"] < 0.999 and changed["texts"]["min_cosine"] < 0.999
    raw = Tokenizer(tiny_bundle / "tokenizer.json", 77, clean="none")
    uncleaned = TextEncoder(tiny_bundle / "text_encoder.onnx", raw, 32)
    shouted = run_original(tiny, images, ["A DOG"])
    assert not measure_parity(shouted, encoders[0], uncleaned, dynamic_text=True)["tokens_equal"]

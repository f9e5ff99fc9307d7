"""The memory that an explanation needs is bounded for any image and any options (see Engine.explain)."""

from __future__ import annotations

import tracemalloc
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastconcept.bundle import Preprocess
from fastconcept.concepts.bank import ConceptBank
from fastconcept.engine import Engine
from fastconcept.errors import InputError
from fastconcept.saliency import patches

BOUND = 300_000_000  # of 1 GB: the small images here need a part of it


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.from_parts(
        embedding_dim=3,
        preprocess=Preprocess((2, 2), (0.0,) * 3, (1.0,) * 3),
        image_encoder=lambda pixels: pixels.mean(axis=(2, 3)) + 1,
        bank=ConceptBank(np.eye(3), phrases=["red", "green", "blue"]),
    )


@pytest.mark.parametrize(
    "shape, options",
    [
        ((3_000_000, 1), {}),
        ((1, 3_000_000), {"border": "inside"}),
        ((1, 3_000_000), {"border": "inside", "sizes": 4, "stride": 4, "short_side": 16}),
        ((1, 3_000_000), {"border": "constant", "sizes": 1024, "stride": 1024, "short_side": 4096}),
        ((3_000_000, 1), {"sizes": 1024, "stride": 1024, "border": "reflect"}),
        ((1_500, 1_500), {"short_side": 0, "sizes": (1024, 1023), "stride": (1024, 1023)}),
        ((900, 1200), {"sizes": 4, "stride": 1}),
        ((900, 1200), {"sizes": (64, 63), "stride": (64, 63), "aggregate": "mean-then-best"}),
    ],
)
def test_any_size_and_any_options(engine: Engine, shape: tuple[int, int], options: dict[str, Any]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    tracemalloc.start()
    try:
        seen = engine.explain(image, ["red", "blue"], **options)
        assert np.isfinite(seen[0].cells).all()
    except InputError as error:
        assert "use" in str(error) or "border" in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < BOUND


def test_a_thin_png_is_refused_before_anything_is_laid_out(engine: Engine) -> None:
    stream = BytesIO()
    Image.new("L", (5_000_000, 1)).save(stream, "PNG")
    with pytest.raises(InputError, match="50,000 patches"):
        engine.explain(stream.getvalue(), "red")


def test_too_much_work_is_refused(engine: Engine) -> None:
    with pytest.raises(InputError, match="cells with its border"):
        patches.patch_grid(5_000, 5_000, {64: 64, 63: 63}, False)
    picture, many = np.zeros((900, 900, 3), np.uint8), ["red", "blue"] * 20_000
    with pytest.raises(InputError, match="takes too long"):
        engine.explain(picture, many, sizes=(64, 63), stride=32, aggregate="mean-then-best")

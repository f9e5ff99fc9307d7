"""Parts: opened once whatever the number of threads, replaced without touching the original, made in memory."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.errors import BundleError, InputError
from fastconcept.parts import Later, Parts

HALF = (0.5, 0.5, 0.5)


def colours(**parts: object) -> fc.Engine:
    """An engine whose embedding is the mean colour, and whose concepts are colours."""
    bank = fc.ConceptBank(np.eye(3), phrases=["red", "green", "blue"])
    mean_colour = {"image_encoder": lambda pixels: pixels.mean(axis=(2, 3)), "bank": bank}
    preprocess = fc.Preprocess((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return fc.Engine.from_parts(embedding_dim=3, preprocess=preprocess, **{**mean_colour, **parts})


def half_red() -> np.ndarray:
    picture = np.full((64, 128, 3), 9, np.uint8)
    picture[:, :64, 0] = picture[:, 64:, 1] = 250
    return picture


def test_threads_open_a_part_once(tiny_bundle: Path) -> None:
    parts, made = fc.load(tiny_bundle).parts, []

    def slow() -> np.ndarray:
        made.append(threading.get_ident())
        time.sleep(0.05)
        return np.zeros(32, np.float32)

    other = parts.replace(image_mean=Later(slow))
    got: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: got.append(other.image_mean)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len({id(mean) for mean in got}) == 1


def test_a_replaced_part_leaves_the_original_and_shares_the_rest(tiny_bundle: Path) -> None:
    engine = fc.load(tiny_bundle)
    rows = np.roll(engine.bank.embeddings, 1, axis=0)
    other = fc.Engine(engine.parts.replace(bank=fc.ConceptBank(rows, taxonomy=engine.bank.taxonomy)))
    assert other.image_encoder is engine.image_encoder and other.text_encoder is engine.text_encoder
    for one, expected in ((other, rows), (engine, engine.bank.embeddings)):
        prepared: Any = one.prepared_bank
        assert (prepared.rows == expected).all()
    again = fc.Engine(engine.parts.replace(image_mean=np.zeros(32, np.float32)))
    assert again.prepared_bank is engine.prepared_bank
    with pytest.raises(InputError, match="no part kernel"):
        engine.parts.replace(kernel=None)
    with pytest.raises(BundleError, match="7 wide"):
        _ = engine.parts.replace(image_mean=np.zeros(7, np.float32)).image_mean


def test_a_model_in_memory_explains_and_decomposes() -> None:
    engine = colours(
        dictionary=fc.Dictionary(["red", "green", "blue"], np.eye(3, dtype=np.float32), np.zeros(3, np.float32)),
        image_mean=np.zeros(3),
        text_encoder=lambda texts: [[len(text), 0.0, 0.1] for text in texts],
    )
    seen = engine.explain(half_red(), ["red", "a phrase"], border="inside", sizes=64, stride=32, score="similarity")
    cells = seen["red"].cells
    assert cells[:, 0].min() == 1 and cells[:, -1].max() == 0
    assert [word for word, _ in engine.decompose(half_red(), l0=2).top()] in (["red", "green"], ["green", "red"])
    assert "memory" in repr(engine) and engine.encoder == "in memory"
    with pytest.raises(InputError, match="no bundle"):
        _ = engine.bundle


def test_a_torch_module_is_an_encoder() -> None:
    torch = pytest.importorskip("torch")

    class MeanColour(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(()))

        def forward(self, pixels: object) -> object:
            return self.gain * pixels.mean(dim=(2, 3))

    ours = colours(image_encoder=MeanColour().eval()).encode_image([half_red()] * 3)
    np.testing.assert_allclose(ours, colours().encode_image([half_red()] * 3), atol=1e-6)


def test_what_a_model_in_memory_lacks_is_said() -> None:
    engine = colours()
    with pytest.raises(InputError, match="without image_mean"):
        engine.decompose(half_red())
    with pytest.raises(InputError, match="without text_encoder"):
        engine.encode_text("dog")
    with pytest.raises(InputError, match="preprocess"):
        Parts.in_memory(embedding_dim=3, image_encoder=lambda pixels: pixels)
    with pytest.raises(InputError, match=r"expected \(1, d\)"):
        colours(image_encoder=lambda pixels: pixels).encode_image(half_red())
    with pytest.raises(InputError, match="zero or not finite"):
        colours(image_encoder=lambda pixels: np.zeros((len(pixels), 3))).encode_image(half_red())
    with pytest.raises(InputError, match="bank must be a ConceptBank"):
        colours(bank=np.eye(3)).explain(half_red(), "red")


def test_images_that_cannot_be_read_are_named_by_position(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    errors: list[int] = []
    images = [half_red(), tmp_path / "broken.png", half_red(), tmp_path / "absent.png"]
    batches = list(colours().encode_batches(images, on_error=lambda position, error: errors.append(position)))
    assert errors == [1, 3] and [positions for _, positions in batches] == [[0, 2]]
    with pytest.raises(fc.errors.ImageError, match=r"broken\.png"):
        list(colours().encode_batches(images))

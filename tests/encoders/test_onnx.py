"""The runtime encoders: unit rows, the device asked for, and clear errors."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconcept.bundle import Bundle
from fastconcept.encoders.onnx import ImageEncoder, TextEncoder
from fastconcept.encoders.providers import create_session, device_providers
from fastconcept.encoders.tokenizer import Tokenizer
from fastconcept.errors import BundleError, DeviceError, InputError, MissingDependencyError

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle(tiny_bundle)


@pytest.fixture(scope="module")
def image_encoder(bundle: Bundle) -> ImageEncoder:
    return ImageEncoder(bundle.file("image_encoder.onnx"), bundle.manifest.embedding_dim)


@pytest.fixture(scope="module")
def text_encoder(bundle: Bundle) -> TextEncoder:
    tokenizer = Tokenizer(bundle.file("tokenizer.json"), bundle.manifest.context_length)
    return TextEncoder(bundle.file("text_encoder.onnx"), tokenizer, bundle.manifest.embedding_dim)


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 32, 32), dtype=np.float32)


def test_images_become_unit_rows(image_encoder: ImageEncoder) -> None:
    rows = image_encoder.encode(pixels(5), batch_size=2)
    assert rows.shape == (5, 32) and rows.dtype == np.float32 and rows.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert image_encoder.size == (32, 32) and image_encoder.providers == ["CPUExecutionProvider"]


def test_a_batch_is_a_loop(image_encoder: ImageEncoder) -> None:
    images = pixels(7)
    loop = np.concatenate([image_encoder.encode(images[index : index + 1]) for index in range(7)])
    for batch_size in (1, 3, 100):
        np.testing.assert_allclose(image_encoder.encode(images, batch_size=batch_size), loop, atol=1e-6)
    assert image_encoder.encode(images).tobytes() == image_encoder.encode(images).tobytes()


def test_writing_into_a_given_array(image_encoder: ImageEncoder) -> None:
    store = np.zeros((2, 4, 32), np.float32)
    rows = image_encoder.encode(pixels(4), out=store[1])
    assert rows.base is store and not store[0].any()
    np.testing.assert_array_equal(rows, image_encoder.encode(pixels(4)))
    assert image_encoder.encode(pixels(0)).shape == (0, 32)
    assert image_encoder.encode(pixels(8)[::2]).shape == (4, 32)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((1, 3, 32, 31), np.float32),
        np.zeros((3, 32, 32), np.float32),
        np.zeros((1, 3, 32, 32)),
        np.full((1, 3, 32, 32), np.nan, np.float32),
        [[1.0]],
    ],
)
def test_bad_pixels(image_encoder: ImageEncoder, bad: Any) -> None:
    with pytest.raises(InputError):
        image_encoder.encode(bad)


def test_bad_targets_and_batches(image_encoder: ImageEncoder) -> None:
    for target in (np.empty((3, 32), np.float32), np.empty((2, 32)), np.empty((2, 31), np.float32)):
        with pytest.raises(InputError, match="out"):
            image_encoder.encode(pixels(2), out=target)
    with pytest.raises(InputError, match="batch_size"):
        image_encoder.encode(pixels(2), batch_size=0)


def test_texts_keep_their_order(text_encoder: TextEncoder) -> None:
    texts = ["a long text about many things that takes tokens", "cat", "a dog in the grass", "x", "word " * 200]
    rows = text_encoder.encode(texts)
    assert rows.shape == (5, 32) and rows.dtype == np.float32 and rows.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    for batch_tokens in (1, 16, 10_000):
        again = text_encoder.encode(texts[::-1], batch_tokens=batch_tokens)[::-1]
        np.testing.assert_allclose(again, rows, atol=1e-6)
    for index, text in enumerate(texts):
        np.testing.assert_allclose(text_encoder.encode([text])[0], rows[index], atol=1e-6)


def test_equal_texts_tie_exactly(text_encoder: TextEncoder) -> None:
    texts = [f"number {index}" for index in range(100)] + ["Number  7", "number 7"]
    rows = text_encoder.encode(texts, batch_tokens=64)
    assert rows[7].tobytes() == rows[100].tobytes() == rows[101].tobytes()
    assert text_encoder.encode(texts).tobytes() == text_encoder.encode(texts).tobytes()


def test_progress_counts_up_and_may_cancel(text_encoder: TextEncoder) -> None:
    calls: list[tuple[int, int]] = []
    texts = [f"word {index} " * (index % 5) for index in range(50)]
    text_encoder.encode(texts, progress=lambda done, total: calls.append((done, total)), batch_tokens=100)
    assert len(calls) > 3 and calls == sorted(set(calls)) and calls[-1][0] == calls[-1][1]

    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        text_encoder.encode(texts, progress=cancel)


def test_batches_are_bounded(text_encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    run = text_encoder._run
    monkeypatch.setattr(text_encoder, "_run", lambda batch, target: (sizes.append(batch.size), run(batch, target)))
    text_encoder.encode([f"word {index} " * (index % 30) for index in range(200)], batch_tokens=256)
    assert max(sizes) <= 256 and len(sizes) > 2


@pytest.mark.parametrize("texts", [[], "a dog", ["\ud800"], [None]])
def test_bad_texts(text_encoder: TextEncoder, texts: Any) -> None:
    with pytest.raises(InputError):
        text_encoder.encode(texts)


def test_devices_by_name() -> None:
    assert device_providers("cpu") == ["CPUExecutionProvider"]
    assert device_providers("cuda") == [("CUDAExecutionProvider", {"device_id": 0})]
    assert device_providers("cuda:3") == [("CUDAExecutionProvider", {"device_id": 3})]
    for device in ("gpu", "cuda:", "cuda:x", "cuda:-1", "", "cpu:0"):
        with pytest.raises(DeviceError, match="cuda:N"):
            device_providers(device)


def test_a_provider_that_is_not_there(bundle: Bundle) -> None:
    with pytest.raises(DeviceError, match=r"NoSuchExecutionProvider.*CPUExecutionProvider"):
        create_session(bundle.file("image_encoder.onnx"), [("NoSuchExecutionProvider", {})])


def test_a_provider_that_does_not_start(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", FellBack)
    with pytest.raises(DeviceError, match=r"CUDAExecutionProvider did not start.*no silent fallback"):
        create_session(bundle.file("image_encoder.onnx"), device_providers("cuda:0"))


class FellBack:
    """What onnxruntime returns when a provider's libraries are missing: a session on the CPU."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def disable_fallback(self) -> None:
        pass

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_without_onnxruntime(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"fastconcept\[cpu\]"):
        create_session(bundle.file("image_encoder.onnx"))
    monkeypatch.delitem(sys.modules, "onnxruntime")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    with pytest.raises(DeviceError, match=r"onnxruntime is installed but cannot be imported: libcudart"):
        create_session(bundle.file("image_encoder.onnx"))
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('initialization failed') from KeyboardInterrupt()")
    importlib.invalidate_caches()
    with pytest.raises(KeyboardInterrupt):
        create_session(bundle.file("image_encoder.onnx"))


def test_a_damaged_model(bundle: Bundle, tmp_path: Path) -> None:
    whole = bundle.file("image_encoder.onnx").read_bytes()
    for content in (b"", b"not a model", whole[: len(whole) // 2], whole[100:]):
        (tmp_path / "broken.onnx").write_bytes(content)
        with pytest.raises(BundleError, match=r"broken\.onnx"):
            ImageEncoder(tmp_path / "broken.onnx", 32)
    with pytest.raises(BundleError, match=r"absent\.onnx"):
        ImageEncoder(tmp_path / "absent.onnx", 32)


def test_a_model_of_another_kind(bundle: Bundle, text_encoder: TextEncoder) -> None:
    with pytest.raises(BundleError, match="32, the manifest says 64"):
        ImageEncoder(bundle.file("image_encoder.onnx"), 64)
    with pytest.raises(BundleError, match="not an encoder"):
        ImageEncoder(bundle.file("text_encoder.onnx"), 32)
    with pytest.raises(BundleError, match="not an encoder"):
        TextEncoder(bundle.file("image_encoder.onnx"), text_encoder.tokenizer, 32)


def test_tokens_the_model_does_not_know(text_encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoder.tokenizer, "tokenize", lambda texts: [[1, 10**6]])
    with pytest.raises(BundleError, match="failed on int64"):
        text_encoder.encode(["a"])


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_bad_thread_counts(bundle: Bundle, threads: Any) -> None:
    with pytest.raises(InputError, match="num_threads"):
        create_session(bundle.file("image_encoder.onnx"), num_threads=threads)

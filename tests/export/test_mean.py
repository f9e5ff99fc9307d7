"""The mean image embedding: of a directory, and from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from fastconcept.bundle import Bundle
from fastconcept.encoders.decode import load_image
from fastconcept.encoders.onnx import ImageEncoder
from fastconcept.encoders.preprocess import preprocess_image
from fastconcept.errors import ExportError
from fastconcept.export.mean import compute_image_mean, read_image_mean, sample_images


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for index in range(20):
        picture = Image.fromarray(rng.integers(0, 255, (40, 30 + index, 3), np.uint8))
        picture.save(tmp_path / ("deep/er" if index % 2 else ".") / f"{index}.{'PNG' if index % 3 else 'jpg'}")
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_images_are_found_in_order(photos: Path) -> None:
    files = sample_images(photos)
    assert len(files) == 20 and files == sorted(files)
    sample = sample_images(photos, limit=5)
    assert len(sample) == 5 and sample == sample_images(photos, limit=5) and set(sample) < set(files)
    assert sample == sorted(sample) and sample_images(photos, limit=5, seed=1) != sample
    assert sample_images(photos, limit=100) == files


def test_directories_without_images(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no image"):
        sample_images(tmp_path)
    with pytest.raises(ExportError, match="not a directory"):
        sample_images(tmp_path / "absent")


def test_the_mean_of_a_directory(photos: Path, tiny_bundle: Path) -> None:
    bundle = Bundle(tiny_bundle)
    encoder = ImageEncoder(bundle.file("image_encoder.onnx"), 32)
    files = sample_images(photos)
    (photos / "empty.png").touch()
    (photos / "broken.jpg").write_bytes(files[0].read_bytes()[:200])
    calls: list[tuple[int, int]] = []
    preprocess = bundle.manifest.preprocess
    found = compute_image_mean(encoder, preprocess, sample_images(photos), lambda *call: calls.append(call))
    assert (found.images, found.skipped) == (20, 2) and calls[-1] == (22, 22)
    rows = [encoder.encode(preprocess_image(load_image(file), preprocess)[None])[0] for file in files]
    np.testing.assert_allclose(found.mean, np.mean(rows, axis=0), atol=1e-6)
    assert found.mean.dtype == np.float32 and np.linalg.norm(found.mean) < 1
    with pytest.raises(ExportError, match="none of the 1"):
        compute_image_mean(encoder, preprocess, [photos / "empty.png"])


def test_a_mean_from_a_file(tmp_path: Path) -> None:
    mean = np.full(8, 0.1, np.float32)
    save_file({"mean": mean}, tmp_path / "one.safetensors")
    np.testing.assert_array_equal(read_image_mean(tmp_path / "one.safetensors", 8).mean, mean)
    save_file({"a": mean, "b": mean * 2, "c": mean * 9, "d": mean * np.nan}, tmp_path / "many.safetensors")
    np.testing.assert_array_equal(read_image_mean(tmp_path / "many.safetensors", 8, "b").mean, mean * 2)
    for name, dim, message in [(None, 8, "name one: a, b"), ("e", 8, "no tensor 'e'"), ("a", 9, r"\(9,\)")]:
        with pytest.raises(ExportError, match=message):
            read_image_mean(tmp_path / "many.safetensors", dim, name)
    for name in "cd":
        with pytest.raises(ExportError, match="above 1 or not finite"):
            read_image_mean(tmp_path / "many.safetensors", 8, name)


def test_means_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0notjson!")
    for name in ("broken.safetensors", "absent.safetensors"):
        with pytest.raises(ExportError, match=name):
            read_image_mean(tmp_path / name, 8)


def test_a_mean_of_splice(shared: Path) -> None:
    file = shared / "reference/splice/image_means.safetensors"
    found = read_image_mean(file, 512, "open_clip_ViT-B-32")
    assert np.linalg.norm(found.mean) == pytest.approx(0.56, abs=0.01)
    with pytest.raises(ExportError, match=r"several tensors; name one: clip_RN50"):
        read_image_mean(file, 512)

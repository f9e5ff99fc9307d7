"""Decoding of awkward files, and preprocessing equal to open_clip's own transform."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastconcept.bundle import Preprocess
from fastconcept.encoders.preprocess import load_image, preprocess_image
from fastconcept.errors import ImageError, InputError

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_missing_empty_truncated_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no image file"):
        load_image(tmp_path / "absent.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match="empty"):
        load_image(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(ImageError, match="not an image"):
        load_image(tmp_path / "text.jpg")
    whole = encoded(Image.fromarray(noise(64, 64)), "PNG")
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"cut.png is damaged or truncated"):
        load_image(tmp_path / "cut.png")
    with pytest.raises(ImageError, match="no image file"):
        load_image(tmp_path)


@pytest.mark.parametrize("source", [None, 3, ["a.png"]])
def test_other_types_are_refused(source: object) -> None:
    with pytest.raises(InputError, match="an image must be"):
        load_image(source)


@pytest.mark.parametrize(
    "shape, dtype", [((4, 4), np.uint8), ((4, 4, 4), np.uint8), ((4, 4, 3), float), ((0, 4, 3), np.uint8)]
)
def test_arrays_of_other_shapes_are_refused(shape: tuple[int, ...], dtype: type) -> None:
    with pytest.raises(ImageError, match="uint8"):
        load_image(np.zeros(shape, dtype))


def test_a_decompression_bomb_is_refused_before_decoding() -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(ImageError, match=r"400,000,000|more pixels"):
        load_image(bomb)
    with pytest.raises(ImageError, match="the limit is 10"):
        load_image(noise(4, 4), max_pixels=10)


def test_modes_are_converted() -> None:
    rgb = Image.fromarray(noise(8, 8))
    np.testing.assert_array_equal(load_image(encoded(rgb, "PNG")), np.asarray(rgb))
    assert load_image(encoded(rgb.convert("CMYK"), "TIFF")).shape == (8, 8, 3)
    deep = Image.fromarray((np.arange(64, dtype=np.uint16) * 1024).reshape(8, 8))
    np.testing.assert_array_equal(load_image(encoded(deep, "PNG"))[..., 0].ravel(), np.arange(64) * 4)
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (load_image(encoded(clear, "PNG")) == 255).all()
    palette = rgb.convert("P")
    np.testing.assert_array_equal(load_image(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))


def test_animation_gives_its_first_frame_and_orientation_is_applied() -> None:
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue")]
    stream = BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    assert load_image(stream.getvalue())[0, 0].tolist() == [255, 0, 0]
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_image(encoded(frames[0], "JPEG", exif=exif)).shape == (6, 4, 3)


@pytest.mark.parametrize("size", [(224, 224), (96, 128)])
@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("height, width", [(300, 451), (451, 300), (50, 70), (224, 224), (1, 9)])
def test_equal_to_open_clip(size: tuple[int, int], mode: str, interpolation: str, height: int, width: int) -> None:
    open_clip = pytest.importorskip("open_clip")
    if mode == "shortest" and size[0] != size[1] and interpolation == "bilinear":
        pytest.skip("open_clip ignores the interpolation here and always uses bicubic")
    transform = open_clip.image_transform(
        size, is_train=False, mean=MEAN, std=STD, resize_mode=mode, interpolation=interpolation, fill_color=7
    )
    image = noise(height, width)
    expected = transform(Image.fromarray(image)).numpy()
    config = Preprocess(size, MEAN, STD, interpolation, mode, 7)
    np.testing.assert_allclose(preprocess_image(image, config), expected, rtol=0, atol=1e-6)


def test_an_extreme_aspect_ratio_needs_no_gigabytes() -> None:
    config = Preprocess((224, 224), MEAN, STD)
    strip = np.broadcast_to(np.arange(20_000, dtype=np.uint8)[:, None, None], (20_000, 1, 3)).copy()
    assert preprocess_image(strip, config).shape == (3, 224, 224)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_patches_from_the_compiled_kernel_are_the_same_bits(interpolation: str) -> None:
    from fastconcept.kernels import cpu

    image = noise(150, 170)
    boxes = np.array([(x, y, x + side, y + side) for side in (128, 64, 33) for x in (0, 7) for y in (0, 20)], np.int32)
    config = Preprocess((112, 112), MEAN, STD, interpolation, "squash")
    patches = cpu.resize_patches(image, boxes, config.size, MEAN, STD, interpolation)
    for patch, (x0, y0, x1, y1) in zip(patches, boxes, strict=True):
        np.testing.assert_array_equal(patch, preprocess_image(image[y0:y1, x0:x1], config))

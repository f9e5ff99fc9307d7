"""Decoding of awkward files, arrays and tensors."""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastconcept.encoders.decode import is_single_image, load_image
from fastconcept.errors import ImageError, InputError


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
    "pixels, reason",
    [
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.full((4, 4, 3), 200.0), "floats from 200.0"),
        (np.full((4, 4, 3), np.nan), "floats from nan"),
        (np.full((4, 4, 3), 300), "from 300 to 300"),
        (np.full((4, 4, 3), -1), "from -1"),
        (np.full((4, 4), 200, np.uint16), "uint16 with values"),
        (np.zeros((4, 4, 3), bool), "bool"),
        (np.zeros((4, 4, 3), complex), "complex"),
        (np.full((4, 4, 3), "a"), "<U1"),
    ],
)
def test_arrays_that_could_mean_anything_are_refused(pixels: np.ndarray, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        load_image(pixels)


def test_what_an_array_means() -> None:
    rgb = noise(5, 7)
    for same in (rgb.astype(int), rgb / 255, (rgb / 255).astype(np.float32), rgb.transpose(2, 0, 1), rgb[::-1][::-1]):
        np.testing.assert_array_equal(load_image(same), rgb)
    grey = np.repeat(rgb[..., :1], 3, axis=2)
    for same in (rgb[..., 0], rgb[..., :1], rgb[None, ..., 0], rgb[..., 0].astype(np.uint16) * 256 + 7):
        np.testing.assert_array_equal(load_image(same), grey)
    clear = np.dstack([rgb, np.zeros((5, 7), np.uint8)])
    assert (load_image(clear) == 255).all()
    np.testing.assert_array_equal(load_image(np.dstack([rgb, np.full((5, 7), 255, np.uint8)])), rgb)
    narrow = noise(3, 5).transpose(2, 0, 1)[..., :3].copy()  # (3, 3, 3): NumPy's channels are last
    np.testing.assert_array_equal(load_image(narrow), narrow)


def test_tensors() -> None:
    torch = pytest.importorskip("torch")
    rgb = noise(5, 7)
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)
    for same in (tensor, tensor / 255, (tensor / 255).requires_grad_(), tensor.permute(1, 2, 0), tensor.long()):
        np.testing.assert_array_equal(load_image(same), rgb)
    narrow = torch.from_numpy(rgb[:, :3].copy()).permute(2, 0, 1)  # (3, 5, 3): torch's channels are first
    np.testing.assert_array_equal(load_image(narrow), rgb[:, :3])
    assert is_single_image(tensor) and not is_single_image(tensor[None])


def test_files_and_buffers(tmp_path: Path) -> None:
    rgb = noise(5, 7)
    data = encoded(Image.fromarray(rgb), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    with (tmp_path / "a.png").open("rb") as stream:
        assert is_single_image(stream)
        np.testing.assert_array_equal(load_image(stream), rgb)
    for same in (bytearray(data), memoryview(data), BytesIO(data), str(tmp_path / "a.png")):
        assert is_single_image(same)
        np.testing.assert_array_equal(load_image(same), rgb)
    with (tmp_path / "a.png").open(encoding="latin-1") as stream, pytest.raises(InputError, match="binary mode"):
        load_image(stream)
    for path in ("a" * 5000, "a\0b", tmp_path / ("b" * 300)):
        with pytest.raises(ImageError, match="no image file"):
            load_image(path)


@pytest.mark.parametrize("high, wanted", [(200, 200), (200 * 257, 200)])
def test_32_bit_greys_are_not_black(high: int, wanted: int) -> None:
    image = Image.fromarray(np.full((4, 4), high, np.int32))
    assert image.mode == "I" and (load_image(image) == wanted).all()


def test_only_formats_with_a_name_are_opened(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(encoded(Image.fromarray(noise(8, 8)), "EPS"))
    with pytest.raises(ImageError, match="not an image of a format"):
        load_image(tmp_path / "photo.png")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(2_000_000))),
        chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2_000_000))),
        chunk(b"eXIf", b"MM not EXIF"),
        chunk(b"pHYs", b"\0\0"),
        chunk(b"tRNS", b"\0"),
        chunk(b"acTL", bytes(8)) + chunk(b"fcTL", b"\0"),
        chunk(b"tEXt", b"wrong checksum")[:-1] + b"!",
    ],
)
def test_damaged_extras_of_a_healthy_png_are_ignored(extra: bytes) -> None:
    rgb = noise(9, 8)
    plain = encoded(Image.fromarray(rgb), "PNG")
    np.testing.assert_array_equal(load_image(plain[:33] + extra + plain[33:]), rgb)


@pytest.mark.parametrize("marker, body", [(0xE0, b"JFIF\0"), (0xE1, b"Exif\0\0II*"), (0xEE, b"Adobe"), (0xFE, b"")])
def test_damaged_extras_of_a_healthy_jpeg_are_ignored(marker: int, body: bytes) -> None:
    plain = encoded(Image.fromarray(noise(8, 8)), "JPEG")
    segment = struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
    np.testing.assert_array_equal(load_image(plain[:2] + segment + plain[2:]), load_image(plain))


def test_orientation_survives_other_damage() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = encoded(Image.fromarray(noise(4, 6)), "PNG", exif=exif)
    assert load_image(photo).shape == load_image(photo[:33] + chunk(b"pHYs", b"") + photo[33:]).shape == (6, 4, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "ICO", "QOI", "AVIF"])
def test_damaged_files_are_image_errors_and_quiet(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        whole = encoded(Image.fromarray(noise(24, 24)), kind)
    except KeyError:
        pytest.skip("this Pillow cannot write it")
    random = np.random.default_rng(0)
    read = 0
    for _ in range(100):
        damaged = bytearray(whole)
        for place in random.integers(0, min(len(damaged), random.choice([40, 400])), random.integers(1, 8)):
            damaged[place] = random.integers(0, 256)
        try:
            read += load_image(damaged, max_pixels=10_000).shape[2] == 3
        except ImageError as error:
            assert str(error)
    assert read < 100 and capfd.readouterr() == ("", "")


def test_warnings_of_others_are_left_alone() -> None:
    before = list(warnings.filters)
    load_image(encoded(Image.fromarray(noise(8, 8)), "PNG"))
    assert warnings.filters == before


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


def test_a_missing_file_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(tmp_path / "nothing.png")
    assert str(caught.value) == f"no image file at {tmp_path / 'nothing.png'}"
    with pytest.raises(ImageError, match=r"it is a directory; name its files"):
        load_image(tmp_path)

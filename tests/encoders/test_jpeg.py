"""JPEG by simplejpeg: the pixels and the errors of Pillow, whichever of the two decodes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastconcept.encoders import jpeg
from fastconcept.encoders.decode import load_image
from fastconcept.errors import ImageError

simplejpeg = pytest.importorskip("simplejpeg", reason="simplejpeg is not installed")


@contextmanager
def pillow_alone() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg, "_decoder", lambda: None)
        yield


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes of the images that simplejpeg did so far."""
    seen: list[tuple[int, int]] = []
    plain = jpeg._decoded

    def spy(content: bytes, height: int, width: int) -> object:
        pixels = plain(content, height, width)
        if pixels is not None:
            seen.append((height, width))
        return pixels

    monkeypatch.setattr(jpeg, "_decoded", spy)
    return seen


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth, so that chroma is upsampled between pixels that differ."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4 + height // 9, 4 + width // 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_pixel_is_pillows(decoded: list[tuple[int, int]], subsampling: int, progressive: bool) -> None:
    for seed, (height, width) in enumerate([(1, 1), (16, 16), (17, 31), (100, 75), (7, 300), (333, 2)]):
        for quality in (1, 30, 75, 95, 100):
            content = encoded(
                picture(height, width, seed), quality=quality, subsampling=subsampling, progressive=progressive
            )
            ours = load_image(content)
            with pillow_alone():
                np.testing.assert_array_equal(ours, load_image(content))
    assert len(decoded) == 30


def test_grey_rotated_rgb_and_restarted(decoded: list[tuple[int, int]]) -> None:
    plain = picture(40, 60)
    contents = [encoded(plain.convert("L")), encoded(plain, keep_rgb=True), encoded(plain, restart_marker_rows=1)]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        contents.append(encoded(plain, exif=exif))
    for content in contents:
        ours = load_image(content)
        with pillow_alone():
            np.testing.assert_array_equal(ours, load_image(content))
    assert len(decoded) == 11


def test_what_is_unusual_is_left_to_pillow(decoded: list[tuple[int, int]], tmp_path: Path) -> None:
    content = encoded(picture(64, 64))
    for odd in (encoded(picture(64, 63).convert("CMYK")), content + b"trailing"):
        ours = load_image(odd)
        with pillow_alone():
            np.testing.assert_array_equal(ours, load_image(odd))
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"half\.jpg is damaged or truncated"):
        load_image(tmp_path / "half.jpg")
    assert decoded == [(64, 64)]
    with pytest.raises(ImageError, match="has 4,096 pixels, the limit is 100"):
        load_image(content, max_pixels=100)


def test_pillow_reads_only_headers_that_may_hold_something() -> None:
    image, exif = picture(30, 40), Image.Exif()
    exif[0x0112] = 6
    pages = io.BytesIO()
    image.save(pages, "MPO", save_all=True, append_images=[image])
    plain = [encoded(image), encoded(image, progressive=True), encoded(image, icc_profile=b"profile" * 20_000),
             encoded(image, comment=b"words"), encoded(image.convert("L"))]  # fmt: skip
    odd = [
        encoded(image, exif=exif),
        pages.getvalue(),
        encoded(image.convert("CMYK")),
        encoded(image)[:20],
        b"\xff\xd8",
    ]
    for content in plain:
        pixels = jpeg.decode_plain_jpeg(io.BytesIO(content), 1200)
        with pillow_alone():
            np.testing.assert_array_equal(pixels, load_image(content))
        assert jpeg.decode_plain_jpeg(io.BytesIO(content), 1199) is None
    assert [jpeg.decode_plain_jpeg(io.BytesIO(content), 1200) for content in odd] == [None] * len(odd)


@pytest.mark.parametrize("decode", [load_image, lambda content: load_image(content, short_side=64)])
def test_damage_anywhere_gives_what_pillow_gives(decode: Callable[[bytes], np.ndarray]) -> None:
    content = encoded(picture(200, 170), quality=60)
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(content)
        for at in rng.integers(2, len(content), rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        results = []
        for alone in (False, True):
            try:
                if alone:
                    with pillow_alone():
                        results.append(decode(bytes(damaged)))
                else:
                    results.append(decode(bytes(damaged)))
            except ImageError as error:
                results.append(str(error))
        assert type(results[0]) is type(results[1])
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("size", "short_side", "shape"),
    [((480, 640), 448, (480, 640)), ((960, 1280), 448, (480, 640)), ((1795, 2500), 448, (449, 625)),
     ((1791, 2500), 448, (896, 1250)), ((1800, 300), 30, (225, 38))],
)  # fmt: skip
def test_fast_decoding_keeps_what_is_asked_for(size: tuple[int, int], short_side: int, shape: tuple[int, int]) -> None:
    smooth = picture(5, 8).resize(size[::-1], Image.Resampling.BICUBIC)
    content = encoded(smooth)
    ours = load_image(content, short_side=short_side)
    assert ours.shape == (*shape, 3)
    with pillow_alone():
        np.testing.assert_array_equal(ours, load_image(content, short_side=short_side))
    exact = Image.fromarray(load_image(content)).resize(shape[::-1], Image.Resampling.BOX)
    assert np.abs(ours.astype(int) - np.asarray(exact)).mean() < 2

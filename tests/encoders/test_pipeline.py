"""Batches from threads: order, errors by name, buffers used again, and no work after the caller stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastconcept as fc
from fastconcept.bundle import Preprocess
from fastconcept.encoders.decode import load_image
from fastconcept.encoders.pipeline import Reader, decoded, in_order, prepared_batches
from fastconcept.encoders.preprocess import preprocess_image
from fastconcept.engine import Engine
from fastconcept.errors import ImageError, InputError
from fastconcept.sparse import decompose as sparse
from fastconcept.sparse.dictionary import Dictionary

CONFIG = Preprocess((8, 8), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
THREADS = [1, 2, 5]


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (9 + i % 7, 9 + i % 5, 3), dtype=np.uint8) for i in range(count)]


def flat(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1)[:, :12] + 3


def engine(threads: int, **options: Any) -> Engine:
    parts = {"embedding_dim": 12, "preprocess": CONFIG, "image_encoder": flat, "num_threads": threads}
    return Engine.from_parts(**parts | options)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("count", [0, 1, 2, 7, 40])
def test_batches_are_those_of_one_by_one(threads: int, count: int) -> None:
    images = pictures(count)
    reader = Reader(load_image, CONFIG, threads)
    found = [(pixels.copy(), positions) for pixels, positions in prepared_batches(iter(images), reader, 3)]
    assert [position for _, positions in found for position in positions] == list(range(count))
    assert [len(pixels) for pixels, _ in found] == [3] * (count // 3) + [count % 3] * bool(count % 3)
    for pixels, positions in found:
        np.testing.assert_array_equal(pixels, [preprocess_image(images[position], CONFIG) for position in positions])


@pytest.mark.parametrize("threads", THREADS)
def test_images_that_cannot_be_read_leave_no_gap(threads: int, tmp_path: Path) -> None:
    images: list[object] = list(pictures(20))
    for position in (0, 4, 5, 11, 19):
        images[position] = b"no image"
    images[7] = tmp_path / "missing.jpg"
    bad: list[tuple[int, str]] = []
    batches = prepared_batches(
        images, Reader(load_image, CONFIG, threads), 4, lambda position, error: bad.append((position, str(error)))
    )
    found = [(pixels.copy(), positions) for pixels, positions in batches]
    assert [position for position, _ in bad] == [0, 4, 5, 7, 11, 19] and "missing.jpg" in bad[3][1]
    assert [len(pixels) for pixels, _ in found] == [4, 4, 4, 2]
    for pixels, positions in found:
        np.testing.assert_array_equal(pixels, [preprocess_image(images[position], CONFIG) for position in positions])


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_says_which_image(threads: int, tmp_path: Path) -> None:
    images: list[object] = [*pictures(6), b"no image"]
    with pytest.raises(ImageError, match=r"^images\[6\]: the image is not an image"):
        engine(threads).encode_image(images)
    with pytest.raises(ImageError, match=r"^no image file at .*gone\.png$"):
        engine(threads).encode_image([*pictures(2), tmp_path / "gone.png"])
    with pytest.raises(ImageError, match=r"^the image is empty|^the image is not an image"):
        engine(threads).encode_image(b"x")
    with pytest.raises(InputError, match=r"^images\[1\]: an image must be a path"):
        engine(threads).encode_image([*pictures(1), 7])


def test_buffers_are_used_again_and_few_images_are_under_way() -> None:
    drawn, addresses = [], set()

    def source() -> Iterator[np.ndarray]:
        for image in pictures(200):
            drawn.append(None)
            yield image

    done = 0
    for pixels, positions in prepared_batches(source(), Reader(load_image, CONFIG, 2), 4):
        addresses.add(pixels.ctypes.data)
        done += len(positions)
        assert len(drawn) <= done + 2 * 4 + 2
    assert done == 200 and len(addresses) <= 4


def test_work_that_has_not_begun_is_dropped_when_the_caller_stops() -> None:
    begun, gate = [], threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number:
            gate.wait(60)
        return number

    outcomes = in_order(range(1000), work, 2, 30)
    _, outcome = next(outcomes)
    assert outcome() == 0
    outcomes.close()  # as Ctrl-C does, or an error of the caller
    gate.set()
    assert len(begun) <= 4


def test_an_interrupt_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(image: object, *_: object) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(prepared_batches(pictures(9), Reader(interrupted, CONFIG, 2), 2))


def test_the_next_image_is_decoded_while_the_caller_works(tmp_path: Path) -> None:
    begun = [threading.Event() for _ in range(3)]

    def load(number: int) -> np.ndarray:
        begun[number].set()
        return np.full((2, 2, 3), number, np.uint8)

    for number, result in decoded(range(3), load, num_threads=2):
        assert result()[0, 0, 0] == number
        assert begun[min(number + 1, 2)].wait(30)
    threads = [result() for _, result in decoded([0, 1], lambda _: threading.current_thread(), num_threads=1)]  # type: ignore[arg-type,return-value]
    assert threads == [threading.current_thread()] * 2


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_of_one_decoded_ahead_says_which_image(threads: int, tmp_path: Path) -> None:
    images = [*pictures(2), b"no image", tmp_path / "missing.jpg", *pictures(1)]
    errors = []
    for image, result in decoded(images, load_image, threads):
        try:
            np.testing.assert_array_equal(result(), image)
        except ImageError as error:
            errors.append(str(error))
    assert errors[0].startswith("images[2]: the image is not") and len(errors) == 2
    assert errors[1] == f"no image file at {images[3]}"


def test_preprocess_is_public(tmp_path: Path) -> None:
    images = pictures(5)
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    expected = np.stack([preprocess_image(image, CONFIG) for image in images])
    made = engine(2)
    np.testing.assert_array_equal(made.preprocess(images), expected)
    np.testing.assert_array_equal(made.preprocess(iter(images)), expected)
    np.testing.assert_array_equal(made.preprocess(tmp_path / "a.png"), expected[:1])
    assert made.preprocess([]).shape == (0, 3, 8, 8) and made.preprocess(iter([])).shape == (0, 3, 8, 8)
    out = np.empty((5, 3, 8, 8), np.float32)
    assert made.preprocess(images, out=out) is out or np.shares_memory(made.preprocess(images, out=out), out)
    np.testing.assert_array_equal(out, expected)
    with pytest.raises(InputError, match="out"):
        made.preprocess(images, out=out[:4])
    with pytest.raises(InputError, match="out"):
        made.preprocess(iter(images), out=out)


def test_decode_is_exact_unless_fast_is_asked_for(tmp_path: Path) -> None:
    smooth = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path = tmp_path / "large.jpg"
    Image.fromarray(smooth).resize((640, 480), Image.Resampling.BICUBIC).save(path)
    exact, fast = engine(1).preprocess(path), engine(1, decode="fast").preprocess(path)
    np.testing.assert_array_equal(exact[0], preprocess_image(load_image(path), CONFIG))
    assert 0 < np.abs(exact - fast).max() < 0.3
    np.testing.assert_array_equal(engine(1, decode="fast").load_image(path), load_image(path))
    with pytest.raises(InputError, match="decode must be exact or fast, got 'quick'"):
        fc.load(decode="quick")


WORDS = Dictionary([f"word {i}" for i in range(20)], np.random.default_rng(2).standard_normal((20, 12)), np.zeros(12))


def decomposer(threads: int, encoder: Callable[[np.ndarray], np.ndarray]) -> Engine:
    made = engine(threads, image_encoder=encoder, dictionary=WORDS, image_mean=np.zeros(12, np.float32))
    made.image_encoder.batch_size = 3
    return made


@pytest.mark.parametrize("threads", THREADS)
def test_words_are_those_of_one_by_one_in_order(threads: int) -> None:
    images, made = pictures(11), decomposer(threads, flat)
    batch = made.decompose(images, l1_penalty=0.1)
    for seen, image in zip(batch, images, strict=True):
        alone = made.decompose(image, l1_penalty=0.1)
        assert seen.top() == alone.top() and seen.gap == alone.gap
        np.testing.assert_array_equal(seen.original, alone.original)
    assert set(batch.timings_ms) == {"encode", "solve"} and len(made.decompose([])) == 0
    whole, expected = made.average(iter(images), l1_penalty=0.1)["all"], batch.average()
    assert whole.count == 11 and dict(whole.top()) == pytest.approx(dict(expected.top()))
    with pytest.raises(ImageError, match=r"^images\[7\]: "):
        made.decompose([*images[:7], b"no image", *images[7:]])


def test_a_batch_is_solved_while_the_next_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    began, threads, solve = threading.Event(), set(), sparse.decompose

    def solved(*arguments: Any, **options: Any) -> Any:
        threads.add(threading.get_ident())
        began.set()
        return solve(*arguments, **options)

    def encoder(pixels: np.ndarray) -> np.ndarray:
        assert not encoded or began.wait(60), "the first batch is not solved before the second is asked for"
        encoded.append(len(pixels))
        return flat(pixels)

    monkeypatch.setattr(sparse, "decompose", solved)
    encoded: list[int] = []
    decomposer(2, encoder).decompose(pictures(9))
    assert encoded == [3, 3, 3] and threading.get_ident() not in threads and len(threads) == 1
    threads.clear()
    decomposer(1, flat).decompose(pictures(9))
    assert threads == {threading.get_ident()}

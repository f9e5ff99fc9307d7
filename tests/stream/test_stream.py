"""Streams: every frame is explained as it would be alone, what is kept is still right, and nothing shown is too old."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import data

import fastconcept as fc
from fastconcept.errors import ConceptError, ImageError, InputError
from fastconcept.stream.feeder import Feeder
from fastconcept.stream.frames import Frame
from fastconcept.stream.stream import Stream

CROPS: dict[str, Any] = {"mode": "crops", "sizes": 64, "stride": 32, "score": "similarity"}
COLOURS = ["red", "green", "blue"]


class Colours:
    """An encoder that sees the mean colour and counts what it is asked for; white takes it long, once."""

    def __init__(self) -> None:
        self.pictures, self.delay = 0, 0.0
        self.slow = threading.Event()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self.pictures += len(pixels)
        time.sleep(self.delay)
        if pixels.min() == 1.0 and not self.slow.is_set():
            time.sleep(1.2)
            self.slow.set()
        return pixels.mean(axis=(2, 3)) + 1e-3


@pytest.fixture
def colours() -> Colours:
    return Colours()


@pytest.fixture
def engine(colours: Colours) -> fc.Engine:
    return fc.Engine.from_parts(
        embedding_dim=3,
        preprocess=fc.Preprocess((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        image_encoder=colours,
        bank=fc.ConceptBank(np.eye(3), phrases=COLOURS),
        dictionary=fc.Dictionary(COLOURS, np.eye(3), np.zeros(3)),
        image_mean=np.full(3, 0.1, np.float32),
    )


@pytest.fixture(scope="module")
def builtin() -> fc.Engine:
    return fc.load()


def picture(seed: int = 0, height: int = 96, width: int = 128) -> np.ndarray:
    """Squares of random colours."""
    cells = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return np.repeat(np.repeat(cells, 16, axis=0), 16, axis=1)


def run(engine: fc.Engine, frames: Any, **options: Any) -> tuple[list[fc.StreamedFrame], Stream]:
    stream = engine.stream(frames, COLOURS, **{**CROPS, "score_age_ms": 0.0, **options})
    return list(stream), stream


def test_a_frame_is_explained_as_the_image_alone(builtin: fc.Engine, photographs: list[Path]) -> None:
    wanted = ["cat.n.01", "a cup of coffee"]
    options: dict[str, Any] = {"mode": "windows", "sizes": 128, "stride": 32, "border": "clip"}
    images = [builtin.load_image(path) for path in photographs[:2]]
    for frame, image in zip(builtin.stream(images, wanted, score_age_ms=0.0, l1_penalty=0.25), images, strict=True):
        alone = builtin.explain(image, wanted, **options)
        assert frame.explanation.maps.tobytes() == alone.maps.tobytes()
        assert [c.score for c in frame.explanation] == [c.score for c in alone]
        assert frame.explanation.mode == "windows" and frame.encoded > 0
        words = builtin.decompose(image, l1_penalty=0.25)
        assert frame.words is not None and frame.words.gap < 1e-6
        assert dict(frame.words.top()) == pytest.approx(dict(words.top()), abs=1e-4)


@pytest.mark.parametrize("mode", ["crops", "windows"])
def test_a_still_picture_is_encoded_once(builtin: fc.Engine, mode: str) -> None:
    image = np.ascontiguousarray(data.chelsea()[::2, ::2])
    frames = [(index * 0.04, image.copy()) for index in range(4)]
    options = {"sizes": 128, "stride": 64, "border": "inside", "mode": mode}
    stream = builtin.stream(frames, ["cat.n.01"], l1_penalty=0.25, **options)
    seen = list(stream)
    assert [frame.encoded > 0 for frame in seen] == [True, False, False, False]
    assert stream.statistics.kept == 3 and stream.statistics.shown == 4
    assert len({frame.explanation.maps.tobytes() for frame in seen}) == 1
    assert all(frame.image is frame.explanation[0].view.image for frame in seen)
    assert seen[3].words is not None and seen[3].words.top() == seen[0].words.top()  # type: ignore[union-attr]
    assert seen[3].age_ms == pytest.approx(120)


@pytest.mark.parametrize("border", ["noise", "inside", "reflect", "clip"])
def test_crops_renew_only_patches_that_changed(engine: fc.Engine, colours: Colours, border: str) -> None:
    before, after = picture(), picture()
    after[:16, :16] = 255 - after[:16, :16]
    seen, _ = run(engine, [before, after], tolerance=0.0, border=border)
    encoded = colours.pictures
    assert 0 < seen[1].encoded < seen[0].encoded / 2
    for frame, image in zip(seen, (before, after), strict=True):
        alone = engine.explain(image, COLOURS, **CROPS, border=border)
        assert frame.explanation.maps.tobytes() == alone.maps.tobytes()
        assert [c.similarity for c in frame.explanation] == [c.similarity for c in alone]
    assert encoded == seen[0].encoded + seen[1].encoded + 2  # and the whole picture, twice


def test_noise_below_the_tolerance_is_no_change_and_slow_changes_are_seen(engine: fc.Engine) -> None:
    still = np.clip(picture(), 20, 235)
    noise = np.random.default_rng(1)
    noisy = [(still + noise.integers(-1, 2, still.shape)).astype(np.uint8) for _ in range(4)]
    assert [frame.encoded > 0 for frame in run(engine, noisy)[0]] == [True, False, False, False]
    brighter = [(still + step).astype(np.uint8) for step in range(7)]  # 1 level a frame; 3 are more than 2
    assert [frame.encoded > 0 for frame in run(engine, brighter)[0]] == [True, False, False, True, False, False, True]


def test_another_size_is_another_picture(engine: fc.Engine) -> None:
    seen, _ = run(engine, [picture(), picture(0, 128, 96), picture(0, 128, 96)], smoothing_ms=100.0)
    assert [frame.encoded > 0 for frame in seen] == [True, True, False]
    assert seen[1].explanation.maps.shape != seen[0].explanation.maps.shape


@pytest.mark.parametrize("mode", ["crops", "windows"])
def test_no_evidence_is_older_than_the_bound(builtin: fc.Engine, mode: str) -> None:
    image = np.ascontiguousarray(data.chelsea()[::3, ::3])
    frames = [(index / 8, image) for index in range(9)]
    options = {"sizes": 128, "stride": 64, "border": "inside", "mode": mode}
    stream = builtin.stream(frames, ["cat.n.01"], max_age_ms=250.0, **options)
    seen = list(stream)
    assert [frame.encoded > 0 for frame in seen] == [True, False, False] * 3
    assert stream.statistics.largest_age_ms == max(frame.age_ms for frame in seen) == 250.0


def test_patches_age_each_on_their_own(engine: fc.Engine) -> None:
    """A patch that was renewed lately is not renewed again because its neighbours are old."""
    before, after = picture(), picture()
    after[:16, :16] = 255 - after[:16, :16]
    seen, _ = run(engine, [(0.0, before), (0.2, after), (0.4, after)], max_age_ms=300.0)
    changed = seen[1].encoded
    assert seen[1].age_ms == pytest.approx(200) and seen[2].age_ms == pytest.approx(200)
    assert seen[2].encoded == seen[0].encoded - changed > 0


def test_maps_are_smoothed_by_time(engine: fc.Engine) -> None:
    images, times = [picture(seed) for seed in range(3)], (0.0, 0.1, 0.5)
    plain, _ = run(engine, list(zip(times, images, strict=True)))
    smooth, _ = run(engine, list(zip(times, images, strict=True)), smoothing_ms=200.0)
    mean = np.stack([concept.cells for concept in plain[0].explanation]).astype(np.float64)
    for index in (1, 2):
        kept = np.exp(-(times[index] - times[index - 1]) / 0.2)
        mean = kept * mean + (1 - kept) * np.stack([concept.cells for concept in plain[index].explanation])
        low, high = mean.min(axis=(1, 2), keepdims=True), mean.max(axis=(1, 2), keepdims=True)
        cells = np.stack([concept.cells for concept in smooth[index].explanation])
        np.testing.assert_allclose(cells, (mean - low) / (high - low), atol=1e-6)
        assert all(len(concept.box()) == 4 for concept in smooth[index].explanation)


def test_words_start_from_those_of_the_last_frame(engine: fc.Engine) -> None:
    images = [picture(seed) for seed in range(4)]
    seen, _ = run(engine, images, l1_penalty=0.1)
    for frame, image in zip(seen, images, strict=True):
        alone = engine.decompose(image, l1_penalty=0.1)
        assert frame.words is not None
        assert dict(frame.words.top()) == pytest.approx(dict(alone.top()), abs=1e-5)
        assert frame.to_dict()["words"] == dict(frame.words.top())


@pytest.mark.parametrize("mode", ["crops", "windows"])
def test_scores_may_be_kept_for_a_while_and_maps_are_not(builtin: fc.Engine, mode: str) -> None:
    photo = data.astronaut()
    frames = [(index / 10, np.ascontiguousarray(photo[:300, index * 40 : index * 40 + 200])) for index in range(5)]
    options = {"sizes": 128, "stride": 64, "border": "inside", "mode": mode}
    scored, every = (
        list(builtin.stream(frames, ["person.n.01"], score_age_ms=age, l1_penalty=0.3, **options))
        for age in (250.0, 0.0)
    )
    for mine, other in zip(scored, every, strict=True):
        assert mine.explanation.maps.tobytes() == other.explanation.maps.tobytes() and mine.encoded > 0
    similarities = [frame.explanation[0].similarity for frame in scored]
    assert similarities[0] == similarities[1] == similarities[2] != similarities[3] == similarities[4]
    assert [frame.words for frame in scored[:3]] == [scored[0].words] * 3
    assert similarities[3] == every[3].explanation[0].similarity
    assert [frame.age_ms for frame in scored] == pytest.approx([0, 100, 200, 0, 100])


class Steps:
    """A source that shows one frame, waits for a sign, and then shows five at once."""

    every, paced = 0, False

    def __init__(self) -> None:
        self.go, self.shown, self.closed = threading.Event(), threading.Event(), threading.Event()

    def frames(self) -> Iterator[Frame]:
        for index in range(6):
            if index == 1:
                assert self.go.wait(30)
            yield Frame(index, float(index), time.perf_counter(), lambda: picture())
        self.shown.set()

    def close(self) -> None:
        self.closed.set()


def test_the_latest_frame_wins_and_the_others_are_counted() -> None:
    source = Steps()
    feeder = Feeder(source, 0)
    first = feeder.next()
    source.go.set()
    assert source.shown.wait(30)
    latest = feeder.next()
    assert first is not None and latest is not None and (first.index, latest.index) == (0, 5)
    assert feeder.dropped == 4 and feeder.next() is None and source.closed.wait(30)


@pytest.mark.parametrize(("every", "expected"), [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 2, 4]), (4, [0, 4])])
def test_every_nth_frame_is_never_dropped(every: int, expected: list[int]) -> None:
    source = Steps()
    source.go.set()
    feeder, indices = Feeder(source, every), []
    while (frame := feeder.next()) is not None:
        time.sleep(0.01)
        indices.append(frame.index)
    assert indices == expected and feeder.dropped == 0


def test_frames_of_a_file_come_when_they_are_due() -> None:
    """Ten frames 20 ms apart take 180 ms for a consumer that is fast, and arrive when they are due."""

    class File(Steps):
        paced = True

        def frames(self) -> Iterator[Frame]:
            for index in range(10):
                yield Frame(index, index * 0.02, time.perf_counter(), picture)

    feeder, seen, began = Feeder(File(), 0), [], time.perf_counter()
    while (frame := feeder.next()) is not None:
        assert time.perf_counter() >= frame.arrived
        seen.append(frame)
    assert time.perf_counter() - began >= 0.18 and len(seen) + feeder.dropped == 10
    assert [f.arrived - seen[0].arrived for f in seen] == pytest.approx([f.time for f in seen], abs=1e-6)


def test_closing_stops_the_thread() -> None:
    source = Steps()
    feeder = Feeder(source, 1)
    assert feeder.next() is not None
    source.go.set()
    feeder.close()
    assert source.closed.wait(30) and feeder.next() is None
    unread = Steps()
    Feeder(unread, 0).close()
    assert unread.closed.is_set()


def test_a_map_that_is_too_old_is_not_shown(engine: fc.Engine, colours: Colours) -> None:
    """One frame takes longer than the bound; it is counted and left out."""
    begun = threading.Event()

    def frames() -> Iterator[np.ndarray]:
        yield picture(0)
        assert begun.wait(30)
        yield np.full((96, 128, 3), 255, np.uint8)
        assert colours.slow.wait(30)
        time.sleep(0.2)
        yield picture(1)

    stream = engine.stream(frames(), COLOURS, **{**CROPS, "border": "inside"}, every=0, max_age_ms=1100.0)
    first = next(stream)
    begun.set()
    last = next(stream)
    assert (first.index, last.index) == (0, 2) and max(first.age_ms, last.age_ms) <= 1100
    assert (stream.statistics.shown, stream.statistics.stale, stream.statistics.dropped) == (2, 1, 0)
    assert next(stream, None) is None


def test_after_a_standstill_frames_that_came_too_late_cost_nothing(engine: fc.Engine, colours: Colours) -> None:
    class Late(Steps):
        def frames(self) -> Iterator[Frame]:
            for index in range(4):
                late = 60.0 if 1 <= index <= 2 else 0.0
                yield Frame(index, float(index), time.perf_counter() - late, lambda index=index: picture(index))  # type: ignore[misc]

    stream = engine.stream([picture()], COLOURS, **{**CROPS, "border": "inside"}, score_age_ms=0.0, max_age_ms=30_000.0)
    stream._feeder, stream._live = Feeder(Late(), 1), True
    assert [frame.index for frame in stream] == [0, 3] and stream.statistics.stale == 2
    assert colours.pictures == 2 * (len(stream._kept._evidence) + 1)  # type: ignore[arg-type]


def test_a_bound_that_cannot_be_kept_is_an_error(engine: fc.Engine, colours: Colours) -> None:
    colours.delay = 0.02

    def frames() -> Iterator[np.ndarray]:
        for seed in range(1000):
            yield picture(seed)
            time.sleep(0.005)

    with pytest.raises(InputError, match="longer than max_age_ms=10"):
        list(engine.stream(frames(), COLOURS, **CROPS, every=0, max_age_ms=10.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": -1}, "every must be"),
        ({"max_age_ms": 0.0}, "max_age_ms must be"),
        ({"max_age_ms": float("nan")}, "max_age_ms must be"),
        ({"tolerance": 256.0}, "tolerance must be"),
        ({"smoothing_ms": -1.0}, "smoothing_ms must be"),
        ({"smoothing_ms": float("inf")}, "smoothing_ms must be"),
        ({"score_age_ms": -1.0}, "score_age_ms must be"),
        ({"every": 1.5}, "every must be an integer"),
        ({"mode": "windows"}, 'no mode "windows"'),
    ],
)
def test_options_out_of_range(engine: fc.Engine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        engine.stream([picture()], COLOURS, **{**CROPS, **options})


def test_wrong_frames(engine: fc.Engine) -> None:
    with pytest.raises(InputError, match="iterable of images"):
        engine.stream(picture(), COLOURS, **CROPS)
    with pytest.raises(InputError, match="frames must be"):
        engine.stream(3, COLOURS, **CROPS)
    with pytest.raises(ConceptError, match="no concept was given"):
        engine.stream([picture()], [], **CROPS)
    with pytest.raises(InputError, match="do not go back"):
        run(engine, [(1.0, picture()), (0.5, picture())])
    with pytest.raises(ImageError):
        run(engine, [picture(), b"not an image"])


def test_a_pan_is_followed(builtin: fc.Engine) -> None:
    """A camera moves to the right past a rocket, which moves to the left through its picture.

    The rocket of scikit-image's CC0 photograph stands at x = 322; the brightest cell is usually the one that it is in,
    never further away than the next but one, and on average much nearer than the middle of the picture.
    """
    photo, width, rocket = np.asarray(data.rocket()), 384, 322
    offsets = range(0, 256, 32)
    frames = [(x / 100, np.ascontiguousarray(photo[:, x : x + width])) for x in offsets]
    errors, middle = [], []
    for x, frame in zip(offsets, builtin.stream(frames, ["rocket.n.01"]), strict=True):
        cells = frame.explanation[0].cells
        cell = width / cells.shape[1]
        errors.append(abs((cells.argmax() % cells.shape[1] + 0.5) * cell - (rocket - x)))
        middle.append(abs(width / 2 - (rocket - x)))
        assert frame.explanation[0].score > 0.99
    assert np.median(errors) < cell / 2 and max(errors) < 2 * cell and np.mean(errors) < np.mean(middle) / 2

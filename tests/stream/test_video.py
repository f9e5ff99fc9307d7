"""Videos through PyAV: real clips, recordings, hostile files, and the verb as a user meets it."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastconcept as fc
from fastconcept.cli import run
from fastconcept.errors import ImageError, InputError, MissingDependencyError
from fastconcept.stream.overlay import draw
from fastconcept.stream.recording import recording
from fastconcept.stream.video import Video, _pixels

pytest.importorskip("av", reason="PyAV is not installed (extra: video)")

CHOICE: dict[str, Any] = {"mode": "windows", "sizes": 128, "stride": 32, "border": "inside"}


@pytest.fixture(scope="module")
def engine() -> fc.Engine:
    return fc.load()


@pytest.fixture
def film(tmp_path: Path, photographs: list[Path]) -> Path:
    """Four pictures of a cat, then two of a cup of coffee, 100 ms apart, 151 x 113 pixels."""
    path = tmp_path / "film.mp4"
    with recording(path) as video:
        for index in range(6):
            with Image.open(photographs[0 if index < 4 else 1]) as picture:
                video.add(picture.convert("RGB").resize((151, 113)), index / 10)
    return path


def test_bikes_is_read_whole(clips: Path) -> None:
    video = Video(str(clips / "bikes.mp4"), 10**6)
    frames = list(video.frames())
    assert len(frames) == 250 and video.paced and video.every == 0
    assert frames[100].load().shape == (272, 640, 3)
    np.testing.assert_allclose(np.diff([frame.time for frame in frames]), 0.04, atol=1e-6)


def test_the_bicycle_of_bikes_is_found_when_it_comes(engine: fc.Engine, clips: Path) -> None:
    """After 4.4 to 5.2 seconds a bicycle stands in the middle of the picture, in the first seconds there is none."""
    stream = engine.stream(str(clips / "bikes.mp4"), ["bicycle.n.01"], every=10)
    scores = {round(frame.time, 1): frame.explanation[0].score for frame in stream}
    assert len(scores) == 25 and stream.statistics.dropped == stream.statistics.stale == 0
    assert min(scores[4.4], scores[4.8], scores[5.2]) > 0.99 > 0.9 > max(scores[0.0], scores[0.4], scores[0.8])


def test_the_bunny_plays_while_frames_are_dropped(engine: fc.Engine, clips: Path) -> None:
    """Latest wins: what is shown and what is dropped is what came, in order, and never older than the bound."""
    with engine.stream(str(clips / "bigbuckbunny.mp4"), ["rabbit.n.01"], max_age_ms=5000.0) as stream:
        seen = [frame for _, frame in zip(range(4), stream, strict=False)]
    indices = [frame.index for frame in seen]
    assert indices == sorted(set(indices)) and seen[0].image.shape == (720, 1280, 3)
    assert all(frame.latency_ms <= frame.age_ms + 1e-6 <= 5000 for frame in seen)
    assert stream.statistics.to_dict()["shown"] == 4
    assert next(stream, None) is None  # closed


def test_a_recording_reads_back(film: Path) -> None:
    frames = list(Video(str(film), 10**6).frames())
    assert [round(frame.time, 3) for frame in frames] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert frames[0].load().shape == (112, 150, 3)  # H.264 halves colours: even sides
    cat, still, coffee = (frames[index].load().astype(int) for index in (0, 3, 4))
    assert np.abs(cat - still).mean() < 2 < 30 < np.abs(cat - coffee).mean()


def test_a_recording_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="camera fell"), recording(tmp_path / "film.mkv") as video:
        video.add(Image.new("RGB", (64, 48)), 0.0)
        raise RuntimeError("the camera fell")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"\.mp4, \.mov, \.mkv; got \.gif"), recording(tmp_path / "film.gif"):
        pass


def test_what_is_no_video(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "short.mp4").write_bytes(film.read_bytes()[:2000])
    for name, message in {
        "none.mp4": "no such file",
        "text.mp4": "cannot be opened as a video",
        "short.mp4": "cannot be opened as a video",
        "": "cannot be opened as a video",
        "ftp://me:secret@host/film.mp4": "ftp://...@host/film.mp4: videos come from files",
        "/dev/video99": "cannot be opened as a video",
    }.items():
        with pytest.raises((ImageError, InputError), match=message) as caught:
            Video(name if "/" in name else str(tmp_path / name), 10**6)
        assert "secret" not in str(caught.value)
    with pytest.raises(ImageError, match="max_pixels=1000"):
        Video(str(film), 1000)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"fastconcept\[video\]"):
        Video(str(film), 10**6)


def test_a_damaged_middle_is_passed_over(film: Path, tmp_path: Path) -> None:
    content = bytearray(film.read_bytes())
    middle = content.index(b"mdat") + 3000
    content[middle : middle + 400] = bytes(400)
    (tmp_path / "damaged.mp4").write_bytes(content)
    frames = list(Video(str(tmp_path / "damaged.mp4"), 10**6).frames())
    assert 1 <= len(frames) <= 6


def test_a_playlist_on_disk_cannot_reach_the_network(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.2)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/part.ts"
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n"
        (tmp_path / "list.m3u8").write_text(text)
        with pytest.raises(ImageError):
            list(Video(str(tmp_path / "list.m3u8"), 10**6).frames())
        with pytest.raises(TimeoutError):
            listener.accept()


def test_frames_are_turned_as_the_camera_was_held() -> None:
    stored = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    for degrees, turns in ((0, 0), (90, 1), (-90, 3), (180, 2), (-180, 2)):
        frame = SimpleNamespace(rotation=degrees, to_ndarray=lambda: stored)
        colours = SimpleNamespace(reformat=lambda frame, format: frame)
        np.testing.assert_array_equal(_pixels(frame, colours), np.rot90(stored, turns))  # type: ignore[arg-type]


def test_only_what_is_there_is_drawn(engine: fc.Engine, photographs: list[Path]) -> None:
    image = engine.load_image(photographs[0])
    seen = engine.explain(image, ["cat.n.01", "airplane.n.01"], **CHOICE)
    assert seen[0].score > 0.9 > seen[1].score
    right = image.shape[1] // 2  # the list of names is in the left half
    cat, plane = (np.asarray(draw(image, seen[index : index + 1]))[:, right:] for index in (0, 1))
    assert np.abs(cat.astype(int) - image[:, right:]).mean() > 3
    np.testing.assert_array_equal(plane, image[:, right:])
    assert (np.asarray(draw(image, seen))[:, :right] != image[:, :right]).any()


def test_verb(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.mp4"
    assert run(["stream", str(film), "-c", "cat.n.01", "-c", "cup.n.01", "--every", "1", "-o", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["bundle", "device", "source", "mode", "statistics", "frames"]
    assert document["mode"] == "windows" and document["source"] == str(film)
    assert [frame["index"] for frame in document["frames"]] == [0, 1, 2, 3, 4, 5]
    assert [frame["encoded"] > 0 for frame in document["frames"]] == [True, False, False, False, True, False]
    first, last = document["frames"][0]["concepts"], document["frames"][5]["concepts"]
    assert first[0]["score"] > 0.99 > first[1]["score"] and last[1]["score"] > 0.99 > last[0]["score"]
    assert document["statistics"]["kept"] == 4 and set(document["statistics"]["latency_ms"]) == {"p50", "p95", "p99"}
    assert len(list(Video(str(out), 10**6).frames())) == 6
    assert run(["stream", str(film), "-c", "cat.n.01", "--every", "1", "--limit", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2 frames shown in ") and "latency: p50" in printed and "cat.n.01" in printed


def test_verb_refuses_before_it_works(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        ([str(film)], "name at least one concept"),
        ([str(film), "-c", "catt.n.01"], "catt.n.01"),
        ([str(film), "-c", "cat.n.01", "-o", str(tmp_path / "out.avi")], "videos are written as"),
        ([str(tmp_path / "none.mp4"), "-c", "cat.n.01"], "no such file"),
    ):
        assert run(["stream", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_control_c_ends_a_stream_with_its_answer(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastconcept.stream import stream

    original, calls = stream.Stream.__next__, iter(range(10))

    def interrupted(self: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(stream.Stream, "__next__", interrupted)
    out = tmp_path / "out.mp4"
    assert run(["stream", str(film), "-c", "cat.n.01", "--every", "1", "-o", str(out), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["frames"]) == 3
    assert len(list(Video(str(out), 10**6).frames())) == 3

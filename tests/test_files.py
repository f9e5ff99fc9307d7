"""Files and directories appear whole or not at all, and what a killed process left is swept by the next."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastconcept import files
from fastconcept.errors import InputError
from fastconcept.files import signals_raise, whole_directory, whole_file

# The tests may run where SIGHUP is ignored, as under nohup, and a child would go on ignoring it.
_WRITER = """
import signal, sys, time
from pathlib import Path
from fastconcept.files import signals_raise, whole_directory, whole_file
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
with signals_raise(), globals()[sys.argv[1]](Path(sys.argv[2])) as place:
    print("ready", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as stream:
        stream.write(b"one")
        assert not path.exists()
    path.chmod(0o640)
    with pytest.raises(RuntimeError), whole_file(path) as stream:
        stream.write(b"two")
        raise RuntimeError
    assert path.read_bytes() == b"one"
    with whole_file(path) as stream:
        stream.write(b"two")
    assert path.read_bytes() == b"two" and names(tmp_path) == ["a.txt"] and path.stat().st_mode & 0o777 == 0o640


def test_where_files_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path / "absent" / "a", tmp_path, tmp_path / ("a" * 300)):
        with pytest.raises(InputError, match="cannot write"), whole_file(path) as stream:
            stream.write(b"one")
    with whole_file(tmp_path / ("é" * 120)) as stream:
        stream.write(b"one")
    assert len(names(tmp_path)) == 1


def test_links_pipes_and_devices_are_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/a")
    with whole_file(tmp_path / "link") as stream:
        stream.write(b"one")
    assert (tmp_path / "real/a").read_bytes() == b"one" and (tmp_path / "link").is_symlink()
    with whole_file(Path(os.devnull)) as stream:
        stream.write(b"one")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("kind", ["whole_file", "whole_directory"])
def test_signals(kind: str, number: signal.Signals, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", _WRITER, kind, target], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        assert len(names(tmp_path)) == 1
        with getattr(files, kind)(target):  # what another process still writes is left alone
            assert len(names(tmp_path)) == 2
        writer.send_signal(number)
        assert writer.wait(20) == (-9 if number == signal.SIGKILL else 128 + number)
    assert names(tmp_path)[-1] == "out" and len(names(tmp_path)) == (2 if number == signal.SIGKILL else 1)
    with getattr(files, kind)(target):
        pass
    assert names(tmp_path) == ["out"]


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_raise():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def fill(target: Path, content: str) -> None:
    with whole_directory(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub/b").write_text(content)
        (folder / "manifest").write_text(content)


@pytest.mark.parametrize("seen", [True, False], ids=["a mount point", "a bind mount that looks like a directory"])
def test_a_mount_point_is_filled(seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, replace = tmp_path / "out", os.replace
    target.mkdir()
    (target / "old").mkdir()

    def busy(source: Any, other: Any) -> None:
        if target in (Path(source), Path(other)):
            raise OSError(errno.EBUSY, "Device or resource busy")
        replace(source, other)

    monkeypatch.setattr(files.os, "replace", busy)
    monkeypatch.setattr(files.os.path, "ismount", lambda path: seen and path == target)
    for content in ("one", "two"):
        fill(target, content)
        assert names(target) == ["manifest", "sub"] and (target / "sub/b").read_text() == content
        assert (target / "manifest").read_text() == content and names(tmp_path) == ["out"]


def test_a_file_that_is_mounted_is_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"something long that is there")

    def busy(source: Any, other: Any) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(files.os, "replace", busy)
    with whole_file(target) as stream:
        stream.write(b"one")
    assert target.read_bytes() == b"one" and names(tmp_path) == ["out.png"]

"""Whatever goes wrong costs one line and an exit code, on any terminal, for any file name and any user."""

from __future__ import annotations

import io
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastconcept
from fastconcept import __main__
from fastconcept.cli import run, search
from fastconcept.encoders.tensorrt.plans import plan_directory
from fastconcept.errors import DeviceError

COMMAND = Path(sys.executable).with_name("fastconcept")


def process(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.environ["PATH"], **options.pop("env", {"HOME": os.environ.get("HOME", "/")})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([COMMAND, *arguments], env=environment, timeout=120, **options)


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (OSError(28, "No space left on device", "x.png"), 2, "OSError"),
        (PermissionError(13, "Permission denied", "x.png"), 2, "PermissionError"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 2, "UnicodeDecodeError"),
        (MemoryError(), 2, "MemoryError"),
        (RecursionError("too deep"), 2, "RecursionError"),
        (KeyboardInterrupt(), 130, "Interrupted"),
    ],
)
def test_errors_of_the_machine(
    error: BaseException, code: int, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(search.Taxonomy, "builtin", fail)
    assert run(["search", "dog"]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("fastconcept: ") and captured.err.count("\n") == 1
    assert run(["search", "dog", "--json"]) == code
    captured = capsys.readouterr()
    assert captured.err == "" and json.loads(captured.out)["error"]["type"] == kind


def test_interrupted_while_it_is_imported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupting:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "fastconcept.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "fastconcept.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as stopped:
        __main__.main()
    assert stopped.value.code == 130 and capsys.readouterr().err == "fastconcept: interrupted\n"


def test_a_penalty_that_leaves_no_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.png")
    assert run(["decompose", str(tmp_path / "a.png"), "--l1-penalty", "5"]) == 0
    assert capsys.readouterr().out.startswith("a.png: 0 words, ")


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.Taxonomy, "builtin", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        run(["search", "dog"])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_terminals(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.png")
    name = os.fsdecode(os.fsencode(tmp_path) + "/é–日".encode() + b"\xff\n\x1b[31m.png")
    os.rename(tmp_path / "a.png", name)

    def shown(*arguments: str) -> bytes:
        with monkeypatch.context() as context, io.TextIOWrapper(io.BytesIO(), encoding=encoding) as stdout:
            context.setattr(sys, "stdout", stdout)
            assert run(["decompose", name, "--l0", "3", *arguments]) == 0
            return stdout.buffer.getvalue()  # type: ignore[attr-defined, no-any-return]

    text = shown()
    assert b"cosine" in text and (b"#####" in text) == (encoding != "utf-8") and b"\x1b" not in text
    assert json.loads(shown("--json"))["images"][0]["image"] == name
    assert run(["decompose", name[:-1]]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "\x1b" not in captured.err and "\udcff" not in captured.err


def test_stdout_is_full_or_closed() -> None:
    with open("/dev/full", "wb") as full:
        for arguments in (["search", "dog"], ["search", "dog", "--json"], ["--version"], ["--help"]):
            result = process(*arguments, stdout=full)
            assert result.returncode == 2
            assert result.stderr.endswith(b"No space left on device\n") and result.stderr.count(b"\n") == 1
    result = process("search", "dog", stdout=None, preexec_fn=lambda: os.close(1))
    assert result.returncode == 2 and result.stderr == b"fastconcept: standard output is closed\n"
    result = process("search", "dog", stderr=None, preexec_fn=lambda: os.close(2))
    assert result.returncode == 0 and b"dog.n.01" in result.stdout
    reader, writer = os.pipe()
    os.close(reader)
    result = process("search", "dog", stdout=writer)
    os.close(writer)
    assert result.returncode == 141 and result.stderr == b""


def test_a_user_without_home_or_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME", "FASTCONCEPT_BUNDLES", "FASTCONCEPT_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    assert run(["info"]) == 0
    assert "lite0-words" in capsys.readouterr().out
    for bundle in ("~/b", "b"):
        assert run(["decompose", "a.png", "-b", bundle]) == 2
        assert "no bundle" in capsys.readouterr().err
    monkeypatch.delenv("FASTCONCEPT_PLANS", raising=False)
    with pytest.raises(DeviceError, match="FASTCONCEPT_PLANS"):
        plan_directory()


@pytest.mark.parametrize("bundle", ["", " ", "a" * 400, "nowhere", "~nobody-of-that-name/b"])
def test_bundles_that_are_none(bundle: str, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (["decompose", "a.png"], ["info"]):
        assert run([*verb, "--bundle", bundle]) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1 and "bundle" in captured.err


def test_termination_leaves_no_file(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((400, 600, 3), np.uint8)).save(tmp_path / "a.png")
    arguments = ["report", *["a.png"] * 200, "--limit", "200", "-o", "report.html"]
    with subprocess.Popen([COMMAND, *arguments], cwd=tmp_path, stderr=subprocess.PIPE) as running:
        maps = Path(f"/proc/{running.pid}/maps")
        while running.poll() is None and "onnxruntime" not in maps.read_text():  # a busy machine takes its time
            time.sleep(0.1)
        for number in (signal.SIGTERM, signal.SIGTERM):
            try:
                running.wait(2)
            except subprocess.TimeoutExpired:
                running.send_signal(number)
        # The second signal ends the process at once if it is past its own end and only the interpreter's is left.
        assert running.wait(30) in (143, -signal.SIGTERM) and running.stderr is not None
        assert b"Traceback" not in running.stderr.read()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_files_of_one_name_in_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / folder / "1.png")
    os.rename(tmp_path / "b/1.png", os.fsencode(tmp_path) + b"/b/\xff.png")
    (tmp_path / "b/1.png").write_bytes(b"no picture")
    options = ["--sizes", "64", "--stride", "64", "--short-side", "64", "-o", str(tmp_path / "r.html"), "--json"]
    assert run(["report", str(tmp_path / "a"), str(tmp_path / "b"), *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [image["image"] for image in document["images"]] == ["a/1.png", "\udcff.png"]
    assert document["skipped"][0][0] == "b/1.png"
    assert "a/1.png" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_outputs_that_are_directories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").mkdir()
    for option in ("-o", "--npy"):
        assert run(["explain", "x.png", option, str(tmp_path / "a.png")]) == 2
        assert "it is a directory" in capsys.readouterr().err


def test_outputs_that_cannot_be_written_cost_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert run(["evaluate", "zeroshot", "no data", "-o", str(tmp_path / "file/new")]) == 2
    assert "file is not a writable directory" in capsys.readouterr().err
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as on a file system that is read-only
    for arguments in (["report", "x.png", "-o", "r.html"], ["evaluate", "zeroshot", "no data", "-o", "new"]):
        assert run([*arguments[:-1], str(tmp_path / arguments[-1])]) == 2
        assert "writable" in capsys.readouterr().err


def test_the_version_in_any_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"fastconcept {fastconcept.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["batch", "decompose"],
        ["batch", "embed", "", "-o", "x"],
        ["batch", "embed", "x", "-o", ""],
        ["stream", "", "-c", "dog"],
        ["batch", "embed", f"{{1..{'9' * 5000}}}.jpg", "-o", "x"],
    ],
)
def test_nothing_where_something_is_needed(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1

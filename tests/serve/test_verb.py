"""``fastconcept serve``: what it refuses before it listens."""

from __future__ import annotations

import inspect
import socket
from pathlib import Path

import pytest

import fastconcept.serve
from fastconcept import cli
from fastconcept.cli.serve import limits
from fastconcept.errors import InputError, MissingDependencyError
from fastconcept.serve.guard import read_keys
from fastconcept.serve.limits import Limits
from fastconcept.serve.run import bind


def test_the_options_have_the_defaults_of_the_limits() -> None:
    options = inspect.signature(limits).parameters
    assert {name: option.default for name, option in options.items()} == vars(Limits())
    with pytest.raises(InputError, match="max_batch must be positive, got 0"):
        Limits(max_batch=0)


def test_keys_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# of the laboratory\nalpha\n\n  beta \n")
    assert read_keys(file) == ["alpha", "beta"]
    file.write_text("# none yet\n")
    with pytest.raises(InputError, match="holds no API key"):
        read_keys(file)
    with pytest.raises(InputError, match="cannot read the API keys"):
        read_keys(tmp_path / "nothing")


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="try --port 0"):
            bind("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InputError, match=r"cannot listen at nowhere\.invalid"):
        bind("nowhere.invalid", 0)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(fastconcept.serve, "PACKAGES", ("starlette", "not_there"))
    with pytest.raises(MissingDependencyError, match="serve"):
        _ = fastconcept.serve.make_app
    assert cli.run(["serve", "--port", "0"]) == 2
    assert 'not_there is not installed; try: pip install "fastconcept[serve]"' in capsys.readouterr().err

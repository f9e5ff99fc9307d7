"""Exports of the tiny model whose graphs are taken from its finished bundle: what comes after them is real."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

TakeTowers = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="session")
def take_text_tower(tiny_bundle: Path) -> TakeTowers:
    """The text tower of the tiny model is copied instead of traced by torch, which takes ten seconds."""
    from fastconcept.export import writer

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "write_text_tower", lambda clip, path: shutil.copy(tiny_bundle / path.name, path))

    return patch


@pytest.fixture
def finished_towers(tiny_bundle: Path, take_text_tower: TakeTowers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both towers of the tiny model are copied, with their weights inside, as before files shared them."""
    import onnx

    from fastconcept.export import writer

    take_text_tower(monkeypatch)
    monkeypatch.setattr(
        writer, "write_image_tower", lambda clip, path: onnx.save(onnx.load(str(tiny_bundle / path.name)), str(path))
    )

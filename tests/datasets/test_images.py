"""Image files are found by their suffix, in order, in files and directories alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastconcept.datasets.images import find_images
from fastconcept.errors import InputError


def test_images_among_paths_and_in_directories(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.PNG", "a.jpg", "notes.txt", "deep/c.webp"):
        (tmp_path / name).touch()
    assert find_images(tmp_path) == [tmp_path / "a.jpg", tmp_path / "b.PNG"]
    assert find_images(tmp_path, recursive=True) == [tmp_path / name for name in ("a.jpg", "b.PNG", "deep/c.webp")]
    files = find_images(str(tmp_path / "notes.txt"), tmp_path / "deep", tmp_path / "absent.png")
    assert [path.name for path in files] == ["notes.txt", "c.webp", "absent.png"]  # a file is taken as it is


def test_no_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=f"no image in {tmp_path}"):
        find_images(tmp_path, recursive=True)

"""Image files on disk, and directories with one directory of images per class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from .items import Item

IMAGE_SUFFIXES = frozenset((".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))


def find_images(*paths: str | os.PathLike[str], recursive: bool = False) -> list[Path]:
    """Image files among the paths and in the directories among them.

    Parameters
    ----------
    *paths : path
        A file is taken as it is; of a directory, the files whose suffix is one of an image, in order of their names.
    recursive : bool
        Look into directories below the directories, too.

    Raises
    ------
    InputError
        If there is none.
    """
    images: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            below = path.rglob("*") if recursive else path.iterdir()
            images += sorted(file for file in below if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
        else:
            images.append(path)
    if not images:
        raise InputError(f"no image in {', '.join(map(str, paths))}; give image files or directories of them")
    return images


def read_image_folder(folder: Path) -> Iterator[Item]:
    """Images of one directory per class, which is their label; images directly in the folder have none.

    Raises
    ------
    InputError
        If there is no image.
    """
    for path in find_images(folder, recursive=True):
        parts = path.relative_to(folder).parts
        yield Item("/".join(parts), path, parts[0] if len(parts) > 1 else None)

"""Image files on disk, and directories with one directory of images per class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import InputError
from .items import BadRow, Item

_USUAL = (".apng", ".avif", ".avifs", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_BITMAPS = (".bmp", ".dib", ".ico", ".pbm", ".pfm", ".pgm", ".pnm", ".ppm", ".qoi")
_JPEG_2000 = (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx")
IMAGE_SUFFIXES = frozenset((*_USUAL, *_BITMAPS, *_JPEG_2000))  # of the formats in fastconcept.encoders.decode
_UNREAD = frozenset((".arw", ".cr2", ".dng", ".eps", ".heic", ".heif", ".jxl", ".nef", ".psd", ".svg", ".tga"))
_LEFT_BEHIND = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")
_SPLITS = frozenset(("train", "training", "val", "valid", "validation", "test", "testing"))


def find_images(*paths: str | os.PathLike[str], recursive: bool = False) -> list[Path]:
    """Image files among the paths and in the directories among them.

    Parameters
    ----------
    *paths : path
        A file is taken as it is; of a directory, the files whose suffix is one of an image, in order of their names.
        Hidden files and directories are left out, and so are those that archives and file servers leave behind.
    recursive : bool
        Look into directories below the directories, too.

    Raises
    ------
    InputError
        If there is none.
    """
    images: list[Path] = []
    for path in map(Path, paths):
        if os.path.isdir(path):
            files = files_below(path, recursive)
            images += sorted(file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(file))
        else:
            images.append(path)
    if not images:
        raise InputError(f"no image in {', '.join(map(str, paths))}; give image files or directories of them")
    return images


def is_left_behind(name: str) -> bool:
    """Whether a file or directory is hidden, or one that archives and file servers leave behind.

    Examples
    --------
    >>> is_left_behind("._1.jpg"), is_left_behind("__MACOSX"), is_left_behind("1.jpg")
    (True, True, False)
    """
    return name.startswith(".") or name in _LEFT_BEHIND


def files_below(folder: Path, recursive: bool) -> Iterator[Path]:
    """Files of a directory, one directory in memory at a time, in the order of their names.

    What systems leave behind is left out; linked directories are followed, but not in circles.

    Raises
    ------
    InputError
        If a directory cannot be listed.
    """
    pending = [(folder, frozenset[str]())]
    while pending:
        place, above = pending.pop()
        real = os.path.realpath(place)
        if real in above:
            continue
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"{place} cannot be listed: {error.strerror}") from None
        folders = []
        for path in (place / entry.name for entry in entries if not is_left_behind(entry.name)):
            if not os.path.isdir(path):  # a link in a circle is none; the entry would raise an error
                yield path
            elif recursive:
                folders.append((path, above | {real}))
        pending += reversed(folders)


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """A short name for each file: its own, with as many of its directories as tell it from the others.

    Examples
    --------
    >>> distinct_names([Path("a/1.jpg"), Path("b/1.jpg"), Path("b/2.jpg")])
    ['a/1.jpg', 'b/1.jpg', '2.jpg']
    """
    names = [path.name for path in paths]
    for depth in range(2, 1 + max(len(path.parts) for path in paths)):
        counts = Counter(names)
        if len(counts) == len(names):
            break
        longer = ["/".join(path.parts[-depth:]) for path in paths]
        names = [new if counts[old] > 1 else old for old, new in zip(names, longer, strict=True)]
    return names


def read_image_folder(folder: Path) -> Iterator[Item | BadRow]:
    """Images of one directory per class, which is their label; images directly in the folder have none.

    Raises
    ------
    InputError
        If the directories are those of splits, which would become classes.
    """
    classes = set()
    for path in sorted(files_below(folder, recursive=True)):
        suffix, parts = path.suffix.lower(), path.relative_to(folder).parts
        name, label = "/".join(parts), parts[0] if len(parts) > 1 else None
        if suffix in _UNREAD:
            yield BadRow(name, f"is an image of a kind that is not read here ({suffix})")
        elif suffix in IMAGE_SUFFIXES and not os.path.isfile(path):
            yield BadRow(name, "is a link to nothing, or no regular file")
        elif suffix in IMAGE_SUFFIXES:
            classes.add(label)
            yield Item(name, path, label)
    splits = sorted(label for label in classes if label and label.lower() in _SPLITS)
    if splits and len(splits) == len(classes):
        raise InputError(f"{folder} holds {', '.join(splits)}, which are no classes; give {folder / splits[0]}")

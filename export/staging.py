"""A directory that appears whole under its name, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..bundle import MANIFEST
from ..errors import ExportError
from ..files import whole_directory

_OURS = (".partial-", "lost+found")  # what a mount point may have in it: the export itself, and ext4's own


def check_output(target: Path, overwrite: bool) -> None:
    """Refuse to write where something else lies, before hours of work."""
    if not target.parent.is_dir():
        raise ExportError(f"{target.parent} does not exist; create it first")
    if target.exists() and not target.is_dir():
        raise ExportError(f"{target} is a file; give a directory that does not exist yet")
    if not any(os.access(path, os.W_OK) for path in (target.parent, target) if path.is_dir()):
        raise ExportError(f"{target.parent} is not writable")
    if target.is_dir() and any(not path.name.startswith(_OURS) for path in target.iterdir()):
        if not (target / MANIFEST).is_file():
            raise ExportError(f"{target} is a directory with other things in it; give one that does not exist yet")
        if not overwrite:
            raise ExportError(f"{target} is already a bundle; use --overwrite to replace it, or another directory")


@contextmanager
def staging(target: Path, overwrite: bool) -> Iterator[Path]:
    """A hidden directory that takes the name of ``target`` at the end, or vanishes.

    Raises
    ------
    ExportError
        If something has come up at ``target`` meanwhile.
    """
    with whole_directory(target) as folder:
        yield folder
        check_output(target, overwrite)

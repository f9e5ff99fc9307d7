"""A directory that appears whole under its name, or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..bundle import MANIFEST
from ..errors import ExportError


def check_output(target: Path, overwrite: bool) -> None:
    """Refuse to write where something else lies, before hours of work."""
    if not target.parent.is_dir():
        raise ExportError(f"{target.parent} does not exist; create it first")
    if not os.access(target.parent, os.W_OK):
        raise ExportError(f"{target.parent} is not writable")
    if target.exists() and not target.is_dir():
        raise ExportError(f"{target} is a file; give a directory that does not exist yet")
    if target.is_dir() and any(target.iterdir()):
        if not (target / MANIFEST).is_file():
            raise ExportError(f"{target} is a directory with other things in it; give one that does not exist yet")
        if not overwrite:
            raise ExportError(f"{target} is already a bundle; use --overwrite to replace it, or another directory")


@contextmanager
def staging(target: Path, overwrite: bool) -> Iterator[Path]:
    """A hidden directory beside ``target`` that takes its name at the end, or vanishes."""
    folder = target.with_name(f".{target.name}.partial-{os.getpid()}")
    replaced = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    with _termination_raises():
        try:
            folder.mkdir()
            yield folder
            for directory in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
                sync(directory)
            check_output(target, overwrite)  # something may have come up meanwhile
            if target.exists():
                os.replace(target, replaced)
            try:
                os.replace(folder, target)
            except BaseException:
                if replaced.exists():
                    os.replace(replaced, target)
                raise
            sync(target.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def _termination_raises() -> Iterator[None]:
    """Let SIGTERM raise, so that what is half written is removed; its default would end the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def sync(path: Path) -> None:
    """Push a file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

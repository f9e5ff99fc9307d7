"""Files and directories that appear whole under their name or not at all, and nothing half-written that stays behind.

What is being written lies beside its target under a hidden name, locked for as long as its process lives. A process
that is killed cannot clean up: the next one that writes the same target removes what nobody holds a lock on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import InputError

_NO_RENAME = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM)  # a mount point, or a parent that is read-only


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file so that it appears whole or not at all; what is no regular file, such as a pipe, is written into.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with path.open("wb") as stream:
                yield stream
            return
        with _beside(Path(os.path.realpath(path))) as stream:
            yield stream
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def _beside(path: Path) -> Iterator[IO[bytes]]:
    prefix = f".{path.name[:32]}.partial-"
    if not os.access(path.parent, os.W_OK) and os.path.isfile(path):  # a file mounted into a read-only directory
        with path.open("wb") as stream:
            yield stream
        return
    _sweep(path.parent, prefix)
    handle, name = tempfile.mkstemp(prefix=prefix, dir=path.parent)
    try:
        with os.fdopen(handle, "w+b") as stream:
            _lock(handle)
            yield stream
            stream.flush()
            os.fchmod(handle, stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask())
            _replace_file(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)


def _replace_file(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno not in _NO_RENAME or not target.is_file():
            raise
        shutil.copyfile(source, target)


@contextmanager
def whole_directory(target: Path) -> Iterator[Path]:
    """A hidden directory that takes the name of ``target`` at the end, in place of one that is there, or vanishes.

    It lies beside the target, or inside where the target is a mount point or nothing may be written beside it; its
    content is then moved, the files of its top level last.

    Raises
    ------
    OSError
        If a file cannot be written or moved; the old directory is then as it was, unless it had to be filled in place.
    """
    inside = target.is_dir() and (os.path.ismount(target) or not os.access(target.parent, os.W_OK))
    parent, prefix = (target, ".partial-") if inside else (target.parent, f".{target.name[:200]}.partial-")
    _sweep(parent, prefix)
    folder = parent / f"{prefix}{os.getpid()}"
    with signals_raise():
        lock = None
        try:
            folder.mkdir()
            lock = os.open(folder, os.O_RDONLY)
            _lock(lock)
            yield folder
            for directory in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
                sync(directory)
            if inside:
                _move_into(folder, target)
            else:
                _replace_directory(folder, target)
            sync(target.parent if not inside else target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if lock is not None:
                os.close(lock)


def _replace_directory(folder: Path, target: Path) -> None:
    replaced = folder.with_name(_replaced(folder.name))
    try:
        if target.exists():
            os.replace(target, replaced)
    except OSError as error:
        if error.errno not in _NO_RENAME:
            raise
        _move_into(folder, target)
        return
    try:
        os.replace(folder, target)
    except BaseException:
        if replaced.exists():
            os.replace(replaced, target)
        raise
    finally:
        shutil.rmtree(replaced, ignore_errors=True)


def _move_into(folder: Path, target: Path) -> None:
    """Empty a directory that cannot be renamed, and move the content of another into it, its files last."""
    for entry in sorted(target.iterdir(), key=Path.is_dir):  # files first: a bundle without a manifest is none
        if entry != folder:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for entry in sorted(folder.iterdir(), key=Path.is_file):
        shutil.move(entry, target / entry.name)


@contextmanager
def signals_raise() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise, so that what is half-written is removed; by default they end the process at once.

    Outside the main thread, and for a signal that is ignored (``nohup``) or has a handler, nothing changes.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def user_cache() -> Path | None:
    """The directory of fastconcept in the user's cache; None for a user without a home, as containers may have."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return None if folder.startswith("~") else Path(folder, "fastconcept")


def sync(path: Path) -> None:
    """Push a file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; False if another process holds the lock, or there are none here."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(folder: Path, prefix: str) -> None:
    """Remove what processes that are no more have left under names that begin with ``prefix``."""
    try:
        paths = [path for path in folder.iterdir() if path.name.startswith((prefix, _replaced(prefix)))]
    except OSError:  # what cannot be listed cannot be swept; whether it can be written to is seen later
        return
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if _lock(descriptor):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _replaced(name: str) -> str:
    return name.replace(".partial-", ".replaced-")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""Files on this machine, or anywhere that fsspec reaches, under the same names.

What has no ``protocol://`` is a file of this machine and is read without fsspec.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..datasets.images import files_below, is_left_behind
from ..errors import InputError, MissingDependencyError
from ..files import whole_file

MAX_BYTES = 1 << 30  # of one image file
_URL = re.compile(r"^[a-z][a-z0-9+.-]+:(?://|:)", re.IGNORECASE)
_OBJECT_STORES = ("abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oss", "r2", "s3", "s3a")  # uploads are atomic


def is_remote(place: str) -> bool:
    """Whether a place is a URL for fsspec.

    Examples
    --------
    >>> is_remote("s3://bucket/photos"), is_remote("simplecache::s3://bucket"), is_remote("photos/a::b.jpg")
    (True, True, False)
    """
    return _URL.match(place) is not None


def join(folder: str, name: str) -> str:
    """A name below a folder; an absolute path or a URL is taken as it is.

    Examples
    --------
    >>> join("s3://bucket/photos/", "1.jpg"), join("photos", "1.jpg"), join("photos", "/1.jpg")
    ('s3://bucket/photos/1.jpg', 'photos/1.jpg', '/1.jpg')
    """
    if is_remote(name) or os.path.isabs(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, name)


def parent(place: str) -> str:
    """The folder that a file lies in."""
    return place.rpartition("/")[0] if is_remote(place) else os.path.dirname(place)


def file_system(place: str) -> tuple[Any, str]:
    """The file system of a URL as fsspec has it, and the path there.

    Raises
    ------
    MissingDependencyError
        If fsspec is not installed.
    InputError
        If fsspec does not know the protocol, or a package that it needs for it is missing.
    """
    try:
        import fsspec  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise MissingDependencyError("fsspec", "batch") from None
    try:
        system, path = fsspec.core.url_to_fs(place)
    except (ImportError, ValueError) as error:  # "Install s3fs to access S3", "Protocol not known: ..."
        raise InputError(f"{place} cannot be opened: {error}") from None
    return system, path


def normal(place: str) -> str:
    """A URL as :func:`walk` writes those below it; other places as they are."""
    if not is_remote(place):
        return place
    system, path = file_system(place)
    return str(system.unstrip_protocol(path))


def kind_of(place: str) -> str | None:
    """``"file"``, ``"folder"``, or None where nothing is."""
    if is_remote(place):
        system, path = file_system(place)
        return "folder" if system.isdir(path) else "file" if system.isfile(path) else None
    return "folder" if os.path.isdir(place) else "file" if os.path.exists(place) else None


def size_of(place: str) -> int:
    """Bytes of a file; 0 where that is not known."""
    if is_remote(place):
        system, path = file_system(place)
        return int(system.size(path) or 0)
    return os.path.getsize(place)


@contextmanager
def opened(place: str) -> Iterator[IO[bytes]]:
    """A file, open for reading in any order.

    Raises
    ------
    OSError
        If it cannot be opened.
    """
    if is_remote(place):
        system, path = file_system(place)
        with system.open(path, "rb") as stream:
            yield stream
    else:
        with open(place, "rb") as stream:
            yield stream


def content(place: str) -> bytes:
    """The bytes of a file.

    Raises
    ------
    InputError
        If it cannot be read or is larger than MAX_BYTES; the message goes on after the name of a row.
    """
    try:
        if not is_remote(place) and not os.path.isfile(place):
            raise InputError("no image file is there")
        with opened(place) as stream:
            data = stream.read(MAX_BYTES + 1)
    except InputError:
        raise
    except Exception as error:  # file systems of fsspec raise those of their own libraries, too
        raise InputError(
            f"cannot be read: {getattr(error, 'strerror', None) or error or type(error).__name__}"
        ) from None
    if len(data) > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES:,} bytes")
    return data


def walk(folder: str, recursive: bool = True) -> Iterator[str]:
    """Files of a folder in order, one directory in memory at a time, without what systems leave behind.

    Raises
    ------
    InputError
        If a directory cannot be listed.
    """
    if not is_remote(folder):
        for file in files_below(Path(folder), recursive):
            yield str(file)
        return
    system, root = file_system(folder)
    for place, folders, names in system.walk(root, maxdepth=None if recursive else 1):
        folders[:] = sorted(name for name in folders if not is_left_behind(name))
        for name in sorted(names):
            if not is_left_behind(name):
                yield system.unstrip_protocol(f"{place.rstrip('/')}/{name}")


class Folder:
    """A folder that a job writes into, here or where fsspec reaches. Files in it appear whole or not at all.

    Parameters
    ----------
    place : str
        It is made when the first file is written.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    def __str__(self) -> str:
        return self.place

    def file(self, name: str) -> str:
        """The place of a file of the folder."""
        return join(self.place, name)

    def names(self, below: str = "") -> set[str]:
        """Names of the files and folders in it or in a folder below; none where there is no such folder."""
        place = self.file(below) if below else self.place
        if not is_remote(place):
            return {entry.name for entry in os.scandir(place)} if os.path.isdir(place) else set()
        system, path = file_system(place)
        system.invalidate_cache(path)
        if not system.isdir(path):
            return set()
        return {str(name).rstrip("/").rpartition("/")[2] for name in system.ls(path, detail=False)}

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        place = self.file(name)
        if not is_remote(place):
            return os.path.isfile(place)
        system, path = file_system(place)
        system.invalidate_cache(parent(path))
        return bool(system.isfile(path))

    def read(self, name: str) -> bytes:
        """The content of a file of the folder."""
        with opened(self.file(name)) as stream:
            return stream.read()

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        if self.has(name):
            if is_remote(self.place):
                system, path = file_system(self.file(name))
                system.rm_file(path)
            else:
                os.remove(self.file(name))

    @contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        """A file that appears whole when the block ends, on the disk and not only in its cache, or not at all.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        place = self.file(name)
        if not is_remote(place):
            self._make(os.path.dirname(place))
            with whole_file(Path(place)) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            return
        with tempfile.NamedTemporaryFile() as stream:
            yield stream
            stream.flush()
            _upload(stream.name, place)

    def _make(self, folder: str) -> None:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write into {self.place}: {error.strerror or error}") from None


def _upload(source: str, place: str) -> None:
    """Put a finished file where others look for it: at once in object stores, elsewhere under another name first."""
    system, path = file_system(place)
    protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
    try:
        system.makedirs(parent(path), exist_ok=True)
        if any(protocol in _OBJECT_STORES for protocol in protocols):
            system.put_file(source, path)
        else:
            system.put_file(source, f"{path}.partial")
            system.mv(f"{path}.partial", path)
    except Exception as error:  # of the libraries behind fsspec
        raise InputError(f"cannot write {place}: {error or type(error).__name__}") from None

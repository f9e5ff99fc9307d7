"""What every verb prints: one JSON document or a rich table on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from rich.console import Console, RenderableType

from ..errors import InputError

Progress = Callable[[int, int], None]
Item = TypeVar("Item")


def console() -> Console:
    """Where tables and bars go: stdout. In a pipe no line is wrapped; brackets in text are text."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 10_000)


def print_text(parts: Iterable[RenderableType]) -> None:
    """Print strings, tables and bars on stdout, without the blanks that tables have at the end of their lines."""
    target = console()
    with target.capture() as capture:
        for part in parts:
            target.print(part)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))
    sys.stdout.flush()


def markdown(text: str) -> RenderableType:
    """Markdown as headings and tables on a terminal, and as it is in a pipe, where another program may want it."""
    if not sys.stdout.isatty():
        return text
    from rich.markdown import Markdown

    return Markdown(text)


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


def report_error(kind: str, message: str, as_json: bool) -> int:
    """Say what went wrong in one line (or one document) and return the exit code 2."""
    if as_json:
        print_json({"error": {"type": kind, "message": message}})
    else:
        sys.stderr.write("fastconcept: " + " ".join(message.split()) + "\n")
    return 2


@contextmanager
def progress_bar(description: str) -> Iterator[Progress]:
    """A progress bar on stderr that is called with (done, total); silent where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def counted(items: Sequence[Item], progress: Progress) -> Iterator[Item]:
    """The items, reporting how many of them are done whenever the next one is asked for."""
    for done, item in enumerate(items):
        progress(done, len(items))
        yield item
    progress(len(items), len(items))


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file so that it appears whole or not at all.

    Raises
    ------
    InputError
        If the directory does not exist or cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"cannot write {path}: {error.strerror or error}") from None
        raise


def writable(path: Path | None) -> Path | None:
    """The path of a file to write, checked before any work is done.

    Raises
    ------
    InputError
        If its directory does not exist.
    """
    if path is not None and not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no directory {path.parent}")
    return path


def writable_picture(path: Path | None) -> Path | None:
    """The path of a picture to write, checked before any work is done.

    Raises
    ------
    InputError
        If its directory does not exist, or its ending names no format that Pillow writes.
    """
    if path is not None:
        _picture_format(path)
    return writable(path)


def save_picture(picture: Any, path: Path) -> None:
    """Save a Pillow image in the format of the file's ending; errors as :func:`writable_picture`."""
    with whole_file(path) as stream:
        picture.save(stream, _picture_format(path))


def _picture_format(path: Path) -> str:
    from PIL import Image

    name = Image.registered_extensions().get(path.suffix.lower())
    if name is None or name not in Image.SAVE:
        raise InputError(f"{path}: cannot write pictures as {path.suffix or 'a file without ending'}; try .png")
    return name

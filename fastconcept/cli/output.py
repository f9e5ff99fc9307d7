"""What every verb prints: one JSON document or a rich table on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console, RenderableType

from ..errors import FastconceptError, InputError
from ..files import whole_file
from ..protocol.documents import refusal

Progress = Callable[[int, int], None]
Item = TypeVar("Item")


_PLAIN = str.maketrans("█▉▊▋▌▍▎▏–…·", "########-.*")  # for terminals that know only ASCII or Latin-1


class ReaderGoneError(FastconceptError):
    """What reads our pipe has gone. It is not a BrokenPipeError, of which typer makes an exit code of its own."""


def console() -> Console:
    """Where tables and bars go: stdout. In a pipe no line is wrapped; brackets in text are text."""
    return Console(highlight=False, markup=False, width=None if _is_terminal() else 10_000)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _write(text: str) -> None:
    """Write to stdout, whatever it is: characters that it does not know are written as escapes.

    Raises
    ------
    InputError
        If it is closed or its disk is full.
    """
    if sys.stdout is None:
        raise InputError("standard output is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None
    except OSError as error:
        sys.stdout = None  # else Python tries again at its end, and fails again
        raise InputError(f"cannot write to standard output: {error.strerror or error}") from None


def _fits(text: str) -> bool:
    """Whether stdout can show every character; a file name may hold some that no encoding has."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def print_text(parts: Iterable[RenderableType]) -> None:
    """Print strings, tables and bars on stdout, without the blanks that tables have at the end of their lines."""
    target = console()
    with target.capture() as capture:
        for part in parts:
            target.print(part)
    text = "".join(line.rstrip() + "\n" for line in capture.get().split("\n")[:-1])
    text = text.encode("utf-8", "backslashreplace").decode()
    if not _fits(text):
        encoding = sys.stdout.encoding
        text = text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    _write(text)


def markdown(text: str) -> RenderableType:
    """Markdown as headings and tables on a terminal, and as it is in a pipe, where another program may want it."""
    if not _is_terminal():
        return text
    from rich.markdown import Markdown

    return Markdown(text)


def printable(name: str) -> str:
    """A file name as it may be shown on a terminal: one line, and no codes that move the cursor or change colours."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout, in ASCII where stdout cannot show all of it."""
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    _write(text if _fits(text) else json.dumps(document, indent=2, allow_nan=False) + "\n")


def report_error(kind: str, message: str, as_json: bool) -> int:
    """Say what went wrong in one line (or one document) and return the exit code 2."""
    if as_json:
        print_json(refusal(kind, message))
    else:
        sys.stderr.write(f"fastconcept: {printable(' '.join(message.split()))}\n")
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


@contextmanager
def status_line(description: str) -> Iterator[Callable[[str], None]]:
    """A line on stderr that is called with its new text; silent where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    with Console(stderr=True, markup=False, highlight=False).status(description) as status:
        yield lambda text: status.update(printable(text))


def counted(items: Sequence[Item], progress: Progress) -> Iterator[Item]:
    """The items, reporting how many of them are done whenever the next one is asked for."""
    for done, item in enumerate(items):
        progress(done, len(items))
        yield item
    progress(len(items), len(items))


def writable(path: Path | None) -> Path | None:
    """The path of a file to write, checked before any work is done.

    Raises
    ------
    InputError
        If its directory does not exist, it is a directory itself, or nothing may be written there.
    """
    if path is not None and not os.path.isdir(path.parent):
        raise InputError(f"cannot write {path}: there is no directory {path.parent}")
    if path is not None and os.path.isdir(path):
        raise InputError(f"cannot write {path}: it is a directory")
    if path is not None and not any(os.access(place, os.W_OK) for place in (path, path.parent)):
        raise InputError(f"cannot write {path}: {path.parent} is not writable")
    return path


def writable_folder(path: Path | None) -> Path | None:
    """The path of a directory to write into or to make, checked before any work is done.

    Raises
    ------
    InputError
        If it, or the directory that it would be made in, is none or not writable.
    """
    if path is not None:
        place = next(place for place in (path.absolute(), *path.absolute().parents) if os.path.lexists(place))
        if not os.path.isdir(place) or not os.access(place, os.W_OK | os.X_OK):
            raise InputError(f"cannot write into {path}: {place} is not a writable directory")
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

"""The rows of a unit, one after the other: images or where they lie, and the columns that they carry."""

from __future__ import annotations

import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from ..datasets.images import IMAGE_SUFFIXES, is_left_behind
from ..datasets.items import BadRow
from ..errors import InputError
from .arrow import pyarrow
from .places import MAX_BYTES, Folder, content, is_remote, join, opened, parent
from .plan import Plan, Unit
from .sources import TAR_COLUMNS, matches, path_column

_READERS = (4, 32)  # threads that read files ahead, here and elsewhere
_BATCH = (1024, 16)  # rows of a parquet file in memory, where they are paths and where they are images
_TEXT_BYTES = 1 << 20  # of a text beside an image in a tar
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Row(NamedTuple):
    """An image of a source.

    Attributes
    ----------
    name : str
        Its ``path`` in the shards.
    image : str or bytes
        Where it lies, or its content.
    columns : mapping
        What it carries, by the name in the shards.
    """

    name: str
    image: str | bytes
    columns: Mapping[str, Any]


class Content(NamedTuple):
    """A row whose file was read."""

    row: Row
    data: bytes


def read_rows(unit: Unit, plan: Plan, folder: Folder) -> Iterator[Row | BadRow]:
    """The rows of a unit in order. A file that cannot be read, or not to its end, is a bad row.

    Parameters
    ----------
    unit : Unit
    plan : Plan
    folder : Folder
        Of the job.
    """
    if unit.kind == "tar":
        yield from _tar_rows(unit.file, plan)
    else:
        yield from _parquet_rows(unit, plan, folder)


def read_contents(rows: Iterator[Row | BadRow]) -> Iterator[Content | BadRow]:
    """The rows with their files read, a few ahead of the one that is needed."""
    first = next(rows, None)
    if first is None:
        return
    remote = isinstance(first, Row) and isinstance(first.image, str) and is_remote(first.image)
    yield from ahead(_read, _chain(first, rows), _READERS[remote])


def _chain(first: _Item, rest: Iterator[_Item]) -> Iterator[_Item]:
    yield first
    yield from rest


def _read(row: Row | BadRow) -> Content | BadRow:
    if isinstance(row, BadRow):
        return row
    try:
        return Content(row, row.image if isinstance(row.image, bytes) else content(row.image))
    except InputError as error:
        return BadRow(row.name, str(error))


def ahead(function: Callable[[_Item], _Result], items: Iterator[_Item], threads: int) -> Iterator[_Result]:
    """Results in order, of a few more items than were asked for.

    Examples
    --------
    >>> list(ahead(abs, iter([-1, 2, -3]), threads=2))
    [1, 2, 3]
    """
    with ThreadPoolExecutor(threads, "fastconcept-read") as pool:
        waiting: deque[Future[_Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


# Parquet --------------------------------------------------------------------------------------------------------------


def _parquet_rows(unit: Unit, plan: Plan, folder: Folder) -> Iterator[Row | BadRow]:
    listed = unit.kind == "listed"
    file = folder.file(unit.file) if listed else unit.file
    number = unit.start
    try:
        with opened(file) as stream:
            for number, cells in enumerate(_cells(stream, unit, plan), start=unit.start):
                if listed or matches(cells, plan.where):
                    yield _row(cells, plan, f"{file} row {number}", plan.base or parent(file), listed)
            number += 1
    except Exception as error:  # of pyarrow, of file systems, and of their libraries
        rows = f"from row {number} on " if unit.stop else ""
        yield BadRow(file, f"cannot be read {rows}as parquet: {error or type(error).__name__}")
        return
    if number != unit.stop:
        yield BadRow(file, f"has no row {number}, but had one when the job began")


def _cells(stream: Any, unit: Unit, plan: Plan) -> Iterator[dict[str, Any]]:
    """The rows ``start`` to ``stop`` of a file, as plain values; other parts of it are not read."""
    file = pyarrow().parquet.ParquetFile(stream, buffer_size=1 << 20)
    groups, begin, skipped = [], 0, 0
    for group in range(file.metadata.num_row_groups):
        end = begin + file.metadata.row_group(group).num_rows
        if end <= unit.start:
            skipped = end
        elif begin < unit.stop:
            groups.append(group)
        begin = end
    names = file.schema_arrow.names
    wanted = {plan.image, *plan.columns, *plan.where, *filter(None, [path_column(names)])}
    batches = file.iter_batches(_BATCH[unit.kind == "parquet"], groups, [name for name in names if name in wanted])
    rows = (cells for batch in batches for cells in batch.to_pylist())
    yield from islice(rows, unit.start - skipped, unit.stop - skipped)


def _row(cells: Mapping[str, Any], plan: Plan, name: str, base: str, listed: bool) -> Row | BadRow:
    image = cells[plan.image]
    if listed:
        image = image and os.fsdecode(image)
    named = cells.get(path_column(list(cells)) or "")
    if isinstance(image, dict):  # of Hugging Face datasets
        named, image = image.get("path"), image["bytes"] or image.get("path")
    if not image:
        return BadRow(name, "has no image")
    if isinstance(image, str) and not listed:
        image = named = join(base, image)
    shown = os.fsencode(image).decode("utf-8", "backslashreplace") if listed else named
    columns = {target: cells[column] for column, target in plan.columns.items()}
    return Row(shown if isinstance(shown, str) else name, image, columns)


# Tar ------------------------------------------------------------------------------------------------------------------


def _tar_rows(file: str, plan: Plan) -> Iterator[Row | BadRow]:
    """Images of a tar as WebDataset lays it out: the members KEY.jpg, KEY.txt, KEY.cls and KEY.json are one sample."""
    done = 0
    try:
        with opened(file) as stream, tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Header) as archive:
            key, texts, images = "", dict[str, str](), list[tuple[str, bytes]]()
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # else every header of the archive stays in memory
                name = member.name.removeprefix("./")
                place, _, base = name.rpartition("/")
                if not member.isfile() or is_left_behind(base):
                    continue
                stem, _, ending = base.partition(".")
                if f"{place}/{stem}" != key:
                    yield from _sample(file, key, images, texts, plan)
                    key, texts, images = f"{place}/{stem}", {}, []
                done += 1
                if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                    if member.size > MAX_BYTES:
                        yield BadRow(f"{file}/{name}", f"is larger than {MAX_BYTES:,} bytes")
                        continue
                    images.append((name, _member(archive, member)))
                elif (column := _TEXTS.get(ending.lower())) and member.size <= _TEXT_BYTES:
                    texts[column] = _member(archive, member).decode("utf-8", "replace").strip()
            yield from _sample(file, key, images, texts, plan)
    except Exception as error:  # of tarfile, of what unpacks it, and of file systems
        yield BadRow(file, f"cannot be read as a tar after {done} files: {error or type(error).__name__}")


class _Header(tarfile.TarInfo):
    """A header of a tar; tarfile takes a damaged one for the end of the archive, and says nothing."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """The header in a block of 512 bytes."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # a block of zeros, which is how an archive ends
                raise
            raise tarfile.ReadError(f"it is cut off or damaged ({error})") from None
        if header.size < 0 or (header.type in _IN_MEMORY and header.size > _TEXT_BYTES):
            raise tarfile.ReadError(f"it has a header of {header.size:,} bytes")
        return header


_IN_MEMORY = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X")
_TEXTS = dict(zip(("cls", "txt", "json"), TAR_COLUMNS, strict=True))


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    data = b"" if stream is None else stream.read()
    if len(data) != member.size:
        raise EOFError("unexpected end of data")
    return data


def _sample(
    file: str, key: str, images: list[tuple[str, bytes]], texts: Mapping[str, str], plan: Plan
) -> Iterator[Row | BadRow]:
    columns = {target: texts.get(column) for column, target in plan.columns.items()}
    for name, data in images:
        if matches({**texts, "path": f"{file}/{name}"}, plan.where):
            yield Row(f"{file}/{name}", data, columns)
    if texts and not images:
        yield BadRow(f"{file}/{key.lstrip('/')}", "has no image")

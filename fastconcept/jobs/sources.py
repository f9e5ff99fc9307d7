"""From a source as people name it to a plan: folders, globs, CSV and parquet tables, tars of WebDataset."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ..datasets.images import IMAGE_SUFFIXES
from ..datasets.records import WITHOUT_HEADER, column_names
from ..errors import InputError, MissingDependencyError
from .arrow import pyarrow
from .places import Folder, is_remote, join, kind_of, normal, opened, parent, size_of, walk
from .plan import ROWS, Plan, Unit

TAR_COLUMNS = ("label", "caption", "json")  # of the members KEY.cls, KEY.txt and KEY.json
OURS = frozenset(  # columns that jobs write; one of the source that has such a name becomes source_NAME
    ("path", "sha256", "words", "l0", "cosine", "gap", "l1_penalty", "note", "concepts", "embedding", "width", "height")
)
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_TABLES = (".csv", ".tsv")
_PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "image", "url", "uri")
_CONTENTS = ("image", "img", "image_bytes", "bytes", "jpg", "jpeg", "png", "webp", "content")
_GLOB = re.compile(r"[*?\[{]")
_MAX_ALTERNATIVES = 1_000_000  # that braces in a glob may stand for
_MAX_UNITS = 1_000_000  # shards of a parquet file; no number in a file decides how much memory is taken
_PATTERNS = Mapping[str, str]


def make_plan(
    source: str,
    folder: Folder,
    shard_rows: int,
    *,
    images: str | None = None,
    image_column: str | None = None,
    columns: Sequence[str] | None = None,
    where: _PATTERNS = {},  # noqa: B006 (read only)
) -> Plan:
    """List a source and cut it into units; a list of files is kept in the folder, so that later runs have the same.

    Parameters
    ----------
    source : str
        See :func:`fastconcept.jobs.batch.batch`.
    folder : Folder
        Of the job.
    shard_rows : int
        Rows of a unit; a tar is one unit whatever it holds.
    images, image_column, columns, where
        See :func:`fastconcept.jobs.batch.batch`.

    Raises
    ------
    InputError
        If nothing is there, it is of no known kind, or a column is unknown.
    """
    files = iter(_files(source))
    first = next(files, None)
    if first is None:
        raise InputError(f"{source} has no image, tar or parquet file")
    kind = _kind(first)
    rest = itertools.chain([first], files)
    if kind == "table":
        return _plan_table(first, folder, shard_rows, images, columns, where)
    if image_column is not None and kind != "parquet":
        raise InputError(f"image_column is for parquet files; {first} is none")
    if kind == "image":
        return _plan_images(source, _all_of(kind, rest), folder, shard_rows, columns, where)
    if kind == "tar":
        _known(where, (*TAR_COLUMNS, "path"), "where", source)
        units = tuple(Unit("tar", file, 0, 0, max(size_of(file), 1)) for file in _all_of(kind, rest))
        return Plan(units, None, columns=_carried(TAR_COLUMNS, columns, source), where=dict(where))
    return _plan_parquet(list(_all_of(kind, rest)), shard_rows, images, image_column, columns, where)


# Files ----------------------------------------------------------------------------------------------------------------


def _files(source: str) -> Iterator[str]:
    """The files that a source stands for, in order: itself, those of a folder, or those that match a glob."""
    kind = kind_of(source)
    if kind == "file":
        yield source
    elif kind == "folder":
        yield from (file for file in walk(source) if _suffix_kind(file) not in (None, "table"))
    elif _GLOB.search(source):
        for pattern in _alternatives(source):
            yield from _matches(pattern)
    else:
        raise InputError(f"nothing at {source}; give a folder, a glob, a .csv, .parquet or .tar file, or a URL of one")


def _suffix_kind(file: str) -> str | None:
    name = file.lower()
    if name.endswith(".parquet"):
        return "parquet"
    if name.endswith(_TARS):
        return "tar"
    if name.endswith(_TABLES):
        return "table"
    return "image" if os.path.splitext(name)[1] in IMAGE_SUFFIXES else None


def _kind(file: str) -> str:
    kind = _suffix_kind(file)
    if kind is None:
        known = ".csv, .tsv, .parquet, .tar, .tar.gz and images such as .jpg"
        raise InputError(f"{file} is of no kind that is read here; there are {known}")
    return kind


def _all_of(kind: str, files: Iterable[str]) -> Iterator[str]:
    for file in files:
        if _kind(file) != kind:
            raise InputError(f"the source mixes kinds: {file} is no {kind} file; name one kind with a glob")
        yield file


def _matches(pattern: str) -> Iterator[str]:
    """Files that match a glob without braces, in order."""
    pattern = normal(pattern)
    found = _GLOB.search(pattern)
    if found is None:
        if kind_of(pattern) != "file":
            raise InputError(f"no file at {pattern}")
        yield pattern
        return
    head, slash, _ = pattern[: found.start()].rpartition("/")
    root = head or slash
    if kind_of(root) != "folder":
        raise InputError(f"no folder at {root}, where {pattern} begins")
    try:
        from fsspec.utils import glob_translate  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise MissingDependencyError("fsspec", "batch") from None
    fits = re.compile(glob_translate(pattern)).match
    deep = "/" in pattern[found.start() :]
    yield from (file for file in walk(root, deep) if fits(file) and _suffix_kind(file))


def _alternatives(pattern: str) -> list[str]:
    """A glob with braces as globs without, in order: ``{a,b}`` and ``{00..12}``.

    Examples
    --------
    >>> _alternatives("s3://b/{08..10}.tar"), _alternatives("{a,b}/*.jpg")
    (['s3://b/08.tar', 's3://b/09.tar', 's3://b/10.tar'], ['a/*.jpg', 'b/*.jpg'])
    """
    patterns = [""]
    for text, inside in re.findall(r"([^{]*)(?:\{([^{}]*)\})?", pattern):
        span = re.fullmatch(r"([0-9]{1,15})\.\.([0-9]{1,15})", inside)
        if span:
            first, last = map(int, span.groups())
            if (last - first + 1) * len(patterns) > _MAX_ALTERNATIVES:
                raise InputError(f"{pattern} stands for more than {_MAX_ALTERNATIVES:,} files")
            choices = [f"{number:0{len(span[1])}d}" for number in range(first, last + 1)]
        else:
            choices = inside.split(",")
        patterns = [start + text + choice for start in patterns for choice in choices]
    return patterns


# Columns --------------------------------------------------------------------------------------------------------------


def _known(names: Iterable[str], there: Sequence[str], option: str, source: str) -> None:
    unknown = [name for name in names if name not in there]
    if unknown:
        raise InputError(f"{option}: {source} has no column {unknown[0]!r}; there are: {', '.join(there) or 'none'}")


def _carried(there: Sequence[str], columns: Sequence[str] | None, source: str) -> dict[str, str]:
    """The columns that rows carry, and their names in the shards."""
    _known(columns or (), there, "columns", source)
    return {name: f"source_{name}" if name in OURS else name for name in (there if columns is None else columns)}


def matches(row: Mapping[str, Any], where: _PATTERNS) -> bool:
    """Whether the columns of a row match their shell patterns; what is not there is an empty text.

    Examples
    --------
    >>> matches({"label": "dog", "year": 2024}, {"label": "d*", "year": "202?"}), matches({}, {"label": "?*"})
    (True, False)
    """
    return all(fnmatchcase(_text(row.get(key)), pattern) for key, pattern in where.items())


def _text(value: object) -> str:
    return "" if value is None else str(value)


# Kinds ----------------------------------------------------------------------------------------------------------------


def _plan_images(
    source: str,
    files: Iterable[str],
    folder: Folder,
    shard_rows: int,
    columns: Sequence[str] | None,
    where: _PATTERNS,
) -> Plan:
    """A list of files; as in ImageFolder, the first folder below the source is the label."""
    found = _GLOB.search(source) if kind_of(source) is None else None
    root = normal(source if found is None else source[: found.start()].rpartition("/")[0])
    carried = _carried(("label",), columns, source)
    _known(where, ("label", "path"), "where", source)

    def rows() -> Iterator[dict[str, Any]]:
        for file in files:
            inner, slash, _ = (
                os.path.relpath(file, root or ".").partition("/") if not is_remote(file) else _below(file, root)
            )
            yield {"path": file, "label": inner if slash and inner != ".." else None}

    return _list(rows(), ["path", *carried], folder, shard_rows, carried, where, source)


def _below(file: str, root: str) -> tuple[str, str, str]:
    prefix = root.rstrip("/") + "/"
    return file.removeprefix(prefix).partition("/") if file.startswith(prefix) else ("", "", "")


def _plan_table(
    file: str, folder: Folder, shard_rows: int, images: str | None, columns: Sequence[str] | None, where: _PATTERNS
) -> Plan:
    base = images or parent(file)
    with opened(file) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, delimiter="\t" if file.lower().endswith(".tsv") else ",")
        try:
            first = next((row for row in reader if row), None)
            if first is None:
                raise InputError(f"{file} is empty")
            names = column_names(first)
            start = [] if "path" in names else [first]
            names = names if "path" in names else list(WITHOUT_HEADER[: len(first)])
            if len(set(names)) < len(names):
                raise InputError(f"{file} has columns of the same name; keep one of each: {', '.join(names)}")
            others = [name for name in names if name != "path"]
            carried = _carried(others, columns, file)
            _known(where, names, "where", file)

            def rows() -> Iterator[dict[str, Any]]:
                for row in itertools.chain(start, reader):
                    if row:
                        cells = {key: value.strip() or None for key, value in zip(names, row, strict=False)}
                        path = cells.get("path")
                        yield cells | {"path": path and join(base, path)}

            return _list(rows(), ["path", *carried], folder, shard_rows, carried, where, file)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{file} cannot be read as CSV: {error}") from None
        finally:
            text.detach()


def _list(
    rows: Iterator[dict[str, Any]],
    names: Sequence[str],
    folder: Folder,
    shard_rows: int,
    carried: dict[str, str],
    where: _PATTERNS,
    source: str,
) -> Plan:
    """Write the rows that match into the job's own table, one group of rows for each unit."""
    arrow = pyarrow()
    kinds = {"path": arrow.binary()}  # a file name may be no text
    schema = arrow.schema([(name, kinds.get(name, arrow.string())) for name in names])
    chosen = (row for row in rows if matches(row, where))
    units: list[Unit] = []
    with folder.write(ROWS) as stream, arrow.parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        while part := list(itertools.islice(chosen, shard_rows)):
            table = {name: [row.get(name) for row in part] for name in names}
            table["path"] = [path and os.fsencode(path) for path in table["path"]]
            writer.write_table(arrow.table(table, schema))
            start = units[-1].stop if units else 0
            units.append(Unit("listed", ROWS, start, start + len(part), len(part)))
    if not units:
        raise InputError(f"{source} has no row" + (f" that matches {dict(where)}" if where else ""))
    return Plan(tuple(units), units[-1].stop, image="path", columns=carried)


def _plan_parquet(
    files: list[str],
    shard_rows: int,
    images: str | None,
    image_column: str | None,
    columns: Sequence[str] | None,
    where: _PATTERNS,
) -> Plan:
    arrow = pyarrow()
    units: list[Unit] = []
    schema, total = None, 0
    for file in files:
        try:
            with opened(file) as stream:
                found = arrow.parquet.ParquetFile(stream)
                rows, here = found.metadata.num_rows, found.schema_arrow
            if not 0 <= rows <= _MAX_UNITS * shard_rows:
                raise InputError(f"{file} says that it has {rows:,} rows")
        except Exception:  # what cannot be read is a failed row when its turn comes
            units.append(Unit("parquet", file, 0, 0, 1))
            continue
        schema = schema or here
        if here.remove_metadata() != schema.remove_metadata():
            raise InputError(f"{file} has other columns than {files[0]}: {_columns(here)}, not {_columns(schema)}")
        starts = range(0, rows, shard_rows)
        units += [
            Unit("parquet", file, start, min(start + shard_rows, rows), min(shard_rows, rows - start))
            for start in starts
        ]
        total += rows
    if schema is None:
        raise InputError(f"{files[0]} cannot be read as parquet")
    if not total:
        raise InputError(f"{files[0]} has no row")
    image = _image_column(schema, image_column, files[0], arrow)
    others = [name for name in schema.names if name not in (image, path_column(schema.names))]
    _known(where, schema.names, "where", files[0])
    carried = _carried(others, columns, files[0])
    return Plan(tuple(units), total, image, images or "", carried, dict(where))


def _columns(schema: Any) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def path_column(names: Sequence[str]) -> str | None:
    """The column that names images, if there is one."""
    return next((name for name in _PATHS if name in names), None)


def _image_column(schema: Any, asked: str | None, file: str, arrow: Any) -> str:
    if asked is not None:
        _known([asked], schema.names, "image_column", file)
        return asked

    def holds(test: Callable[[Any], bool], names: Sequence[str]) -> str | None:
        fitting = [field.name for field in schema if test(field.type)]
        return next((name for name in names if name in fitting), None)

    content = holds(lambda kind: _is_content(kind, arrow), [*_CONTENTS, *schema.names])
    column = content or holds(lambda kind: arrow.types.is_string(kind) or arrow.types.is_large_string(kind), _PATHS)
    if column is None:
        raise InputError(
            f"{file} has no column of images or paths that is known; name it with image_column: {_columns(schema)}"
        )
    return column


def _is_content(kind: Any, arrow: Any) -> bool:
    """Bytes, or the struct of bytes and path that Hugging Face datasets has."""
    if arrow.types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        return "bytes" in names and _is_content(kind.field(names.index("bytes")).type, arrow)
    return bool(arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind))

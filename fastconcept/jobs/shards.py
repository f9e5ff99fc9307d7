"""A unit of work becomes a shard: a parquet file that appears whole, and one of the rows that failed before it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..datasets.items import BadRow
from ..engine import Engine
from ..errors import InputError
from .arrow import pyarrow
from .places import Folder, opened
from .plan import Plan, shard_name
from .rows import Content, Row, read_contents, read_rows
from .tasks import Answers, Task

_ROWS_AT_ONCE = 1024  # in memory, and of a row group
_PROGRESS = 64  # rows between two reports
FAILED = ("path", "reason")


class Done(NamedTuple):
    """A unit that is finished: its number, and how many rows were written, and failed."""

    unit: int
    rows: int
    failed: int


class Worker:
    """Turns units into shards with one engine.

    Parameters
    ----------
    task : Task
    engine : Engine
    plan : Plan
    folder : Folder
        Of the job; shards are ``shards/part-000000.parquet`` and so on, failed rows ``job/failed/part-000000.parquet``.
    """

    def __init__(self, task: Task, engine: Engine, plan: Plan, folder: Folder) -> None:
        self.task, self.engine, self.plan, self.folder = task, engine, plan, folder
        self.schema = _schema(task, engine, plan, folder)

    def run(self, number: int, progress: Callable[[int], object] = lambda rows: None) -> Done:
        """Make a shard, or say what is in it if it is there: another worker may have finished it.

        Parameters
        ----------
        number : int
            Of the unit.
        progress : callable
            Called now and then with the number of rows that were read.
        """
        name = shard_name(number)
        if self.folder.has(f"shards/{name}"):
            return read_done(self.folder, number)
        arrow, failures, written = pyarrow(), list[BadRow](), 0
        with (
            self.folder.write(f"shards/{name}") as stream,
            arrow.parquet.ParquetWriter(stream, self.schema, compression="zstd") as writer,
        ):
            parts: list[Any] = []
            for batch in self._batches(number, failures, progress):
                parts.append(batch)
                if sum(map(len, parts)) >= _ROWS_AT_ONCE:
                    written += _write(writer, parts)
            written += _write(writer, parts)
            writer.add_key_value_metadata({"fastconcept.failed": str(len(failures))})
            self._write_failures(name, failures)
        return Done(number, written, len(failures))

    def _write_failures(self, name: str, failures: list[BadRow]) -> None:
        """Before the shard appears; what an earlier try has left is replaced."""
        if not failures:
            self.folder.remove(f"job/failed/{name}")
            return
        arrow = pyarrow()
        table = arrow.table({"path": [row.name for row in failures], "reason": [row.reason for row in failures]})
        with self.folder.write(f"job/failed/{name}") as stream:
            arrow.parquet.write_table(table, stream)

    def _batches(self, number: int, failures: list[BadRow], progress: Callable[[int], object]) -> Iterator[Any]:
        """Results of a unit with what their rows carry."""
        pending: dict[int, tuple[Row, str]] = {}

        def failed(position: int, error: InputError) -> None:
            row, _ = pending.pop(position)
            failures.append(BadRow(row.name, _reason(row, error)))

        def images() -> Iterator[bytes]:
            position = 0
            for read, item in enumerate(read_contents(read_rows(self.plan.units[number], self.plan, self.folder)), 1):
                if isinstance(item, Content):
                    pending[position] = item.row, hashlib.sha256(item.data).hexdigest()
                    yield item.data
                    position += 1
                else:
                    failures.append(item)
                if read % _PROGRESS == 0:
                    progress(read)

        for answers in self.task.answers(self.engine, images(), failed):
            yield self._joined(answers, [pending.pop(position) for position in answers.positions])

    def _joined(self, answers: Answers, rows: list[tuple[Row, str]]) -> Any:
        """Results beside path, content hash and carried columns."""
        columns = answers.columns | {"path": [row.name for row, _ in rows], "sha256": [digest for _, digest in rows]}
        columns |= {name: [row.columns[name] for row, _ in rows] for name in self.plan.columns.values()}
        return pyarrow().RecordBatch.from_pydict(columns, self.schema)


def _write(writer: Any, parts: list[Any]) -> int:
    rows = sum(map(len, parts))
    if rows:
        writer.write_table(pyarrow().Table.from_batches(parts).combine_chunks())
        parts.clear()
    return rows


def _schema(task: Task, engine: Engine, plan: Plan, folder: Folder) -> Any:
    """path, sha256, the columns of the task, and those that rows carry, of the types that they have in the source."""
    arrow = pyarrow()
    types: dict[str, Any] = dict.fromkeys(plan.columns, arrow.string())
    tables = [unit for unit in plan.units if unit.kind == "parquet" and unit.stop]
    if tables and plan.columns:
        with opened(tables[0].file) as stream:
            found = arrow.parquet.read_schema(stream)
        types = {name: found.field(name).type for name in plan.columns}
    names = [("path", arrow.string()), ("sha256", arrow.string()), *task.schema(engine)]
    return arrow.schema([*names, *((target, types[name]) for name, target in plan.columns.items())])


def _reason(row: Row, error: InputError) -> str:
    """The reason without the words for an image that nobody named."""
    return str(error).removeprefix("the image ").removeprefix(f"{row.name} ")


def read_done(folder: Folder, number: int) -> Done:
    """What is in a shard, as its footer says.

    Raises
    ------
    InputError
        If it is damaged.
    """
    name = f"shards/{shard_name(number)}"
    try:
        with opened(folder.file(name)) as stream:
            metadata = pyarrow().parquet.read_metadata(stream)
        return Done(number, metadata.num_rows, int(metadata.metadata[b"fastconcept.failed"]))
    except Exception as error:  # of pyarrow and of file systems
        raise InputError(f"{folder.file(name)} is damaged ({error}); remove it and start the job again") from None


def join_failures(folder: Folder) -> int:
    """Write the failed rows of all shards into one ``failed.parquet``, shard by shard, and return their number."""
    arrow, rows = pyarrow(), 0
    schema = arrow.schema([(name, arrow.string()) for name in FAILED])
    with folder.write("failed.parquet") as stream, arrow.parquet.ParquetWriter(stream, schema) as writer:
        for name in sorted(folder.names("job/failed") & folder.names("shards")):
            file = folder.file(f"job/failed/{name}")
            try:
                with opened(file) as part:
                    table = arrow.parquet.read_table(part, schema=schema)
            except Exception as error:  # of pyarrow and of file systems
                raise InputError(f"{file} is damaged ({error}); remove it and start the job again") from None
            writer.write_table(table)
            rows += len(table)
    return rows

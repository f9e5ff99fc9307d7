"""What the verbs of ``fastconcept batch`` share: the source, the folder that is written, and where it runs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ...engine import load
from ...errors import InputError
from ...jobs.batch import JobResult, Progress, batch
from ...jobs.cluster import Cluster
from ...jobs.tasks import Task
from .. import output
from ..data import ColumnsOption, WhereOption, patterns
from ..options import OutputOption, model_options, split
from ..verb import Answer, Shared

_data = partial(typer.Option, rich_help_panel="Data")
_cluster = partial(typer.Option, rich_help_panel="Cluster")
_ADDRESS = re.compile(r"auto|local|ray://\S+|[\w.-]+:\d+")
_ANY = "any"  # address of a bare --ray: a cluster that runs, or else this machine

EmbeddingsOption = Annotated[bool, typer.Option("--embeddings", help="Write the embedding of every image, too.")]


class BatchCommand(TyperCommand):
    """A command whose ``--ray`` may stand without an address, which typer has no way to say."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        return super().parse_args(ctx, with_address(args))


def with_address(arguments: Sequence[str]) -> list[str]:
    """The arguments with an address after every bare ``--ray``.

    Examples
    --------
    >>> with_address(["--ray", "photos", "-o", "out"]), with_address(["photos", "--ray", "head:6379"])
    (['--ray', 'any', 'photos', '-o', 'out'], ['photos', '--ray', 'head:6379'])
    """
    complete: list[str] = []
    for argument, following in pairwise([*arguments, ""]):
        complete.append(argument)
        if argument == "--ray" and not _ADDRESS.fullmatch(following):
            complete.append(_ANY)
    return complete


@dataclass(frozen=True)
class Job:
    """A bulk job about to be run: keywords of :func:`fastconcept.jobs.batch.batch`."""

    source: str
    out: str
    options: dict[str, Any]

    def run(self, task: Task) -> Answer:
        """Do it, and say what was written."""
        with _pace(task.verb) as progress:
            result = batch(task, self.source, self.out, **self.options, progress=progress)
        rate = result.images_now / result.seconds if result.seconds else None
        document = {"task": task.verb, "source": self.source, **asdict(result), "images_per_second": rate}
        return Answer(document, _lines(result, rate))


def _lines(result: JobResult, rate: float | None) -> list[str]:
    new = f", {result.images_now:,} of them now" if result.images_now < result.images else ""
    pace = f" in {_duration(result.seconds)} ({rate:,.1f} a second)" if rate else ""
    lines = [f"{result.images:,} images{new}{pace}"]
    if result.failed:
        lines.append(f"{result.failed:,} could not be used; the reasons are in {result.out.rstrip('/')}/failed.parquet")
    shards = f"{result.shards} file{'s' if result.shards != 1 else ''}"
    return [*lines, f"wrote {output.printable(result.out)}/shards ({shards})"]


def job_options(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder, glob, .csv, .parquet or .tar of images, or a URL of one, such as s3://bucket/photos.",
            show_default=False,
        ),
    ],
    model: Annotated[dict[str, Any], Shared(model_options)],
    out: Annotated[str, OutputOption(help="Folder of the job; one that was stopped goes on there.")],
    images: Annotated[str | None, _data(help="Folder that the relative paths of a table begin at.")] = None,
    image_column: Annotated[str | None, _data(help="Column of parquet files with the images or their paths.")] = None,
    columns: ColumnsOption = None,
    where: WhereOption = None,
    shard_rows: Annotated[
        int | None, typer.Option(help="Rows of a shard; by default 10000, or 500 for explain and concepts.")
    ] = None,
    ray: Annotated[
        str | None,
        _cluster(
            metavar="[ADDRESS]",
            help="Run on Ray: auto or HOST:PORT for a cluster, local for this machine; by default whichever there is.",
        ),
    ] = None,
    num_gpus: Annotated[int, _cluster(min=0, help="GPUs of the Ray cluster to use, one worker each.")] = 0,
) -> Job:
    """The job that the options describe."""
    if num_gpus and ray is None:
        raise InputError("--num-gpus is for --ray; on this machine, --device cuda:0 chooses the GPU")
    if num_gpus and model["device"] == "cpu":
        model = model | {"device": "cuda:0"}  # of those that Ray shows to the worker
    cluster = None if ray is None else Cluster(None if ray == _ANY else ray, num_gpus, model["num_threads"])
    options = {
        "engine": partial(load, **model),
        "images": images,
        "image_column": image_column,
        "columns": None if columns is None else [name for name in split(columns, str, "--columns") if name],
        "where": patterns(where),
        "shard_rows": shard_rows,
        "cluster": cluster,
    }
    return Job(source, out, options)


SharedJob = Annotated[Job, Shared(job_options)]


@contextmanager
def _pace(description: str) -> Iterator[Progress]:
    """Images, their rate and the time left, on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda rows, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[pace]}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=1.0, pace="listing")
        began: list[float] = []

        def update(rows: int, share: float) -> None:
            began[:] = began or [time.perf_counter(), share]
            bar.update(
                task, completed=share, pace=pace(rows, share - began[1], 1 - share, time.perf_counter() - began[0])
            )

        yield update


def pace(rows: int, done: float, left: float, seconds: float) -> str:
    """How fast a job is, and how long it still takes if it goes on like this.

    Examples
    --------
    >>> pace(1200, done=0.1, left=0.7, seconds=60.0), pace(0, 0.0, 1.0, 0.1)
    ('1,200 images, 20.0 a second, 7:00 left', '0 images')
    """
    if not rows or not done:
        return f"{rows:,} images"
    return f"{rows:,} images, {rows / seconds:,.1f} a second, {_duration(left / done * seconds)} left"


def _duration(seconds: float) -> str:
    """As a clock shows it: 0:07, 1:02:03, 2 days 4:00:00."""
    days, rest = divmod(round(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    clock = f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours or days else f"{rest // 60}:{rest % 60:02d}"
    return f"{days} days {clock}" if days else clock

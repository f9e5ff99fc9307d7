"""A bulk job: any number of images through one method of the engine, into parquet shards, resumable."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ..bundle import sha256_of
from ..doors import door, shown
from ..engine import Engine, load
from ..environment import versions
from ..errors import InputError
from ..files import signals_raise
from .cluster import Cluster
from .places import Folder, is_remote
from .plan import PLAN, Plan, shard_name
from .shards import Done, Worker, join_failures, read_done
from .sources import make_plan
from .tasks import Task

MANIFEST = "manifest.json"
_FORMAT = 1
_LARGEST_SHARD = 10_000_000
Progress = Callable[[int, float], object]


@dataclass(frozen=True)
class JobResult:
    """What a job has written.

    Attributes
    ----------
    out : str
        Folder of the job: ``shards/*.parquet``, ``failed.parquet``, ``manifest.json``.
    shards : int
    images : int
        Rows in the shards.
    failed : int
        Rows in ``failed.parquet``.
    images_now : int
        Rows that this run has written; less than ``images`` if it went on where an earlier one had ended.
    seconds : float
        Time that this run took for them, without opening the model and listing the source.
    """

    out: str
    shards: int
    images: int
    failed: int
    images_now: int
    seconds: float


@door
def batch(
    task: Task,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    engine: Callable[..., Engine] = load,
    images: str | None = None,
    image_column: str | None = None,
    columns: Sequence[str] | None = None,
    where: Mapping[str, str] | None = None,
    shard_rows: int | None = None,
    cluster: Cluster | None = None,
    progress: Progress = lambda rows, share: None,
) -> JobResult:
    """Run a method of the engine over all images of a source and write what it returns into parquet shards.

    A job that was stopped, however, goes on when it is started again: shards are whole or absent, and those that are
    there are not made again. Memory does not grow with the number of images.

    Parameters
    ----------
    task : Decompose, Embed, Explain or Concepts
        What to do, see :mod:`fastconcept.jobs.tasks`.
    source : str or path
        A folder; a glob (``photos/**/*.jpg``, ``shards/{000..127}.tar``); a ``.csv`` or ``.tsv`` with a column of
        paths; ``.parquet`` files of paths or of image bytes; tars as WebDataset has them; or a URL of one of these
        that fsspec opens, such as ``s3://bucket/photos``. A folder may hold images, parquet files or tars.
    out : str or path
        Folder of the job, or a URL. Rows lie in ``shards``, those that failed with the reason in ``failed.parquet``.
    engine : callable
        Opens the engine; called once in each process that works, on a cluster with the keyword ``num_threads``.
        ``functools.partial(fastconcept.load, "bundle")`` chooses a bundle.
    images : str, optional
        Folder that the relative paths of a table begin at; by default its own.
    image_column : str, optional
        Column of parquet files that has the images or their paths; by default one of the usual names.
    columns : sequence of str, optional
        Columns of the source that the rows carry; by default all but the images. A tar has ``label``, ``caption`` and
        ``json`` (the members ``.cls``, ``.txt`` and ``.json``), a folder ``label`` (the first folder below it).
    where : mapping of str to str, optional
        Columns and the shell patterns that they must match; other rows are left out.
    shard_rows : int, optional
        Rows of a shard: what a job that is killed may have to do again. By default 10,000, or 500 where each image
        takes long. A tar is one shard.
    cluster : Cluster, optional
        Run on Ray instead of in this process.
    progress : callable
        Called with the number of rows of this run and the share of the job that is done.

    Returns
    -------
    JobResult

    Raises
    ------
    InputError
        If there is no such source, an option is wrong, or ``out`` holds another job or anything else.
    MissingDependencyError
        If pyarrow (extra ``batch``) or Ray (extra ``ray``) is not installed.

    Examples
    --------
    >>> from functools import partial
    >>> from fastconcept.jobs.batch import batch
    >>> from fastconcept.jobs.tasks import Decompose
    >>> batch(Decompose(l0=10), "photos", "words", engine=partial(load, num_threads=2))  # doctest: +SKIP
    JobResult(out='/home/ada/words', shards=1, images=9998, failed=2, images_now=9998, seconds=61.5)
    """
    if not (hasattr(task, "verb") and callable(engine)):
        raise InputError("task must be one of fastconcept.jobs.tasks, and engine a function that opens an engine")
    folder = Folder(_absolute(out))
    rows = task.shard_rows if shard_rows is None else shard_rows
    if not 1 <= rows <= _LARGEST_SHARD:
        raise InputError(f"shard_rows must be from 1 to {_LARGEST_SHARD:,}, got {rows!r}")
    model = engine() if cluster is None else cluster.describing_engine(engine)
    task.check(model)
    place = _absolute(source)
    chosen: dict[str, Any] = {
        "images": None if images is None else _absolute(images),
        "image_column": image_column,
        "columns": None if columns is None else list(columns),
        "where": dict(where or {}),
    }
    job = {
        "format": _FORMAT,
        "task": task.verb,
        "source": place,
        **chosen,
        "shard_rows": rows,
        "options": task.options(model),
        "model": _model(model, engine),
    }
    with signals_raise(), _only_one(folder):
        manifest = _begun(folder, job)
        if not folder.has(PLAN):
            make_plan(place, folder, rows, **chosen).save(folder)
        plan = Plan.load(folder)
        there = folder.names("shards")
        before = [number for number in range(len(plan.units)) if shard_name(number) in there]
        pending = sorted(set(range(len(plan.units))) - set(before))
        began, seconds = datetime.now(timezone.utc), time.perf_counter()
        if cluster is None:
            finished = _here(Worker(task, model, plan, folder), pending, progress)
        else:
            finished = _on(cluster, task, engine, plan, folder, pending, progress)
        seconds = time.perf_counter() - seconds
        total = [*finished, *(read_done(folder, number) for number in before)]
        failed = join_failures(folder)
        result = JobResult(
            str(folder), len(total), _sum(total), failed, _sum(finished), round(seconds, 3) if finished else 0.0
        )
        run = {"began": began.isoformat(timespec="seconds"), "seconds": result.seconds, "shards": len(finished)}
        run |= {"images": result.images_now, "device": model.device, "ray": cluster is not None, "versions": versions()}
        manifest["counts"] = {"shards": result.shards, "images": result.images, "failed": result.failed}
        manifest["runs"] = [*manifest.get("runs", []), run]
        _write_manifest(folder, manifest)
    return result


def _sum(done: Sequence[Done]) -> int:
    return sum(each.rows for each in done)


def _here(worker: Worker, pending: Sequence[int], progress: Progress) -> list[Done]:
    """Unit after unit in this process."""
    finished: list[Done] = []
    units, whole = worker.plan.units, worker.plan.weight
    share, rows = 1 - sum(units[number].weight for number in pending) / whole, 0
    progress(0, share)
    for number in pending:
        weight, counted = units[number].weight, units[number].kind != "tar"

        def report(read: int) -> None:
            part = min(read, weight) / whole if counted else 0.0  # noqa: B023 (called before the next unit)
            progress(rows + read, share + part)  # noqa: B023

        finished.append(worker.run(number, report))
        share += weight / whole
        rows += finished[-1].rows + finished[-1].failed
        progress(rows, share)
    return finished


def _on(
    cluster: Cluster,
    task: Task,
    engine: Callable[..., Engine],
    plan: Plan,
    folder: Folder,
    pending: Sequence[int],
    progress: Progress,
) -> list[Done]:
    """Units on the workers of a cluster, in whatever order they are finished."""
    finished: list[Done] = []
    share, rows = 1 - sum(plan.units[number].weight for number in pending) / plan.weight, 0
    progress(0, share)
    for done in cluster.run(task, engine, folder, pending) if pending else ():
        finished.append(done)
        share += plan.units[done.unit].weight / plan.weight
        rows += done.rows + done.failed
        progress(rows, share)
    return finished


# The folder of a job --------------------------------------------------------------------------------------------------


def _absolute(place: str | os.PathLike[str]) -> str:
    """Paths of this machine are kept whole, so that a job may go on from another directory, and on other nodes."""
    if not isinstance(place, (str, os.PathLike)) or not os.fspath(place):
        raise InputError(f"source, out and images must be paths or URLs, got {shown(place)}")
    text = os.fspath(place)
    return text if is_remote(text) else os.path.abspath(os.path.expanduser(text))


def _model(model: Engine, engine: Callable[..., Engine]) -> dict[str, Any]:
    """What decides the numbers: the bundle, by the checksum of its manifest, which has those of all its files."""
    keywords = getattr(engine, "keywords", {})
    chosen = {name: keywords.get(name) for name in ("bank", "dictionary", "decode")}
    about: dict[str, Any] = {"embedding_dim": model.parts.embedding_dim, **chosen}
    if not model.parts.from_bundle:
        return {"bundle": None, "sha256": None, **about}
    bundle = model.bundle
    named = " ".join(filter(None, (bundle.manifest.model, bundle.manifest.pretrained)))
    return {"bundle": named, "sha256": sha256_of(bundle.path / MANIFEST), **about}


def _begun(folder: Folder, job: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the job in this folder, new or from an earlier run.

    Raises
    ------
    InputError
        If the folder holds another job, or anything else.
    """
    if not folder.has(MANIFEST):
        if others := folder.names() - {"job"}:
            raise InputError(f"{folder} holds no job, but {min(others)!r}; choose an empty folder, or a new one")
        _write_manifest(folder, job)
        return dict(job)
    try:
        manifest = json.loads(folder.read(MANIFEST))
        earlier = {name: manifest[name] for name in job}
        if not isinstance(manifest.get("runs", []), list):
            raise ValueError("runs")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{folder.file(MANIFEST)} is not the manifest of a job; choose another folder") from None
    for name, value in job.items():
        if earlier[name] != json.loads(json.dumps(value)):
            was, now = _difference(earlier[name], value)
            raise InputError(
                f"{folder} holds another job: {name} was {was}, and is {now} now; "
                "repeat the options of that job to go on with it, or choose another folder"
            )
    return dict(manifest)


def _difference(was: Any, now: Any) -> tuple[Any, Any]:
    """Two values, or those of their entries that differ."""
    if isinstance(was, dict) and isinstance(now, dict):
        keys = [key for key in {**was, **now} if was.get(key) != now.get(key)]
        return tuple({key: value.get(key) for key in keys} for value in (was, now))  # type: ignore[return-value]
    return was, now


def _write_manifest(folder: Folder, manifest: Mapping[str, Any]) -> None:
    with folder.write(MANIFEST) as stream:
        stream.write(json.dumps(manifest, indent=1).encode() + b"\n")


@contextmanager
def _only_one(folder: Folder) -> Iterator[None]:
    """Keep a second run of the same job out; on this machine only.

    Raises
    ------
    InputError
        If there is one.
    """
    if is_remote(str(folder)):
        yield
        return
    lock = os.path.join(str(folder), "job", "lock")
    try:
        os.makedirs(os.path.dirname(lock), exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror or error}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(f"another process is at work on the job in {folder}") from None
    finally:
        os.close(descriptor)

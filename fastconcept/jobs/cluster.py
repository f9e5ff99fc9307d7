"""A job on a cluster: Ray Data hands units to actors, each with an engine of its own, and replaces those that die.

Scheduling, retries and the placing of GPUs are Ray's. What runs in an actor is what runs without Ray, so that both
write the same shards.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from ..engine import Engine
from ..errors import FastconceptError, InputError, MissingDependencyError
from ..kernels.threads import default_num_threads
from .places import Folder
from .plan import Plan
from .shards import Done, Worker
from .tasks import Task

_LOCAL = "local"
_MOST_BLOCKS = 4096  # of the list of units
_BLOCK_BYTES = 1 << 20  # numbers of units and rows; Ray waits until so much memory is free in its object store
_THREADS = 4  # CPUs of an actor unless somebody asks for others


@dataclass(frozen=True)
class Cluster:
    """Where Ray is, and what each of its actors gets.

    Parameters
    ----------
    address : str, optional
        As for ``ray.init``: ``"auto"`` or ``"HOST:PORT"`` for a cluster that runs; ``"local"`` starts Ray on this
        machine. None takes a cluster that runs, or else starts Ray here.
    num_gpus : int
        GPUs of the job, one actor for each; 0 uses CPUs.
    num_threads : int, optional
        CPUs of an actor; by default 4, or all of a smaller node. Without GPUs there are as many actors as fit.

    Raises
    ------
    InputError
        If a number is out of range.
    """

    address: str | None = None
    num_gpus: int = 0
    num_threads: int | None = None

    def __post_init__(self) -> None:
        if self.num_gpus < 0:
            raise InputError(f"num_gpus must not be negative, got {self.num_gpus!r}")
        if self.num_threads is not None and self.num_threads < 1:
            raise InputError(f"num_threads must be positive, got {self.num_threads!r}")

    def describing_engine(self, engine: Callable[..., Engine]) -> Engine:
        """An engine of the same model for the machine that starts the job, which may have no GPU."""
        return engine(device="cpu", encoder="onnx", providers=None) if self.num_gpus else engine()

    def run(self, task: Task, engine: Callable[..., Engine], folder: Folder, pending: Sequence[int]) -> Iterator[Done]:
        """Work on units until all are done.

        Yields
        ------
        Done
            Each unit when it is finished.

        Raises
        ------
        FastconceptError
            What an actor could not do, as it would be without Ray.
        """
        ray = _ray()
        mine = not ray.is_initialized()
        with redirect_stdout(sys.stderr):  # Ray tells of workers that died, in the midst of what we print
            if mine:
                _start(ray, self.address)
            try:
                threads, actors = self._shares(ray)
                yield from _results(ray, _Work(task, engine, folder, threads), pending, threads, actors, self.num_gpus)
            finally:
                if mine:
                    ray.shutdown()

    def _shares(self, ray: Any) -> tuple[int, int]:
        """CPUs of an actor, and the number of actors."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0)]
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        if not cpus:
            raise InputError("the Ray cluster has no CPU")
        if self.num_gpus > gpus:
            raise InputError(f"num_gpus is {self.num_gpus}, but the Ray cluster has {gpus} GPUs")
        threads = min(_THREADS, min(cpus)) if self.num_threads is None else self.num_threads
        if threads > max(cpus):
            raise InputError(f"num_threads is {threads}, but the largest node of the Ray cluster has {max(cpus)} CPUs")
        return threads, self.num_gpus or sum(node // threads for node in cpus)


@dataclass(frozen=True)
class _Work:
    """What an actor needs to know."""

    task: Task
    engine: Callable[..., Engine]
    folder: Folder
    threads: int


def _actor_of(work: _Work) -> type:
    """The callable class that Ray Data keeps alive on its workers."""

    class Actor:
        def __init__(self) -> None:
            engine = work.engine(num_threads=work.threads)
            self.worker = Worker(work.task, engine, Plan.load(work.folder), work.folder)

        def __call__(self, units: dict[str, Any]) -> dict[str, Any]:
            done = [self.worker.run(int(number)) for number in units["unit"]]
            return {name: [getattr(each, name) for each in done] for name in Done._fields}

    return Actor


def _results(ray: Any, work: _Work, pending: Sequence[int], threads: int, actors: int, num_gpus: int) -> Iterator[Done]:
    data = ray.data
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its files have the rest
    context = data.DataContext.get_current()
    before = context.target_max_block_size, context.enable_progress_bars
    context.target_max_block_size, context.enable_progress_bars = _BLOCK_BYTES, False
    units = data.from_items(
        [{"unit": number} for number in pending], override_num_blocks=min(len(pending), _MOST_BLOCKS)
    )
    results = units.map_batches(
        _actor_of(work),
        batch_size=1,
        compute=data.ActorPoolStrategy(size=min(actors, len(pending))),
        num_cpus=threads,
        num_gpus=1 if num_gpus else 0,
    )
    try:
        for row in results.iter_rows():
            yield Done(*(int(row[name]) for name in Done._fields))
    except Exception as error:
        raise _cause(error) or error from None
    finally:
        context.target_max_block_size, context.enable_progress_bars = before


def _cause(error: BaseException) -> FastconceptError | None:
    """The error of ours that Ray has wrapped into its own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, FastconceptError):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    return None


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # on the terminal; its files have the rest
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of its own statistics; ours come with the results
    try:
        import ray  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import ray.data  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise MissingDependencyError("ray", "ray") from None
    return ray


def _start(ray: Any, address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == _LOCAL:
            ray.init(address=_LOCAL, include_dashboard=False, num_cpus=default_num_threads(), **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"no Ray cluster at {address or 'this machine'}: {error}") from None

"""Bulk jobs beside the engine that they call, over the same small files, in one run.

``batch`` and ``batch-ray`` compare rates; ``batch-limits`` looks at memory, a job that is killed, and damaged files.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

import fastconcept as fc
from fastconcept.jobs.batch import batch
from fastconcept.jobs.cluster import Cluster
from fastconcept.jobs.tasks import Answers, Decompose, Failed
from fastconcept.kernels.threads import default_num_threads

_DAMAGED = 20  # one file of so many
# The verb in a process of its own, which says how much memory it took; getrusage would count its parent's.
_VERB = """
import sys
from fastconcept.cli import run
code = run(sys.argv[1:])
with open("/proc/self/status") as lines:
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""

_QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def here(options: Any) -> list[dict[str, Any]]:
    """Rates of ``decompose(list of paths)`` and of ``batch``: whenever a shard is done, the engine takes as many paths.

    In turns, so that other work on the machine slows both. The job's time includes listing and writing.
    """
    count, shard = (200, 100) if options.quick else (10_000, 1000)
    engine = fc.load()
    with tempfile.TemporaryDirectory() as folder:
        paths = pictures(Path(folder, "photos"), count)
        _ = engine.decompose(paths[:64]).cosine  # opens everything
        alone = _Watch()

        def turn(rows: int, share: float) -> None:
            if rows and rows % shard == 0:
                with alone:
                    _ = engine.decompose(paths[rows - shard : rows]).cosine

        job = _Watch()
        with job:
            result = batch(
                Decompose(), Path(folder, "photos"), Path(folder, "out"), engine=lambda: engine, shard_rows=shard,
                progress=turn,
            )  # fmt: skip
    assert result.images == count, result
    wall, processor = job.wall - alone.wall, job.processor - alone.processor
    return [
        {
            "case": f"decompose {count:,} images, here",
            "engine_per_second": count / alone.wall,
            "batch_per_second": count / wall,
            "batch_to_engine": alone.wall / wall,
            "engine_cpu_ms": 1e3 * alone.processor / count,
            "batch_cpu_ms": 1e3 * processor / count,
        }
    ]


@dataclass(frozen=True)
class _InTurns(Decompose):
    """Whenever a worker is done with a shard, its engine decomposes the same images by itself."""

    log: str = ""  # file for the seconds that this takes

    def answers(self, engine: fc.Engine, images: Iterator[bytes], failed: Failed) -> Iterator[Answers]:
        """The answers, and then those of the engine alone, which nobody gets."""
        same: list[bytes] = []

        def kept() -> Iterator[bytes]:
            for image in images:
                same.append(image)
                yield image

        yield from super().answers(engine, kept(), failed)
        with (alone := _Watch()):
            _ = engine.decompose(same).cosine
        with Path(self.log).open("a") as log:
            log.write(f"{alone.wall}\n")


def on_ray(options: Any) -> list[dict[str, Any]]:
    """The same for a worker of a local Ray with the same cores. Its time includes the start of the worker."""
    if importlib.util.find_spec("ray") is None:
        print("batch-ray: Ray is not installed", file=sys.stderr)
        return []
    import ray

    count = 200 if options.quick else 10_000
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (Ray's name); else other programs of the machine come first
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # for the worker
    with tempfile.TemporaryDirectory() as folder:
        photos, log = Path(folder, "photos"), Path(folder, "log")
        pictures(photos, count)
        with (start := _Watch()):
            ray.init(address="local", include_dashboard=False, num_cpus=default_num_threads(), log_to_driver=False)
        with (job := _Watch()):
            task, rows = _InTurns(log=str(log)), max(count // 10, 1)
            result = batch(task, photos, Path(folder, "out"), shard_rows=rows, cluster=Cluster())
        ray.shutdown()
        alone = sum(map(float, log.read_text().split()))
    assert result.images == count, result
    wall = job.wall - alone
    return [
        {
            "case": f"decompose {count:,} images, Ray on the same cores",
            "engine_per_second": count / alone,
            "ray_per_second": count / wall,
            "ray_to_engine": alone / wall,
            "start_of_ray_seconds": start.wall,
            "ray_with_start_to_engine": alone / (wall + start.wall),
        }
    ]


def limits(options: Any) -> list[dict[str, Any]]:
    """Peak memory of few and many rows; what kill -9 costs; each damaged file in ``failed.parquet``."""
    few, many = (50, 200) if options.quick else (1000, 20_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = pictures(folder / "few", few)
        (folder / "many").mkdir()
        for number in range(many):
            os.link(paths[number % few], folder / "many" / f"{number:06d}.jpg")
        peaks = [_verb(folder / kind, folder / f"out-{kind}")[1] for kind in ("few", "many")]
        memory = {"case": f"peak memory, {few:,} and {many:,} rows", "few_mib": peaks[0], "many_mib": peaks[1]}
        return [memory | {"many_to_few": peaks[1] / peaks[0]}, _killed(folder, 100 if options.quick else 2000)]


def _killed(folder: Path, count: int) -> dict[str, Any]:
    """A job with damaged files, killed in the middle of a shard and started again, beside one that is left alone."""
    shard, photos = count // 8, folder / "damaged"
    paths = pictures(photos, count)
    damaged = set(paths[::_DAMAGED])
    for path in damaged:
        Path(path).write_bytes(Path(path).read_bytes()[:300])
    whole, _ = _verb(photos, folder / "whole", "--shard-rows", str(shard))
    with subprocess.Popen(_command(photos, folder / "killed", "--shard-rows", str(shard)), **_QUIET) as process:
        while len([*(folder / "killed" / "shards").glob("part-*.parquet")]) < 3 and process.poll() is None:
            time.sleep(0.005)
        time.sleep(0.6 * whole["seconds"] / 8)  # in the middle of the next one
        process.send_signal(signal.SIGKILL)
    before = sum(_rows(file) for file in (folder / "killed" / "shards").glob("part-*.parquet"))
    resumed, _ = _verb(photos, folder / "killed", "--shard-rows", str(shard))
    failed, rows = _column(folder / "killed" / "failed.parquet"), _column(folder / "killed" / "shards")
    assert sorted([*failed, *rows]) == paths, "a row was lost, or is there twice"
    return {
        "case": f"{count:,} rows in shards of {shard}, {len(damaged)} files damaged, killed once",
        "done_before": before,
        "done_after": resumed["images_now"],
        "done_twice_at_most": shard,
        "rows_in_all": len(rows),
        "failed": len(failed),
        "failed_are_the_damaged": set(failed) == damaged,
    }


def _verb(source: Path, out: Path, *more: str) -> tuple[dict[str, Any], float]:
    """What ``fastconcept batch decompose`` answers, and the MiB that it took at most."""
    ended = subprocess.run(_command(source, out, *more), check=True, capture_output=True, text=True)
    return json.loads(ended.stdout), int(ended.stderr.split()[-1]) / 1024


def _command(source: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-c", _VERB, "batch", "decompose", str(source), "-o", str(out), "--json", *more]


def _rows(file: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(file).num_rows)


def _column(place: Path) -> list[str]:
    import pyarrow.parquet as pq

    paths: list[str] = pq.read_table(place, columns=["path"])["path"].to_pylist()
    return paths


class _Watch:
    """Seconds, and seconds of this process's threads, of all blocks together."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._began[0]
        self.processor += time.process_time() - self._began[1]


def pictures(folder: Path, count: int) -> list[str]:
    """Crops of photographs, 160 pixels wide, as JPEG; their paths in order."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    photographs = [np.asarray(picture) for picture in (data.chelsea(), data.coffee(), data.rocket(), data.astronaut())]
    for number in range(count):
        pixels = photographs[number % len(photographs)]
        top, left = generator.integers(0, pixels.shape[0] - 160), generator.integers(0, pixels.shape[1] - 160)
        Image.fromarray(pixels[top : top + 160, left : left + 160]).save(folder / f"{number:06d}.jpg")
    return [str(path) for path in sorted(folder.iterdir())]


SUITES: dict[str, Callable[[Any], list[dict[str, Any]]]] = {"batch": here, "batch-ray": on_ray, "batch-limits": limits}

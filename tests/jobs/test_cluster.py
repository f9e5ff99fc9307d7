"""Jobs on a Ray of two CPUs on this machine; they skip where Ray is not installed (``make test-ray`` installs it)."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fastconcept.errors import InputError, MissingDependencyError
from fastconcept.jobs.batch import batch
from fastconcept.jobs.cluster import Cluster
from fastconcept.jobs.tasks import Embed
from tests.jobs.test_batch import failed, read
from tests.jobs.test_resume import left_behind
from tests.jobs.worlds import colours, folder_of

ROOT = Path(__file__).resolve().parents[2]
HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed (make test-ray)")


def command(source: Path, out: Path, *options: str) -> list[str]:
    verb = [sys.executable, "-c", "from fastconcept.cli import main; main()", "batch", "decompose", str(source)]
    return [*verb, "-o", str(out), "--shard-rows", "10", "--num-threads", "1", "--json", *options]


def finish(arguments: list[str]) -> dict[str, Any]:
    ended = subprocess.run(arguments, cwd=ROOT, env=quick(), capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def quick() -> dict[str, str]:
    """Workers of Ray are as nice as this process, so that a busy machine does not starve them."""
    return {**os.environ, "RAY_worker_niceness": "0"}


def workers(driver: int) -> list[int]:
    """Processes below the driver that run actors of Ray Data."""
    parents: dict[int, int] = {}
    titles: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                titles[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
            except (OSError, IndexError):  # it has ended meanwhile
                continue

    def below(process: int) -> bool:
        while process in parents and process != driver:
            process = parents[process]
        return process == driver

    return [
        process for process, title in titles.items() if "ray::" in title and "MapWorker" in title and below(process)
    ]


def shards(out: Path) -> int:
    return len(list((out / "shards").glob("*.parquet")))


@needs_ray
def test_a_worker_dies_and_ray_writes_the_same_rows(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 160, damaged=20)
    out = tmp_path / "ray"
    with subprocess.Popen(
        command(tmp_path / "photos", out, "--ray", "local"), cwd=ROOT, env=quick(), stdout=subprocess.PIPE, text=True
    ) as driver:
        until = time.monotonic() + 400
        while (shards(out) < 2 or not workers(driver.pid)) and driver.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        victims = workers(driver.pid)
        assert victims, "the job ended before a worker could be killed"
        os.kill(victims[0], signal.SIGKILL)
        answer = json.loads(driver.communicate(timeout=400)[0])
    assert (answer["images"], answer["failed"], answer["shards"]) == (152, 8, 16)
    assert left_behind(out) == []
    finish(command(tmp_path / "photos", tmp_path / "here"))
    assert read(out) == read(tmp_path / "here")
    assert failed(out) == failed(tmp_path / "here")


@needs_ray
def test_a_driver_that_was_killed_goes_on(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 120)
    out = tmp_path / "ray"
    arguments = command(tmp_path / "photos", out, "--ray", "local")
    with subprocess.Popen(arguments, cwd=ROOT, env=quick(), stdout=subprocess.DEVNULL) as driver:
        until = time.monotonic() + 400
        while shards(out) < 3 and driver.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        driver.send_signal(signal.SIGKILL)
    assert driver.returncode == -signal.SIGKILL, "the job ended before it was killed"
    answer = finish(arguments)
    assert answer["images"] == 120
    assert answer["images_now"] < 120
    assert len({row["path"] for row in read(out)}) == 120


@needs_ray
def test_errors_of_workers_are_ours(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 1)
    arguments = command(tmp_path / "photos", tmp_path / "out", "--ray", "local", "--num-gpus", "1")
    ended = subprocess.run(arguments, cwd=ROOT, env=quick(), capture_output=True, text=True, timeout=500)
    error = json.loads(ended.stdout)["error"]
    assert error == {"type": "InputError", "message": "num_gpus is 1, but the Ray cluster has 0 GPUs"}
    assert ended.returncode == 2


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 1)
    with pytest.raises(MissingDependencyError, match=r"fastconcept\[ray\]"):
        batch(Embed(), tmp_path / "photos", tmp_path / "out", engine=colours, cluster=Cluster("local"))


@pytest.mark.parametrize("options", [{"num_gpus": -1}, {"num_threads": 0}])
def test_numbers_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        Cluster(**options)

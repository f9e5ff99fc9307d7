"""Jobs that are killed: no row is lost, none is there twice, no shard is half, and none is made twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from fastconcept.jobs.batch import batch
from fastconcept.jobs.tasks import Decompose
from tests.jobs.test_batch import failed, read
from tests.jobs.worlds import colours, folder_of

ROOT = Path(__file__).resolve().parents[2]


def left_behind(out: Path) -> list[Path]:
    return [path for path in out.rglob("*") if "partial" in path.name]


def test_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 400, damaged=20)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tests.jobs.killed", str(tmp_path / "photos"), str(out), "20", "7"]
    runs = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300).stdout
    seen: dict[str, int] = {}
    for line in runs.splitlines():
        shards = json.loads(line)
        assert seen.items() <= shards.items(), "a finished shard was lost or made again"
        seen = shards
    assert len(runs.splitlines()) == 20
    batch(Decompose(), tmp_path / "photos", out, engine=partial(colours, 0.0), shard_rows=8)
    assert seen.items() <= {file.name: file.stat().st_ino for file in (out / "shards").iterdir()}.items()
    batch(Decompose(), tmp_path / "photos", tmp_path / "whole", engine=colours, shard_rows=8)
    assert read(out) == read(tmp_path / "whole")
    assert failed(out) == failed(tmp_path / "whole")
    assert len(failed(out)) == 20
    assert left_behind(out) == []


# The verb, in a process that kills itself at a shard: just before it appears, or just after.
_FRAGILE = """
import os, signal, sys
from fastconcept.cli import main
moment, left, replace = sys.argv.pop(1), int(sys.argv.pop(1)), os.replace

def dying(source, target):
    global left
    if "/shards/" in str(target):
        left -= 1
        if moment == "after":
            replace(source, target)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if moment == "after":
            return
    replace(source, target)

os.replace = dying
main()
"""


def test_the_verb_is_killed(tmp_path: Path) -> None:
    """``fastconcept batch`` with the model inside the package, at the worst moments."""
    paths = folder_of(tmp_path / "photos", 48, damaged=16)
    out = tmp_path / "out"
    words = ["batch", "decompose", str(tmp_path / "photos"), "-o", str(out), "--shard-rows", "6", "--json"]
    for moment, left, shards in (("before", 1, 0), ("after", 2, 2), ("before", 3, 4)):
        process = subprocess.run([sys.executable, "-c", _FRAGILE, moment, str(left), *words], cwd=ROOT, timeout=500)
        assert process.returncode == -signal.SIGKILL
        assert len(list((out / "shards").glob("*.parquet"))) == shards
    command = [sys.executable, "-c", "from fastconcept.cli import main; main()", *words]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=500).stdout
    result = json.loads(answer)
    assert (result["images"], result["failed"], result["shards"]) == (45, 3, 8)
    assert result["images_now"] <= 48 - 6 * 4
    assert sorted([*(row["path"] for row in read(out)), *failed(out)]) == paths
    assert left_behind(out) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_leave_nothing_half_written(number: signal.Signals, tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 60)
    out = tmp_path / "out"
    program = (
        "from functools import partial; from fastconcept.jobs.batch import batch; "
        "from fastconcept.jobs.tasks import Embed; from tests.jobs.worlds import colours; import signal, sys; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "  # shells ignore it in the background
        "batch(Embed(), sys.argv[1], sys.argv[2], engine=partial(colours, 0.02), shard_rows=2)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "photos"), str(out)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 400
        while not list((out / "shards").glob("*.parquet")) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(number)
    assert process.returncode
    assert left_behind(out) == []

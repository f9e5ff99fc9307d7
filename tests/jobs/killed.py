"""Runs a job again and again and kills it each time; a program of its own, so that it can fork before threads begin.

``python -m tests.jobs.killed SOURCE OUT TIMES SEED`` prints one line of JSON per run: the names of the shards after it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

from fastconcept.jobs.arrow import pyarrow
from fastconcept.jobs.batch import batch
from fastconcept.jobs.tasks import Decompose
from tests.jobs.worlds import colours


def main(source: str, out: str, times: int, seed: int) -> None:
    """Kill a job some times at random moments, from its first instruction on."""
    pyarrow()
    moments = random.Random(seed)
    for _ in range(times):
        child = os.fork()
        if not child:
            batch(Decompose(), source, out, engine=partial(colours, 0.01), shard_rows=8)
            os._exit(0)
        time.sleep(moments.uniform(0, 0.4))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        shards = Path(out, "shards")
        print(json.dumps({file.name: file.stat().st_ino for file in shards.glob("*.parquet")}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

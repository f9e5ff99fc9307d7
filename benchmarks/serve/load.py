"""Throughput and latency of the server, beside the engine called directly, in one run."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .connection import Connection, request
from .process import ServerProcess

if TYPE_CHECKING:
    from benchmarks.__main__ import Options
    from fastconcept import Engine

CLIENTS, BATCH = 16, 16


def photographs(seed: int) -> Iterator[bytes]:
    """JPEG files of photographs of scikit-image, 480 by 320 pixels, no two of them equal: each has its own comment."""
    from PIL import Image
    from skimage import data

    files = []
    for make in (data.coffee, data.chelsea, data.rocket, data.astronaut):
        stream = BytesIO()
        Image.fromarray(make()).resize((480, 320)).save(stream, "JPEG", quality=90)
        files.append(stream.getvalue())
    for number in itertools.count():
        comment = f"{seed} {number}".encode()
        file = files[number % len(files)]
        yield file[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + file[2:]


def direct(engine: Engine, seconds: float) -> tuple[float, float]:
    """Images per second of ``decompose`` in batches, and the median time of a batch in seconds."""
    files, times = photographs(0), list[float]()
    engine.decompose(list(itertools.islice(files, BATCH)))
    while sum(times) < seconds:
        batch = list(itertools.islice(files, BATCH))
        began = time.perf_counter()
        for code in engine.decompose(batch):
            code.to_dict()
        times.append(time.perf_counter() - began)
    return BATCH * len(times) / sum(times), float(np.median(times))


async def _decompose(port: int, seconds: float) -> tuple[float, list[float]]:
    files, times, warm = photographs(1), list[float](), 1.0
    began = time.perf_counter()

    async def client() -> None:
        connection = Connection(port)
        while time.perf_counter() - began < warm + seconds:
            asked = request("/v1/decompose", next(files), "image/jpeg")
            sent = time.perf_counter()
            answer = await connection.ask(asked)
            assert answer.status == 200, answer.body
            if sent - began > warm:
                times.append(time.perf_counter() - sent)
        await connection.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return len(times) / seconds, times


async def _further_concepts(port: int, count: int) -> list[float]:
    """Seconds of each further concept on a photograph that was sent before."""
    from fastconcept.concepts.taxonomy import Taxonomy

    file = next(photographs(2))
    connection, times = Connection(port), list[float]()
    names = Taxonomy.builtin().names
    chosen = [names[index] for index in np.random.default_rng(0).choice(len(names), count, replace=False)]

    async def ask(content: bytes, kind: str, query: str = "") -> str:
        sent = time.perf_counter()
        answer = await connection.ask(request(f"/v1/explain{query}", content, kind))
        assert answer.status == 200, answer.body
        named = json.loads(answer.body)["images"][0]["hash"]
        times.append(time.perf_counter() - sent)
        return str(named)

    named = await ask(file, "image/jpeg", "?concept=cup.n.01&mode=windows")
    for name in ["dog.n.01", "a red ball", *chosen]:
        asked = {"image": named, "concepts": [name], "mode": "windows"}
        await ask(json.dumps(asked).encode(), "application/json")
    await connection.close()
    return times[3:]


def server(options: Options) -> list[dict[str, Any]]:
    """``decompose`` with 16 clients beside the engine's own batches, and further concepts on one photograph."""
    import fastconcept as fc

    seconds = 2.0 if options.quick else 15.0
    engine = fc.load()
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder) / "log") as process:
        before = direct(engine, seconds / 2)
        throughput, times = asyncio.run(_decompose(process.port, seconds))
        after = direct(engine, seconds / 2)
        further = asyncio.run(_further_concepts(process.port, 20 if options.quick else 200))
        process.terminate()
        process.wait()
    images, batch = (before[0] + after[0]) / 2, (before[1] + after[1]) / 2
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return [
        {"what": f"engine, batches of {BATCH}", "images per second": images, "batch ms": batch * 1e3},
        {
            "what": f"server, {CLIENTS} clients",
            "images per second": throughput,
            "of the engine's": throughput / images,
            "p50 ms": p50 * 1e3,
            "p99 ms": p99 * 1e3,
            "p99 in batches": p99 / batch,
        },
        {
            "what": "server, a further concept",
            "p50 ms": float(np.quantile(further, 0.5)) * 1e3,
            "p95 ms": float(np.quantile(further, 0.95)) * 1e3,
            "p99 ms": float(np.quantile(further, 0.99)) * 1e3,
        },
    ]


SUITES = {"serve": server}

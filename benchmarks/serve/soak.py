"""Many mixed requests, and an account of every one of them: ``python -m benchmarks.serve.soak --requests 100000``.

Good, bad, huge and hopeless requests come from several clients at once; some are cancelled by their client, and with
``--cut`` connections break at random bytes. In the middle the server gets SIGTERM and another one takes over. In the
end the log of the servers is compared with what the clients received: an answer that a server gave and no client got,
an answer of another kind than expected, or memory that grows, is a failure. All of it stays on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .connection import Connection, request
from .load import photographs
from .process import ServerProcess, requests_of

HUGE = 3 << 20  # bytes; the servers take 2 MiB
OPTIONS = ("--max-body", "2", "--max-store", "64", "--request-timeout", "600")
BUSY = {429, 503}  # may be the answer to any request
CANCELLED, REFUSED = -1, -2


@dataclass(frozen=True)
class Kind:
    """A kind of request: how often, its bytes, and the status that it should get."""

    share: int
    content: bytes = field(repr=False)
    expected: int


def kinds() -> dict[str, Kind]:
    """The mix. Photographs are small and few, so that what is measured is the server and not the encoder."""
    files = [*itertools.islice(_small(), 8)]
    first = files[0]
    explain = "/v1/explain?mode=windows&stride=32&concept="

    def form(name: str, **fields: Any) -> bytes:
        return request(name, json.dumps(fields).encode(), "application/json")

    found = {
        f"decompose {index}": Kind(6, request(f"/v1/decompose?l0={index + 1}", file, "image/jpeg"), 200)
        for index, file in enumerate(files)
    }
    return found | {
        "embed": Kind(10, form("/v1/embed", image=base64.b64encode(first).decode()), 200),
        "text": Kind(2, form("/v1/decompose", texts=["a red ball"]), 200),
        "explain": Kind(4, request(f"{explain}cup.n.01", first, "image/jpeg"), 200),
        "further concept": Kind(4, request(f"{explain}dog.n.01", first, "image/jpeg"), 200),
        "health": Kind(4, request("/v2/health/ready"), 200),
        "unknown concept": Kind(2, request(f"{explain}dgo.n.01", first, "image/jpeg"), 422),
        "bad image": Kind(4, request("/v1/embed", first[: len(first) // 2], "image/jpeg"), 422),
        "no image": Kind(2, request("/v1/embed", b"hello", "image/jpeg"), 422),
        "bad json": Kind(2, request("/v1/embed", b"{", "application/json"), 400),
        "bad tensors": Kind(2, request("/v2/models/embed/infer", b"{}", "application/json"), 400),
        "huge": Kind(1, request("/v1/embed", b"x" * HUGE, "image/jpeg"), 413),
        "huge, asks first": Kind(2, request("/v1/embed", length=99 << 30, Expect="100-continue"), 413),
        "nowhere": Kind(2, request("/v1/nothing"), 404),
        "hopeless": Kind(2, request("/v1/embed", first + b"\0", "image/jpeg", X_Request_Timeout="0.000001"), 504),
    }


def _small() -> Any:
    from io import BytesIO

    from PIL import Image

    for file in photographs(3):
        stream = BytesIO()
        Image.open(BytesIO(file)).resize((160, 120)).save(stream, "JPEG")
        yield stream.getvalue()


class Soak:
    """Clients, servers, and what has become of every request."""

    def __init__(self, count: int, clients: int, seed: int, cut: float, folder: Path) -> None:
        self.count, self.clients, self.cut, self.folder = count, clients, cut, folder
        self.mix, self.random = kinds(), random.Random(seed)
        self.names, self.shares = list(self.mix), [kind.share for kind in self.mix.values()]
        self.received: dict[str, int] = {}  # request id to status, or CANCELLED, or REFUSED
        self.kind_of: dict[str, str] = {}
        self.memory: list[tuple[int, float]] = []
        self.numbers = iter(range(count))
        self.changed = asyncio.Event()
        self.server = ServerProcess(folder / "log", *OPTIONS)
        self.changed.set()

    async def run(self) -> None:
        """Send everything."""
        await asyncio.gather(*(self._client() for _ in range(self.clients)), self._middle())
        self.memory.append((len(self.received), self.server.memory))
        self.server.terminate()
        code = self.server.wait()
        assert code == 0, f"the server ended with {code}"

    async def _middle(self) -> None:
        """Let a second server take over when half of the requests are answered."""
        while len(self.received) < self.count // 2:
            await asyncio.sleep(0.05)
        self.memory.append((len(self.received), self.server.memory))
        self.changed.clear()
        old = self.server
        old.terminate()
        code = await asyncio.to_thread(old.wait)
        assert code == 0, f"the server ended with {code}"
        self.server = await asyncio.to_thread(ServerProcess, self.folder / "log", *OPTIONS)
        self.changed.set()

    async def _client(self) -> None:
        connection, server = Connection(self.server.port), self.server
        for number in self.numbers:
            await self.changed.wait()
            if server is not self.server:
                await connection.close()
                connection, server = Connection(self.server.port), self.server
            name = self.random.choices(self.names, self.shares)[0]
            identity = f"{number}-{name.replace(' ', '-').replace(',', '')}"
            content = self.mix[name].content.replace(b"\r\n", f"\r\nX-Request-ID: {identity}\r\n".encode(), 1)
            self.kind_of[identity] = name
            self.received[identity] = await self._one(connection, content, name)
            if number % 1000 == 0:
                self._note(number)
        await connection.close()

    async def _one(self, connection: Connection, content: bytes, name: str) -> int:
        chance = self.random.random()
        try:
            if chance < self.cut:
                await connection.cut(content, self.random.randrange(len(content)), self.random.random() * 0.02)
                return CANCELLED
            if chance < self.cut + 0.03:  # sent whole, and then given up
                await connection.cut(content, len(content), self.random.random() * 0.02)
                return CANCELLED
            return (await connection.ask(content)).status
        except (OSError, asyncio.IncompleteReadError):
            await connection.close()
            return REFUSED

    def _note(self, number: int) -> None:
        try:
            self.memory.append((number, self.server.memory))
        except (FileNotFoundError, IndexError):
            return
        print(f"{number:7d} requests, {self.memory[-1][1]:6.0f} MiB", file=sys.stderr)

    def account(self) -> dict[str, Any]:
        """What has become of the requests, and everything that should not have happened."""
        logged = requests_of(self.folder / "log")
        wrong: list[str] = []
        for identity, status in self.received.items():
            expected = self.mix[self.kind_of[identity]].expected
            answered = logged.get(identity)
            if status == REFUSED and answered not in (None, 499):
                wrong.append(f"{identity}: answered with {answered}, and lost")
            if status > 0 and status not in BUSY | {expected}:
                wrong.append(f"{identity}: {status} instead of {expected}")
            if status > 0 and answered != status:
                wrong.append(f"{identity}: {status} received, {answered} in the log")
        statuses = Counter(self.received.values())
        return {
            "requests": len(self.received),
            "statuses": {str(status): count for status, count in sorted(statuses.items())},
            "in the log only": len(set(logged) - set(self.received)),
            "wrong": wrong[:20],
            "wrong in all": len(wrong),
            "memory MiB": self.memory,
        }


def main() -> int:
    """Run a soak and print its account as JSON; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cut", type=float, default=0.0, help="share of connections that break at a random byte")
    parser.add_argument("--json", type=Path, help="write the account to this file")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:

        async def soak() -> Soak:
            running = Soak(arguments.requests, arguments.clients, arguments.seed, arguments.cut, Path(folder))
            await running.run()
            return running

        account = asyncio.run(soak()).account()
    account["seconds"] = round(time.monotonic() - began, 1)
    text = json.dumps(account, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 1 if account["wrong in all"] or account["requests"] != arguments.requests else 0


if __name__ == "__main__":
    sys.exit(main())

"""Real connections: clients that go away, bodies that are refused, ends that are orderly."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import fastconcept as fc
from benchmarks.serve.connection import Connection, request
from benchmarks.serve.process import ServerProcess, requests_of
from benchmarks.serve.soak import Soak
from fastconcept.serve.app import make_app
from fastconcept.serve.limits import Limits

Serve = Callable[..., str]
Address = Callable[[str], tuple[str, int]]


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Work of the route ``/held`` waits until this is set."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def app(engine: fc.Engine, gate: threading.Event) -> Starlette:
    """One waiting job at most, and a route whose work is held at the gate."""

    async def held(request: Request) -> Response:
        await request.app.state.service.run_slowly(gate.wait, 30)
        return PlainTextResponse("done")

    limits = Limits(max_body=1, max_waiting=1, drain_timeout=30)
    return make_app(engine, limits=limits, api_keys=["key"], routes=[Route("/held", held)])


def sample(app: Starlette, name: str) -> float:
    """The value of a metric."""
    lines = app.state.service.metrics.exposed().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


HEADERS = {"X_API_Key": "key"}


def test_a_client_that_goes_away_leaves_the_queue_and_a_full_queue_is_429(
    app: Starlette, gate: threading.Event, served: Serve, address: Address
) -> None:
    where = address(served(app))
    waiting = 'fastconcept_queue_waiting{queue="evidence"}'
    with socket.create_connection(where) as first:
        first.sendall(request("/held", **HEADERS))
        until(lambda: sample(app, "fastconcept_requests_in_flight") == 1)
        with socket.create_connection(where) as second:
            second.sendall(request("/held", **HEADERS))
            until(lambda: sample(app, waiting) == 1)
            refused = httpx.get(f"http://{where[0]}:{where[1]}/held", headers={"X-API-Key": "key"})
            assert refused.status_code == 429
            assert int(refused.headers["Retry-After"]) >= 1
        until(lambda: sample(app, waiting) == 0)
        gate.set()
        answer = b""
        while b"done" not in answer:  # head and body may come one after the other
            part = first.recv(1000)
            assert part, answer
            answer += part
    until(lambda: sample(app, 'fastconcept_request_seconds_count{route="/held",status="499"}') == 1)


def test_a_deadline_leaves_the_queue(app: Starlette, served: Serve) -> None:
    url = served(app)
    answer = httpx.get(f"{url}/held", headers={"X-API-Key": "key", "X-Request-Timeout": "0.2"})
    assert answer.status_code == 504


def test_the_connection_survives_a_body_that_is_refused(app: Starlette, served: Serve, address: Address) -> None:
    port = address(served(app))[1]

    async def main() -> list[int]:
        connection = Connection(port)
        large = b"x" * (3 << 20)
        asked = [
            request("/v1/embed", large, **HEADERS),
            request("/v1/embed", large),  # no key
            request("/health"),
            request("/v1/embed", length=99 << 30, Expect="100-continue", **HEADERS),
            request("/health"),
        ]
        statuses = [(await connection.ask(one)).status for one in asked]
        await connection.close()
        return statuses

    assert asyncio.run(main()) == [413, 401, 200, 413, 200]


def test_bodies_of_all_requests_together_are_bounded(engine: fc.Engine, served: Serve, address: Address) -> None:
    app = make_app(engine, limits=Limits(max_body=1, max_bodies=1))
    where = address(served(app))
    with socket.create_connection(where) as slow:
        slow.sendall(request("/v1/embed", b"x" * 600_000, length=700_000))
        until(lambda: sample(app, "fastconcept_body_bytes") == 600_000)
        answer = httpx.post(f"http://{where[0]}:{where[1]}/v1/embed", content=b"x" * 600_000)
        assert answer.status_code == 429
    until(lambda: sample(app, "fastconcept_body_bytes") == 0)


def test_sigterm_answers_what_has_come_and_then_ends_with_0(tmp_path: Path, picture: bytes) -> None:
    log = tmp_path / "log"
    with ServerProcess(log, "--batch-window", "3000") as server:

        async def main() -> list[int]:
            connections = [Connection(server.port) for _ in range(4)]
            for connection in connections:
                await connection.open()
            asked = request("/v1/embed", picture, "image/png")
            answers = [asyncio.ensure_future(connection.ask(asked)) for connection in connections]
            asking, metrics = Connection(server.port), b""
            while b"fastconcept_requests_in_flight 5.0" not in metrics:  # they wait for the batch; and this one
                metrics = (await asking.ask(request("/metrics"))).body
            server.terminate()
            await asking.close()
            statuses = [(await answer).status for answer in answers]
            for connection in connections:
                await connection.close()
            return statuses

        assert asyncio.run(main()) == [200] * 4
        assert server.wait() == 0
    assert set(requests_of(log).values()) == {200}


def test_a_short_soak(tmp_path: Path) -> None:
    """As ``python -m benchmarks.serve.soak --cut 0.1``, which goes on for long."""

    async def main() -> Soak:
        soak = Soak(count=600, clients=8, seed=1, cut=0.1, folder=tmp_path)
        await soak.run()
        return soak

    account = asyncio.run(main()).account()
    assert account["wrong"] == []
    assert account["requests"] == 600
    assert {"200", "400", "404", "413", "422", "504"} <= set(account["statuses"])

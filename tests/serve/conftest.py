"""A server over the built-in model, in this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

import fastconcept as fc
from fastconcept.serve import run
from fastconcept.serve.app import make_app


@pytest.fixture(scope="session")
def engine() -> fc.Engine:
    """The built-in model."""
    return fc.load()


@pytest.fixture(scope="session")
def picture(photographs: list[Path]) -> bytes:
    """A small photograph of a cup of coffee as a PNG file."""
    stream = BytesIO()
    Image.open(photographs[1]).resize((120, 80)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def client(engine: fc.Engine) -> Iterator[TestClient]:
    """Sends requests to the server."""
    with TestClient(make_app(engine), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def served() -> Iterator[Callable[..., str]]:
    """Serves an application at a free port of the loopback until the test is over, and returns its URL."""
    running: list[tuple[run.Server, threading.Thread]] = []

    def start(app: object) -> str:
        bound = run.bind("127.0.0.1", 0)
        server = run.server(app)  # type: ignore[arg-type]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        running.append((server, thread))
        return run.url_of(bound)

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def address() -> Callable[[str], tuple[str, int]]:
    """Host and port of a URL, as sockets take them."""

    def parted(url: str) -> tuple[str, int]:
        host, _, port = url.removeprefix("http://").rpartition(":")
        assert socket.inet_aton(host)
        return host, int(port)

    return parted

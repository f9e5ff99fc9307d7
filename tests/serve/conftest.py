"""A server over the built-in model, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

import fastconcept as fc
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


@pytest.fixture
def client(engine: fc.Engine) -> Iterator[TestClient]:
    """Sends requests to the server."""
    with TestClient(make_app(engine), raise_server_exceptions=False) as client:
        yield client

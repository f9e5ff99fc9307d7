"""The frame around all routes: names, keys, sizes, deadlines and errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

import fastconcept as fc
from fastconcept.errors import ConceptError
from fastconcept.serve.app import make_app
from fastconcept.serve.limits import Limits


async def _length(request: Request) -> Response:
    return JSONResponse({"length": len(await request.body())})


async def _failing(request: Request) -> Response:
    raise RuntimeError("a secret of /etc/somewhere")


async def _unknown(request: Request) -> Response:
    raise ConceptError("'dgo' is unknown; near names: dog.n.01", ["dog.n.01"])


async def _slow(request: Request) -> Response:
    await asyncio.sleep(60)
    return Response()


ROUTES = [
    Route("/length", _length, methods=["POST"]),
    Route("/failing", _failing),
    Route("/unknown", _unknown),
    Route("/slow", _slow),
]


@pytest.fixture
def client(engine: fc.Engine) -> Iterator[TestClient]:
    """Small limits."""
    app = make_app(engine, limits=Limits(max_body=1, request_timeout=30), routes=ROUTES)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_the_body_reaches_its_route_whole(client: TestClient) -> None:
    assert client.post("/length", content=b"x" * (1 << 20)).json() == {"length": 1 << 20}
    assert client.post("/length", content=iter([b"ab", b"cd"])).json() == {"length": 4}


@pytest.mark.parametrize("content", [b"x" * ((1 << 20) + 1), iter([b"x" * (1 << 19)] * 3)])
def test_a_body_beyond_the_limit_is_413(client: TestClient, content: object) -> None:
    answer = client.post("/length", content=content)  # type: ignore[arg-type]
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "TooLargeError"


def test_what_fails_inside_is_500_and_says_nothing_about_the_inside(client: TestClient) -> None:
    answer = client.get("/failing", headers={"X-Request-ID": "mine-7"})
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] == "mine-7"
    assert answer.json()["error"]["type"] == "InternalError"
    assert "secret" not in answer.text
    assert "mine-7" in answer.text


def test_what_is_wrong_with_the_request_is_422_and_said_in_full(client: TestClient) -> None:
    answer = client.get("/unknown")
    assert answer.status_code == 422
    assert answer.json() == {"error": {"type": "ConceptError", "message": "'dgo' is unknown; near names: dog.n.01"}}


def test_other_paths_and_methods_have_the_same_document(client: TestClient) -> None:
    assert client.get("/nowhere").json()["error"]["message"].startswith("there is nothing at this path")
    assert client.get("/nowhere").status_code == 404
    assert client.get("/length").status_code == 405
    assert client.get("/length").json()["error"]["type"] == "HTTPException"


def test_a_deadline_is_504(client: TestClient) -> None:
    began = time.monotonic()
    answer = client.get("/slow", headers={"X-Request-Timeout": "0.05"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "DeadlineError")
    assert time.monotonic() - began < 30
    assert client.get("/slow", headers={"X-Request-Timeout": "soon"}).status_code == 400


def test_keys_are_asked_for_where_there_are_any(engine: fc.Engine) -> None:
    with TestClient(make_app(engine, api_keys=["alpha", "beta"])) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics").headers["WWW-Authenticate"].startswith("Bearer")
        assert client.get("/metrics", headers={"Authorization": "Bearer gamma"}).status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer beta"}).status_code == 200
        assert client.get("/metrics", headers={"X-API-Key": "alpha"}).status_code == 200


def test_pages_of_other_origins_and_other_host_names_are_refused(engine: fc.Engine) -> None:
    with TestClient(make_app(engine, hosts=["testserver"], cors_origins=["https://friend.example"])) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/health", headers={"Host": "evil.example:8000"}).status_code == 403
        assert client.get("/health", headers={"Origin": "http://testserver"}).status_code == 200
        assert client.get("/health", headers={"Origin": "https://evil.example"}).status_code == 403
        friend = client.get("/health", headers={"Origin": "https://friend.example"})
        assert friend.headers["Access-Control-Allow-Origin"] == "https://friend.example"


def test_cors_is_off_unless_asked_for(client: TestClient) -> None:
    asked = {"Origin": "http://testserver", "Access-Control-Request-Method": "POST"}
    assert "Access-Control-Allow-Origin" not in client.options("/health", headers=asked).headers


def test_metrics_count_requests_by_route_and_errors_by_type(client: TestClient) -> None:
    client.get("/unknown")
    client.get("/nowhere/1")
    text = client.get("/metrics").text
    assert 'fastconcept_request_seconds_count{route="/unknown",status="422"} 1.0' in text
    assert 'fastconcept_request_seconds_count{route="other",status="404"} 1.0' in text
    assert 'fastconcept_errors_total{type="ConceptError"} 1.0' in text

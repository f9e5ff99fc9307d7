"""The explorer's routes: the files of its page, and the documents that the page asks for."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..answers import Document
from ..refusals import MalformedError, UnsupportedMediaError
from .explorer import Explorer
from .page import HEADERS, page_routes

Digest = Callable[[Request], Awaitable[str]]
SIDES = (192, 1600)  # of thumbnails and of the stage, in pixels
_PRIVATE = {name: value for name, value in HEADERS.items() if name != "Content-Security-Policy"}


def explorer_routes(explorer: Explorer) -> list[BaseRoute]:
    """Routes of the page, and of what it asks for.

    Parameters
    ----------
    explorer : Explorer

    Returns
    -------
    list of starlette routes
        For ``make_app(engine, routes=...)``.
    """

    async def about(request: Request) -> Response:
        return document(explorer.about())

    async def send(request: Request) -> Response:
        kind = request.headers.get("content-type", "")
        if not kind.startswith(("image/", "application/octet-stream")):
            raise UnsupportedMediaError(f"send the photograph's file as image/jpeg or another image, got {kind[:80]!r}")
        digest = await explorer.service.add(await request.body())
        return document(await explorer.photograph(digest))

    async def photograph(request: Request) -> Response:
        return document(await explorer.photograph(await _digest(request)))

    async def picture(request: Request) -> Response:
        side = SIDES[request.query_params.get("size") != "small"]
        headers = {**_PRIVATE, "Cache-Control": "private, max-age=86400, immutable"}
        return Response(await explorer.picture(await _digest(request), side), media_type="image/jpeg", headers=headers)

    async def place(request: Request) -> Response:
        x, y = (_number(request, name) for name in ("x", "y"))
        return document(await explorer.place(await _digest(request), _mode(request, explorer), x, y))

    async def words(request: Request) -> Response:
        penalty = _number(request, "l1_penalty", explorer.engine.l1_penalty)
        without = request.query_params.getlist("without")
        return document(await explorer.words(await _digest(request), penalty, without))

    return [
        *page_routes("index.html"),
        Route("/api/about", about),
        Route("/api/photographs", send, methods=["POST"]),
        Route("/api/photographs/{id}", photograph),
        Route("/api/photographs/{id}/picture", picture),
        Route("/api/photographs/{id}/place", place),
        Route("/api/photographs/{id}/words", words),
        *map_routes(explorer),
    ]


async def _digest(request: Request) -> str:
    digest: str = request.path_params["id"]
    return digest


def map_routes(explorer: Explorer, digest_of: Digest = _digest) -> list[BaseRoute]:
    """The routes that show maps and nothing of the photograph itself; ``digest_of`` says which one is meant."""

    async def level(request: Request) -> Response:
        first, top = int(_number(request, "first", 0)), int(_number(request, "top", 12))
        below = request.query_params.get("below") or None
        return document(await explorer.level(await digest_of(request), _mode(request, explorer), below, first, top))

    async def maps(request: Request) -> Response:
        concepts = request.query_params.getlist("concept")
        return document(await explorer.maps(await digest_of(request), _mode(request, explorer), concepts))

    async def search(request: Request) -> Response:
        return document(await explorer.search(request.query_params.get("q", "")))

    return [
        Route("/api/photographs/{id}/level", level),
        Route("/api/photographs/{id}/maps", maps),
        Route("/api/search", search),
    ]


def document(content: object) -> Document:
    """A JSON document that no other page may read."""
    return Document(content, headers=_PRIVATE)


def _mode(request: Request, explorer: Explorer) -> str:
    return str(request.query_params.get("mode", explorer.layout.mode))


def _number(request: Request, name: str, default: float | None = None) -> float:
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise MalformedError(f"{name} must be a number, got {(text or '')[:40]!r}")
    return number

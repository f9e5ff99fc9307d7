"""The application: routes over one engine, behind one guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import chain

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..engine import Engine
from . import api as v1
from . import inference, openapi
from .answers import Document
from .guard import Guard
from .limits import Limits
from .metrics import CONTENT_TYPE
from .service import Service


def make_app(
    engine: Engine,
    *,
    limits: Limits = Limits(),
    api_keys: Iterable[str] = (),
    hosts: Iterable[str] | None = None,
    cors_origins: Sequence[str] = (),
    routes: Sequence[BaseRoute] = (),
    api: bool = True,
) -> Starlette:
    """An ASGI application that answers for an engine.

    Parameters
    ----------
    engine : Engine
    limits : Limits
    api_keys : iterable of str
        If there are any, requests need one of them.
    hosts : iterable of str, optional
        Names that the server answers to; None means any.
    cors_origins : sequence of str
        Origins of other web pages that may use the server from a browser; none by default.
    routes : sequence of starlette routes
        Further routes. Their requests have the engine's :class:`.service.Service` as ``request.app.state.service``.

    api : bool
        Whether there are the routes under ``/v1`` and ``/v2``, which show whoever asks all that the model finds.

    Returns
    -------
    starlette.applications.Starlette
    """
    service = Service(engine, limits)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    middleware = [
        Middleware(Guard, service=service, api_keys=list(api_keys), hosts=hosts, origins=cors_origins),
    ]
    if cors_origins:
        allowed = ["Authorization", "Content-Type", "X-API-Key", "X-Request-ID", "X-Request-Timeout"]
        cors = Middleware(
            CORSMiddleware, allow_origins=cors_origins, allow_methods=["GET", "POST"], allow_headers=allowed
        )
        middleware.insert(0, cors)
    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/metrics", metrics),
            *(chain(v1.routes(), openapi.routes(), inference.routes()) if api else ()),
            *routes,
        ],
        middleware=middleware,
        exception_handlers={HTTPException: _raised},
        lifespan=lifespan,
    )
    app.state.service = service
    return app


async def health(request: Request) -> Response:
    """Whether requests are taken: 200, or 503 once the server is about to end."""
    draining = request.app.state.service.draining
    return Document({"status": "draining" if draining else "ready"}, 503 if draining else 200)


async def metrics(request: Request) -> Response:
    """Counters and histograms for Prometheus."""
    return Response(request.app.state.service.metrics.exposed(), media_type=CONTENT_TYPE)


async def _raised(request: Request, error: Exception) -> Response:
    raise error  # to the guard, which answers all errors

"""The routes of a study. None of them sends a photograph, or says which caption is right."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..refusals import MalformedError
from .page import page_routes
from .routes import document, map_routes
from .study import Study


def study_routes(study: Study) -> list[BaseRoute]:
    """Routes of the study's page and of what it asks for."""

    async def about(request: Request) -> Response:
        return document(await study.service.run(study.about_study, request.query_params.get("person")))

    async def question(request: Request) -> Response:
        return document(await study.question(request.path_params["number"]))

    async def answer(request: Request) -> Response:
        try:
            given = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise MalformedError("an answer is a JSON object") from None
        return document(await study.service.run(study.answer, given))

    async def digest(request: Request) -> str:
        return await study.digest(_number(request))

    return [
        *page_routes("study.html"),
        Route("/api/study", about),
        Route("/api/study/questions/{number:int}", question),
        Route("/api/study/answers", answer, methods=["POST"]),
        *map_routes(study, digest),
    ]


def _number(request: Request) -> int:
    text = request.path_params["id"]
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise MalformedError(f"a question is a number, got {text[:40]!r}")
    return int(text)

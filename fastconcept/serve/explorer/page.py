"""The files of the page, under a policy that lets them fetch nothing from elsewhere and run nothing inline."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "manifest-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PART = "browse.html"  # of the explorer's page and of the study's: search, path and maps


@cache
def assets() -> dict[str, tuple[bytes, str]]:
    """Content and media type of every file of the page, by its name."""
    found = {}
    for file in files(__package__).joinpath("static").iterdir():
        kind = next((kind for ending, kind in _TYPES.items() if file.name.endswith(ending)), None)
        if kind is not None:
            found[file.name] = file.read_bytes(), kind
    part, _ = found.pop(_PART)
    mark = f"<!-- {_PART} -->".encode()
    return {name: (content.replace(mark, part), kind) for name, (content, kind) in found.items()}


async def asset(request: Request) -> Response:
    """A file of the page."""
    return _file(request.path_params["name"])


def page_routes(start: str) -> list[BaseRoute]:
    """Routes of the files, with one of them as the start page."""

    async def front(request: Request) -> Response:
        return _file(start)

    return [Route("/", front), Route("/page/{name}", asset)]


def _file(name: str) -> Response:
    if name not in assets():
        raise HTTPException(404, f"the page has no file {name[:80]!r}")
    content, kind = assets()[name]
    return Response(content, media_type=kind, headers=HEADERS)

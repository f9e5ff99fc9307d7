"""Errors as responses: the document that the command line prints under ``--json``, with the HTTP status of its kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..errors import FastconceptError, InputError
from ..protocol import documents
from .refusals import RefusedError

_NO_ROUTE = "there is nothing at this path; GET /openapi.json lists the paths of fastconcept serve"


class Document(Response):
    """A JSON document; numbers are finite, or it is a bug."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
            "utf-8", "backslashreplace"
        )


def described(error: BaseException, request_id: str) -> tuple[int, str, str, Mapping[str, str]]:
    """Status, type, message and headers of the response to an error.

    What is wrong with a request is said in full. What is wrong with the server is said in its log only, where the id of
    the request finds it.
    """
    if isinstance(error, RefusedError):
        return error.status, type(error).__name__, str(error), error.headers
    if isinstance(error, InputError):
        return 422, type(error).__name__, str(error), {}
    if isinstance(error, HTTPException):
        said = _NO_ROUTE if error.detail == "Not Found" else error.detail  # Starlette's words for it
        return error.status_code, "HTTPException", said, error.headers or {}
    if isinstance(error, MemoryError):
        return 503, "MemoryError", "there is not enough memory for this request now", {"Retry-After": "5"}
    kind = type(error).__name__ if isinstance(error, FastconceptError) else "InternalError"
    return 500, kind, f"the server failed; its log says why, under the request id {request_id}", {}


def refusal(error: BaseException, request_id: str, path: str) -> Document:
    """The response to an error; the open inference protocol, under ``/v2``, has a document of its own."""
    status, kind, message, headers = described(error, request_id)
    if path == "/v2" or path.startswith("/v2/"):
        return Document({"error": message}, status, dict(headers))
    return Document(documents.refusal(kind, message), status, dict(headers))

"""The OpenAPI document, made from the methods and keywords that the routes themselves use."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .. import __version__
from .answers import Document
from .api import JSON, METHODS, NPY, Method

_FILE = {"type": "string", "contentMediaType": "application/octet-stream", "description": "The file of a photograph."}
_BASE64 = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "The file of a photograph in base64, or sha256:... of one that was sent before.",
}
_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_DESCRIPTIONS = {
    "concepts": "Synset names (dog.n.01), wnids (n02084071), words of WordNet, or phrases.",
    "texts": "Texts, as they are.",
}
_ERRORS = {
    "400": "The body or a header cannot be understood.",
    "401": "An API key is needed.",
    "404": "A photograph named by its hash is not, or no longer, remembered.",
    "406": "No answer in a format that the client accepts.",
    "413": "The body is too large.",
    "415": "The body is of another type than those that are read.",
    "422": "The photograph cannot be read, a concept is unknown, or an option is out of range.",
    "429": "Too many requests wait; Retry-After says when there may be room.",
    "500": "The server failed.",
    "503": "The server is shutting down.",
    "504": "There was no answer in time.",
}
_WORDS = {
    "type": "array",
    "items": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
    "description": "Words with their weights, by falling weight.",
}


def _entry(name: str, **properties: Any) -> dict[str, Any]:
    known = {name: {"type": "string"}, **properties}
    return {"type": "object", "required": [name, *properties], "properties": known}


def _numbers(*names: str) -> dict[str, Any]:
    return {name: {"type": "number"} for name in names}


_CONCEPT = _entry("name", **_numbers("score", "rank", "similarity"), box={"type": "array", "items": {"type": "number"}})
_SEEN = _entry("name", definition={"type": "string"}, **_numbers("score", "rank", "similarity", "patches"))
_RESULTS: dict[str, dict[str, Any]] = {
    "explain": {
        "mode": {"type": "string"},
        "options": {"type": "object"},
        "concepts": {"type": "array", "items": _CONCEPT},
    },
    "concepts": {"concepts": {"type": "array", "items": _SEEN}},
    "decompose": {**_numbers("l0", "cosine", "gap", "kkt", "l1_penalty"), "words": _WORDS},
    "embed": {"embedding": {"type": "array", "items": {"type": "number"}}},
}


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of all routes under ``/v1``."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fastconcept",
            "version": __version__,
            "summary": "What does a CLIP model see? Maps of concepts, words, and embeddings.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {f"/v1/{method.name}": {"post": _operation(method)} for method in METHODS}
        | {
            "/health": _plain("Whether requests are taken."),
            "/metrics": _plain("Counters and histograms for Prometheus."),
        },
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {
                        "error": {
                            "type": "object",
                            "required": ["type", "message"],
                            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
                        }
                    },
                }
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{}, {"bearer": []}, {"key": []}],
    }


def _plain(summary: str) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": {"200": {"description": "The answer."}}}}


def _operation(method: Method) -> dict[str, Any]:
    lists = {name: _TEXTS | {"description": _DESCRIPTIONS[name]} for name in method.lists}
    options = {name: keyword.schema for name, keyword in method.keywords.items()}
    form = {"image": {"type": "array", "items": _FILE}, **{name[:-1]: lists[name] for name in lists}, **options}
    body = {"image": {"anyOf": [_BASE64, {"type": "array", "items": _BASE64}]}, **lists, **options}
    return {
        "operationId": method.name,
        "summary": method.summary,
        "parameters": [
            {"name": name, "in": "query", "schema": schema, "explode": False} for name, schema in options.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": {"type": "object", "properties": form}},
                JSON: {"schema": {"type": "object", "properties": body, "additionalProperties": False}},
                "image/*": {"schema": {}},
            },
        },
        "responses": {"200": _answer(method)}
        | {
            status: {
                "description": text,
                "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
            }
            for status, text in _ERRORS.items()
        },
    }


def _answer(method: Method) -> dict[str, Any]:
    entry = _entry("image", **_RESULTS[method.name], hash={"type": "string"})
    documented = _entry("bundle", images={"type": "array", "items": entry})
    content: dict[str, Any] = {JSON: {"schema": documented}}
    for media in method.media[1:]:
        content[media] = {"schema": {"description": "A NumPy array." if media == NPY else "A picture."}}
    return {"description": "The answer.", "content": content}


async def _openapi(request: Request) -> Response:
    return Document(document())


def routes() -> list[BaseRoute]:
    """Where the document is."""
    return [Route("/openapi.json", _openapi)]

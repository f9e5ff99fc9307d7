"""From a request to photographs, concepts, texts and options, in whichever way they were sent."""

from __future__ import annotations

import asyncio
import base64
import binascii
import difflib
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ..doors import PARAMETERS
from ..errors import InputError
from ..protocol.keywords import Keyword
from .limits import Limits
from .refusals import MalformedError, UnsupportedMediaError
from .store import digest_of

_REFERENCE = re.compile(r"sha256:([0-9a-f]{64})")
_LARGE = 1 << 20  # bytes; parsing more than that would hold up the event loop
LISTS = {"concept": "concepts", "concepts": "concepts", "text": "texts", "texts": "texts"}  # both spellings


@dataclass(frozen=True)
class Photograph:
    """A photograph of a request.

    Attributes
    ----------
    name : str
        What the client calls it.
    digest : str
        Hash of its file.
    content : bytes, optional
        Its file; None if the client only names its hash.
    """

    name: str
    digest: str
    content: bytes | None = field(repr=False)


@dataclass
class Asked:
    """What a request asks for; ``concepts`` and ``texts`` are None if it has none."""

    photographs: list[Photograph] = field(default_factory=list)
    concepts: list[str] | None = None
    texts: list[str] | None = None
    options: dict[str, Any] = field(default_factory=dict)


class _InMemory(MultiPartParser):
    """Files stay in memory; the guard has bounded the body."""

    spool_max_size = 1 << 40


async def read(request: Request, keywords: Mapping[str, Keyword], lists: Iterable[str], limits: Limits) -> Asked:
    """Read a request.

    Parameters
    ----------
    request : Request
        With a body of one of these types: ``multipart/form-data`` (files ``image``, and fields), a form without files,
        ``application/json`` (``image`` in base64, or a list of them), or the file of a photograph itself
        (``image/...``), its options in the query. Instead of a file, ``sha256:...`` names one that was sent before.
    keywords : mapping of str to Keyword
        Options that the route takes.
    lists : iterable of str
        Which of ``"concepts"`` and ``"texts"`` it takes.
    limits : Limits

    Raises
    ------
    MalformedError, UnsupportedMediaError
        If the body cannot be understood.
    InputError
        If an option is unknown or has the wrong type, or there are too many photographs.
    """
    asked, lists = Asked(), tuple(lists)
    body, kind = await request.body(), request.headers.get("content-type", "").partition(";")[0].strip().lower()
    given: list[tuple[str, Any]] = []
    if kind == "application/json":
        given = await _off_the_loop(_json_fields, body) if len(body) > _LARGE else _json_fields(body)
    elif kind == "multipart/form-data":
        given = await _form_fields(request, body, limits)
    elif kind == "application/x-www-form-urlencoded":
        given = [*_coded_fields(body, limits)]
    elif kind.startswith("image/") or kind == "application/octet-stream":
        given = [("image", ("", body))]
    elif body:
        raise UnsupportedMediaError(
            f"a body is multipart/form-data, application/json or image/..., got {kind[:80] or 'no Content-Type'}"
        )
    for name, value in given:
        _take(asked, name, value, keywords, lists, from_json=kind == "application/json")
    for name, value in request.query_params.multi_items():
        _take(asked, name, value, keywords, lists, from_json=False)
    for name, count in (("images", len(asked.photographs)), ("texts", len(asked.texts or ()))):
        if count > limits.max_images:
            raise InputError(f"a request may have {limits.max_images} {name}, got {count}")
    if len(asked.concepts or ()) > limits.max_concepts:
        raise InputError(f"a request may have {limits.max_concepts} concepts, got {len(asked.concepts or ())}")
    return asked


async def _off_the_loop(function: Any, *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


def _json_fields(body: bytes) -> list[tuple[str, Any]]:
    fields: list[tuple[str, Any]] = []
    for name, value in json_object(body).items():
        if name in ("image", "images"):
            for place, item in enumerate(value if isinstance(value, list) else [value]):
                fields.append(("image", (f"{name}[{place}]", read_base64(f"{name}[{place}]", item))))
        else:
            fields.append((name, value))
    return fields


def json_object(body: bytes) -> dict[str, Any]:
    """A JSON object; NaN and infinities, which JSON does not have, are refused.

    Raises
    ------
    MalformedError
        If it is none.
    """
    try:
        document = json.loads(body, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise MalformedError(f"the body must be a JSON object, got {type(document).__name__}")
    return document


def _not_json(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def read_base64(name: str, value: Any) -> bytes | str:
    """A file in base64, or ``sha256:...`` as it is.

    Raises
    ------
    InputError
        If it is neither.
    """
    if not isinstance(value, str):
        raise InputError(f"{name} must be a string with a file in base64, got {type(value).__name__}")
    if value.startswith("sha256:"):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{name} is not base64: {value[:40]!r}") from None


def _coded_fields(body: bytes, limits: Limits) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_most_fields(limits))
    except ValueError as error:
        raise MalformedError(f"the form cannot be read: {error}") from None


def _most_fields(limits: Limits) -> int:
    return limits.max_images + limits.max_concepts + 64


async def _form_fields(request: Request, body: bytes, limits: Limits) -> list[tuple[str, Any]]:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    most = _most_fields(limits)
    parser = _InMemory(request.headers, stream(), max_files=most, max_fields=most, max_part_size=1 << 16)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise MalformedError(f"the form cannot be read: {error}") from None
    fields: list[tuple[str, Any]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            fields.append((name, (value.filename or "", await value.read())))
            await value.close()
        elif name in ("image", "images"):
            fields.append((name, ("", value)))
        else:
            fields.append((name, value))
    return fields


def _take(
    asked: Asked, name: str, value: Any, keywords: Mapping[str, Keyword], lists: tuple[str, ...], *, from_json: bool
) -> None:
    """Put one field where it belongs."""
    if name in ("image", "images"):
        asked.photographs.append(photograph(len(asked.photographs), value))
        return
    if isinstance(value, tuple):
        raise InputError(f"{name[:80]} is a file; the field of photographs is called image")
    plural = LISTS.get(name)
    if plural in lists:
        values = value if isinstance(value, list) else [value]
        for position, item in enumerate(values):
            PARAMETERS["text"](f"{name}[{position}]", item)
        setattr(asked, plural, [*(getattr(asked, plural) or []), *values])
        return
    keyword = keywords.get(name)
    if keyword is None:
        known = sorted({"image", *(single for single, several in LISTS.items() if several in lists), *keywords})
        near = difflib.get_close_matches(name[:80], known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise InputError(f"{name[:80]!r} is no option here; {hint}")
    if name in asked.options:
        raise InputError(f"{name} is given twice")
    asked.options[name] = keyword.checked(value if from_json else keyword.of_text(value))


def photograph(index: int, value: Any) -> Photograph:
    """A photograph of a request: a file, a (name, file), or the hash of one that was sent before.

    Raises
    ------
    InputError
        If it is none of these.
    """
    name, content = value if isinstance(value, tuple) else ("", value)
    if isinstance(content, bytes):
        return Photograph(name or f"image[{index}]", digest_of(content), content)
    reference = _REFERENCE.fullmatch(content)
    if reference is None:
        raise InputError(f"image[{index}] must be a file, or sha256: and 64 hexadecimal digits; got {content[:80]!r}")
    return Photograph(content, reference[1], None)

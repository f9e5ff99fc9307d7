"""What stands before every route: names, keys, sizes, deadlines, clients that go away, errors, logs and metrics."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import InputError
from .answers import described, refusal
from .limits import MEBIBYTE
from .refusals import (
    DeadlineError,
    DrainingError,
    ForbiddenError,
    MalformedError,
    OverloadedError,
    TooLargeError,
    UnauthorizedError,
)
from .service import Service

_PATIENCE = 4  # seconds, and sizes of the largest body, that are read of a body which is refused
CLIENT_GONE = 499  # in logs and metrics; nobody receives it
OPEN = re.compile(r"/v2/health/\w+|/v2/models/[^/]+/ready|/health")  # without a key: what orchestrators ask
_ID = re.compile(r"[\w.:+/=-]{1,128}", re.ASCII)
log = logging.getLogger("fastconcept.serve")


class _GoneError(Exception):
    """The client has closed the connection."""


class Guard:
    """ASGI middleware around all routes.

    A request is read whole before its route sees it, so that routes never meet a body that is too large or too slow;
    one whose client goes away is cancelled, wherever it is.

    Parameters
    ----------
    app : ASGI application
    service : Service
    api_keys : iterable of str
        If there are any, requests need one, as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.
    hosts : iterable of str, optional
        Names in the ``Host`` header that are answered, so that no web page reaches a local server under a name of its
        own; None means all.
    origins : iterable of str
        Web pages of which other origins may send requests; ``"*"`` means all.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        api_keys: Iterable[str] = (),
        hosts: Iterable[str] | None = None,
        origins: Iterable[str] = (),
    ) -> None:
        self.app, self.service, self.limits = app, service, service.limits
        self._keys = [_digest(key) for key in api_keys]
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._origins = set(origins)
        self._held = 0  # bytes of bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        scope.setdefault("state", {})["request_id"] = exchange.request_id
        self.service.metrics.in_flight.inc()
        try:
            await self._answer(exchange, receive)
        finally:
            self.service.metrics.in_flight.dec()
            self._note(exchange)

    async def _answer(self, exchange: _Exchange, receive: Receive) -> None:
        holding = _Holding(self)
        try:
            timeout = self._timeout(exchange.headers)
            try:
                await asyncio.wait_for(self._guarded(exchange, receive, holding), timeout)
            except (asyncio.TimeoutError, TimeoutError):
                raise DeadlineError(f"there was no answer within {timeout:g} s") from None
        except _GoneError:
            exchange.status = CLIENT_GONE
        except asyncio.CancelledError:
            if self.service.draining and not exchange.status:
                await self._refuse(exchange, receive, DrainingError("the server had to end before this was answered"))
            raise
        except Exception as error:
            await self._refuse(exchange, receive, error)
        finally:
            holding.release()

    async def _refuse(self, exchange: _Exchange, receive: Receive, error: Exception) -> None:
        status, kind, message, _ = described(error, exchange.request_id)
        exchange.error = {"type": kind, "message": message}
        self.service.metrics.error(kind)
        if status >= 500 and not isinstance(error, DeadlineError):
            log.error("request failed", exc_info=error, extra={"fields": {"request_id": exchange.request_id}})
        if exchange.status:  # the response has begun: all that is left is to break it off
            raise error
        response = refusal(error, exchange.request_id, exchange.path)
        if not exchange.whole and not await self._discarded(exchange, receive, error):
            response.headers["Connection"] = "close"  # else what is still to come would be taken for a request
        await response(exchange.scope, _nothing, exchange.send)

    async def _guarded(self, exchange: _Exchange, receive: Receive, holding: _Holding) -> None:
        self._check_host(exchange.headers)
        self._check_key(exchange)
        body = await self._body(exchange, receive, holding)
        answered = asyncio.ensure_future(self.app(exchange.scope, _Replay(body), exchange.send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({answered, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answered.done() and not exchange.complete:
                raise _GoneError
            await answered
        finally:
            for task in (answered, gone):
                task.cancel()
            await asyncio.gather(answered, gone, return_exceptions=True)

    async def _discarded(self, exchange: _Exchange, receive: Receive, error: Exception) -> bool:
        """Read the rest of a body, since a client that is still sending sees no answer; whether it ended."""
        if isinstance(error, (DeadlineError, DrainingError)) or "expect" in exchange.headers:
            return False
        left = _PATIENCE * int(self.limits.max_body * MEBIBYTE)
        declared = exchange.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > left:
            return False

        async def read_on() -> bool:
            nonlocal left
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return True
            return False

        try:
            return await asyncio.wait_for(read_on(), _PATIENCE)
        except (asyncio.TimeoutError, TimeoutError):
            return False

    # Checks ---------------------------------------------------------------------------------------------------------

    def _timeout(self, headers: Headers) -> float:
        asked = headers.get("x-request-timeout")
        if asked is None:
            return self.limits.request_timeout
        try:
            seconds = float(asked)
        except ValueError:
            seconds = -1.0
        if not seconds > 0:
            raise MalformedError(f"X-Request-Timeout is a number of seconds, got {asked[:40]!r}")
        return min(seconds, self.limits.request_timeout)

    def _check_host(self, headers: Headers) -> None:
        host = urlsplit(f"//{headers.get('host', '')}")
        if self._hosts is not None and (host.hostname or "") not in self._hosts:
            raise ForbiddenError(f"this server is not called {host.hostname!r}")
        origin = headers.get("origin")
        if origin is None or {"*", origin} & self._origins or urlsplit(origin).netloc.lower() == host.netloc.lower():
            return
        raise ForbiddenError(f"web pages of {origin[:200]} may not send requests here")

    def _check_key(self, exchange: _Exchange) -> None:
        if not self._keys or OPEN.fullmatch(exchange.path):
            return
        scheme, _, given = exchange.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = exchange.headers.get("x-api-key", "")
        digest = _digest(given.strip())
        if not sum(hmac.compare_digest(digest, key) for key in self._keys):  # all are compared, whichever fits
            raise UnauthorizedError("this server needs an API key: Authorization: Bearer KEY")

    # Body -----------------------------------------------------------------------------------------------------------

    async def _body(self, exchange: _Exchange, receive: Receive, holding: _Holding) -> bytes:
        limit = int(self.limits.max_body * MEBIBYTE)
        length = exchange.headers.get("content-length", "")
        if length.isdigit() and int(length) > limit:
            raise TooLargeError(f"the request has {int(length):,} bytes, the limit is {limit:,}")
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            part = message.get("body", b"")
            holding.take(len(part))
            if holding.bytes > limit:
                raise TooLargeError(f"the request has more than {limit:,} bytes, which is the limit")
            parts.append(part)
            if not message.get("more_body", False):
                exchange.received, exchange.whole = holding.bytes, True
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def hold(self, count: int) -> None:
        """Account for bytes of a body, or with a negative count for those that are gone."""
        if count > 0 and self._held + count > self.limits.max_bodies * MEBIBYTE:
            raise OverloadedError("the requests being worked on fill the memory set aside for them; try again later")
        self._held += count
        self.service.metrics.held.set(self._held)

    # Afterwards -----------------------------------------------------------------------------------------------------

    def _note(self, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.began
        self.service.metrics.request(exchange.route, exchange.status, seconds)
        fields = {
            "request_id": exchange.request_id,
            "method": exchange.scope["method"],
            "path": exchange.path,
            "status": exchange.status,
            "ms": round(seconds * 1e3, 3),
            "received": exchange.received,
            "sent": exchange.sent,
            **({"error": exchange.error} if exchange.error else {}),
        }
        log.info("request", extra={"fields": fields})


class _Exchange:
    """One request and what has become of it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self.began = scope, time.perf_counter()
        self.headers, self.path = Headers(scope=scope), scope["path"]
        asked = self.headers.get("x-request-id", "")
        self.request_id = asked if _ID.fullmatch(asked) else uuid.uuid4().hex
        self.status, self.received, self.sent, self.complete, self.whole = 0, 0, 0, False, False
        self.error: dict[str, str] = {}
        self._send = send

    @property
    def route(self) -> str:
        """The pattern that the path fits, so that metrics have few labels."""
        route = self.scope.get("route")
        path = getattr(route, "path", None) or self.scope.get("state", {}).get("route")
        return path if isinstance(path, str) else "other"

    async def send(self, message: Message) -> None:
        """Send a message of the response, with the request's id."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-ID"] = self.request_id
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        await self._send(message)


class _Holding:
    """Bytes that one request holds; given back when it is answered."""

    def __init__(self, guard: Guard) -> None:
        self._guard, self.bytes = guard, 0

    def take(self, count: int) -> None:
        self._guard.hold(count)
        self.bytes += count

    def release(self) -> None:
        self._guard.hold(-self.bytes)


class _Replay:
    """``receive`` of a request whose body was read before."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    async def __call__(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()  # the guard cancels a request whose client goes away
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def read_keys(path: Path) -> list[str]:
    """The API keys of a file, one a line; empty lines and lines that begin with # do not count.

    Raises
    ------
    InputError
        If the file cannot be read, or holds no key.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise InputError(f"cannot read the API keys of {path}: {error}") from None
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise InputError(f"{path} holds no API key; without --api-keys none is needed")
    return keys


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, message, and the fields of ``extra={"fields": ...}``."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)

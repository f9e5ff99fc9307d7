"""Why a request is refused, other than for what it asks: each reason is an error with its HTTP status."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import FastconceptError


class RefusedError(FastconceptError):
    """A request that is not answered; ``status`` and ``headers`` belong to the response."""

    status = 400

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that the response needs beside the error."""
        return {}


class MalformedError(RefusedError):
    """The body, or a header, cannot be understood."""


class UnauthorizedError(RefusedError):
    """No API key, or one that is unknown."""

    status = 401

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="fastconcept"'}


class ForbiddenError(RefusedError):
    """A web page of another origin, or a host name that is not this server's."""

    status = 403


class UnknownImageError(RefusedError):
    """A photograph that is named by its hash and is not, or no longer, remembered."""

    status = 404


class NotAcceptableError(RefusedError):
    """An answer in a format that is not offered."""

    status = 406


class TooLargeError(RefusedError):
    """A body beyond the limit."""

    status = 413


class UnsupportedMediaError(RefusedError):
    """A body of another type than those that are read."""

    status = 415


class OverloadedError(RefusedError):
    """A queue is full; ``retry_after`` says when there may be room, in seconds."""

    status = 429

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.retry_after)}


class DrainingError(RefusedError):
    """The server is about to end."""

    status = 503

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": "1", "Connection": "close"}


class DeadlineError(RefusedError):
    """The answer would have come too late."""

    status = 504

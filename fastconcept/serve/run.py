"""An application behind a port: uvicorn, bound before anything is said, drained on SIGTERM."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from ..errors import InputError
from .guard import JsonLines

_BACKLOG = 2048
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens, so that its port is known (0 takes a free one) and whoever comes early waits.

    Raises
    ------
    InputError
        If the address cannot be bound.
    """
    bound: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)  # closed with the server
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        if bound is not None:
            bound.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen at {host} port {port}: {reason}; try --port 0 for a free one") from None
    return bound


def url_of(bound: socket.socket) -> str:
    """Where a bound socket is reached."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host name.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    return host in LOOPBACK or host.startswith("127.")


def log_to_stderr() -> None:
    """Let everything about requests go to the standard error, one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("fastconcept.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)


class Server(uvicorn.Server):
    """uvicorn that takes SIGTERM for what it is: an orderly end, not a failure."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second Ctrl-C ends at once."""
        self.config.app.state.service.draining = True
        self.force_exit: bool = self.should_exit and sig == signal.SIGINT
        self.should_exit: bool = True


def server(app: Starlette) -> Server:
    """A server of an application; ``run(sockets=[...])`` answers requests until a signal or ``should_exit``."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        backlog=_BACKLOG,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(app.state.service.limits.drain_timeout),
        lifespan="on",
    )
    return Server(config)


def serve(app: Starlette, bound: socket.socket) -> None:
    """Answer requests at a bound socket until SIGTERM or Ctrl-C, then finish those that are there."""
    server(app).run(sockets=[bound])

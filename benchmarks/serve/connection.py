"""A small HTTP client for load: it costs little beside the server, and can be cut off at any byte."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field


@dataclass
class Answer:
    """A response: status, headers in lower case, and body."""

    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Connection:
    """One kept-alive connection to a server on this machine, opened again when it is gone."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Connect unless the connection is there.

        Raises
        ------
        OSError
            If the server does not listen.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for its response.

        Raises
        ------
        OSError, asyncio.IncompleteReadError
            If the connection ends before the response is complete.
        """
        await self.open()
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(request)
        try:
            # A server may answer before it has read everything, and stop reading: both go on at once.
            drained = asyncio.ensure_future(writer.drain())
            answer = await _response(reader)
            with contextlib.suppress(OSError):
                await drained
        except BaseException:
            drained.cancel()
            await asyncio.gather(drained, return_exceptions=True)
            await self.close()
            raise
        if answer.headers.get("connection") == "close":
            await self.close()
        return answer

    async def cut(self, request: bytes, sent: int, wait: float) -> None:
        """Send the first bytes of a request, wait, and break the connection off without reading."""
        await self.open()
        assert self._streams is not None
        writer = self._streams[1]
        with contextlib.suppress(OSError):
            writer.write(request[:sent])
            await asyncio.wait_for(writer.drain(), 10)
        await asyncio.sleep(wait)
        writer.transport.abort()
        self._streams = None

    async def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _response(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(head[0].split()[1]), headers, body)


def request(
    path: str,
    body: bytes = b"",
    kind: str = "application/octet-stream",
    length: int | None = None,
    **headers: str,
) -> bytes:
    """The bytes of a POST request, or of a GET without a body."""
    fields = {"Host": "localhost", "Content-Type": kind, "Content-Length": str(len(body) if length is None else length)}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    method = "POST" if body or length is not None else "GET"
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body

"""A small HTTP/1.1 server, on real sockets, whose answers are scripts: it can send any bytes, or none.

    receiver = Receiver(status=204)
    await receiver.start()
    ... receiver.url("/hook?a=1") ...
    await receiver.stop()

What is answered: `scripts` (one for each of the next requests), else `script`, else `status` after `delay`. A
script is an async function of an `Exchange`; ready-made ones are in `scripts.receiver.answers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

HEAD_LIMIT = 1 << 20
"""Bytes of a request's head at most."""
BODY_LIMIT = 64 << 20
"""Bytes of a request's body at most."""


@dataclass(frozen=True)
class Request:
    """One request as it stood on the wire; `headers` in order and case, `connection` numbers from 1."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    at: float = field(default_factory=time.monotonic)

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        """Every header of that name, in any case."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        """`webhook-id`."""
        return self.header("webhook-id") or ""

    @property
    def attempt(self) -> int:
        """`webhook-attempt`."""
        return int(self.header("webhook-attempt") or 0)


class Exchange:
    """One request and the way to answer it. `number`: which request of its connection it is, from 1."""

    def __init__(
        self,
        receiver: Receiver,
        request: Request,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.receiver = receiver
        self.request = request
        self.number = number
        self.reader = reader
        self.writer = writer
        self.keep = True  # whether the connection serves a further request

    async def send(self, data: bytes) -> None:
        """Write raw bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def respond(
        self, status: int = 200, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """A well-formed response with Content-Length."""
        await self.send(response(status, body, headers))

    async def hang(self) -> None:
        """Do nothing until the peer ends the connection."""
        await self.reader.read()
        self.keep = False

    def close(self) -> None:
        """Close the connection after what was written."""
        self.keep = False

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.keep = False
        reset_connection(self.writer)


Script = Callable[[Exchange], Awaitable[None]]


class BadRequest(Exception):
    """What came is no HTTP/1.1 request that this server reads."""


def response(status: int, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """The bytes of a response."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    if status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def reset_connection(writer: asyncio.StreamWriter) -> None:
    """Send RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:  # the peer may have ended it already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Receiver:
    """See the module. `ssl` makes it an https server. Port 0 is one of the system's choice.

    `refusing`: nobody listens when it is started, and the port stays taken.
    """

    def __init__(
        self,
        *,
        status: int = 204,
        delay: float = 0.0,
        ssl: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.status = status
        self.delay = delay  # seconds
        self.script: Script | None = None
        self.scripts: deque[Script] = deque()
        self.accepted = 0  # connections
        self.busy = 0  # requests that are being answered now
        self.most_busy = 0
        self.host = host
        self.port = port
        self.ssl = ssl
        self.refusing = False
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; after `stop` again on the same port. Raises OSError."""
        if self.refusing:
            self._reserved = sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self.host, self.port))
            self.port = sock.getsockname()[1]
            return
        self._server = await asyncio.start_server(
            self._accept, self.host, self.port, ssl=self.ssl, limit=HEAD_LIMIT, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on and end those that are open."""
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def restart(self) -> None:
        """End all connections and start on the same port, with what was set meanwhile."""
        await self.stop()
        await self.start()

    def url(self, path: str = "/hook", userinfo: str = "") -> str:
        """The address of this receiver."""
        scheme = "https" if self.ssl is not None else "http"
        host = {"127.0.0.1": "localhost"}.get(self.host, self.host) if self.ssl is not None else self.host
        if ":" in host:
            host = f"[{host}]"
        return f"{scheme}://{userinfo}{host}:{self.port}{path}"

    def close_connections(self, *, reset: bool = False) -> int:
        """End all open connections, as a server does that has waited long enough; how many there were."""
        writers = list(self._writers)
        for writer in writers:
            if reset:
                reset_connection(writer)
            else:
                writer.close()
        return len(writers)

    @property
    def open(self) -> int:
        """Connections open now."""
        return len(self._writers)

    async def send_unasked(self, data: bytes) -> None:
        """Write to every open connection though no request was made."""
        for writer in list(self._writers):
            writer.write(data)
            await writer.drain()

    # -- what a user of this class may want to know ----------------------------------------------------

    async def on_request(self, request: Request) -> None:
        """A whole request has come; it is answered after this."""

    async def on_closed(self) -> None:
        """A connection has ended."""

    # -- serving ---------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.accepted += 1
        try:
            await self._serve(reader, writer, self.accepted)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except BadRequest:
            writer.write(response(HTTPStatus.BAD_REQUEST))
        except asyncio.CancelledError:
            pass  # only `stop` cancels
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(asyncio.CancelledError):
                await self.on_closed()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        number = 0
        while True:
            request = await self._read(reader, connection)
            number += 1
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
            try:
                await self.on_request(request)
                exchange = Exchange(self, request, number, reader, writer)
                script = self.scripts.popleft() if self.scripts else self.script
                await (script or answer)(exchange)
            finally:
                self.busy -= 1
            if not exchange.keep:
                return

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Request:
        try:
            head = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("utf-8", "surrogateescape")
            start, *lines = head.split("\r\n")
            method, target, version = start.split(" ")
            headers: list[tuple[str, str]] = []
            for line in lines:
                name, _, value = line.partition(":")
                headers.append((name, value.strip(" ")))
            length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        except (asyncio.LimitOverrunError, ValueError) as error:
            raise BadRequest(str(error)) from None
        if not 0 <= length <= BODY_LIMIT or any(n.lower() == "transfer-encoding" for n, _ in headers):
            raise BadRequest("not a body that this server reads")
        body = await reader.readexactly(length)
        return Request(method, target, version, headers, body, connection)


async def answer(exchange: Exchange) -> None:
    """What the receiver's `status` and `delay` say."""
    if exchange.receiver.delay:
        await asyncio.sleep(exchange.receiver.delay)
    await exchange.respond(exchange.receiver.status)

"""A real HTTP/1.1 receiver for tests, on real sockets, that can be told to misbehave.

    async with Receiver(status=204) as receiver:
        ... receiver.url("/hook?a=1") ...
        await receiver.wait_for(lambda rs: len(rs) == 3)

Every request is recorded as it came (`requests`), whatever the answer. What is answered: `scripts` (one for
each of the next requests), else `script`, else `status` after `delay`. A script is an async function of an
`Exchange`; ready-made ones stand below: `hang`, `hang_in_body`, `reset`, `chunked`, …
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import subprocess
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

HEAD_LIMIT = 1 << 20


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
    """One request and the way to answer it."""

    def __init__(
        self,
        receiver: Receiver,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.receiver = receiver
        self.request = request
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
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Receiver:
    """See the module. `ssl` makes it an https server."""

    def __init__(
        self, *, status: int = 204, delay: float = 0.0, ssl: ssl.SSLContext | None = None, port: int = 0
    ) -> None:
        self.status = status
        self.delay = delay
        self.script: Script | None = None
        self.scripts: deque[Script] = deque()
        self.requests: list[Request] = []
        self.accepted = 0  # connections
        self.busy = 0  # requests that are being answered now
        self.most_busy = 0
        self.port = port
        self._ssl = ssl
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    # -- life ------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Receiver:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after `stop` again on the same port."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=self._ssl, limit=HEAD_LIMIT, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on and end those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def url(self, path: str = "/hook", userinfo: str = "") -> str:
        """The address of this receiver."""
        scheme = "https" if self._ssl is not None else "http"
        host = "localhost" if self._ssl is not None else "127.0.0.1"
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

    # -- waiting ---------------------------------------------------------------------------------------

    async def wait_for(
        self,
        condition: Callable[[list[Request]], object],
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> list[Request]:
        """Wait until the condition holds for the requests so far; TimeoutError says what there was."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: condition(self.requests))
        except TimeoutError:
            last = [(r.id, r.attempt, r.body[:80]) for r in self.requests[-3:]]
            raise TimeoutError(
                f"not within {timeout} s; {len(self.requests)} requests, the last: {last}"
            ) from None
        return self.requests

    async def wait_count(self, count: int, timeout: float = 10.0) -> list[Request]:  # noqa: ASYNC109
        """Wait for at least so many requests."""
        return await self.wait_for(lambda requests: len(requests) >= count, timeout)

    async def wait_closed(self, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Wait until no connection is open."""
        await self.wait_for(lambda _: not self._writers, timeout)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # -- serving ---------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.accepted += 1
        try:
            await self._serve(reader, writer, self.accepted)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(asyncio.CancelledError):
                await self._notify()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        while True:
            request = await self._read(reader, connection)
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
            try:
                self.requests.append(request)
                await self._notify()
                exchange = Exchange(self, request, reader, writer)
                script = self.scripts.popleft() if self.scripts else self.script
                if script is not None:
                    await script(exchange)
                else:
                    await answer(exchange)
            finally:
                self.busy -= 1
            if not exchange.keep:
                return

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Request:
        head = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("utf-8", "surrogateescape")
        start, *lines = head.split("\r\n")
        method, target, version = start.split(" ")
        headers: list[tuple[str, str]] = []
        for line in lines:
            name, _, value = line.partition(":")
            headers.append((name, value.strip(" ")))
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        body = await reader.readexactly(length)
        return Request(method, target, version, headers, body, connection)


# -- scripts -----------------------------------------------------------------------------------------------


async def answer(exchange: Exchange) -> None:
    """What the receiver's `status` and `delay` say."""
    if exchange.receiver.delay:
        await asyncio.sleep(exchange.receiver.delay)
    await exchange.respond(exchange.receiver.status)


def status(code: int, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> Script:
    """Answer with this status."""

    async def script(exchange: Exchange) -> None:
        await exchange.respond(code, body, headers)

    return script


def raw(data: bytes, *, close: bool = False) -> Script:
    """Answer with these bytes."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(data)
        if close:
            exchange.close()

    return script


async def hang(exchange: Exchange) -> None:
    """Never answer."""
    await exchange.hang()


async def hang_in_body(exchange: Exchange) -> None:
    """Promise 100 bytes, send 5, and go silent."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
    await exchange.hang()


async def cut_in_body(exchange: Exchange) -> None:
    """Promise 100 bytes, send 5, and close."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
    exchange.close()


async def reset(exchange: Exchange) -> None:
    """Reset the connection instead of answering."""
    exchange.reset()


async def close(exchange: Exchange) -> None:
    """Close the connection instead of answering."""
    exchange.close()


async def continue_first(exchange: Exchange) -> None:
    """100 and 103, then 200."""
    await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
    await exchange.respond(200, b"ok")


async def chunked(exchange: Exchange) -> None:
    """A chunked response with a trailer, in several writes."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await exchange.send(b"5\r\nhello\r\n")
    await exchange.send(b"0\r\nX-Trailer: 1\r\n\r\n")


async def close_delimited(exchange: Exchange) -> None:
    """A body without a length, ended by the end of the connection."""
    await exchange.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
    exchange.close()


async def drip(exchange: Exchange) -> None:
    """A correct response, one byte at a time."""
    for byte in response(200, b"ok"):
        await exchange.send(bytes([byte]))
        await asyncio.sleep(0.001)


async def respond_and_close(exchange: Exchange) -> None:
    """Answer without a word about closing, and close: an idle connection that the server ends."""
    await answer(exchange)
    exchange.close()


async def respond_with_close(exchange: Exchange) -> None:
    """Answer with `Connection: close`, and close."""
    await exchange.respond(200, b"ok", [("Connection", "close")])
    exchange.close()


# -- TLS ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificates:
    """PEM files made for one test run: an authority, a server for localhost and 127.0.0.1, and a client."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    client_key_encrypted: Path  # with the password "secret"

    def server_context(self, *, client_certificate: bool = False) -> ssl.SSLContext:
        """The receiver's side; it can ask for a client certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.server, self.server_key)
        if client_certificate:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make_certificates(folder: Path) -> Certificates:
    """Make them with the `openssl` command."""

    def openssl(*arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"openssl {arguments}: {done.stderr}"

    folder.mkdir(parents=True, exist_ok=True)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        *(
            "req",
            "-x509",
            *curve,
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-days",
            "2",
            "-subj",
            "/CN=Test CA",
        ),
        *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    for name, extension in (
        ("server", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"),
        ("client", "subjectAltName=DNS:client\nextendedKeyUsage=clientAuth\n"),
    ):
        (folder / f"{name}.ext").write_text(extension + "authorityKeyIdentifier=keyid\n")
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext"),
        )
    openssl("pkey", "-in", "client.key", "-out", "client-encrypted.key", "-aes256", "-passout", "pass:secret")
    return Certificates(
        ca=folder / "ca.pem",
        server=folder / "server.pem",
        server_key=folder / "server.key",
        client=folder / "client.pem",
        client_key=folder / "client.key",
        client_key_encrypted=folder / "client-encrypted.key",
    )

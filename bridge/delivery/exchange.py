"""One request on a connection of its own, beside the events: for a token, for a permission.

It takes the endpoint's way: TLS, proxy and egress guard are those of its connector.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from bridge.delivery.connect import ConnectError, Connector, Progress
from bridge.delivery.retry import ErrorKind

MAX_RESPONSE = 64 << 10
"""Bytes of an answer, its head included."""


class Answer(NamedTuple):
    """The final response: `headers` in their order, and everything `raw` as it came, 1xx included."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    raw: bytes
    address: str  # whose answer it is: address and port

    def header(self, name: bytes) -> bytes | None:
        """The first header of that name (in lower case), without white space around it."""
        return next((value.strip() for key, value in self.headers if key.lower() == name), None)


class ExchangeError(Exception):
    """No whole answer; one line that says why. `raw` is what came of it, `address` whose it was."""

    def __init__(self, kind: ErrorKind, text: str, raw: bytes = b"", address: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.raw = raw
        self.address = address


async def exchange(
    connector: Connector, request: bytes, loop: asyncio.AbstractEventLoop, timeout_s: float
) -> Answer:
    """Send a request, which asks for `Connection: close`, and read its answer. Raises ExchangeError.

    `timeout_s` bounds all of it, connecting included.
    """
    peer = _Peer(request, loop)
    progress = Progress()
    try:
        async with asyncio.timeout(timeout_s):
            await connector.connect(peer, timeout_s, progress)
            progress.at("timeout", "its answer")
            return await peer.answer
    except TimeoutError:
        text = f"{progress.waits_for or 'the connection'} took longer than {timeout_s:g} s"
        raise ExchangeError(progress.kind, text, bytes(peer.raw), peer.address) from None
    except ConnectError as error:
        raise ExchangeError(error.kind, f"{error.kind}: {error}") from None
    finally:
        peer.close()


class _Peer(asyncio.Protocol):
    """The connection; `answer` is its final response."""

    def __init__(self, request: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[Answer] = loop.create_future()
        self.raw = bytearray()
        self.address = ""
        self._request = request
        self._parser: HttpResponseParser | None = None
        self._transport: asyncio.Transport | None = None
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.address = f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
        self._parser = HttpResponseParser(self)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.answer.done() or self._parser is None:
            return
        if len(self.raw) + len(data) > MAX_RESPONSE:
            self._fail("protocol", f"its answer is longer than {MAX_RESPONSE} bytes")
            return
        self.raw += data
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._fail("protocol", "its answer is not HTTP/1.1")

    def connection_lost(self, error: Exception | None) -> None:
        if self._status >= 200 and error is None:
            self.on_message_complete()  # RFC 9112 section 6.3: the body may end with the connection
        self._fail("reset", "it closed the connection before its answer was complete")

    # httptools calls these.

    def on_message_begin(self) -> None:
        self._body = b""
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._parser is not None:
            self._status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if self._status >= 200 and not self.answer.done():
            headers = tuple(self._headers)
            self.answer.set_result(Answer(self._status, headers, self._body, bytes(self.raw), self.address))

    def _fail(self, kind: ErrorKind, text: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(ExchangeError(kind, text, bytes(self.raw), self.address))

    def close(self) -> None:
        """End the connection, whatever has come."""
        self._parser = None
        if not self.answer.done():
            self.answer.cancel()
        elif not self.answer.cancelled():
            self.answer.exception()  # looked at, lest asyncio complain of one that nobody awaited
        if self._transport is not None:
            self._transport.abort()

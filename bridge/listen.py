"""A receiver for trying things out (`hookmq listen`, `hookmq demo`): answers every request and shows it.

HTTP/1.1 with keep-alive, pipelining, chunked bodies and `Expect: 100-continue` (RFC 9112, RFC 9110 section
10.1.1), parsed by httptools. Everything a sender can make it hold is bounded by the constants below.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TextIO, cast

import httptools

from bridge.terminal import Renderer, Request, escape, paint, reason_phrase
from bridge.verify import Verifier

MAX_BODY_BYTES = 16 << 20  # of one request; more is answered 413
MAX_HELD_BYTES = 256 << 20  # of all bodies together; more is answered 503
MAX_HEAD_BYTES = 64 << 10  # request line and headers, beyond what came in one read; more is answered 431
MAX_CONNECTIONS = 4096  # more are closed at once
MAX_WAITING = 64  # requests of one connection whose delayed answer is due; then reading pauses
LINGER_SECONDS = 1.0  # a refused sender may read the answer before the connection goes
_RED, _GREEN, _YELLOW = "31", "32", "33"


class ListenError(Exception):
    """The receiver cannot start; the text is one sentence that says what to do."""


Seen = Callable[[Request, int, float], None]  # a request, the status it got, the seconds it took


class Receiver:
    """Listens and answers `status` after `delay` seconds; calls `seen` for each request it has answered."""

    def __init__(self, seen: Seen, *, status: int = 200, delay: float = 0.0) -> None:
        self.seen = seen
        self.status = status
        self.delay = delay
        self.held_bytes = 0
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Opens the socket and returns its port (the system's choice for port 0). Raises ListenError."""
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(self), host, port, backlog=1024
            )
        except OSError as error:
            raise ListenError(_explain(error, host, port)) from None
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Closes the socket and all connections."""
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.abort()
            await self._server.wait_closed()

    def response(self, status: int, extra: str = "") -> bytes:
        """A response without content, RFC 9112 section 4; 204 and 304 carry no length (RFC 9110, 8.6)."""
        length = "" if status in (204, 304) else "Content-Length: 0\r\n"
        return f"HTTP/1.1 {status} {reason_phrase(status)}\r\n{length}{extra}\r\n".encode()


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is taken: stop the program that uses it, or choose another with --port "
            "(0 for any free one)."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} may not be opened by this user: choose one from 1024 up with --port."
    if error.errno == errno.EADDRNOTAVAIL or error.errno is None or error.errno < 0:
        return f"{host} is no address of this machine: choose one with --host (0.0.0.0 for all)."
    return f"Cannot listen on {host}:{port}: {os.strerror(error.errno)}."


class _Connection(asyncio.Protocol):
    """One sender. Answers leave in the order of the requests (RFC 9112 section 9.3.2)."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._ok = receiver.response(receiver.status)
        self._out: list[bytes] = []
        self._waiting: deque[tuple[Request, bool, bool]] = deque()
        self._request = Request()
        self._parts: list[bytes] = []
        self._size = 0  # bytes of the body so far
        self._head_size = 0
        self._in_head = False
        self._closing = False
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        if len(self._receiver.connections) >= MAX_CONNECTIONS:
            self._closing = True
            transport.abort()
        else:
            self._receiver.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.connections.discard(self)
        self._release(self._size)
        for request, _, _ in self._waiting:
            self._release(len(request.body))
        self._waiting.clear()
        self._size = 0
        self._closing = True

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return  # what a refused sender still sends is read and dropped
        if self._in_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._close_soon()  # answered as if it had not asked (RFC 9110 section 7.8); llhttp stops here
        except httptools.HttpParserError:
            self._refuse(400)
        if self._in_head and self._head_size > MAX_HEAD_BYTES:
            self._refuse(431)
        self._flush()

    def eof_received(self) -> bool:
        return bool(self._waiting)  # a delayed answer is still due

    # httptools calls these.

    def on_message_begin(self) -> None:
        self._request = Request()
        self._parts = []
        self._in_head = True
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        self._request.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._closing:
            return
        for name, value in self._request.headers:
            lowered = name.lower()
            if lowered == "content-length" and int(value) > MAX_BODY_BYTES:
                self._refuse(413)
                return
            if lowered == "expect" and value.lower() == "100-continue" and not self._waiting:
                self._out.append(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._closing:
            return
        self._size += len(body)
        self._receiver.held_bytes += len(body)
        self._parts.append(body)
        if self._size > MAX_BODY_BYTES:
            self._refuse(413)
        elif self._receiver.held_bytes > MAX_HELD_BYTES:
            self._refuse(503)

    def on_message_complete(self) -> None:
        if self._closing:
            return
        request, parser = self._request, self._parser
        request.whole = True
        request.method = parser.get_method().decode("latin-1")
        request.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._size = 0
        keep = parser.should_keep_alive()
        old = parser.get_http_version() == "1.0"
        if self._receiver.delay > 0:
            self._waiting.append((request, keep, old))
            self._loop.call_later(self._receiver.delay, self._answer_next)
            if len(self._waiting) >= MAX_WAITING and not self._paused:
                self._paused = True
                self._transport.pause_reading()
        else:
            self._answer(request, keep, old)

    def _answer_next(self) -> None:
        if not self._waiting or self._closing:
            return  # the sender has gone, or was told to
        self._answer(*self._waiting.popleft())
        self._flush()
        if self._paused and len(self._waiting) < MAX_WAITING and not self._closing:
            self._paused = False
            self._transport.resume_reading()

    def _answer(self, request: Request, keep: bool, old: bool) -> None:
        status = self._receiver.status
        if keep and not old:
            self._out.append(self._ok)
        else:
            self._out.append(
                self._receiver.response(status, f"Connection: {'keep-alive' if keep else 'close'}\r\n")
            )
            if not keep:
                self._close_soon()
        self._seen(request, status)

    def _refuse(self, status: int) -> None:
        """Answers `status`, counts the request as seen and ends the connection."""
        if self._closing:
            return
        self._out.append(self._receiver.response(status, "Connection: close\r\n"))
        self._close_soon()
        # Between two requests the last one is still here, and answered.
        request = Request() if self._request.method else self._request
        # The method is known to the parser once the request line has begun with one.
        request.method = (
            self._parser.get_method().decode("latin-1") if request.target else "(no HTTP request)"
        )
        self._parts = []
        request.body = b""
        self._release(self._size)
        self._size = 0
        self._seen(request, status)

    def _seen(self, request: Request, status: int) -> None:
        self._release(len(request.body))
        self._receiver.seen(request, status, time.perf_counter() - request.began)

    def _release(self, size: int) -> None:
        self._receiver.held_bytes -= size

    def _flush(self) -> None:
        if self._out:
            self._transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
            self._out.clear()

    def _close_soon(self) -> None:
        # Closing with unread bytes in the socket resets it, and the sender may lose the answer: so the write
        # side ends first, and the rest is read and dropped for a moment.
        self._closing = True
        self._loop.call_soon(self._end)

    def _end(self) -> None:
        self._flush()
        if self._transport.can_write_eof() and not self._transport.is_closing():
            with suppress(OSError):
                self._transport.write_eof()
        self._loop.call_later(LINGER_SECONDS, self._transport.close)


class Printer:
    """Writes requests to a stream, in one write for all that came in one turn of the loop.

    `stop` is called when `count` requests were written, or when the stream is closed at its other end. With a
    `verifier` each request gets a line on its signature; `unverified` counts those without a good one.
    """

    def __init__(
        self,
        stream: TextIO,
        renderer: Renderer,
        *,
        count: int = 0,
        stop: Callable[[], None] = lambda: None,
        verifier: Verifier | None = None,
    ) -> None:
        self.seen_requests = 0
        self.seen_bytes = 0
        self.unverified = 0
        self._verifier = verifier
        self._stream = stream
        self._renderer = renderer
        self._count = count
        self._stop = stop
        self._lines: list[str] = []

    def seen(self, request: Request, status: int, elapsed: float) -> None:
        """One request. For `Receiver`."""
        self.seen_requests += 1
        self.seen_bytes += len(request.body)
        if self._count and self.seen_requests > self._count:
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.flush)
        self._lines.append(self._renderer.request(request, status, elapsed))
        if self._verifier is not None and request.whole:
            self._verify(self._verifier, request)

    def _verify(self, verifier: Verifier, request: Request) -> None:
        verdicts = verifier.check(request.headers, request.body)
        for ok, text in verdicts:
            tint = _YELLOW if ok is None else _GREEN if ok else _RED
            line = escape(text)
            self._lines.append(f"  {paint(line, tint) if self._renderer.color else line}\n")
        if not any(ok for ok, _ in verdicts) or any(ok is False for ok, _ in verdicts):
            self.unverified += 1

    def flush(self) -> None:
        """Writes what is waiting."""
        lines, self._lines = self._lines, []
        try:
            self._stream.write("".join(lines))
            self._stream.flush()
        except BrokenPipeError:  # `hookmq listen | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            self._stop()
        if self._count and self.seen_requests >= self._count:
            self._stop()


def on_stop_signals(stop: Callable[[], None]) -> None:
    """Calls `stop` at SIGINT and SIGTERM, in the running loop; where that cannot be, Ctrl-C interrupts."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stop)


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Runs `main` on uvloop where it exists, on asyncio elsewhere. Ctrl-C without a handler ends with 0."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415  not on Windows, and slow to load for commands that need no loop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            return runner.run(main)
        except KeyboardInterrupt:
            return 0


def listen(
    host: str,
    port: int,
    *,
    status: int = 200,
    delay: float = 0.0,
    pretty: bool = False,
    headers: Iterable[str] | None = None,
    count: int = 0,
    color: bool | None = None,
    verifier: Verifier | None = None,
) -> int:
    """`hookmq listen`: prints requests until Ctrl-C or until `count` came. Returns the exit code.

    `delay` is in seconds; `headers` as in `Renderer`; `color` None means: if standard output is a terminal.
    With a `verifier` the code is 1 if the signature of any request was not good. Raises ListenError.
    """
    if color is None:
        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    async def main() -> int:
        done = asyncio.Event()
        printer = Printer(
            sys.stdout,
            Renderer(color=color, pretty=pretty, headers=headers),
            count=count,
            stop=done.set,
            verifier=verifier,
        )
        receiver = Receiver(printer.seen, status=status, delay=delay)
        bound = await receiver.start(host, port)
        on_stop_signals(done.set)
        place = f"[{host}]" if ":" in host else host
        after = f" after {delay:g} s" if delay else ""
        print(f"Listening on http://{place}:{bound}/, answering {status}{after}. Ctrl-C ends.", flush=True)
        await done.wait()
        await receiver.stop()
        printer.flush()
        return 1 if printer.unverified else 0

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8
    return run_loop(main())

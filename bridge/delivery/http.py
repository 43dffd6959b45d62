"""One HTTP/1.1 connection to an endpoint (RFC 9112), one request in flight on it, callbacks only.

Rules kept here:
* A request is one write of head and body; the response is parsed by llhttp.
* 1xx responses are passed over; 101 is an error, nothing here asks for an upgrade.
* A response ends an attempt only when it is whole. Its body is read to the end, but kept only up to
  `KEPT_BODY` bytes, and read only up to `MAX_RESPONSE`: then the connection is closed and the status decides.
* A response that comes before the whole request has gone counts, and the connection is closed after it.
* A connection that ends before the first byte of a response: if it had carried a request before, the server
  had closed it between requests, and the request goes out again on a new connection (the same attempt, once).
* Bytes that no request asked for close the connection.
* Time limits are the pool's: `deadline` is what it sweeps.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from bridge.delivery.connect import ConnectError, Progress
from bridge.delivery.faults import cause, plain_text
from bridge.delivery.proxy import refused
from bridge.delivery.retry import ErrorKind, Outcome
from bridge.telemetry.trace_context import into_request

if TYPE_CHECKING:
    from bridge.delivery.pool import Pool

KEPT_BODY = 4096
"""Bytes of a failed response's body that are kept for the log and the dead letter."""
MAX_HEAD = 64 << 10
"""Bytes of a response before its body, 1xx responses included."""
MAX_RESPONSE = 1 << 20
"""Bytes of one response that are read at most."""
RAW_BYTES = 4096
"""Bytes of a response that are kept as they came, for the attempt log."""
RETRY_AFTER_BYTES = 64
"""Bytes of a Retry-After that are looked at: a date has 29."""
SMALL_REQUEST = 16 << 10
"""A request up to this length is in the kernel's hands before a response to it can arrive."""


class Connection(asyncio.Protocol):
    """A connection, opened by its first `send`. After its end it is not used again.

    `busy` means that a request waits for its outcome; then `seq`, `attempt`, `event` and `row` say which.
    `open` is False once it cannot carry a further request.
    """

    __slots__ = (
        "_complete",
        "_extra",
        "_framed",
        "_fresh",
        "_head_bytes",
        "_head_done",
        "_keep",
        "_parser",
        "_pool",
        "_progress",
        "_received",
        "_request",
        "_retry_after",
        "_served",
        "_status",
        "_task",
        "_text",
        "_transport",
        "address",
        "attempt",
        "busy",
        "deadline",
        "event",
        "open",
        "raw",
        "row",
        "seq",
    )

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser: HttpResponseParser | None = None
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._progress: Progress | None = None  # while a connection is being made
        self._request = b""
        self._fresh = False  # a small request is out and no byte of a response has come
        self._served = 0  # responses that this connection has brought
        self._received = 0
        self._reset()
        self.open = True
        self.busy = False
        self.deadline = 0.0  # loop time: of the request while busy, of the connection while idle
        self.seq = 0
        self.attempt = 0
        self.event: Any = None
        self.row: Any = None
        self.address = ""  # the peer's address and port, once connected
        self.raw = b""  # how the response began, 1xx responses included; see `response`

    @property
    def connected(self) -> bool:
        """Whether the TCP connection (and TLS on it) was made."""
        return self._transport is not None

    @property
    def request(self) -> bytes:
        """The latest request as it was, or would have been, sent."""
        return self._request

    @property
    def response(self) -> bytes:
        """Up to `RAW_BYTES` of what came for a request that has failed, as it came; empty if nothing did."""
        return self.raw if self._received else b""

    @property
    def began(self) -> float:
        """When the latest request was begun, in loop time."""
        return self.deadline - self._pool.timeout

    def rest(self, deadline: float) -> None:
        """Nothing to send: let go of the last request, and end at `deadline` (loop time) if nothing comes."""
        self.event = self.row = None
        self._request = b""
        self.deadline = deadline

    # -- requests --------------------------------------------------------------------------------------

    def send(self, seq: int, attempt: int, body: bytes) -> None:
        """Send one event's request; the pool's `on_success` or `on_failure` follows, never from inside.

        Raises SigningError and FillError before anything is done.
        """
        pool = self._pool
        self.seq = seq
        self.attempt = attempt
        compose = pool.compose
        if compose is None:
            request = pool.request(seq, attempt, body)
        else:
            request = compose(pool, seq, attempt, body, self.event)
        event = self.event
        if event is not None and event.trace is not None:
            trace = pool.trace_of(seq, event, self.row)
            if trace is not None:
                request = into_request(request, trace)
        self._request = request
        self._received = 0
        self.busy = True
        self.deadline = pool.now() + pool.timeout
        if pool.slow:
            pool.watch()
        transport = self._transport
        if transport is None:
            self.connect()
        else:
            self._fresh = len(request) <= SMALL_REQUEST
            transport.write(request)

    def resend(self, other: Connection) -> None:
        """Take over the request of a connection that had ended before it was sent: the same attempt."""
        self.seq = other.seq
        self.attempt = other.attempt
        self.event = other.event
        self.row = other.row
        self._request = other._request
        self.deadline = other.deadline
        self.busy = True
        self.connect()

    def connect(self) -> None:
        """Open the TCP connection, and TLS on it, in a task of its own."""
        self._task = self._pool.loop.create_task(self._connect())

    async def _connect(self) -> None:
        pool = self._pool
        self._progress = progress = Progress()
        try:
            await pool.connector.connect(self, pool.timeout, progress)
        except Exception as error:
            self._task = None  # the end of the connection must not cancel the task it is told in
            if self.open:
                pool.connect_failed()
                kind: ErrorKind = error.kind if isinstance(error, ConnectError) else "connect"
                self._fail(kind, cause(error))
        finally:
            self._task = self._progress = None

    # -- asyncio.Protocol ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self.open:
            self._transport.abort()
            return
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.address = f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
        self._parser = HttpResponseParser(self)
        self._pool.connected()
        if self.busy:
            self._fresh = len(self._request) <= SMALL_REQUEST
            self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        # Most servers answer with the same bytes for a second or longer. A whole keep-alive response that is
        # a success and came alone is remembered, and the same bytes again mean the same without parsing them.
        pool = self._pool
        if self._fresh and data == pool.memo:
            self._fresh = False
            self.busy = False
            self._served += 1
            self.raw = pool.memo  # one object for all of them
            pool.on_success(self)
            return
        self._feed(data)

    def eof_received(self) -> None:
        if not self.busy:
            self._end()

    def connection_lost(self, error: Exception | None) -> None:
        if self.busy:
            if not self._received and self._served and self.open:
                self.busy = False
                self._end()
                self._pool.stale(self)
            elif self._received and self._head_done and not self._framed and error is None:
                self._finish(keep=False)  # RFC 9112 section 6.3: the body ends with the connection
            elif self._received:
                self._fail("reset", "the connection ended inside the response")
            else:
                why = cause(error) if error is not None else "closed"
                self._fail("reset", f"the connection ended before a response: {why}")
        else:
            self._end()

    # -- the response ----------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._status = 0
        self._text = bytearray()
        self._retry_after = ""
        self._head_bytes = 0
        self._head_done = False
        self._framed = False
        self._complete = False
        self._keep = False
        self._extra = False

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        if not self.busy or parser is None:
            self.abort()  # nobody asked
            return
        whole = self._fresh
        self._fresh = False
        if not self._received:
            self._reset()
            self.raw = data if len(data) <= RAW_BYTES else data[:RAW_BYTES]
        elif len(self.raw) < RAW_BYTES:
            self.raw += data[: RAW_BYTES - len(self.raw)]
        self._received += len(data)
        try:
            parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail("protocol", "the server switched protocols (101)")
            return
        except HttpParserError as error:
            if not self._complete:
                if self._head_bytes > MAX_HEAD:
                    self._fail("protocol", f"the response's head is longer than {MAX_HEAD} bytes")
                else:
                    self._fail("protocol", f"not an HTTP/1.1 response: {error}")
                return
            self._keep = False
        if self._complete:
            transport = self._transport
            keep = self._keep and not self._extra
            if whole:
                if keep and self._status in self._pool.success:
                    self._pool.memo = data
            elif keep and transport is not None and transport.get_write_buffer_size():
                keep = False  # the rest of the request must not go out as if it were the next one
            self._finish(keep=keep)
        elif self._head_done:
            if self._received > MAX_RESPONSE:
                self._finish(keep=False)
        elif self._received > MAX_HEAD:
            self._fail("protocol", f"the response's head is longer than {MAX_HEAD} bytes")

    def on_message_begin(self) -> None:
        if self._complete:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._complete:
            return
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD and not self._head_done:
            raise HttpParserError("too long")
        length = len(name)
        if length == 14:
            if name.lower() == b"content-length":
                self._framed = True
        elif length == 17 and name.lower() == b"transfer-encoding":
            self._framed = value.lower().rstrip().endswith(b"chunked")
        elif length == 11 and name.lower() == b"retry-after":
            self._retry_after = value[:RETRY_AFTER_BYTES].decode("ascii", "replace").strip()

    def on_headers_complete(self) -> None:
        if self._complete or self._parser is None:
            return
        self._status = status = self._parser.get_status_code()
        self._head_done = not 100 <= status < 200
        if not self._head_done:
            self._framed = False
            self._retry_after = ""

    def on_body(self, data: bytes) -> None:
        if self._status not in self._pool.success and len(self._text) < KEPT_BODY and not self._complete:
            self._text += data[: KEPT_BODY - len(self._text)]

    def on_message_complete(self) -> None:
        if self._head_done and not self._complete and self._parser is not None:
            self._complete = True
            self._keep = self._parser.should_keep_alive()  # llhttp forgets it when it is done

    # -- ends ------------------------------------------------------------------------------------------

    def _finish(self, *, keep: bool) -> None:
        self.busy = False
        self._fresh = False
        self._served += 1
        if not keep:
            self.abort() if self._transport_is_writing() else self.close()
        status = self._status
        if status in self._pool.success:
            self._pool.on_success(self)
        else:
            connector = self._pool.connector
            text = connector.scrub(plain_text(self._text))
            proxy = connector.by_proxy
            if status == 407 and proxy is not None:  # no endpoint's answer, RFC 9110 section 15.5.8
                text = f"proxy {proxy.label}: {refused(status)}"
                self._pool.on_failure(self, Outcome(status=status, error="proxy", text=text))
            else:
                self._pool.on_failure(self, Outcome(status=status, text=text, retry_after=self._retry_after))

    def _transport_is_writing(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def _fail(self, kind: ErrorKind, text: str) -> None:
        self.busy = False
        self._fresh = False
        self.abort()
        self._pool.on_failure(self, Outcome(error=kind, text=text))

    def expire(self) -> None:
        """The deadline has passed: of the request, or of an idle connection."""
        if not self.busy:
            self.close()
            return
        limit = f"{self._pool.timeout * 1000:.0f} ms"
        if self._transport is None:
            self._pool.connect_failed()
            kind: ErrorKind = "timeout"
            text = f"no connection within {limit}"
            if self._progress is not None and self._progress.waits_for:
                kind = self._progress.kind
                text += f", waiting for {self._progress.waits_for}"
            self._fail(kind, text)
        elif not self._received:
            self._fail("timeout", f"no response within {limit}")
        else:
            self._fail("timeout", f"the response was not complete within {limit}")

    def close(self) -> None:
        """Close, after what was written has gone."""
        self._end()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._end()
        if self._transport is not None:
            self._transport.abort()

    def _end(self) -> None:
        if self.open:
            self.open = False
            self._pool.forget(self)
            self._parser = None  # it holds our methods: without this the pair waits for the garbage collector
            if self._task is not None and self._transport is None:
                self._task.cancel()

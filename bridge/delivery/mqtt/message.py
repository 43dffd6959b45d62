"""A message on its way to a broker, and what keeps count of those of one publisher."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from bridge.delivery.handing_on import TraceOf, as_it_came
from bridge.delivery.mqtt.place import Place
from bridge.delivery.retry import Outcome
from bridge.events.event import Event


class Message:
    """See `bridge.delivery.transport.Carrier`: room for one message that waits for its acknowledgement."""

    __slots__ = (
        *("_request", "_transport", "address", "attempt", "began", "busy", "deadline", "event", "identifier"),
        *("mid", "open", "payload", "raw", "resent", "response", "row", "seq", "topic", "trace"),
    )

    def __init__(self, transport: MqttTransport) -> None:
        self._transport = transport
        self._request = b""
        self.open = True
        self.busy = False
        self.seq = 0
        self.attempt = 0
        self.event: Any = None
        self.row: Any = None
        self.address = ""
        self.raw = b""
        self.response = b""
        self.began = 0.0
        self.deadline = 0.0
        self.topic = ""
        self.identifier = ""
        self.payload = b""
        self.mid = 0  # its packet identifier while it is on a connection
        self.resent = False  # the connection that it went out on before has ended
        self.trace: str | None = None  # the trace context that it carries

    @property
    def request(self) -> bytes:
        """What the message was, but for its payload."""
        return self._request

    def send(self, seq: int, attempt: int, body: bytes) -> None:
        """See `Carrier`. Raises FillError."""
        transport = self._transport
        self.topic = transport.place.topic(self.event)
        self.identifier = transport.place.identifier(seq)
        self._request = transport.place.request(self.topic, self.identifier)
        self.payload = body
        event = self.event
        self.trace = None if event.trace is None else transport.trace_of(seq, event, self.row)
        self.seq = seq
        self.attempt = attempt
        self.raw = self.response = b""
        self.address = ""
        self.mid = 0
        self.resent = False
        self.busy = True
        self.began = transport.now()
        self.deadline = self.began + transport.timeout
        transport.begin(self)

    def rest(self) -> None:
        """Let go of what it has carried."""
        self.event = self.row = None
        self.payload = self._request = b""
        self.busy = False


class MqttTransport:
    """See `bridge.delivery.transport.Transport`. How a message begins its way is the subclass's."""

    def __init__(self, place: Place, size: int, timeout: float, loop: asyncio.AbstractEventLoop) -> None:
        self.place = place
        self.size = size
        self.timeout = timeout
        self.now = loop.time
        self.connections: set[Message] = set()  # in use
        self.on_success: Callable[[Any], None] = _nobody
        self.on_failure: Callable[[Any, Any], None] = _nobody_failed
        self.on_free: Callable[[], None] = _nothing
        self.trace_of: TraceOf = as_it_came
        self._idle: list[Message] = []
        self._loop = loop
        self._closed = False

    @property
    def in_flight(self) -> int:
        """Messages in use."""
        return len(self.connections)

    def free(self) -> Message | None:
        """See `Transport`."""
        if self._closed or len(self.connections) >= self.room():
            return None
        message = self._idle.pop() if self._idle else Message(self)
        self.connections.add(message)
        return message

    def release(self, message: Message) -> None:
        """See `Transport`."""
        message.rest()
        if message in self.connections:
            self.connections.remove(message)
            self._idle.append(message)

    def succeed(self, message: Message, raw: bytes) -> None:
        """The broker has a message; `raw` is in words how it said so."""
        message.busy = False
        message.raw = raw
        self.on_success(message)

    def fail(self, message: Message, outcome: Outcome, response: bytes = b"") -> None:
        """An attempt has failed."""
        message.busy = False
        message.response = response
        self.on_failure(message, outcome)

    def close(self) -> None:
        """See `Transport`."""
        self._closed = True
        for message in self.connections:
            message.busy = False
        self.connections.clear()

    def composed(self, seq: int, attempt: int, body: bytes, event: Event) -> bytes:
        """See `Transport`."""
        return self.place.request(self.place.topic(event), self.place.identifier(seq)) + body

    # -- the subclass's --------------------------------------------------------------------------------

    def room(self) -> int:
        """How many messages may be in use now."""
        raise NotImplementedError

    def begin(self, message: Message) -> None:
        """Send a message; its outcome never comes from inside."""
        raise NotImplementedError


def _nobody(message: Any) -> None:
    """Until the owner has set its own."""


def _nobody_failed(message: Any, outcome: Any) -> None:
    """Until the owner has set its own."""


def _nothing() -> None:
    """Until the owner has set its own."""

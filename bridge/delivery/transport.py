"""The seam between a lane and what carries its events: HTTP (`bridge.delivery.pool`) or MQTT.

A lane asks its transport for a carrier that is free, has it send one request or message, and is told how that
ended. It knows no more of the way than this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

from bridge.delivery.handing_on import TraceOf
from bridge.events.event import Event


class Carrier(Protocol):
    """What carries one request at a time: an HTTP connection, or one of the messages that may be in flight.

    `busy` means that it waits for its outcome; then `seq`, `attempt`, `event` and `row` say of what. `open`
    is False once it cannot carry a further one.
    """

    open: bool
    busy: bool
    seq: int
    attempt: int
    event: Any
    row: Any
    address: str  # the peer's address and port, once connected
    raw: bytes  # how the peer's answer began
    deadline: float  # loop time
    _request: bytes  # `request`; the attempt log looks there on the hot path

    @property
    def request(self) -> bytes:
        """What was, or would have been, sent last, in the form of an HTTP request."""

    @property
    def response(self) -> bytes:
        """How the answer to what has failed began; empty if nothing came."""

    @property
    def began(self) -> float:
        """When the last one was begun, in loop time."""

    def send(self, seq: int, attempt: int, body: bytes) -> None:
        """Send one event; the transport's `on_success` or `on_failure` follows, never from inside.

        The caller has set `event`. Raises SigningError and FillError before anything is done.
        """


class Transport(Protocol):
    """The carriers to one receiver, at most `size` of them; `timeout` in seconds bounds an attempt.

    The owner sets `on_success(carrier)`, `on_failure(carrier, outcome)`, and `on_free()` (one may be free
    again though nothing has ended). All are called from the loop, never from inside a method. `trace_of` says
    what trace context goes with an event that has one.
    """

    size: int
    timeout: float
    trace_of: TraceOf
    on_success: Callable[[Any], None]
    on_failure: Callable[[Any, Any], None]
    on_free: Callable[[], None]

    @property
    def connections(self) -> Collection[Carrier]:
        """The carriers that exist."""

    @property
    def in_flight(self) -> int:
        """How many are in use."""

    def free(self) -> Carrier | None:
        """One to send with; if it is not used after all it goes back with `release`."""

    def release(self, carrier: Any, /) -> None:
        """Take back one of its own that has nothing to send."""

    def twin(self) -> Transport:
        """Another one to the same receiver, of one carrier, with the same credentials and limits."""

    def composed(self, seq: int, attempt: int, body: bytes, event: Event) -> bytes:
        """What would be sent for an event, in the form of an HTTP request. Raises SigningError and
        FillError."""

    def close(self) -> None:
        """End all at once; what is under way has no outcome."""


class Place(Protocol):
    """Where a transport leads. `label` names it in logs, without user and password."""

    label: str
    warnings: list[str]  # for the log
    has_body: bool

    def scrub(self, text: str) -> str:
        """A peer's text without the secrets that were sent to it."""


class Tokens(Protocol):
    """What authorizes requests, where tokens do."""

    on_token: Callable[[], None]

    def start(self) -> None:
        """Ask for the first token, before an event wants it."""

    def ready(self) -> bool:
        """Whether there is a token to send with; if not, `on_token` will tell."""

    async def wait(self) -> str:
        """Wait for a token, or for a request for one to fail; the cause, empty if there is a token."""

    def refused(self, request: bytes) -> bool:
        """The receiver answered 401; whether the request is to be sent again."""

    def close(self) -> None:
        """Ask for no more."""

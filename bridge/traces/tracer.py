"""One trace from publish to delivered.

* An event that comes with a sampled trace context goes on in that trace; of those that come without one the
  share `tracing.sample_ratio` begins a trace. One whose context is not sampled is not traced, and its context
  is handed on as it is.
* A traced event has a span `receive`, from its arrival until it is on disk (and acknowledged, where somebody
  waits for that). The span's id is stored with the event, so that the trace goes on after a crash.
* Each attempt is a span below it, whose id stands in the request's `traceparent`: what the receiver does is
  below the attempt.

The journal is asked once a turn; what is not traced costs a comparison, and a random number where there is a
ratio.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from random import getrandbits, random
from typing import TYPE_CHECKING, Any

from bridge.config.settings import Endpoint, Tracing
from bridge.delivery.permission import Asked
from bridge.delivery.retry import Outcome
from bridge.delivery.transport import Carrier
from bridge.events.event import MESSAGE_EVENTS, Event, EventType, event_name
from bridge.journal.batch import INDEX_BITS, Batch
from bridge.journal.journal import Journal
from bridge.telemetry.trace_context import SAMPLED
from bridge.traces.exporter import Exporter, Span

if TYPE_CHECKING:
    from bridge.delivery.lane import Lane
    from bridge.delivery.rows import Row

MAX_OUT = 8192
"""Attempts of one endpoint whose beginning is remembered: more than can be under way."""
_MS = 1_000_000
_MESSAGES = frozenset(map(int, MESSAGE_EVENTS))

_Begun = tuple[int, Event, str, str]
"""The event's sequence, the event, its span's parent and its state."""


class Tracer:
    """Makes the spans of one process. For the loop's thread."""

    def __init__(
        self,
        settings: Tracing,
        journal: Journal,
        exporter: Exporter,
        *,
        clock: Callable[[], int] = time.time_ns,
        chance: Callable[[], float] = random,
    ) -> None:
        self._ratio = settings.sample_ratio
        self._exporter = exporter
        self._clock = clock
        self._chance = chance
        self._prefix = f"msg_{journal.store.id}_"
        self._last = -1  # the last batch that was looked at
        self._open: dict[int, list[_Begun]] = {}  # by batch: what ends when that is committed
        journal.before_commit = self._before_commit
        journal.on_commit.append(self._committed)

    def watch(self, lane: Lane) -> None:
        """Make the spans of an endpoint's attempts."""
        lane.tracing = LaneTracer(lane, self._exporter, self._clock, self._prefix)

    # -- receive ---------------------------------------------------------------------------------------

    def _before_commit(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            if batch.number <= self._last:
                continue  # offered again
            self._last = batch.number
            if not batch.events:
                continue
            begun = self._begin(batch)
            if not begun:
                continue
            if batch.acks or batch.after:
                batch.after.append((self._end, (begun,)))
            else:  # nobody waits for its sync
                self._open[batch.number] = begun

    def _begin(self, batch: Batch) -> list[_Begun]:
        begun: list[_Begun] = []
        ratio = self._ratio
        chance = self._chance
        for index, event in enumerate(batch.events):
            came = event.trace
            if came is None:
                if chance() >= ratio:
                    continue
                trace, parent, state = f"{getrandbits(128) or 1:032x}", "", ""
            elif int(came[53:55], 16) & SAMPLED:
                trace, parent, state = came[3:35], came[36:52], came[56:]
            else:
                continue
            event.trace = context(trace, f"{getrandbits(64) or 1:016x}", state)
            begun.append((batch.number << INDEX_BITS | index, event, parent, state))
        return begun

    def _committed(self, batch: Batch) -> None:
        if self._open:
            begun = self._open.pop(batch.number, None)
            if begun is not None:
                self._end(begun)

    def _end(self, begun: list[_Begun]) -> None:
        now = self._clock()
        exporter = self._exporter
        for seq, event, parent, state in begun:
            if not exporter.has_room():
                continue
            traced = event.trace
            assert traced is not None  # noqa: S101
            trace, span = traced[3:35], traced[36:52]
            start = min(event.ts * _MS, now)
            attributes = self._attributes(seq, event)
            self._exporter.put(
                Span("receive", "consumer", trace, span, parent, bool(parent), state, start, now, attributes)
            )

    def _attributes(self, seq: int, event: Event) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "hookmq.event": event_name(event),
            "messaging.message.id": f"{self._prefix}{seq:016x}",
            "messaging.operation.type": "receive",
            "messaging.message.body.size": len(event.payload),
        }
        if event.type != EventType.DOMAIN:
            attributes["messaging.system"] = "mqtt"
            attributes["messaging.client.id"] = event.clientid
        if event.type in _MESSAGES:
            attributes["messaging.destination.name"] = event.topic
        return attributes


class LaneTracer:
    """The attempts of one endpoint; see `bridge.delivery.attempts.AttemptSink`."""

    def __init__(self, lane: Lane, exporter: Exporter, clock: Callable[[], int], prefix: str) -> None:
        self._lane = lane
        self._exporter = exporter
        self._clock = clock
        self._prefix = prefix
        self._out: dict[int, tuple[str, int]] = {}  # by number: the attempt's span, and when it began
        endpoint = lane.endpoint
        self._attributes: dict[str, Any] = {"hookmq.endpoint": lane.name}
        target = lane.target
        host = getattr(target, "host", "")
        if host:
            self._attributes["server.address"] = host
            self._attributes["server.port"] = getattr(target, "port", 0)
        self._http = isinstance(endpoint, Endpoint)
        if self._http:
            self._name, self._kind = endpoint.method, "client"
            self._attributes["http.request.method"] = endpoint.method
        else:
            self._name, self._kind = "publish", "producer"
            self._attributes["messaging.system"] = "mqtt"
            self._attributes["messaging.operation.name"] = "publish"
        self._as_it_came = lane.pool.trace_of  # or none, where the settings have a header of that name
        lane.pool.trace_of = self._trace_of

    def _trace_of(self, seq: int, event: Event, row: Row | None) -> str | None:
        """The context that the request carries: that of its attempt."""
        came = self._as_it_came(seq, event, row)
        if came is None or not int(came[53:55], 16) & SAMPLED:
            return came
        if len(self._out) >= MAX_OUT:  # attempts that had no outcome: their connections were closed
            self._out.clear()
        span = f"{getrandbits(64) or 1:016x}"
        self._out[seq] = (span, self._clock())
        return context(came[3:35], span, came[56:])

    # -- AttemptSink -----------------------------------------------------------------------------------

    def succeeded(self, connection: Carrier) -> None:
        """See `AttemptSink`."""
        if connection.row is None and connection.event.trace is None:
            return
        self._ended(connection, None)

    def failed(self, connection: Carrier, outcome: Outcome) -> None:
        """See `AttemptSink`."""
        self._ended(connection, outcome)

    def unsent(self, seq: int, attempt: int, event: Event, outcome: Outcome) -> None:
        """See `AttemptSink`; nothing went out."""

    def asked(self, asked: Asked) -> None:
        """See `AttemptSink`; no event is concerned."""

    def _ended(self, connection: Carrier, outcome: Outcome | None) -> None:
        now = self._clock()
        out = self._out.pop(connection.seq, None)
        row: Row | None = connection.row
        seqs = (connection.seq,) if row is None or not row.seqs else row.seqs
        for seq, event in zip(seqs, self._lane.carried(connection), strict=False):
            traced = event.trace
            if traced is None or not int(traced[53:55], 16) & SAMPLED or not self._exporter.has_room():
                continue
            if out is not None:
                span, start = out
            else:  # one of a group, which has begun with it
                span = f"{getrandbits(64) or 1:016x}"
                start = now - _took_ns(connection)
            attributes = {
                **self._attributes,
                "messaging.message.id": f"{self._prefix}{seq:016x}",
                "hookmq.attempt": connection.attempt,
            }
            if connection.attempt > 1 and self._http:
                attributes["http.request.resend_count"] = connection.attempt - 1
            if len(seqs) > 1:
                attributes["messaging.batch.message_count"] = len(seqs)
            _tell(attributes, connection, outcome)
            self._exporter.put(
                Span(
                    *(self._name, self._kind, traced[3:35], span, traced[36:52], False, traced[56:]),
                    *(start, now, attributes, outcome is not None),
                )
            )
            out = None


def context(trace: str, span: str, state: str) -> str:
    """A sampled trace context as `Event.trace` has it."""
    return f"00-{trace}-{span}-01 {state}" if state else f"00-{trace}-{span}-01"


def _took_ns(connection: Carrier) -> int:
    seconds = asyncio.get_running_loop().time() - connection.began
    return max(int(seconds * 1_000_000_000), 0)


def _tell(attributes: dict[str, Any], connection: Carrier, outcome: Outcome | None) -> None:
    """How an attempt ended: never what the receiver said, which may hold anything."""
    if outcome is None:
        head = connection.raw[:13]
        if head.startswith(b"HTTP/1.1 2"):  # else an interim response came first
            attributes["http.response.status_code"] = int(head[9:12])
    elif outcome.error is not None:
        attributes["error.type"] = outcome.error
    elif outcome.status is not None:
        attributes["http.response.status_code"] = outcome.status
        attributes["error.type"] = str(outcome.status)

"""Eryxon's bodies (INTEROP 4): `{"event","timestamp","data"}`, and the header `X-Eryxon-Event`.

What stands in them is as in `bridge.events.mes`. A request of several events has no such header.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.events.event import Event, event_name
from bridge.events.fields import Choice
from bridge.events.head import header_value
from bridge.events.interface import FormatSettings, Origin
from bridge.events.mes import make_parts
from bridge.events.payload import BodyCounts

HEADER = "X-Eryxon-Event"


def make_eryxon(
    settings: FormatSettings, origin: Origin, counts: BodyCounts, choose: Choice | None
) -> Callable[[int, Event], bytes]:
    """Eryxon's bodies of one endpoint."""
    parts = make_parts(settings, origin, counts, choose)

    def body(seq: int, event: Event) -> bytes:
        _, name, timestamp, data = parts(seq, event)
        return b'{"event":%b,"timestamp":%b,"data":%b}' % (name, timestamp, data)

    return body


def event_line(event: Event) -> bytes:
    """The header line of an event, with CRLF before it."""
    return f"\r\n{HEADER}: {header_value(event_name(event))}".encode("ascii")

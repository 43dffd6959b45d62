"""MachShop's bodies (INTEROP 3): `{"id","type","timestamp","data"}`, and what Eryxon's share with them.

A body is JSON as JavaScript writes it (`bridge.events.js_json`), since its readers verify the signature over
`JSON.stringify` of what they have parsed.

* An event of a business system has the id, the type, the timestamp and the data that it came with.
* An event of the broker has the request's `webhook-id`, EMQX's name (`client.connected`), the time at which
  it happened, and as data EMQX's fields; `include` and `exclude` choose among these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from bridge.events.cloudevents import timestamp
from bridge.events.emqx import make_fields
from bridge.events.event import Event, EventType, event_name
from bridge.events.fields import Choice
from bridge.events.interface import FormatSettings, Origin
from bridge.events.js_json import JsJsonError, dumps, loads
from bridge.events.payload import BodyCounts, Shown, make_payload

_DOMAIN = int(EventType.DOMAIN)
_NO_DATA: dict[str, Any] = {}


class Parts(NamedTuple):
    """What a body is made of, each as JSON."""

    id: bytes
    type: bytes
    timestamp: bytes
    data: bytes


def make_parts(
    settings: FormatSettings, origin: Origin, counts: BodyCounts, choose: Choice | None
) -> Callable[[int, Event], Parts]:
    """The parts of the bodies of one endpoint."""
    prefix = f"msg_{origin.store_id}_"
    fields = make_fields(settings.name, origin, js_payload(settings, counts))

    def parts(seq: int, event: Event) -> Parts:
        data = event.data or _NO_DATA
        if event.type == _DOMAIN:
            return Parts(
                dumps(data.get("id") or f"{prefix}{seq:016x}"),
                dumps(event.topic),
                dumps(data.get("timestamp") or timestamp(event.ts)),
                event.payload,
            )
        shown = fields(seq, event)
        return Parts(
            dumps(f"{prefix}{seq:016x}"),
            dumps(event_name(event)),
            dumps(timestamp(data.get("at", event.ts))),
            dumps(shown if choose is None else choose(shown)),
        )

    return parts


def js_payload(settings: FormatSettings, counts: BodyCounts) -> Callable[[bytes], Shown]:
    """How the payloads of MQTT messages stand in the data.

    Under `json` one that JavaScript could not give back as it was sent stands as text.
    """
    encoding = str(settings.encoding)
    if encoding != "json":
        return make_payload(encoding, settings.base62_limit, counts)
    plain = make_payload("plain", settings.base62_limit, counts)

    def as_json(payload: bytes) -> Shown:
        try:
            return loads(payload), False
        except JsJsonError:
            return plain(payload)

    return as_json


def make_mes(
    settings: FormatSettings, origin: Origin, counts: BodyCounts, choose: Choice | None
) -> Callable[[int, Event], bytes]:
    """MachShop's bodies of one endpoint."""
    parts = make_parts(settings, origin, counts, choose)

    def body(seq: int, event: Event) -> bytes:
        return b'{"id":%b,"type":%b,"timestamp":%b,"data":%b}' % parts(seq, event)

    return body

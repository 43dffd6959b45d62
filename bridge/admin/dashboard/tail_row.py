"""An event of the live tail as JSON: what there is of it, each part cut to what a screen can hold."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec

from bridge.delivery.account import event_name
from bridge.events.cloudevents import timestamp
from bridge.events.event import Event, EventType

PAYLOAD_BYTES = 4096
"""Bytes of a payload that are shown."""
TEXT_CHARACTERS = 1024
"""Characters of a topic, a name, and of each further text."""

_encode = msgspec.json.encode


def row(event: Event) -> bytes:
    """See the module."""
    domain = event.type == EventType.DOMAIN
    shown: dict[str, Any] = {
        "at": timestamp(event.ts),
        "type": event_name(event.type, event.topic[:TEXT_CHARACTERS]),
        "topic": "" if domain else event.topic[:TEXT_CHARACTERS],
        "clientid": event.clientid[:TEXT_CHARACTERS],
        "username": None if event.username is None else event.username[:TEXT_CHARACTERS],
        "peername": event.peername,
        "qos": event.qos,
        "retain": event.retain,
        **payload(event.payload),
        "data": _cut(event.data),
    }
    return _encode(shown)


def payload(data: bytes) -> dict[str, Any]:
    """The payload as text, or in base64 where it is none."""
    part = data[:PAYLOAD_BYTES]
    encoding = "plain"
    try:
        text = part.decode()
    except UnicodeDecodeError as error:
        # A character that the cut went through is left out; whatever else is no text.
        if len(data) > PAYLOAD_BYTES and error.start >= len(part) - 3:
            text = part[: error.start].decode()
        else:
            text, encoding = b64encode(part).decode("ascii"), "base64"
    return {"payload": text, "payload_encoding": encoding, "payload_bytes": len(data)}


def _cut(data: dict[str, Any] | None) -> dict[str, Any]:
    """What an event has beside that every one has; of its values only those that are no objects."""
    if not data:
        return {}
    return {
        name: value[:TEXT_CHARACTERS] if isinstance(value, str) else value
        for name, value in data.items()
        if isinstance(value, str | int | float)
    }

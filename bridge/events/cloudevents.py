"""CloudEvents 1.0.2: the JSON format (structured and batched) and the HTTP binding's binary mode.

* `id` is the request's `webhook-id`, `source` the node, `type` EMQX's name behind a prefix, `subject` the
  topic, or the client id where there is none, `time` when the event happened.
* A message's data is its payload: a JSON value where it is JSON, text where it is UTF-8, else bytes. The
  publisher's Content-Type (MQTT 5) stands where it fits the payload. `clientid`, `username`, `qos`, `retain`
  and `messageid` are extension attributes, and where there are such `reason`, `fromclientid` and
  `fromusername`.
* The data of an event of a business system is its own, its type and its time too; `messageid` is its id, and
  `subject` the name of its source.
* The data of any other event are EMQX's fields.
* Characters that an attribute may not have (control characters; section 3.1, Type System) become U+FFFD.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from bridge.events.emqx import FieldsOf
from bridge.events.encodings import base64
from bridge.events.event import HOOK_EVENTS, MESSAGE_EVENTS, Event, EventType, event_name
from bridge.events.fields import Choice
from bridge.events.head import cloudevents_value
from bridge.events.interface import Origin
from bridge.events.payload import NOT_JSON, parse

STRUCTURED = "application/cloudevents+json; charset=utf-8"
BATCHED = "application/cloudevents-batch+json; charset=utf-8"
"""HTTP protocol binding, sections 3.2 and 3.3."""
JSON = "application/json"
TEXT = "text/plain"
BYTES = "application/octet-stream"

_MESSAGES = frozenset(int(kind) for kind in MESSAGE_EVENTS)
_NAMES = {int(kind): kind.dotted for kind in HOOK_EVENTS}
_ACTIONS = {int(kind): kind.action for kind in HOOK_EVENTS}
_DOMAIN = int(EventType.DOMAIN)
_NO_DATA: dict[str, Any] = {}
_MAX_TYPE = 255  # characters of a publisher's Content-Type
_MEDIA_TYPE = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+/[!#$%&'*+\-.^_`|~0-9A-Za-z]+ *(;[\x20-\x7e]*)?")
_JSON_TYPE = re.compile(r"(application|text)/([a-z0-9.\-]+\+)?json *(;.*)?", re.IGNORECASE)
_TEXT_TYPE = re.compile(
    r"(text/.*|application/([a-z0-9.\-]+\+)?(xml|yaml|javascript|x-www-form-urlencoded) *(;.*)?)",
    re.IGNORECASE,
)
_NOT_IN_ATTRIBUTES = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")

_encode = msgspec.json.Encoder().encode

Attributes = dict[str, Any]


def timestamp(ms: int) -> str:
    """RFC 3339, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def attribute(text: str) -> str:
    """Text as a value of an attribute."""
    return text if text.isprintable() else _NOT_IN_ATTRIBUTES.sub("\ufffd", text)


def data_of(payload: bytes, declared: str | None) -> tuple[str, Any]:
    """A payload's media type, and its value: `msgspec.Raw` for JSON, text, or bytes."""
    if declared is not None and (len(declared) > _MAX_TYPE or not _MEDIA_TYPE.fullmatch(declared)):
        declared = None
    if declared is None or _JSON_TYPE.fullmatch(declared):
        if parse(payload) is not NOT_JSON:
            return declared or JSON, msgspec.Raw(payload)
        declared = None
    elif not _TEXT_TYPE.fullmatch(declared):
        return declared, payload
    try:
        return declared or TEXT, payload.decode()
    except UnicodeDecodeError:
        return declared or BYTES, payload


class CloudEvents:
    """Events as CloudEvents of one endpoint. `fields` are EMQX's; `choose` takes some of them."""

    def __init__(
        self, origin: Origin, source: str | None, prefix: str, fields: FieldsOf, choose: Choice | None
    ) -> None:
        self._id = f"msg_{origin.store_id}_"
        self._source = source or f"/hookmq/{origin.node}"
        self._prefix = prefix
        self._types = {kind: prefix + name for kind, name in _NAMES.items()}
        self._fields = fields
        self._choose = choose

    def structured(self, seq: int, event: Event) -> bytes:
        """The JSON format, section 3: attributes and data in one object."""
        made = self._attributes(seq, event)
        if event.type == _DOMAIN:
            made["datacontenttype"] = JSON
            made["data"] = msgspec.Raw(event.payload)
            return _encode(made)
        if event.type not in _MESSAGES:
            made["datacontenttype"] = JSON
            made["data"] = self._data(seq, event)
            return _encode(made)
        made["datacontenttype"], data = data_of(event.payload, _declared(event))
        if isinstance(data, bytes):
            made["data_base64"] = base64(data)
        else:
            made["data"] = data
        return _encode(made)

    def binary_body(self, seq: int, event: Event) -> bytes:
        """Binary mode: the body is the data."""
        return (
            event.payload
            if event.type in _MESSAGES or event.type == _DOMAIN
            else _encode(self._data(seq, event))
        )

    def binary_lines(self, without: frozenset[str]) -> Callable[[int, Event], bytes]:
        """Binary mode: the header lines, each with CRLF before it, but for these headers (lower case)."""
        configured = frozenset(name[3:] for name in without if name.startswith("ce-"))
        typed = "content-type" not in without

        def lines(seq: int, event: Event) -> bytes:
            made = [
                f"\r\nce-{name}: {_header(value)}"
                for name, value in self._attributes(seq, event).items()
                if name not in configured
            ]
            if typed:
                kind = data_of(event.payload, _declared(event))[0] if event.type in _MESSAGES else JSON
                made.append("\r\nContent-Type: " + kind)
            return "".join(made).encode("ascii")

        return lines

    def _data(self, seq: int, event: Event) -> Attributes:
        fields = self._fields(seq, event)
        return fields if self._choose is None else self._choose(fields)

    def _attributes(self, seq: int, event: Event) -> Attributes:
        if event.type == _DOMAIN:
            return self._domain(seq, event)
        kind = self._types.get(event.type)
        if kind is None:
            raise ValueError(f"unknown event type {event.type!r}; possible: 1 to {max(EventType)}")
        data = event.data or _NO_DATA
        made: Attributes = {
            "specversion": "1.0",
            "id": f"{self._id}{seq:016x}",
            "source": self._source,
            "type": kind,
            "time": _time(event),
        }
        subject = event.topic or event.clientid
        if subject:
            made["subject"] = attribute(subject)
        if event.type not in _MESSAGES:
            return made
        clientid, username = event.clientid, event.username
        if "to_clientid" in data:
            if clientid:
                made["fromclientid"] = attribute(clientid)
            if username:
                made["fromusername"] = attribute(username)
            clientid, username = data["to_clientid"], data.get("to_username")
        if clientid:
            made["clientid"] = attribute(clientid)
        if username:
            made["username"] = attribute(username)
        made["qos"] = event.qos
        if event.retain is not None:
            made["retain"] = event.retain
        made["messageid"] = data.get("id") or f"{seq:032X}"
        if data.get("reason"):
            made["reason"] = data["reason"]
        return made

    def _domain(self, seq: int, event: Event) -> Attributes:
        data = event.data or _NO_DATA
        made: Attributes = {
            "specversion": "1.0",
            "id": f"{self._id}{seq:016x}",
            "source": self._source,
            "type": attribute(self._prefix + event.topic),
            "time": _time(event),
        }
        if event.clientid:
            made["subject"] = made["clientid"] = attribute(event.clientid)
        if event.username:
            made["username"] = attribute(event.username)
        if data.get("id"):
            made["messageid"] = attribute(str(data["id"]))
        return made


def wrapper(
    origin: Origin, source: str | None, prefix: str, inner: Callable[[int, Event], bytes], *, nanomq: bool
) -> Callable[[int, Event], bytes]:
    """Bodies of another format, each as the data of a CloudEvent, for a batch.

    With NanoMQ's bodies the type has NanoMQ's name, and the source is the store's: as such batches have it.
    """
    name = f"msg_{origin.store_id}_"
    source = source or f"/hookmq/{origin.store_id if nanomq else origin.node}"
    types = {kind: prefix + text for kind, text in (_ACTIONS if nanomq else _NAMES).items()}

    def body(seq: int, event: Event) -> bytes:
        made = {
            "id": f"{name}{seq:016x}",
            "source": source,
            "type": types.get(event.type) or attribute(prefix + event_name(event)),
            "time": _time(event),
            "data": msgspec.Raw(inner(seq, event)),
            "specversion": "1.0",
            "datacontenttype": JSON,
        }
        subject = event.clientid if event.type == _DOMAIN else event.topic or event.clientid
        if subject:
            made["subject"] = attribute(subject)
        return _encode(made)

    return body


def _time(event: Event) -> str:
    """When the event happened."""
    data = event.data or _NO_DATA
    if event.type == _DOMAIN:
        return attribute(str(data.get("timestamp") or timestamp(event.ts)))
    return timestamp(data.get("at", event.ts))


def _declared(event: Event) -> str | None:
    """The publisher's Content-Type (MQTT 5.0, section 3.3.2.3.9)."""
    found = ((event.data or _NO_DATA).get("props") or _NO_DATA).get("Content-Type")
    return found if isinstance(found, str) else None


def _header(value: Any) -> str:
    """The canonical text of an attribute's value, as a header (section 3.1, Type System)."""
    if value is True or value is False:
        return "true" if value else "false"
    return cloudevents_value(value) if isinstance(value, str) else str(value)

"""NanoMQ's JSON bodies, byte for byte: compact, keys in NanoMQ's order, UTF-8 not escaped.

* `ts` and `connected_at` are Unix time in milliseconds.
* No user name, or an empty one: `"undefined"`.
* An empty payload is `""`.
* A payload that is not UTF-8 under `plain`, or is longer than the limit under `base62`, is sent as base64,
  and the body's last key says so: `"payload_encoding":"base64"`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from bridge.events.encodings import base62, base62_legacy, base64
from bridge.events.event import Event, EventType

UNDEFINED = "undefined"
FALLBACK = "base64"
_NO_DATA: dict[str, Any] = {}
_PUBLISH = int(EventType.MESSAGE_PUBLISH)

_encode = msgspec.json.Encoder().encode


class FormatSettings(Protocol):
    """What a format needs to know of an endpoint; `bridge.config.settings.Endpoint` is one."""

    @property
    def encoding(self) -> str:
        """plain, base64, base62 or base62_legacy."""

    @property
    def base62_limit(self) -> int:
        """The longest payload in bytes that is sent as base62."""


class BodyCounts:
    """How often a payload could not be sent as configured and went as base64."""

    __slots__ = ("base62_too_long", "not_utf8")

    def __init__(self) -> None:
        self.not_utf8 = 0
        self.base62_too_long = 0


# The field order of these classes is the key order on the wire.


class _Publish(msgspec.Struct, gc=False):
    ts: int
    topic: str
    retain: bool
    qos: int
    action: str
    from_username: str
    from_client_id: str
    payload: str


class _PublishFallback(_Publish, gc=False):
    payload_encoding: str = FALLBACK


class _Routed(msgspec.Struct, gc=False):
    """message_delivered and message_acked: `clientid` and `username` are the receiver's."""

    action: str
    clientid: str
    username: str
    from_client_id: str
    from_username: str
    topic: str
    qos: int
    retain: bool
    payload: str
    ts: int


class _RoutedFallback(_Routed, gc=False):
    payload_encoding: str = FALLBACK


class _Connect(msgspec.Struct, gc=False):
    action: str
    clientid: str
    username: str
    ipaddress: str
    keepalive: int
    proto_ver: int


class _Connack(msgspec.Struct, gc=False):
    proto_ver: int
    keepalive: int
    conn_ack: str
    username: str
    clientid: str
    action: str


class _Connected(msgspec.Struct, gc=False):
    action: str
    clientid: str
    username: str
    keepalive: int
    ipaddress: str
    proto_ver: int
    connected_at: int


class _Disconnected(msgspec.Struct, gc=False):
    reason: str
    username: str
    clientid: str
    action: str


class _Terminated(msgspec.Struct, gc=False):
    action: str
    clientid: str
    username: str
    reason: str


class _Options(msgspec.Struct, gc=False):
    qos: int


class _Subscribe(msgspec.Struct, gc=False):
    action: str
    clientid: str
    username: str
    topic: str
    opts: _Options


class _Unsubscribe(msgspec.Struct, gc=False):
    action: str
    clientid: str
    username: str
    topic: str


def _connect(event: Event, data: dict[str, Any], action: str, username: str) -> bytes:
    return _encode(
        _Connect(
            action,
            event.clientid,
            username,
            data.get("ipaddress", ""),
            data.get("keepalive", 0),
            data.get("proto_ver", 0),
        )
    )


def _connack(event: Event, data: dict[str, Any], action: str, username: str) -> bytes:
    return _encode(
        _Connack(
            data.get("proto_ver", 0),
            data.get("keepalive", 0),
            data.get("conn_ack", ""),
            username,
            event.clientid,
            action,
        )
    )


def _connected(event: Event, data: dict[str, Any], action: str, username: str) -> bytes:
    return _encode(
        _Connected(
            action,
            event.clientid,
            username,
            data.get("keepalive", 0),
            data.get("ipaddress", ""),
            data.get("proto_ver", 0),
            data.get("connected_at", event.ts),
        )
    )


def _disconnected(event: Event, data: dict[str, Any], action: str, username: str) -> bytes:
    return _encode(_Disconnected(data.get("reason", ""), username, event.clientid, action))


def _terminated(event: Event, data: dict[str, Any], action: str, username: str) -> bytes:
    return _encode(_Terminated(action, event.clientid, username, data.get("reason", "")))


def _subscribe(event: Event, data: dict[str, Any], action: str, username: str) -> bytes:
    return _encode(_Subscribe(action, event.clientid, username, event.topic, _Options(event.qos)))


def _unsubscribe(event: Event, data: dict[str, Any], action: str, username: str) -> bytes:
    return _encode(_Unsubscribe(action, event.clientid, username, event.topic))


_Lifecycle = Callable[[Event, dict[str, Any], str, str], bytes]

_LIFECYCLE: dict[int, tuple[str, _Lifecycle]] = {
    int(kind): (kind.action, build)
    for kind, build in (
        (EventType.CLIENT_CONNECT, _connect),
        (EventType.CLIENT_CONNACK, _connack),
        (EventType.CLIENT_CONNECTED, _connected),
        (EventType.CLIENT_DISCONNECTED, _disconnected),
        (EventType.CLIENT_SUBSCRIBE, _subscribe),
        (EventType.CLIENT_UNSUBSCRIBE, _unsubscribe),
        (EventType.SESSION_SUBSCRIBED, _subscribe),
        (EventType.SESSION_UNSUBSCRIBED, _unsubscribe),
        (EventType.SESSION_TERMINATED, _terminated),
    )
}
_MESSAGES = {int(kind): kind.action for kind in (EventType.MESSAGE_DELIVERED, EventType.MESSAGE_ACKED)}


def _payload(payload: bytes, encoding: str, base62_limit: int, counts: BodyCounts) -> tuple[str, bool]:
    """The payload as text, and whether it had to go as base64 instead of as configured."""
    if encoding == "plain":
        try:
            return payload.decode(), False
        except UnicodeDecodeError:
            counts.not_utf8 += 1
            return base64(payload), True
    if encoding == "base64":
        return base64(payload), False
    if encoding == "base62":
        if len(payload) <= base62_limit:
            return base62(payload), False
        counts.base62_too_long += 1
        return base64(payload), True
    if encoding == "base62_legacy":
        return base62_legacy(payload), False
    raise ValueError(f"unknown encoding {encoding!r}; possible: plain, base64, base62, base62_legacy")


def nanomq_body(
    event: Event, encoding: str = "plain", base62_limit: int = 65536, counts: BodyCounts | None = None
) -> bytes:
    """The body of any event, as INTEROP 1.2 has it. Raises ValueError for an unknown type or encoding."""
    kind = event.type
    username = event.username or UNDEFINED
    lifecycle = _LIFECYCLE.get(kind)
    if lifecycle is not None:
        action, build = lifecycle
        return build(event, event.data or _NO_DATA, action, username)
    text, fallback = _payload(event.payload, encoding, base62_limit, counts or BodyCounts())
    if kind == _PUBLISH:
        publish = _PublishFallback if fallback else _Publish
        return _encode(
            publish(
                event.ts,
                event.topic,
                event.retain,
                event.qos,
                "message_publish",
                username,
                event.clientid,
                text,
            )
        )
    message = _MESSAGES.get(kind)
    if message is None:
        raise ValueError(f"unknown event type {kind!r}; possible: 1 to {max(EventType)}")
    data = event.data or _NO_DATA
    routed = _RoutedFallback if fallback else _Routed
    return _encode(
        routed(
            message,
            data.get("to_clientid", ""),
            data.get("to_username") or UNDEFINED,
            event.clientid,
            username,
            event.topic,
            event.qos,
            event.retain,
            text,
            event.ts,
        )
    )


class Origin(NamedTuple):
    """Who makes the bodies: the node's name, and the store's id, which stands in every `webhook-id`."""

    node: str = "hookmq@localhost"
    store_id: str = "000000000000"


class Format(NamedTuple):
    """How one endpoint's requests are made of events.

    `body` makes the body of an event, whose sequence comes first. `fill`, where there is one, gives what of
    the request's head differs from event to event: the request target, and header lines, each with CRLF
    before it.
    """

    body: Callable[[int, Event], bytes]
    content_type: str = "application/json"
    fill: Callable[[int, Event], tuple[bytes, bytes]] | None = None


_NOWHERE = Origin()


def make_format(
    settings: FormatSettings, origin: Origin = _NOWHERE, counts: BodyCounts | None = None
) -> Format:
    """The format of one endpoint; `counts` gathers what could not go as configured.

    Raises ValueError for what can never work.
    """
    encoding = str(settings.encoding)
    limit = settings.base62_limit
    tally = counts if counts is not None else BodyCounts()
    _payload(b"", encoding, limit, tally)  # an unknown encoding fails here and not at the first event
    if encoding != "plain":
        return Format(lambda seq, event: nanomq_body(event, encoding, limit, tally))
    encode = _encode
    new = _Publish

    def plain(seq: int, event: Event) -> bytes:
        if event.type == _PUBLISH:
            try:
                text = event.payload.decode()
            except UnicodeDecodeError:
                return nanomq_body(event, encoding, limit, tally)
            return encode(
                new(
                    event.ts,
                    event.topic,
                    event.retain,
                    event.qos,
                    "message_publish",
                    event.username or UNDEFINED,
                    event.clientid,
                    text,
                )
            )
        return nanomq_body(event, encoding, limit, tally)

    return Format(plain)

"""NanoMQ's JSON bodies, byte for byte: compact, keys in NanoMQ's order, UTF-8 not escaped.

* `ts` and `connected_at` are Unix time in milliseconds.
* No user name, or an empty one: `"undefined"`.
* An empty payload is `""`.
* A payload that could not go as configured is sent as base64, and the body's last key says so:
  `"payload_encoding":"base64"`.

The events that NanoMQ does not know have bodies of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from bridge.events.event import Event, EventType
from bridge.events.interface import UNDEFINED
from bridge.events.payload import FALLBACK, BodyCounts, Shown, make_payload

_NO_DATA: dict[str, Any] = {}
_PUBLISH = int(EventType.MESSAGE_PUBLISH)

_encode = msgspec.json.Encoder().encode


# The field order of these classes is the key order on the wire. A payload is text or msgspec.Raw.


class _Publish(msgspec.Struct, gc=False):
    ts: int
    topic: str
    retain: bool | str
    qos: int
    action: str
    from_username: str
    from_client_id: str
    payload: Any


class _PublishFallback(_Publish, gc=False):
    payload_encoding: str = FALLBACK


class _Domain(msgspec.Struct, gc=False):
    """An event of a business system: `action` is its type."""

    ts: int
    action: str
    from_username: str
    from_client_id: str
    payload: Any


class _DomainFallback(_Domain, gc=False):
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
    retain: bool | str
    payload: Any
    ts: int


class _RoutedFallback(_Routed, gc=False):
    payload_encoding: str = FALLBACK


class _Dropped(msgspec.Struct, gc=False):
    action: str
    reason: str
    from_client_id: str
    from_username: str
    topic: str
    qos: int
    retain: bool | str
    payload: Any
    ts: int


class _DroppedFallback(_Dropped, gc=False):
    payload_encoding: str = FALLBACK


class _DeliveryDropped(msgspec.Struct, gc=False):
    action: str
    reason: str
    clientid: str
    username: str
    from_client_id: str
    from_username: str
    topic: str
    qos: int
    retain: bool | str
    payload: Any
    ts: int


class _DeliveryDroppedFallback(_DeliveryDropped, gc=False):
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


class _Authn(msgspec.Struct, gc=False):
    action: str
    clientid: str
    username: str
    conn_ack: str
    is_anonymous: bool
    is_superuser: bool


class _Authz(msgspec.Struct, gc=False):
    """`access` is what was asked for, `publish` or `subscribe`: `action` has the event's name."""

    action: str
    clientid: str
    username: str
    topic: str
    access: str
    result: str
    authz_source: str


class _Ping(msgspec.Struct, gc=False):
    action: str
    clientid: str
    username: str
    keepalive: int
    proto_ver: int


class _Session(msgspec.Struct, gc=False):
    action: str
    clientid: str
    username: str


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


def _connect(event: Event, data: dict[str, Any], action: str, username: str) -> msgspec.Struct:
    return _Connect(
        action,
        event.clientid,
        username,
        data.get("ipaddress", ""),
        data.get("keepalive", 0),
        data.get("proto_ver", 0),
    )


def _connack(event: Event, data: dict[str, Any], action: str, username: str) -> msgspec.Struct:
    return _Connack(
        data.get("proto_ver", 0),
        data.get("keepalive", 0),
        data.get("conn_ack", ""),
        username,
        event.clientid,
        action,
    )


def _connected(event: Event, data: dict[str, Any], action: str, username: str) -> msgspec.Struct:
    return _Connected(
        action,
        event.clientid,
        username,
        data.get("keepalive", 0),
        data.get("ipaddress", ""),
        data.get("proto_ver", 0),
        data.get("connected_at", event.ts),
    )


def _disconnected(event: Event, data: dict[str, Any], action: str, username: str) -> msgspec.Struct:
    return _Disconnected(data.get("reason", ""), username, event.clientid, action)


def _terminated(event: Event, data: dict[str, Any], action: str, username: str) -> msgspec.Struct:
    return _Terminated(action, event.clientid, username, data.get("reason", ""))


def _subscribe(event: Event, data: dict[str, Any], action: str, username: str) -> msgspec.Struct:
    return _Subscribe(action, event.clientid, username, event.topic, _Options(event.qos))


def _unsubscribe(event: Event, data: dict[str, Any], action: str, username: str) -> msgspec.Struct:
    return _Unsubscribe(action, event.clientid, username, event.topic)


def _authn(event: Event, data: dict[str, Any], action: str, username: str) -> msgspec.Struct:
    return _Authn(
        action,
        event.clientid,
        username,
        data.get("conn_ack", ""),
        data.get("is_anonymous", False),
        data.get("is_superuser", False),
    )


def _authz(event: Event, data: dict[str, Any], action: str, username: str) -> msgspec.Struct:
    return _Authz(
        action,
        event.clientid,
        username,
        event.topic,
        data.get("action", ""),
        data.get("result", ""),
        data.get("authz_source", ""),
    )


def _ping(event: Event, data: dict[str, Any], action: str, username: str) -> msgspec.Struct:
    return _Ping(action, event.clientid, username, data.get("keepalive", 0), data.get("proto_ver", 0))


def _session(event: Event, data: dict[str, Any], action: str, username: str) -> msgspec.Struct:
    return _Session(action, event.clientid, username)


_Lifecycle = Callable[[Event, dict[str, Any], str, str], msgspec.Struct]

_LIFECYCLE: dict[int, tuple[str, _Lifecycle]] = {
    int(kind): (kind.action, build)
    for kind, build in (
        (EventType.CLIENT_CONNECT, _connect),
        (EventType.CLIENT_CONNACK, _connack),
        (EventType.CLIENT_CONNECTED, _connected),
        (EventType.CLIENT_DISCONNECTED, _disconnected),
        (EventType.CLIENT_SUBSCRIBE, _subscribe),
        (EventType.CLIENT_UNSUBSCRIBE, _unsubscribe),
        (EventType.CLIENT_CHECK_AUTHN_COMPLETE, _authn),
        (EventType.CLIENT_CHECK_AUTHZ_COMPLETE, _authz),
        (EventType.CLIENT_PING, _ping),
        (EventType.SESSION_CREATED, _session),
        (EventType.SESSION_RESUMED, _session),
        (EventType.SESSION_DISCARDED, _session),
        (EventType.SESSION_TAKENOVER, _session),
        (EventType.SESSION_SUBSCRIBED, _subscribe),
        (EventType.SESSION_UNSUBSCRIBED, _unsubscribe),
        (EventType.SESSION_TERMINATED, _terminated),
    )
}


def _published(event: Event, data: dict[str, Any], username: str, shown: Shown) -> msgspec.Struct:
    payload, fallback = shown
    return (_PublishFallback if fallback else _Publish)(
        event.ts,
        event.topic,
        UNDEFINED if event.retain is None else event.retain,
        event.qos,
        "message_publish",
        username,
        event.clientid,
        payload,
    )


def _routed(
    event: Event, data: dict[str, Any], username: str, shown: Shown, action: str = "message_delivered"
) -> msgspec.Struct:
    payload, fallback = shown
    return (_RoutedFallback if fallback else _Routed)(
        action,
        data.get("to_clientid", ""),
        data.get("to_username") or UNDEFINED,
        event.clientid,
        username,
        event.topic,
        event.qos,
        UNDEFINED if event.retain is None else event.retain,
        payload,
        event.ts,
    )


def _acked(event: Event, data: dict[str, Any], username: str, shown: Shown) -> msgspec.Struct:
    return _routed(event, data, username, shown, "message_acked")


def _dropped(event: Event, data: dict[str, Any], username: str, shown: Shown) -> msgspec.Struct:
    payload, fallback = shown
    return (_DroppedFallback if fallback else _Dropped)(
        "message_dropped",
        data.get("reason", ""),
        event.clientid,
        username,
        event.topic,
        event.qos,
        UNDEFINED if event.retain is None else event.retain,
        payload,
        event.ts,
    )


def _delivery_dropped(event: Event, data: dict[str, Any], username: str, shown: Shown) -> msgspec.Struct:
    payload, fallback = shown
    return (_DeliveryDroppedFallback if fallback else _DeliveryDropped)(
        "message_delivery_dropped",
        data.get("reason", ""),
        data.get("to_clientid", ""),
        data.get("to_username") or UNDEFINED,
        event.clientid,
        username,
        event.topic,
        event.qos,
        UNDEFINED if event.retain is None else event.retain,
        payload,
        event.ts,
    )


def _domain(event: Event, data: dict[str, Any], username: str, shown: Shown) -> msgspec.Struct:
    payload, fallback = shown
    kind = _DomainFallback if fallback else _Domain
    return kind(event.ts, event.topic, username, event.clientid, payload)


_MESSAGES: dict[int, Callable[[Event, dict[str, Any], str, Shown], msgspec.Struct]] = {
    _PUBLISH: _published,
    int(EventType.MESSAGE_DELIVERED): _routed,
    int(EventType.MESSAGE_ACKED): _acked,
    int(EventType.MESSAGE_DROPPED): _dropped,
    int(EventType.MESSAGE_DELIVERY_DROPPED): _delivery_dropped,
    int(EventType.DOMAIN): _domain,
}


def _body(event: Event, payload: Callable[[bytes], Shown]) -> msgspec.Struct:
    """The body of any event, not yet encoded. Raises ValueError for an unknown type."""
    username = event.username or UNDEFINED
    lifecycle = _LIFECYCLE.get(event.type)
    if lifecycle is not None:
        action, build = lifecycle
        return build(event, event.data or _NO_DATA, action, username)
    message = _MESSAGES.get(event.type)
    if message is None:
        raise ValueError(f"unknown event type {event.type!r}; possible: 1 to {max(EventType)}")
    return message(event, event.data or _NO_DATA, username, payload(event.payload))


def _keys() -> frozenset[str]:
    """The keys of all events."""
    return frozenset().union(
        *[
            _body(Event(int(kind), 0, "", None, "", ()), lambda payload: ("", True)).__struct_fields__
            for kind in EventType
        ]
    )


KEYS = _keys()
"""Every key that a body can have."""


def nanomq_body(
    event: Event, encoding: str = "plain", base62_limit: int = 65536, counts: BodyCounts | None = None
) -> bytes:
    """The body of any event, as INTEROP 1.2 has it. Raises ValueError for an unknown type or encoding."""
    return _encode(_body(event, make_payload(encoding, base62_limit, counts or BodyCounts())))


def make_nanomq(
    payload: Callable[[bytes], Shown], *, plain: bool, keep: Callable[[dict[str, Any]], Any] | None
) -> Callable[[int, Event], bytes]:
    """The bodies of one endpoint; `plain`: `payload` is that of this encoding. `keep` chooses keys."""
    encode = _encode

    if keep is not None:
        choose = keep

        def chosen(seq: int, event: Event) -> bytes:
            made = _body(event, payload)
            return encode(choose({name: getattr(made, name) for name in made.__struct_fields__}))

        return chosen

    if not plain:
        return lambda seq, event: encode(_body(event, payload))

    new = _Publish

    def fast(seq: int, event: Event) -> bytes:
        if event.type == _PUBLISH:
            try:
                text = event.payload.decode()
            except UnicodeDecodeError:
                return encode(_body(event, payload))
            return encode(
                new(
                    event.ts,
                    event.topic,
                    UNDEFINED if event.retain is None else event.retain,
                    event.qos,
                    "message_publish",
                    event.username or UNDEFINED,
                    event.clientid,
                    text,
                )
            )
        return encode(_body(event, payload))

    return fast

"""The fields of an event that a condition can name: EMQX's (INTEROP 2.2), read one by one.

A body shows an absent user name as `undefined`; here it is null, as everything that is missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from bridge.events.event import MESSAGE_EVENTS, Event, EventType, event_variables
from bridge.events.interface import UNDEFINED
from bridge.events.payload import NOT_JSON, parse

MAX_PAYLOAD = 1 << 20
"""Bytes of a payload that conditions look into; a longer one is null."""
KEPT_PAYLOAD = 1 << 14
"""Bytes of a payload whose JSON is remembered beyond its event."""

Kind = Literal["number", "text", "truth", "any"]
"""What a value is if it is not null, as far as it is known at start."""
Getter = Callable[[Event], Any]


class FieldInfo(NamedTuple):
    """One field. `detailed`: only an event that was made for the detailed formats has it for sure."""

    kind: Kind
    get: Getter
    detailed: bool = False
    members: Mapping[str, FieldInfo] | None = None  # where they are known


# -- the payload as JSON -------------------------------------------------------------------------------------


class _Memo:
    """The payload that was decoded last: its object, which stands for its identity, and its JSON."""

    __slots__ = ("document", "payload")

    def __init__(self) -> None:
        self.payload: bytes | None = None
        self.document: Any = None


_memo = _Memo()


def document(event: Event) -> Any:
    """The payload as JSON, decoded once for all conditions in turn; None where it is none, or too long."""
    payload = event.payload
    memo = _memo
    if payload is memo.payload:
        return memo.document
    found = parse(payload) if payload and len(payload) <= MAX_PAYLOAD else None
    if found is NOT_JSON:
        found = None
    memo.document = found
    memo.payload = payload
    return found


def forget(event: Event) -> None:
    """All conditions have been asked about this event: keep no large payload for longer."""
    if len(event.payload) > KEPT_PAYLOAD:
        _memo.payload = _memo.document = None


# -- the fields ----------------------------------------------------------------------------------------------

_MESSAGES = frozenset(map(int, MESSAGE_EVENTS))
_WITH_PAYLOAD = _MESSAGES | {int(EventType.DOMAIN)}
_RECEIVED = frozenset(
    map(int, (EventType.MESSAGE_DELIVERED, EventType.MESSAGE_ACKED, EventType.MESSAGE_DELIVERY_DROPPED))
)
"""Events of a message and its receiver; `clientid` is the receiver's."""
_SUBSCRIPTIONS = frozenset(
    map(
        int,
        (
            EventType.CLIENT_SUBSCRIBE,
            EventType.CLIENT_UNSUBSCRIBE,
            EventType.SESSION_SUBSCRIBED,
            EventType.SESSION_UNSUBSCRIBED,
        ),
    )
)
_WITH_QOS = _MESSAGES | _SUBSCRIPTIONS
_CONNECTIONS = frozenset(
    map(
        int,
        (
            EventType.CLIENT_CONNECT,
            EventType.CLIENT_CONNACK,
            EventType.CLIENT_CONNECTED,
            EventType.CLIENT_PING,
        ),
    )
)
_EVENTS = {int(kind): kind.dotted for kind in EventType}


def _event(event: Event) -> str | None:
    if event.type == EventType.DOMAIN:
        return event.topic
    return _EVENTS.get(event.type)


def _clientid(event: Event) -> str | None:
    if event.type in _RECEIVED:
        return event.data.get("to_clientid") if event.data else None
    return event.clientid


def _username(event: Event) -> str | None:
    if event.type in _RECEIVED:
        return (event.data.get("to_username") or None) if event.data else None
    return event.username or None


def _from_clientid(event: Event) -> str | None:
    return event.clientid if event.type in _RECEIVED else None


def _from_username(event: Event) -> str | None:
    return (event.username or None) if event.type in _RECEIVED else None


def _topic(event: Event) -> str | None:
    return event.topic or None


def _payload(event: Event) -> str | None:
    if event.type not in _WITH_PAYLOAD or len(event.payload) > MAX_PAYLOAD:
        return None
    try:
        return event.payload.decode()
    except UnicodeDecodeError:
        return None


def _qos(event: Event) -> int | None:
    return event.qos if event.type in _WITH_QOS else None


def _retain(event: Event) -> bool | None:
    return event.retain if event.type in _MESSAGES else None


def _dup(event: Event) -> bool | None:
    if event.type not in _MESSAGES:
        return None
    dup = event.data.get("dup") if event.data else None
    return None if dup == UNDEFINED else bool(dup)


def _flags(event: Event) -> dict[str, bool | None] | None:
    return {"retain": _retain(event), "dup": _dup(event)} if event.type in _MESSAGES else None


def _peername(event: Event) -> str | None:
    if event.type in _RECEIVED:
        return (event.data.get("to_peername") or None) if event.data else None
    return event.peername or None


def _peerhost(event: Event) -> str | None:
    peername = _peername(event)
    if peername:
        return peername.rpartition(":")[0].strip("[]")
    if not event.data:
        return None
    return event.data.get("to_peerhost" if event.type in _RECEIVED else "peerhost")


def _timestamp(event: Event) -> int:
    at = event.data.get("at") if event.data and event.type != EventType.DOMAIN else None
    return event.ts if at is None else at


def _publish_received_at(event: Event) -> int | None:
    return event.ts if event.type in _MESSAGES else None


def _disconnected_at(event: Event) -> int | None:
    return event.ts if event.type == EventType.CLIENT_DISCONNECTED else None


def _proto_name(event: Event) -> str | None:
    version = event.data.get("proto_ver") if event.data else None
    return None if version in (None, UNDEFINED) else "MQIsdp" if version == 3 else "MQTT"


def _reason_code(event: Event) -> str | None:
    data = event.data
    if not data:
        return None
    code: str | None = data.get("conn_ack")
    if code == "success" and event.type == EventType.CLIENT_CONNACK and data.get("proto_ver", 4) in (3, 4):
        return "connection_accepted"  # EMQX's name of MQTT 3's return code 0
    return code


def _variables(event: Event) -> dict[str, Any] | None:
    return event_variables(event) or None


def _nothing(event: Event) -> None:
    return None


def _from_data(key: str, event: Event) -> Any:
    data = event.data
    found = data.get(key) if data else None
    return None if found == UNDEFINED else found


def _properties(kinds: frozenset[int], key: str, event: Event) -> Any:
    data = event.data
    return data.get(key) if data and event.type in kinds else None


def _data(kind: Kind, key: str, *, detailed: bool = False) -> FieldInfo:
    return FieldInfo(kind, functools.partial(_from_data, key), detailed)


def _props(*kinds: int, key: str = "props") -> FieldInfo:
    return FieldInfo("any", functools.partial(_properties, frozenset(map(int, kinds)), key), True)


FIELDS: Mapping[str, FieldInfo] = {
    "event": FieldInfo("text", _event),
    "timestamp": FieldInfo("number", _timestamp, True),
    "id": _data("text", "id", detailed=True),
    "clientid": FieldInfo("text", _clientid),
    "username": FieldInfo("text", _username),
    "from_clientid": FieldInfo("text", _from_clientid),
    "from_username": FieldInfo("text", _from_username),
    "peerhost": FieldInfo("text", _peerhost, True),
    "peername": FieldInfo("text", _peername, True),
    "sockname": _data("text", "sockname", detailed=True),
    "topic": FieldInfo("text", _topic),
    "payload": FieldInfo("text", _payload),
    "qos": FieldInfo("number", _qos),
    "flags": FieldInfo(
        "any",
        _flags,
        members={"retain": FieldInfo("truth", _retain), "dup": FieldInfo("truth", _dup, True)},
    ),
    "pub_props": _props(*MESSAGE_EVENTS),
    "puback_props": _props(EventType.MESSAGE_ACKED, key="ack_props"),
    "publish_received_at": FieldInfo("number", _publish_received_at),
    "client_attrs": FieldInfo("any", _nothing),
    "reason": _data("text", "reason"),
    "reason_code": FieldInfo("text", _reason_code),
    "mountpoint": FieldInfo("text", _nothing),
    "proto_name": FieldInfo("text", _proto_name, True),
    "proto_ver": _data("number", "proto_ver", detailed=True),
    "keepalive": _data("number", "keepalive", detailed=True),
    "clean_start": _data("truth", "clean_start", detailed=True),
    "receive_maximum": _data("number", "receive_maximum", detailed=True),
    "expiry_interval": _data("number", "expiry_interval", detailed=True),
    "is_bridge": _data("truth", "is_bridge", detailed=True),
    "conn_props": _props(*_CONNECTIONS),
    "connected_at": _data("number", "connected_at", detailed=True),
    "disconnected_at": FieldInfo("number", _disconnected_at),
    "disconn_props": _props(EventType.CLIENT_DISCONNECTED),
    "action": _data("text", "action"),
    "authz_source": _data("text", "authz_source"),
    "result": _data("text", "result"),
    "is_anonymous": _data("truth", "is_anonymous"),
    "is_superuser": _data("truth", "is_superuser"),
    "sub_props": _props(EventType.SESSION_SUBSCRIBED, EventType.CLIENT_SUBSCRIBE),
    "variables": FieldInfo("any", _variables),
    "unsub_props": _props(EventType.SESSION_UNSUBSCRIBED, EventType.CLIENT_UNSUBSCRIBE),
}
"""Every field of INTEROP 2.2 but `node` and `metadata`, which are the same for all events of a webhook."""

ELSEWHERE: Mapping[str, str] = {
    "ts": "timestamp",
    "retain": "flags.retain",
    "dup": "flags.dup",
    "conn_ack": "reason_code",
    "ipaddress": "peerhost",
    "from_client_id": "clientid",
    "msg": "payload",
    "client_id": "clientid",
}
"""Names of NanoMQ's bodies and others that people try, to the field that is meant."""

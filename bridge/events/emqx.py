"""EMQX's fields: what its rule engine and its webhooks show of an event (INTEROP 2.2).

* Keys stand in EMQX's order, which is the reverse of the alphabet's.
* Times are Unix milliseconds, `expiry_interval` is in seconds.
* `timestamp` is when the event happened, `publish_received_at` when its message was received.
* `clientid`, `username`, `peername` and `peerhost` are the publisher's in `message.publish` and
  `message.dropped`, and the receiver's in the other message events, whose publisher is in `from_clientid`
  and `from_username`.
* No user name, an empty one, or an address that is not known: `"undefined"`.
* `*_props` have the names of `bridge.mqtt.property_names`.

`client.connect`, `client.subscribe`, `client.unsubscribe` and `session.created`, `.resumed`, `.discarded`,
`.takenover`, `.terminated` have no such table in EMQX; they have the fields of their like.

An event that was stored before its details were wanted has the details' defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bridge.events.event import Event, EventType, event_variables
from bridge.events.interface import UNDEFINED, Origin
from bridge.events.payload import FALLBACK, Shown

Fields = dict[str, Any]
FieldsOf = Callable[[int, Event], Fields]
"""The fields of an event, by its sequence and itself."""

RECEIVE_MAXIMUM = 65535
"""What a client that names none may be sent at a time (MQTT 5.0, section 3.1.2.11.3)."""

_NO_DATA: dict[str, Any] = {}
_NO_PROPS: dict[str, Any] = {"User-Property": {}}
_MQTT_31 = 3


def host(peername: str) -> str:
    """The address of `address:port`, an IPv6 address without its brackets."""
    return peername.rpartition(":")[0].strip("[]") or UNDEFINED


def _peerhost(event: Event, data: dict[str, Any]) -> str:
    """The address alone, where it is known."""
    return event.peername.rpartition(":")[0].strip("[]") or data.get("peerhost") or UNDEFINED


def _retain(event: Event) -> bool | str:
    return UNDEFINED if event.retain is None else event.retain


# -- messages: the keys stand in their order, since every publish comes through here ----------------------


def _published(seq: int, event: Event, shown: Any, node: str, metadata: dict[str, str]) -> Fields:
    data = event.data or _NO_DATA
    peername = event.peername
    ts = event.ts
    return {
        "username": event.username or UNDEFINED,
        "topic": event.topic,
        "timestamp": ts,
        "qos": event.qos,
        "publish_received_at": ts,
        "pub_props": data.get("props") or _NO_PROPS,
        "peername": peername or UNDEFINED,
        "peerhost": peername.rpartition(":")[0].strip("[]") or data.get("peerhost") or UNDEFINED,
        "payload": shown,
        "node": node,
        "metadata": metadata,
        "id": data.get("id") or f"{seq:032X}",
        "flags": {"retain": _retain(event), "dup": data.get("dup", False)},
        "event": "message.publish",
        "clientid": event.clientid,
        "client_attrs": {},
    }


def _dropped(seq: int, event: Event, shown: Any, node: str, metadata: dict[str, str]) -> Fields:
    data = event.data or _NO_DATA
    return {
        "username": event.username or UNDEFINED,
        "topic": event.topic,
        "timestamp": data.get("at", event.ts),
        "reason": data.get("reason", ""),
        "qos": event.qos,
        "publish_received_at": event.ts,
        "pub_props": data.get("props") or _NO_PROPS,
        "peername": event.peername or UNDEFINED,
        "peerhost": _peerhost(event, data),
        "payload": shown,
        "node": node,
        "metadata": metadata,
        "id": data.get("id") or f"{seq:032X}",
        "flags": {"retain": _retain(event), "dup": data.get("dup", False)},
        "event": "message.dropped",
        "clientid": event.clientid,
    }


def _delivered(seq: int, event: Event, shown: Any, node: str, metadata: dict[str, str]) -> Fields:
    data = event.data or _NO_DATA
    peername = data.get("to_peername", "")
    return {
        "username": data.get("to_username") or UNDEFINED,
        "topic": event.topic,
        "timestamp": data.get("at", event.ts),
        "qos": event.qos,
        "publish_received_at": event.ts,
        "pub_props": data.get("props") or _NO_PROPS,
        "peername": peername or UNDEFINED,
        "peerhost": host(peername) if peername else data.get("to_peerhost") or UNDEFINED,
        "payload": shown,
        "node": node,
        "metadata": metadata,
        "id": data.get("id") or f"{seq:032X}",
        "from_username": event.username or UNDEFINED,
        "from_clientid": event.clientid,
        "flags": {"retain": _retain(event), "dup": data.get("dup", False)},
        "event": "message.delivered",
        "clientid": data.get("to_clientid", ""),
    }


def _acked(seq: int, event: Event, shown: Any, node: str, metadata: dict[str, str]) -> Fields:
    fields = _delivered(seq, event, shown, node, metadata)
    fields["event"] = "message.acked"
    fields["puback_props"] = (event.data or _NO_DATA).get("ack_props") or _NO_PROPS
    return _ordered(fields)


def _delivery_dropped(seq: int, event: Event, shown: Any, node: str, metadata: dict[str, str]) -> Fields:
    fields = _delivered(seq, event, shown, node, metadata)
    fields["event"] = "message.delivery_dropped"
    fields["reason"] = (event.data or _NO_DATA).get("reason", "")
    return _ordered(fields)


def _ordered(fields: Fields) -> Fields:
    """EMQX's order."""
    return dict(sorted(fields.items(), reverse=True))


def _domain(seq: int, event: Event, shown: Any, node: str, metadata: dict[str, str]) -> Fields:
    """EMQX has no such events; these are the fields of its like."""
    data = event.data or _NO_DATA
    return {
        "variables": event_variables(event),
        "username": event.username or UNDEFINED,
        "topic": event.topic,
        "timestamp": event.ts,
        "payload": shown,
        "node": node,
        "metadata": metadata,
        "id": data.get("id") or f"{seq:032X}",
        "event": event.topic,
        "clientid": event.clientid,
    }


_MESSAGES: dict[int, Callable[[int, Event, Any, str, dict[str, str]], Fields]] = {
    int(EventType.MESSAGE_PUBLISH): _published,
    int(EventType.MESSAGE_DELIVERED): _delivered,
    int(EventType.MESSAGE_ACKED): _acked,
    int(EventType.MESSAGE_DROPPED): _dropped,
    int(EventType.MESSAGE_DELIVERY_DROPPED): _delivery_dropped,
    int(EventType.DOMAIN): _domain,
}


# -- clients and sessions --------------------


def _protocol(data: dict[str, Any]) -> Fields:
    version = data.get("proto_ver", 4)
    return {
        "sockname": data.get("sockname") or UNDEFINED,
        "proto_name": data.get("proto_name") or ("MQIsdp" if version == _MQTT_31 else "MQTT"),
        "proto_ver": version,
    }


def _connection(data: dict[str, Any]) -> Fields:
    return _protocol(data) | {
        "keepalive": data.get("keepalive", 0),
        "clean_start": data.get("clean_start", True),
        "expiry_interval": data.get("expiry_interval", 0),
        "conn_props": data.get("props") or _NO_PROPS,
    }


def _connect(event: Event, data: dict[str, Any]) -> Fields:
    return _connection(data) | {
        "peerhost": _peerhost(event, data),
        "receive_maximum": data.get("receive_maximum", RECEIVE_MAXIMUM),
        "is_bridge": data.get("is_bridge", False),
    }


def _connack(event: Event, data: dict[str, Any]) -> Fields:
    reason = data.get("conn_ack", "success")
    if reason == "success" and data.get("proto_ver", 4) in (3, 4):
        reason = "connection_accepted"  # EMQX's name of MQTT 3's return code 0
    return _connection(data) | {
        "reason_code": reason,
        "connected_at": data.get("connected_at", event.ts),
    }


def _connected(event: Event, data: dict[str, Any]) -> Fields:
    return _connection(data) | {
        "mountpoint": data.get("mountpoint") or UNDEFINED,
        "receive_maximum": data.get("receive_maximum", RECEIVE_MAXIMUM),
        "is_bridge": data.get("is_bridge", False),
        "connected_at": data.get("connected_at", event.ts),
        "client_attrs": {},
    }


def _disconnected(event: Event, data: dict[str, Any]) -> Fields:
    return _protocol(data) | {
        "reason": data.get("reason", ""),
        "disconn_props": data.get("props") or _NO_PROPS,
        "disconnected_at": event.ts,
        "connected_at": data.get("connected_at", event.ts),
        "client_attrs": {},
    }


def _ping(event: Event, data: dict[str, Any]) -> Fields:
    return _connection(data)


def _authn(event: Event, data: dict[str, Any]) -> Fields:
    return {
        "reason_code": data.get("conn_ack", "success"),
        "is_anonymous": data.get("is_anonymous", False),
        "is_superuser": data.get("is_superuser", False),
        "client_attrs": {},
    }


def _authz(event: Event, data: dict[str, Any]) -> Fields:
    return {
        "peerhost": _peerhost(event, data),
        "topic": event.topic,
        "action": data.get("action", ""),
        "authz_source": data.get("authz_source", ""),
        "result": data.get("result", ""),
        "client_attrs": {},
    }


def _subscription(event: Event, data: dict[str, Any]) -> Fields:
    return _unsubscription(event, data, "sub_props")


def _unsubscription(event: Event, data: dict[str, Any], props: str = "unsub_props") -> Fields:
    return {
        "peerhost": _peerhost(event, data),
        props: data.get("props") or _NO_PROPS,
        "topic": event.topic,
        "qos": data.get("qos", event.qos),
        "client_attrs": {},
    }


def _session(event: Event, data: dict[str, Any]) -> Fields:
    return {"peerhost": _peerhost(event, data), "client_attrs": {}}


def _terminated(event: Event, data: dict[str, Any]) -> Fields:
    return _session(event, data) | {"reason": data.get("reason", "")}


_OTHERS: dict[int, tuple[str, Callable[[Event, dict[str, Any]], Fields]]] = {
    int(kind): (kind.dotted, build)
    for kind, build in (
        (EventType.CLIENT_CONNECT, _connect),
        (EventType.CLIENT_CONNACK, _connack),
        (EventType.CLIENT_CONNECTED, _connected),
        (EventType.CLIENT_DISCONNECTED, _disconnected),
        (EventType.CLIENT_CHECK_AUTHN_COMPLETE, _authn),
        (EventType.CLIENT_CHECK_AUTHZ_COMPLETE, _authz),
        (EventType.CLIENT_PING, _ping),
        (EventType.CLIENT_SUBSCRIBE, _subscription),
        (EventType.CLIENT_UNSUBSCRIBE, _unsubscription),
        (EventType.SESSION_SUBSCRIBED, _subscription),
        (EventType.SESSION_UNSUBSCRIBED, _unsubscription),
        (EventType.SESSION_CREATED, _session),
        (EventType.SESSION_RESUMED, _session),
        (EventType.SESSION_DISCARDED, _session),
        (EventType.SESSION_TAKENOVER, _session),
        (EventType.SESSION_TERMINATED, _terminated),
    )
}


def make_fields(name: str, origin: Origin, payload: Callable[[bytes], Shown]) -> FieldsOf:
    """The fields of events for the webhook `name`; `payload` says how payloads stand in them.

    What it makes is new at each call but for the maps in it, which nobody may change.
    """
    node = origin.node
    metadata = {"rule_id": f"{name}_WH_D"}

    def fields(seq: int, event: Event) -> Fields:
        message = _MESSAGES.get(event.type)
        if message is not None:
            shown, fallback = payload(event.payload)
            made = message(seq, event, shown, node, metadata)
            if fallback:
                made["payload_encoding"] = FALLBACK
            if event.data is not None and "node" in event.data:
                made["node"] = event.data["node"]
            return made
        other = _OTHERS.get(event.type)
        if other is None:
            raise ValueError(f"unknown event type {event.type!r}; possible: 1 to {max(EventType)}")
        dotted, build = other
        made = build(event, event.data or _NO_DATA)
        made["event"] = dotted
        made["timestamp"] = event.ts
        made["node"] = (event.data or _NO_DATA).get("node") or node
        made["metadata"] = metadata
        made["clientid"] = event.clientid
        made["username"] = event.username or UNDEFINED
        made["peername"] = event.peername or UNDEFINED
        return _ordered(made)

    return fields


def _keys() -> frozenset[str]:
    """The keys of all events."""
    fields = make_fields("", Origin(), lambda payload: ("", True))
    return frozenset().union(*[fields(0, Event(int(kind), 0, "", None, "", ())) for kind in EventType])


KEYS = _keys()
"""Every field that an event can have."""

"""One event of every type, with the details that the broker gives for formats that show them."""

from __future__ import annotations

from typing import Any

from bridge.events.event import MESSAGE_EVENTS, TOPIC_EVENTS, Event, EventType

TS = 1694681417728
ID = "0006054DC3E940F8F445000038A60002"
PROPS: dict[str, Any] = {"User-Property": {"a": "2"}, "User-Property-Pairs": [{"key": "a", "value": "2"}]}
CONNECT: dict[str, Any] = {
    "sockname": "127.0.0.1:1883",
    "clean_start": False,
    "expiry_interval": 3600,
    "connected_at": TS - 3,
    "is_bridge": True,
    "receive_maximum": 32,
    "keepalive": 30,
    "proto_ver": 5,
    "ipaddress": "127.0.0.1",
    "props": PROPS,
}
MESSAGE: dict[str, Any] = {"id": ID, "dup": True, "props": PROPS}
ROUTED: dict[str, Any] = MESSAGE | {
    "at": TS + 7,
    "to_clientid": "sub",
    "to_username": "w",
    "to_peername": "[::1]:7",
}
DATA: dict[EventType, dict[str, Any] | None] = {
    EventType.CLIENT_CONNECT: CONNECT,
    EventType.CLIENT_CONNACK: CONNECT | {"conn_ack": "success"},
    EventType.CLIENT_CONNECTED: CONNECT,
    EventType.CLIENT_DISCONNECTED: {
        "reason": "normal",
        "sockname": "127.0.0.1:1883",
        "proto_ver": 5,
        "connected_at": TS - 3,
        "props": PROPS,
    },
    EventType.CLIENT_SUBSCRIBE: {"props": PROPS},
    EventType.CLIENT_UNSUBSCRIBE: {"props": PROPS},
    EventType.SESSION_SUBSCRIBED: {"props": PROPS},
    EventType.SESSION_UNSUBSCRIBED: {"props": PROPS},
    EventType.SESSION_TERMINATED: {"reason": "expired"},
    EventType.MESSAGE_PUBLISH: MESSAGE,
    EventType.MESSAGE_DELIVERED: ROUTED,
    EventType.MESSAGE_ACKED: ROUTED | {"ack_props": {"User-Property": {}, "Reason-String": "ok"}},
    EventType.MESSAGE_DROPPED: MESSAGE | {"at": TS + 7, "reason": "no_subscribers"},
    EventType.MESSAGE_DELIVERY_DROPPED: ROUTED | {"reason": "queue_full"},
    EventType.CLIENT_CHECK_AUTHN_COMPLETE: {
        "conn_ack": "success",
        "is_anonymous": True,
        "is_superuser": True,
    },
    EventType.CLIENT_CHECK_AUTHZ_COMPLETE: {
        "action": "publish",
        "result": "allow",
        "authz_source": "file",
    },
    EventType.CLIENT_PING: CONNECT,
    EventType.SESSION_CREATED: None,
    EventType.SESSION_RESUMED: None,
    EventType.SESSION_DISCARDED: None,
    EventType.SESSION_TAKENOVER: None,
}


def sample(kind: EventType, **changed: Any) -> Event:
    """The event of a type; `changed` are fields of it."""
    is_message = kind in MESSAGE_EVENTS
    given: dict[str, Any] = {
        "type": int(kind),
        "ts": TS,
        "clientid": "emqx_c",
        "username": "u",
        "peername": "127.0.0.1:61003",
        "targets": (1,),
        "topic": "t/1" if kind in TOPIC_EVENTS else "",
        "payload": b'{ "msg": "Hello Webhook" }' if is_message else b"",
        "qos": 1 if kind in TOPIC_EVENTS else 0,
        "data": DATA[kind],
    }
    return Event(**(given | changed))

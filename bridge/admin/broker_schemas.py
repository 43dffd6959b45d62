"""The schemas of clients, subscriptions, retained messages and of the broker itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT: Mapping[str, Any] = {"type": "string"}
_NUMBER: Mapping[str, Any] = {"type": "integer", "minimum": 0}
_TRUTH: Mapping[str, Any] = {"type": "boolean"}
_NUMBERS: Mapping[str, Any] = {"type": "object", "additionalProperties": _NUMBER}


def _object(optional: Mapping[str, Any] | None = None, /, **members: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(members),
        "additionalProperties": False,
        "properties": {**members, **(optional or {})},
    }


def _v4(row: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return _object(code={"const": 0}, data={"type": "array", "items": row}, **more)


_META = _object(page=_NUMBER, limit=_NUMBER, count={**_NUMBER, "description": "Rows of all pages."})
_META_V5 = _object(page=_NUMBER, limit=_NUMBER, count=_NUMBER, hasnext=_TRUTH)

_CLIENT = _object(
    {
        "disconnected_at": {**_TEXT, "description": "Where it is not connected."},
        "will_topic": {**_TEXT, "description": "Where it has a will."},
    },
    clientid=_TEXT,
    client_id={**_TEXT, "description": "The same, as NanoMQ names it."},
    username=_TEXT,
    node=_TEXT,
    conn_state={"enum": ["connected", "disconnected"]},
    connected=_TRUTH,
    ip_address=_TEXT,
    ipv4={**_TEXT, "description": "The same, as NanoMQ names it."},
    port=_NUMBER,
    proto_name=_TEXT,
    proto_ver={"enum": [3, 4, 5]},
    keepalive={**_NUMBER, "description": "Seconds."},
    clean_start=_TRUTH,
    is_bridge=_TRUTH,
    expiry_interval={**_NUMBER, "description": "Seconds that the session outlives its connection."},
    connected_at={**_TEXT, "description": "Local time; empty where it is not known any more."},
    subscriptions_cnt=_NUMBER,
    max_subscriptions=_NUMBER,
    inflight={**_NUMBER, "description": "Messages sent to it and not yet acknowledged."},
    max_inflight=_NUMBER,
    mqueue_len={**_NUMBER, "description": "Messages that wait for it."},
    max_mqueue=_NUMBER,
    mqueue_dropped=_NUMBER,
    awaiting_rel={**_NUMBER, "description": "QoS 2 messages of it that wait for PUBREL."},
    max_awaiting_rel=_NUMBER,
)
_SUBSCRIPTION = _object(
    node=_TEXT,
    clientid=_TEXT,
    topic=_TEXT,
    qos={"enum": [0, 1, 2]},
    nl={"enum": [0, 1], "description": "No Local."},
    rap={"enum": [0, 1], "description": "Retain As Published."},
    rh={"enum": [0, 1, 2], "description": "Retain Handling."},
)
_RETAINED = {
    "msgid": _TEXT,
    "topic": _TEXT,
    "qos": {"enum": [0, 1, 2]},
    "publish_at": {"type": "string", "format": "date-time"},
    "from_clientid": _TEXT,
    "from_username": _TEXT,
}
_NODE = {"node": _TEXT, "node_status": {"const": "Running"}, "uptime": _TEXT, "version": _TEXT}

BROKER_SCHEMAS: dict[str, Any] = {
    "Client": _v4(_CLIENT),
    "Clients": _v4(_CLIENT, meta=_META),
    "Subscriptions": _v4(_SUBSCRIPTION, meta=_META),
    "RetainedMessages": _object(
        data={
            "type": "array",
            "items": {
                "type": "object",
                "required": ["topic"],
                "additionalProperties": False,
                "properties": _RETAINED,
            },
        },
        meta=_META_V5,
    ),
    "RetainedMessage": _object(
        {"payload": {"type": "string", "description": "Base64; absent where it is longer than 1 MB."}},
        **_RETAINED,
    ),
    "Brokers": _v4(_object(datetime=_TEXT, sysdescr=_TEXT, **_NODE)),
    "Nodes": _v4(_object(connections=_NUMBER, **_NODE)),
    "Stats": _v4(_object(node=_TEXT, stats=_NUMBERS)),
    "Metrics": _v4(
        _object(node=_TEXT, metrics=_NUMBERS),
        metrics={"type": "array", "description": "NanoMQ's, for bridges: empty."},
        cpuinfo={**_TEXT, "description": "Share of one processor since the last call."},
        memory={**_TEXT, "description": "Resident bytes."},
    ),
}

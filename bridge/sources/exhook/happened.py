"""From a call of EMQX's ExHook to events: field by field, and `"undefined"` for what it does not tell.

ExHook tells neither the retain flag of a message nor when a client connected; of a connected client neither
its keepalive nor its version of MQTT. Nothing of that is guessed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from bridge.events.event import Event, EventType
from bridge.events.interface import UNDEFINED

_MAX_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""
Build = Callable[[Any], Iterable[Event]]
"""The events of one request, without targets."""

_VERSIONS = {"3": 3, "4": 4, "5": 5}
_CONNECTION = dict.fromkeys(
    ("clean_start", "expiry_interval", "receive_maximum", "is_bridge", "connected_at", "sockname"), UNDEFINED
)
_CLIENT = dict.fromkeys(("keepalive", "proto_ver", "proto_name"), UNDEFINED)
"""What `ConnInfo` tells, and `ClientInfo` does not."""


class Hook(NamedTuple):
    """One call: EMQX's name of the hook, the event's type, the request's message, and what makes events."""

    name: str
    type: EventType
    request: str
    build: Build


def _now() -> int:
    return int(time.time() * 1000)


def _peername(info: Any) -> str:
    if not info.peerhost or not info.peerport:  # EMQX tells the port since 5.8
        return ""
    return (
        f"[{info.peerhost}]:{info.peerport}" if ":" in info.peerhost else f"{info.peerhost}:{info.peerport}"
    )


def _origin(info: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"node": info.node} if info.node else {}
    if info.peerhost and not info.peerport:
        found[prefix + "peerhost"] = info.peerhost
    return found


def _props(request: Any) -> dict[str, Any]:
    """The properties of a packet under EMQX's names. ExHook has them as texts, and so they stay."""
    if not request.props and not request.user_props:
        return {}
    made: dict[str, Any] = {"User-Property": {one.name: one.value for one in request.user_props}}
    if request.user_props:
        made["User-Property-Pairs"] = [{"key": one.name, "value": one.value} for one in request.user_props]
    for one in request.props:
        made[one.name] = one.value
    return {"props": made}


def _event(kind: EventType, info: Any, data: dict[str, Any], topic: str = "", qos: int = 0) -> Event:
    """An event of a client, now."""
    who = (info.clientid, info.username or None, _peername(info))
    return Event(kind, _now(), *who, (), topic, qos=qos, data={**data, **_origin(info)})


def _conn(kind: EventType, request: Any, **more: Any) -> list[Event]:
    info = request.conninfo
    data = {
        **_CONNECTION,
        "keepalive": info.keepalive,
        "proto_ver": _VERSIONS.get(info.proto_ver, info.proto_ver or UNDEFINED),
        "proto_name": info.proto_name or UNDEFINED,
        "ipaddress": info.peerhost or UNDEFINED,
        **_props(request),
        **more,
    }
    return [_event(kind, info, data)]


def _connect(request: Any) -> list[Event]:
    return _conn(EventType.CLIENT_CONNECT, request)


def _connack(request: Any) -> list[Event]:
    code = request.result_code
    reason = "success" if code == "connection_accepted" else code or UNDEFINED
    return _conn(EventType.CLIENT_CONNACK, request, conn_ack=reason)


def _connected(request: Any) -> list[Event]:
    info = request.clientinfo
    data = {
        **_CONNECTION,
        **_CLIENT,
        "ipaddress": info.peerhost or UNDEFINED,
        "mountpoint": info.mountpoint or UNDEFINED,
    }
    return [_event(EventType.CLIENT_CONNECTED, info, data)]


def _disconnected(request: Any) -> list[Event]:
    data = {
        "reason": request.reason or UNDEFINED,
        "sockname": UNDEFINED,
        "connected_at": UNDEFINED,
        "proto_ver": UNDEFINED,
        "proto_name": UNDEFINED,
    }
    return [_event(EventType.CLIENT_DISCONNECTED, request.clientinfo, data)]


def _filters(kind: EventType) -> Build:
    def build(request: Any) -> list[Event]:
        props = _props(request)
        made = []
        for one in request.topic_filters:
            qos = one.subopts.qos if one.HasField("subopts") else one.qos
            data = props if kind is EventType.CLIENT_SUBSCRIBE else {"qos": UNDEFINED, **props}
            made.append(_event(kind, request.clientinfo, data, one.name, qos))
        return made

    return build


def _subscribed(request: Any) -> list[Event]:
    info, qos = request.clientinfo, request.subopts.qos
    return [_event(EventType.SESSION_SUBSCRIBED, info, {}, request.topic, qos)]


def _unsubscribed(request: Any) -> list[Event]:
    data = {"qos": UNDEFINED}
    return [_event(EventType.SESSION_UNSUBSCRIBED, request.clientinfo, data, request.topic)]


def _session(kind: EventType) -> Build:
    return lambda request: [_event(kind, request.clientinfo, {})]


def _terminated(request: Any) -> list[Event]:
    data = {"reason": request.reason or UNDEFINED}
    return [_event(EventType.SESSION_TERMINATED, request.clientinfo, data)]


def _message(kind: EventType, message: Any, **more: Any) -> Event:
    headers = message.headers
    data: dict[str, Any] = {"dup": UNDEFINED, **more}
    if message.id:
        data["id"] = message.id
    if message.node:
        data["node"] = message.node
    peerhost = headers.get("peerhost")
    if peerhost:
        data["peerhost"] = peerhost
    return Event(
        kind,
        message.timestamp if 0 < message.timestamp <= _MAX_MS else _now(),
        getattr(message, "from") or UNDEFINED,
        headers.get("username") or None,
        "",  # ExHook tells no port of a publisher
        (),
        message.topic,
        message.payload,
        message.qos,
        None,
        data,
    )


def _publish(request: Any) -> list[Event]:
    return [_message(EventType.MESSAGE_PUBLISH, request.message, **_props(request))]


def _dropped(request: Any) -> list[Event]:
    reason = request.reason or UNDEFINED
    return [_message(EventType.MESSAGE_DROPPED, request.message, reason=reason, at=_now())]


def _to_client(kind: EventType) -> Build:
    def build(request: Any) -> list[Event]:
        to = request.clientinfo
        more = {
            "to_clientid": to.clientid,
            "to_username": to.username or None,
            "to_peername": _peername(to),
            "at": _now(),
        }
        if to.peerhost and not to.peerport:
            more["to_peerhost"] = to.peerhost
        return [_message(kind, request.message, **more)]

    return build


def _hook(call: str, kind: EventType, build: Build) -> tuple[str, Hook]:
    return "On" + call, Hook(kind.dotted, kind, call + "Request", build)


HOOKS = dict(
    [
        _hook("ClientConnect", EventType.CLIENT_CONNECT, _connect),
        _hook("ClientConnack", EventType.CLIENT_CONNACK, _connack),
        _hook("ClientConnected", EventType.CLIENT_CONNECTED, _connected),
        _hook("ClientDisconnected", EventType.CLIENT_DISCONNECTED, _disconnected),
        _hook("ClientSubscribe", EventType.CLIENT_SUBSCRIBE, _filters(EventType.CLIENT_SUBSCRIBE)),
        _hook("ClientUnsubscribe", EventType.CLIENT_UNSUBSCRIBE, _filters(EventType.CLIENT_UNSUBSCRIBE)),
        _hook("SessionCreated", EventType.SESSION_CREATED, _session(EventType.SESSION_CREATED)),
        _hook("SessionSubscribed", EventType.SESSION_SUBSCRIBED, _subscribed),
        _hook("SessionUnsubscribed", EventType.SESSION_UNSUBSCRIBED, _unsubscribed),
        _hook("SessionResumed", EventType.SESSION_RESUMED, _session(EventType.SESSION_RESUMED)),
        _hook("SessionDiscarded", EventType.SESSION_DISCARDED, _session(EventType.SESSION_DISCARDED)),
        _hook("SessionTakenover", EventType.SESSION_TAKENOVER, _session(EventType.SESSION_TAKENOVER)),
        _hook("SessionTerminated", EventType.SESSION_TERMINATED, _terminated),
        _hook("MessagePublish", EventType.MESSAGE_PUBLISH, _publish),
        _hook("MessageDelivered", EventType.MESSAGE_DELIVERED, _to_client(EventType.MESSAGE_DELIVERED)),
        _hook("MessageDropped", EventType.MESSAGE_DROPPED, _dropped),
        _hook("MessageAcked", EventType.MESSAGE_ACKED, _to_client(EventType.MESSAGE_ACKED)),
    ]
)
"""The calls that are events, by the method's name. EMQX's names of hooks are ours (`EventType.dotted`)."""

"""What happened: one value that every source makes and every format reads."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec


class EventType(IntEnum):
    """The events that can be hooked. The numbers are stored: never reuse or renumber one."""

    CLIENT_CONNECT = 1
    CLIENT_CONNACK = 2
    CLIENT_CONNECTED = 3
    CLIENT_DISCONNECTED = 4
    CLIENT_SUBSCRIBE = 5
    CLIENT_UNSUBSCRIBE = 6
    SESSION_SUBSCRIBED = 7
    SESSION_UNSUBSCRIBED = 8
    SESSION_TERMINATED = 9
    MESSAGE_PUBLISH = 10
    MESSAGE_DELIVERED = 11
    MESSAGE_ACKED = 12
    MESSAGE_DROPPED = 13
    MESSAGE_DELIVERY_DROPPED = 14
    CLIENT_CHECK_AUTHN_COMPLETE = 15
    CLIENT_CHECK_AUTHZ_COMPLETE = 16
    CLIENT_PING = 17
    SESSION_CREATED = 18
    SESSION_RESUMED = 19
    SESSION_DISCARDED = 20
    SESSION_TAKENOVER = 21
    DOMAIN = 22  # an event of a business system: `Event.topic` is its own type, `work_order.created`

    @property
    def action(self) -> str:
        """The name in a NanoMQ body: `client_connack`; a rule says `on_client_connack`."""
        return self.name.lower()

    @property
    def dotted(self) -> str:
        """EMQX's name: `client.connack`, `message.delivery_dropped`."""
        return self.name.lower().replace("_", ".", 1)


HOOK_EVENTS = tuple([t for t in EventType if t is not EventType.DOMAIN])
"""What happens at the broker, and is asked for by name: `on_client_connack`, `client.connack`."""
MESSAGE_EVENTS = frozenset(
    {
        EventType.MESSAGE_PUBLISH,
        EventType.MESSAGE_DELIVERED,
        EventType.MESSAGE_ACKED,
        EventType.MESSAGE_DROPPED,
        EventType.MESSAGE_DELIVERY_DROPPED,
    }
)
TOPIC_EVENTS = MESSAGE_EVENTS | {
    EventType.CLIENT_SUBSCRIBE,
    EventType.CLIENT_UNSUBSCRIBE,
    EventType.CLIENT_CHECK_AUTHZ_COMPLETE,
    EventType.SESSION_SUBSCRIBED,
    EventType.SESSION_UNSUBSCRIBED,
}
EMQX_ALL = (
    EventType.MESSAGE_PUBLISH,
    EventType.MESSAGE_DELIVERED,
    EventType.MESSAGE_ACKED,
    EventType.MESSAGE_DROPPED,
    EventType.MESSAGE_DELIVERY_DROPPED,
    EventType.CLIENT_CONNECTED,
    EventType.CLIENT_DISCONNECTED,
    EventType.CLIENT_CONNACK,
    EventType.CLIENT_CHECK_AUTHZ_COMPLETE,
    EventType.SESSION_SUBSCRIBED,
    EventType.SESSION_UNSUBSCRIBED,
)
"""What EMQX's webhook calls "all messages and events"; the others are asked for by name."""
BY_HOOK_NAME = {"on_" + t.action: t for t in HOOK_EVENTS}
"""A rule's spelling (NanoMQ's, lower case) to its type."""
BY_NAME = BY_HOOK_NAME | {t.dotted: t for t in HOOK_EVENTS}
"""Every spelling of an event's name, NanoMQ's and EMQX's, in lower case."""


class Event(msgspec.Struct, array_like=True, gc=False):
    """One event, as it is stored.

    For a message event `clientid` and `username` are the publisher's; a delivered, acked or not delivered
    message has its receiver's in `data` under `to_clientid` and `to_username`. `ts` is Unix time in
    milliseconds: of a message event when the message was received, of any other when it happened. `targets`
    are the ids of the lanes that want the event, ascending.

    `data` holds what only this type has. Always:

    * client_connect: keepalive, proto_ver, ipaddress
    * client_connack: keepalive, proto_ver, conn_ack
    * client_connected: keepalive, proto_ver, ipaddress, connected_at (ms)
    * client_disconnected, session_terminated: reason
    * client_check_authn_complete: conn_ack, is_anonymous, is_superuser
    * client_check_authz_complete: action (`publish` or `subscribe`), result (`allow` or `deny`), authz_source
    * client_ping: keepalive, proto_ver
    * message_delivered, message_acked: to_clientid, to_username
    * message_dropped: reason
    * message_delivery_dropped: reason, to_clientid, to_username

    And what only the detailed formats show, where a lane that listens to the type has such a format
    (`bridge.events.rules.Rules.detailed`). Property maps are those of `bridge.mqtt.property_names`; `props`,
    `ack_props` and `dup` are there only where there are any, or where it is true:

    * message events: id (32 hexadecimal digits), props (PUBLISH), dup (of a delivered one: sent again), at
      (ms at which a delivered, acked or dropped event happened); acked: ack_props; delivered, acked,
      delivery_dropped: to_peername
    * client_connect, _connack, _connected, _ping: sockname, clean_start, expiry_interval (s), connected_at,
      is_bridge, receive_maximum, keepalive, proto_ver, props (CONNECT)
    * client_disconnected: sockname, proto_ver, connected_at, props (DISCONNECT)
    * session_subscribed, session_unsubscribed, client_subscribe, client_unsubscribe: props

    An event of another broker (`bridge.sources`) has `"undefined"` for what that broker does not tell, in any
    of these, and `retain` None; `peerhost` in its data is its client's address where the port is not known,
    and `node` that broker's name.

    A domain event has its type in `topic` (`work_order.created`), the object of its data in `payload`, in the
    form of `bridge.events.js_json`, the name of its source in `clientid`, and in `data` its `id`, its
    `timestamp` (ISO 8601) and the variables of the topic that it came by.

    `trace` is the W3C trace context that the event came with, or got here (`bridge.telemetry.trace_context`).
    """

    type: int
    ts: int
    clientid: str
    username: str | None
    peername: str  # "address:port", empty where there is none
    targets: tuple[int, ...]
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool | None = False  # None: the source does not tell
    data: dict[str, Any] | None = None
    trace: str | None = None


def event_variables(event: Event) -> dict[str, Any]:
    """The variables of the topic that a domain event came by; empty where it came without, and of others."""
    data = event.data
    if event.type != EventType.DOMAIN or not data or len(data) <= len(_OWN):
        return {}
    return {name: value for name, value in data.items() if name not in _OWN}


_OWN = ("id", "timestamp")
"""What every domain event has in its `data`."""


def event_name(event: Event) -> str:
    """EMQX's name of a hook's event (`client.connack`), a domain event's own (`work_order.created`)."""
    return event.topic if event.type == EventType.DOMAIN else EventType(event.type).dotted

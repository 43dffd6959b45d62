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

    @property
    def action(self) -> str:
        """The name in a NanoMQ body: `client_connack`; a rule says `on_client_connack`."""
        return self.name.lower()


MESSAGE_EVENTS = frozenset({EventType.MESSAGE_PUBLISH, EventType.MESSAGE_DELIVERED, EventType.MESSAGE_ACKED})
TOPIC_EVENTS = MESSAGE_EVENTS | {
    EventType.CLIENT_SUBSCRIBE,
    EventType.CLIENT_UNSUBSCRIBE,
    EventType.SESSION_SUBSCRIBED,
    EventType.SESSION_UNSUBSCRIBED,
}
BY_HOOK_NAME = {"on_" + t.action: t for t in EventType}
"""A rule's spelling (NanoMQ's, lower case) to its type."""


class Event(msgspec.Struct, array_like=True, gc=False):
    """One event, as it is stored.

    For a message event `clientid` and `username` are the publisher's; a delivered or acked message has
    its receiver's in `data` under `to_clientid` and `to_username`. `ts` is Unix time in milliseconds.
    `targets` are the ids of the lanes that want the event, ascending. `data` holds what only this type has:

    * client_connect: keepalive, proto_ver, ipaddress
    * client_connack: keepalive, proto_ver, conn_ack
    * client_connected: keepalive, proto_ver, ipaddress, connected_at (ms)
    * client_disconnected, session_terminated: reason
    * message_delivered, message_acked: to_clientid, to_username
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
    retain: bool = False
    data: dict[str, Any] | None = None

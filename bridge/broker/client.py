"""Who is connected, and what a message carries to subscribers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from bridge.broker.certificate import PeerCertificate
from bridge.mqtt.packets import Properties

if TYPE_CHECKING:
    from bridge.broker.auth_access import Access

_PROPERTY_COST = 160  # bytes of memory that a string pair takes beside its characters, roughly


class Client:
    """One connection's client, as hooks and events see it. Never holds a password."""

    __slots__ = (
        "access",
        "anonymous",
        "certificate",
        "clean_start",
        "clientid",
        "connected_at",
        "expires",
        "expiry_interval",
        "is_bridge",
        "keepalive",
        "listener",
        "own",
        "peerhost",
        "peername",
        "properties",
        "proto_ver",
        "receive_maximum",
        "sockname",
        "superuser",
        "username",
    )

    def __init__(
        self,
        *,
        clientid: str,
        username: str | None,
        peername: str,
        sockname: str = "",
        proto_ver: int = 4,
        keepalive: int = 0,
        clean_start: bool = True,
        connected_at: int = 0,
        properties: Properties | None = None,
        receive_maximum: int = 65535,
        expiry_interval: int = 0,
        is_bridge: bool = False,
        listener: str = "",
        certificate: PeerCertificate | None = None,
        own: bool = False,
    ) -> None:
        self.clientid = clientid
        self.username = username
        self.peername = peername  # "address:port", an IPv6 address in brackets
        self.peerhost = peername.rpartition(":")[0].strip("[]")
        self.sockname = sockname
        self.proto_ver = proto_ver
        self.keepalive = keepalive  # seconds
        self.clean_start = clean_start
        self.connected_at = connected_at  # Unix ms
        self.properties = properties  # of its CONNECT
        self.receive_maximum = receive_maximum  # messages in flight to it: the lower of its limit and ours
        self.expiry_interval = expiry_interval  # seconds; the agreed one
        self.is_bridge = is_bridge
        self.listener = listener  # such as "ssl:default"; "" after a restart
        self.certificate = certificate  # where verify_peer asks for one and it has one
        self.own = own  # HookMQ itself: what it publishes is never lifted to an event again
        self.anonymous = True  # no password of it was checked
        self.superuser = False
        self.access: Access | None = None  # where access rules hold for it; None: it may do everything
        self.expires: float | None = None  # Unix seconds: the end of what it was let in with

    @property
    def proto_name(self) -> str:
        """The protocol name of its CONNECT (section 3.1.2.1; 3.1 has another than 3.1.1 and 5)."""
        return "MQIsdp" if self.proto_ver == 3 else "MQTT"

    @property
    def protocol(self) -> str:
        """What EMQX names the protocol; the listener tells over what it runs."""
        return "mqtt"


class Message(msgspec.Struct, gc=False, eq=False):
    """An application message on its way to subscribers or kept as retained; shared by all of them.

    It has no place in the garbage collector, which would look at each that waits: nothing that it holds leads
    back to it.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties | None  # what goes on to subscribers: never the publisher's topic alias
    client: Client  # the publisher
    ts: int  # Unix ms of its arrival
    expires: float | None  # loop time at which it is too old to deliver; None: never
    size: int  # of `message_size`
    number: int = 0  # its own since the start of the broker that it came to
    expiry: int | None = None  # seconds that it had when it came; None: no end
    origin: str | None = None  # what message ids of the process that it came to begin with; None: of this one
    # Version to its plain QoS 0 packet, made once for a fan-out.
    encoded: dict[int, bytes] | None = None
    queues: int = 0  # in how many queues of `Waiting` it is

    def received(self) -> Properties | None:
        """The properties that it came with, but for the topic alias, which was its connection's."""
        if self.expiry is None:
            return self.properties
        return replace(self.properties or Properties(), message_expiry_interval=self.expiry)


MESSAGE_SIZE = 128
"""Bytes of memory that a message takes beside its topic, payload and properties."""


def message_size(topic: str, payload: bytes, properties: Properties | None) -> int:
    """Approximate bytes that a queue holds for a message."""
    size = len(payload) + len(topic) + MESSAGE_SIZE
    return size if properties is None else size + _weight(properties)


def _weight(properties: Properties) -> int:
    """Approximate bytes of memory of what `forwardable` lets through."""
    size = 256
    for value in (properties.content_type, properties.response_topic, properties.correlation_data):
        if value is not None:
            size += len(value)
    for name, text in properties.user_property or ():
        size += len(name) + len(text) + _PROPERTY_COST
    return size

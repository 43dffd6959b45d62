"""Who is connected, and what a message carries to subscribers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


class Message:
    """An application message on its way to subscribers or kept as retained; shared by all of them."""

    origin: str | None = None
    """What message ids of the process that it came to begin with; None: of this one."""

    __slots__ = (
        "client",
        "encoded",
        "expires",
        "expiry",
        "number",
        "payload",
        "properties",
        "qos",
        "retain",
        "size",
        "topic",
        "ts",
    )

    def __init__(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: Properties | None,
        client: Client,
        ts: int,
        expires: float | None,
        number: int = 0,
        expiry: int | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = properties  # what goes on to subscribers: never the publisher's topic alias
        self.client = client  # the publisher
        self.ts = ts  # Unix ms of its arrival
        self.expires = expires  # loop time at which it is too old to deliver; None: never
        self.expiry = expiry  # seconds that it had when it came; None: no end
        self.number = number  # its own since the broker's start
        # Version to its plain QoS 0 packet, made once for a fan-out.
        self.encoded: dict[int, bytes] | None = None
        self.size = len(payload) + len(topic) + 128  # approximate bytes that a queue holds for it
        if properties is not None:
            self.size += _weight(properties)

    def received(self) -> Properties | None:
        """The properties that it came with, but for the topic alias, which was its connection's."""
        if self.expiry is None:
            return self.properties
        return replace(self.properties or Properties(), message_expiry_interval=self.expiry)


class RestoredMessage(Message):
    """A message that came to an earlier process on this store."""

    __slots__ = ("origin",)

    def __init__(self, *args: Any, origin: str) -> None:
        super().__init__(*args)
        self.origin: str | None = origin


def _weight(properties: Properties) -> int:
    """Approximate bytes of memory of what `forwardable` lets through."""
    size = 256
    for value in (properties.content_type, properties.response_topic, properties.correlation_data):
        if value is not None:
            size += len(value)
    for name, text in properties.user_property or ():
        size += len(name) + len(text) + _PROPERTY_COST
    return size

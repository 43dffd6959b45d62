"""Who is connected, and what a message carries to subscribers."""

from __future__ import annotations

from bridge.mqtt.packets import Properties


class Client:
    """One connection's client, as hooks and events see it. Never holds a password."""

    __slots__ = (
        "clean_start",
        "clientid",
        "connected_at",
        "keepalive",
        "peerhost",
        "peername",
        "properties",
        "proto_ver",
        "sockname",
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
        self.properties = properties


class Message:
    """An application message on its way to subscribers or kept as retained; shared by all of them."""

    __slots__ = ("client", "encoded", "expires", "payload", "properties", "qos", "retain", "topic", "ts")

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
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = (
            properties  # what goes on to subscribers, [MQTT-3.3.2-…]: never the publisher's alias
        )
        self.client = client  # the publisher
        self.ts = ts  # Unix ms of its arrival
        self.expires = expires  # loop time at which it is too old to deliver; None: never
        self.encoded: dict[int, bytes] | None = (
            None  # version to its plain QoS 0 packet, made once for a fan-out
        )

    @property
    def size(self) -> int:
        """Approximate bytes that a queue holds for it."""
        return len(self.payload) + len(self.topic) + 128

"""Who gets a connection: how many may be open, of all, of a listener, of an address, and how many a second.

A network connection counts from the moment it is accepted, with its handshakes of TLS and WebSocket. One that
is too many gets the reason in CONNACK, where that costs no handshake of TLS and only few wait for theirs;
else it is closed at once.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from bridge.broker.pace import Pace
from bridge.broker.stats import Stats
from bridge.broker.tokens import TokenBucket
from bridge.config.settings import Listener, Mqtt
from bridge.mqtt.reasons import ReasonCode, connack_name_v5

if TYPE_CHECKING:
    from bridge.broker.connection import Connection

log = logging.getLogger(__name__)

LOG_S = 10.0
"""How often the same thing is logged."""
REFUSALS = 32
"""Connections at a time that are kept until their CONNECT can be answered with a refusal; at most an eighth
of `mqtt.max_connections`, where so few are all the files that there are."""
REFUSAL_S = 2.0
"""How long their CONNECT may take."""


class Teller:
    """Logs what an outsider can make happen as often as he likes: each kind once in `LOG_S`, with a count."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._told: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def tell(self, level: int, kind: str, text: str) -> None:
        """`kind` is one of a bounded number."""
        now = self._loop.time()
        if now - self._told.get(kind, -LOG_S) < LOG_S:
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return
        self._told[kind] = now
        untold = self._untold.pop(kind, 0)
        log.log(level, "%s%s", text, f" ({untold:,} more like this before)" if untold else "")


class _Door:
    """One listener's state."""

    __slots__ = ("bucket", "open")

    def __init__(self, listener: Listener, now: float) -> None:
        self.open = 0
        rate = listener.max_conn_rate
        self.bucket = TokenBucket(rate, now) if rate is not None else None


class Limits:
    """The counts, and the decision. All in the loop's thread."""

    def __init__(self, settings: Mqtt, stats: Stats, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._stats = stats
        self._loop = loop
        self._doors: dict[int, _Door] = {}  # by id() of the listener
        self._hosts: dict[str, int] = {}  # open connections, where they are limited by address
        self._open = 0
        self._refusing = 0
        self._most_refusing = min(REFUSALS, max(1, settings.max_connections // 8))
        self.teller = Teller(loop)

    def add(self, listener: Listener) -> None:
        """A listener opens."""
        self._doors[id(listener)] = _Door(listener, self._loop.time())

    def admit(self, connection: Connection) -> bool:
        """Count an accepted network connection. Its `refusal` is set where CONNECT is to be refused; False
        where it is to be closed at once.
        """
        listener = connection.listener
        door = self._doors[id(listener)]
        code = self._check(listener, door, connection.peername)
        if not code:
            self._open += 1
            door.open += 1
            if self._settings.max_connections_per_address is not None:
                host = _network(connection.peername)
                self._hosts[host] = self._hosts.get(host, 0) + 1
            self._stats.connections += 1
            return True
        self._stats.turned_away += 1
        self._stats.refuse(connack_name_v5(code))
        if listener.tls or self._refusing >= self._most_refusing:
            return False
        self._refusing += 1
        connection.refusal = code
        return True

    def _check(self, listener: Listener, door: _Door, peername: str) -> int:
        """0, or the MQTT 5 reason code that stands against one more connection."""
        settings = self._settings
        if self._open >= settings.max_connections:
            self._full("mqtt.max_connections", settings.max_connections)
            return ReasonCode.SERVER_BUSY
        if listener.max_connections is not None and door.open >= listener.max_connections:
            self._full(f"{listener.key}.max_connections", listener.max_connections)
            return ReasonCode.SERVER_BUSY
        most = settings.max_connections_per_address
        if most is not None and self._hosts.get(_network(peername), 0) >= most:
            self.teller.tell(
                logging.WARNING,
                "address",
                f"mqtt.max_connections_per_address: {_network(peername)} has {most}, new ones are refused",
            )
            return ReasonCode.QUOTA_EXCEEDED
        if door.bucket is not None and not door.bucket.take(self._loop.time()):
            key = f"{listener.key}.max_conn_rate"
            text = f"{key}: more than {listener.max_conn_rate:g} a second, some are refused"
            self.teller.tell(logging.WARNING, key, text)
            return ReasonCode.CONNECTION_RATE_EXCEEDED
        return 0

    def _full(self, key: str, limit: int) -> None:
        self.teller.tell(logging.WARNING, key, f"{key}: {limit} are open, new ones are refused")

    def pace(self, connection: Connection) -> Pace | None:
        """What slows a new connection's publishing, None for nothing."""
        listener, settings = connection.listener, self._settings
        messages = listener.messages_rate or settings.max_publish_rate
        size = listener.bytes_rate or settings.max_publish_bytes
        return Pace(connection, messages, size) if messages is not None or size is not None else None

    def gone(self, connection: Connection) -> None:
        """The network connection, which was admitted, is closed."""
        if connection.refusal:
            self._refusing -= 1
            return
        self._open -= 1
        self._doors[id(connection.listener)].open -= 1
        if self._settings.max_connections_per_address is not None:
            host = _network(connection.peername)
            left = self._hosts[host] - 1
            if left:
                self._hosts[host] = left
            else:
                del self._hosts[host]

    def handshake_failed(self, connection: Connection, why: str) -> None:
        """A handshake of TLS or WebSocket that came to nothing."""
        self._stats.handshake_errors += 1
        self._stats.refuse("handshake")
        key = connection.listener.key
        self.teller.tell(logging.INFO, f"{key} handshake", f"{key}: {connection.peername}: {why}")


def _network(peername: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 one's /64, which a single line is given."""
    host = peername.rpartition(":")[0]
    if not host.startswith("["):
        return host
    groups = host[1:-1].partition("%")[0].partition("::")
    head = groups[0].split(":") if groups[0] else []
    if groups[1]:
        tail = groups[2].split(":") if groups[2] else []
        head += ["0"] * (8 - len(head) - len(tail)) + tail
    return ":".join(head[:4]) + "::/64"

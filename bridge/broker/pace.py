"""How fast one client may publish: beyond its rate it is read no further until it may again.

The message over the rate, and all behind it, waits where it is; what the client sends meanwhile stays in its
own buffers. Nobody is cut off for being fast, unless `mqtt.on_publish_rate = disconnect` says so: then it is
MQTT 5's reason 0x96.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bridge.broker.tokens import TokenBucket
from bridge.mqtt.packets import Packet, Publish
from bridge.mqtt.reasons import ReasonCode

if TYPE_CHECKING:
    from bridge.broker.connection import Connection

PIECE = 4096
"""Bytes that are decoded at a time: what waits is mostly kept as it came."""


class Pace:
    """One connection's rates, in messages and in bytes a second."""

    __slots__ = ("_bytes", "_connection", "_data", "_messages", "_packets")

    def __init__(self, connection: Connection, messages: float | None, size: float | None) -> None:
        now = connection.broker.loop.time()
        self._connection = connection
        self._messages = TokenBucket(messages, now) if messages is not None else None
        self._bytes = TokenBucket(size, now) if size is not None else None
        self._data: deque[bytes] = deque()
        self._packets: deque[Packet] = deque()

    def allowed(self, data: bytes) -> Iterator[Packet]:
        """The packets of what was read, as far as the client may publish now; the rest is kept."""
        if data:
            self._data.append(data)
        connection = self._connection
        if connection.paced:
            return
        packets = self._packets
        waiting = self._data
        while True:
            while packets:
                if type(packets[0]) is Publish and self._wait(packets[0]):
                    return
                yield packets.popleft()
            if not waiting or connection.decoder.error is not None:
                return
            piece = waiting.popleft()
            if len(piece) > PIECE:
                waiting.appendleft(piece[PIECE:])
                piece = piece[:PIECE]
            packets.extend(connection.decoder.feed(piece))

    def _wait(self, packet: Publish) -> bool:
        """Whether the message is over the rate; if not, it is counted."""
        connection = self._connection
        now = connection.broker.loop.time()
        size = len(packet.payload) + len(packet.topic)
        wait = self._messages.wait(now) if self._messages is not None else 0.0
        if self._bytes is not None:
            wait = max(wait, self._bytes.wait(now, size))
        if not wait:
            if self._messages is not None:
                self._messages.spend()
            if self._bytes is not None:
                self._bytes.spend(size)
            return False
        broker = connection.broker
        broker.stats.paced += 1
        broker.limits.teller.tell(
            logging.INFO,
            f"{connection.listener.key} pace",
            f"client {connection.name} publishes faster than it may (mqtt.max_publish_rate)",
        )
        if connection.settings.on_publish_rate == "disconnect":
            connection.end("message_rate_too_high", ReasonCode.MESSAGE_RATE_TOO_HIGH)
            return True
        connection.paced = True
        connection.transport.pause_reading()
        broker.loop.call_later(wait, self._go_on)
        return True

    def _go_on(self) -> None:
        connection = self._connection
        if not connection.closed:
            connection.paced = False
            connection.process(b"")
            connection.resume()

    def lift(self) -> None:
        """The client has ended: what it had sent before counts."""
        self._messages = self._bytes = None
        self._connection.paced = False

"""What waits for clients in memory alone: for those that do not read, whose sessions are not stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.broker.client import Message

DELIVERY_SIZE = 192
"""Approximate bytes that one session's place in a message's deliveries takes."""


class Waiting:
    """Its bytes, and their bound. A message counts once, in however many queues it is."""

    __slots__ = ("bytes", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.bytes = 0
        self.max_bytes = max_bytes

    def room(self, message: Message) -> bool:
        """Whether it may be put into one more queue."""
        return self.bytes + DELIVERY_SIZE + (0 if message.queues else message.size) <= self.max_bytes

    def add(self, message: Message) -> None:
        """It is in one more queue."""
        if not message.queues:
            self.bytes += message.size
        message.queues += 1
        self.bytes += DELIVERY_SIZE

    def remove(self, message: Message) -> None:
        """It is in one less."""
        message.queues -= 1
        self.bytes -= DELIVERY_SIZE
        if not message.queues:
            self.bytes -= message.size

"""Retained messages: the last of each topic, bounded in number and bytes (section 3.3.1.3)."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.broker.client import Message
from bridge.mqtt.topics import TopicMap

LEVEL_SIZE = 256
"""Bytes that a topic level takes in the index, roughly."""
PURGE_S = 10.0
"""How often a full store is searched for messages past their expiry, at most."""


class Retained:
    """Topic to its retained message. A store that is full keeps what it has and counts what it refused."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: TopicMap[Message] = TopicMap()
        self._purged = float("-inf")
        self.bytes = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._messages)

    def keep(self, message: Message, now: float) -> bool:
        """Replace the topic's message, or delete it where the payload is empty ([MQTT-3.3.1-6]).

        `now` is loop time. Returns False where a bound forbids it; the topic's old message is then gone,
        since it is outdated.
        """
        topic = message.topic
        old = self._messages.get(topic)
        if not message.payload:
            if old is not None:
                self._drop(topic, old)
            return True
        size = _size(message)
        if old is not None:
            size -= _size(old)
        if not self._room(size, old is None):
            if now - self._purged >= PURGE_S:
                self._purged = now
                for _ in self.find("#", now):
                    pass
                old = self._messages.get(topic)
                size = _size(message) - (0 if old is None else _size(old))
            if not self._room(size, old is None):
                if old is not None:
                    self._drop(topic, old)
                self.refused += 1
                return False
        self._messages.set(topic, message)
        self.bytes += size
        return True

    def _room(self, size: int, new: bool) -> bool:
        return len(self._messages) + new <= self._max_messages and self.bytes + size <= self._max_bytes

    def _drop(self, topic: str, message: Message) -> None:
        self._messages.delete(topic)
        self.bytes -= _size(message)

    def topics(self) -> list[str]:
        """The topics at this moment."""
        return self._messages.names()

    def find(self, topic_filter: str, now: float) -> Iterator[Message]:
        """The messages that a new subscription gets; those past their expiry are dropped on the way.

        The caller may take one now and then: messages may come and go meanwhile.
        """
        for topic, message in self._messages.find(topic_filter):
            if message.expires is not None and message.expires <= now:
                self._drop(topic, message)
            else:
                yield message


def _size(message: Message) -> int:
    """Approximate bytes that it takes here."""
    return message.size + LEVEL_SIZE * (message.topic.count("/") + 1)

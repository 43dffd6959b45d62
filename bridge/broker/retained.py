"""Retained messages: the last of each topic, bounded in number and bytes (section 3.3.1.3)."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.broker.client import Message
from bridge.mqtt.topics import TopicMap


class Retained:
    """Topic to its retained message. A store that is full keeps what it has and counts what it refused."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: TopicMap[Message] = TopicMap()
        self.bytes = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._messages)

    def keep(self, message: Message) -> bool:
        """Replace the topic's message, or delete it where the payload is empty ([MQTT-3.3.1-6]).

        Returns False where a bound forbids it; the topic's old message is then gone, since it is outdated.
        """
        old = self._messages.get(message.topic)
        if old is not None:
            self._messages.delete(message.topic)
            self.bytes -= old.size
        if not message.payload:
            return True
        if len(self._messages) >= self._max_messages or self.bytes + message.size > self._max_bytes:
            self.refused += 1
            return False
        self._messages.set(message.topic, message)
        self.bytes += message.size
        return True

    def find(self, topic_filter: str, now: float) -> Iterator[Message]:
        """The messages that a new subscription gets; those past their expiry are dropped on the way."""
        stale = []
        for topic, message in self._messages.find(topic_filter):
            if message.expires is not None and message.expires <= now:
                stale.append((topic, message))
            else:
                yield message
        for topic, message in stale:
            if self._messages.get(topic) is message:
                self._messages.delete(topic)
                self.bytes -= message.size

"""Retained messages: the last of each topic, bounded in number and bytes (section 3.3.1.3).

Each is a row of the store, written in the same commit as the event of its message; of several that one turn
brings for a topic only the last is written. What lies below `$SYS` is the broker's own and is not stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import islice

from bridge.broker.client import Client, Message
from bridge.broker.records import Clock, decode_message, encode_message
from bridge.journal.batch import Change, Put
from bridge.journal.store import Store
from bridge.mqtt.topics import TopicMap

RETAINED = "retained"
"""The space of the rows."""

LEVEL_SIZE = 256
"""Bytes that a topic level takes in the index, roughly."""
EXPIRE_STEP = 512
"""Messages past their expiry that are deleted in one go."""
LOAD_STEP = 512
"""Rows that are read in one go at start."""


class Retained:
    """Topic to its retained message. A store that is full keeps what it has and counts what it refused."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: TopicMap[Message] = TopicMap()
        self._due: list[tuple[float, str]] = []  # a heap: expiry in loop time, topic; some are out of date
        self.dirty: dict[str, None] = {}  # topics whose rows are not as they should be
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
            self.expire(now)
            old = self._messages.get(topic)
            size = _size(message) - (0 if old is None else _size(old))
            if not self._room(size, old is None):
                if old is not None:
                    self._drop(topic, old)
                self.refused += 1
                return False
        self._set(message)
        self.bytes += size
        self._touch(topic)
        return True

    def _set(self, message: Message) -> None:
        self._messages.set(message.topic, message)
        if message.expires is not None:
            if len(self._due) > 2 * len(self._messages) + EXPIRE_STEP:
                # Most of it tells of messages that were replaced since.
                self._due = [
                    (kept.expires, topic)
                    for topic, kept in self._messages.items()
                    if kept.expires is not None
                ]
                heapify(self._due)
            heappush(self._due, (message.expires, message.topic))

    def _touch(self, topic: str) -> None:
        if not topic.startswith("$SYS/"):
            self.dirty[topic] = None

    def _room(self, size: int, new: bool) -> bool:
        return len(self._messages) + new <= self._max_messages and self.bytes + size <= self._max_bytes

    def _drop(self, topic: str, message: Message) -> None:
        self._messages.delete(topic)
        self.bytes -= _size(message)
        self._touch(topic)

    def expire(self, now: float) -> bool:
        """Delete some of the messages that are past their expiry; whether the store is to follow."""
        due = self._due
        for _ in range(EXPIRE_STEP):
            if not due or due[0][0] > now:
                break
            _, topic = heappop(due)
            message = self._messages.get(topic)
            if message is not None and message.expires is not None and message.expires <= now:
                self._drop(topic, message)
        return bool(self.dirty)

    def changes(self, clock: Clock, origin: str) -> Iterator[Change]:
        """The rows of what has changed since the last call."""
        for topic in self.dirty:
            message = self._messages.get(topic)
            yield Put(RETAINED, topic, None if message is None else encode_message(message, clock, origin))
        self.dirty.clear()

    def load(self, store: Store, clock: Clock, now: float) -> Iterator[None]:
        """Take up what the last process kept, whatever the bounds are now; yields from time to time."""
        rows = store.load(RETAINED)
        senders: dict[bytes, Client] = {}
        while step := list(islice(rows, LOAD_STEP)):
            for topic, row in step:
                message = decode_message(topic, row, clock, senders)
                self._set(message)
                self.bytes += _size(message)
            yield

    def topics(self) -> list[str]:
        """The topics at this moment."""
        return self._messages.names()

    def find(self, topic_filter: str, now: float) -> Iterator[Message | None]:
        """The messages that a new subscription gets; those past their expiry are dropped on the way.

        The caller may take one now and then: messages may come and go meanwhile. A None is a step that found
        none, so that no step takes long.
        """
        for found in self._messages.walk(topic_filter):
            if found is None or found[1].expires is None or found[1].expires > now:
                yield found and found[1]
            else:
                self._drop(*found)


def _size(message: Message) -> int:
    """Approximate bytes that it takes here."""
    return message.size + LEVEL_SIZE * (message.topic.count("/") + 1)

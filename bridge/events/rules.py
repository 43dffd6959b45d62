"""Who wants what: every endpoint's rules in one table, matched once for each event, before the journal."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.events.event import MESSAGE_EVENTS, EventType
from bridge.mqtt.topics import TopicTree

CACHE_TOPICS = 8192
"""Topics whose targets are remembered, per event type; the table is emptied when full."""
CACHED_TOPIC = 256
"""Characters of a topic that is remembered at most."""


class Rules:
    """Maps an event's type and topic to the lanes that want it, as an ascending tuple without repeats.

    A rule is (lane id, type, topic filter or None). For messages None means every topic but those that begin
    with `$` ([MQTT-4.7.2-1]), the same as `#`; for subscriptions it means every one; an event without a topic
    matches whatever its rule's filter is.
    """

    def __init__(self, rules: Iterable[tuple[int, EventType, str | None]] = ()) -> None:
        self._trees: dict[int, TopicTree[int]] = {}
        self._always: dict[int, set[int]] = {}
        self._all: dict[int, tuple[int, ...]] = {}
        self._caches: dict[int, dict[str, tuple[int, ...]]] = {}
        lanes: dict[int, set[int]] = {}
        for lane, kind, topic in rules:
            if topic is None and kind not in MESSAGE_EVENTS:
                self._always.setdefault(int(kind), set()).add(lane)
            else:
                tree = self._trees.setdefault(int(kind), TopicTree())
                tree.add("#" if topic is None else topic, lane, lane)
            lanes.setdefault(int(kind), set()).add(lane)
            self._caches.setdefault(int(kind), {})
        for number, wanted in lanes.items():
            self._all[number] = tuple(sorted(wanted))

    def wants(self, kind: EventType) -> bool:
        """Whether any lane listens to this type at all: the cheap test before an event is made."""
        return kind in self._all

    def lanes(self, kind: EventType) -> tuple[int, ...]:
        """The lanes that listen to a type of event that has no topic."""
        return self._all.get(kind, ())

    def cache(self, kind: EventType) -> dict[str, tuple[int, ...]]:
        """The remembered targets by topic, for a caller that looks there before it calls `targets`."""
        return self._caches.setdefault(kind, {})

    def targets(self, kind: EventType, topic: str) -> tuple[int, ...]:
        """The lanes that want an event of this type on this topic."""
        cache = self._caches.get(kind)
        if cache is None:
            return ()
        found = cache.get(topic)
        if found is None:
            tree = self._trees.get(kind)
            matched = set(tree.match(topic)) if tree is not None else set()
            found = tuple(sorted(matched | self._always.get(kind, set())))
            if len(topic) <= CACHED_TOPIC:
                if len(cache) >= CACHE_TOPICS:
                    cache.clear()
                cache[topic] = found
        return found

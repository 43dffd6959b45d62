"""Who wants what: every endpoint's rules in one table, matched once for each event, before the journal."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from fnmatch import fnmatchcase

from bridge.events.event import MESSAGE_EVENTS, Event, EventType
from bridge.events.expression_fields import forget
from bridge.mqtt.topics import TopicTree

CACHE_TOPICS = 8192
"""Topics whose targets are remembered, per event type; the table is emptied when full."""
CACHED_TOPIC = 256
"""Characters of a topic that is remembered at most."""

_DOMAIN = int(EventType.DOMAIN)
_GLOB = frozenset("*?[")


Condition = Callable[[Event], bool]
"""A lane's `where`: whether it wants an event that its rules have matched. It never raises."""


class Rules:
    """Maps an event's type and topic to the lanes that want it, as an ascending tuple without repeats.

    A rule is (lane id, type, topic filter or None). For messages None means every topic but those that begin
    with `$` ([MQTT-4.7.2-1]), the same as `#`; for subscriptions it means every one; an event without a topic
    matches whatever its rule's filter is.

    `types` are (lane id, pattern) for events of business systems: `work_order.*`, `*`, or a whole name. The
    topic that `targets` is asked for is then the event's own type.

    `detailed` are the lanes whose format shows more than NanoMQ's bodies do; `conditions` those of the lanes
    that have one, and are asked by `passing`, after `targets`.
    """

    def __init__(
        self,
        rules: Iterable[tuple[int, EventType, str | None]] = (),
        *,
        types: Iterable[tuple[int, str]] = (),
        detailed: Container[int] = (),
        conditions: Mapping[int, Condition] | None = None,
    ) -> None:
        self.conditions = dict(conditions or {})
        self.system = False  # whether a rule names messages below $SYS
        self._detailed: set[int] = set()
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
                if kind is EventType.MESSAGE_PUBLISH and (topic or "").partition("/")[0] == "$SYS":
                    self.system = True
                tree.add("#" if topic is None else topic, lane, lane)
            lanes.setdefault(int(kind), set()).add(lane)
            if lane in detailed:
                self._detailed.add(int(kind))
            self._caches.setdefault(int(kind), {})
        self._patterns: dict[str, set[int]] = {}
        for lane, pattern in types:
            self._patterns.setdefault(pattern, set()).add(lane)
            lanes.setdefault(_DOMAIN, set()).add(lane)
            self._caches.setdefault(_DOMAIN, {})
        self._globs = [pattern for pattern in self._patterns if not _GLOB.isdisjoint(pattern)]
        for number, wanted in lanes.items():
            self._all[number] = tuple(sorted(wanted))

    def wants(self, kind: EventType) -> bool:
        """Whether any lane listens to this type at all: the cheap test before an event is made."""
        return kind in self._all

    def detailed(self, kind: EventType) -> bool:
        """Whether a lane that listens to this type shows what only the detailed formats show."""
        return kind in self._detailed

    def passing(self, event: Event) -> tuple[int, ...]:
        """The targets of an event without those whose condition it does not meet."""
        conditions = self.conditions
        targets = event.targets
        if conditions.keys().isdisjoint(targets):
            return targets
        passed = tuple([lane for lane in targets if lane not in conditions or conditions[lane](event)])
        forget(event)
        return passed

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
            matched = tree.match(topic) if tree is not None else []
            if kind == _DOMAIN:
                matched = self._of_type(topic)
            always = self._always.get(kind)
            if always:
                matched += always
            found = tuple(sorted(set(matched)) if len(matched) > 1 else matched)
            if len(topic) <= CACHED_TOPIC:
                if len(cache) >= CACHE_TOPICS:
                    cache.clear()
                cache[topic] = found
        return found

    def _of_type(self, name: str) -> list[int]:
        """The lanes whose patterns have this type."""
        found = set(self._patterns.get(name, ()))
        for pattern in self._globs:
            if fnmatchcase(name, pattern):
                found |= self._patterns[pattern]
        return list(found)

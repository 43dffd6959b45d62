"""Who wants what: every endpoint's rules in one table, matched once for each event, before the journal."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from bridge.events.event import MESSAGE_EVENTS, Event, EventType
from bridge.events.expression_fields import forget
from bridge.mqtt.topics import TopicTree

CACHE_TOPICS = 8192
"""Topics whose targets are remembered, per event type; the table is emptied when full."""
CACHED_TOPIC = 256
"""Characters of a topic that is remembered at most."""

_DOMAIN = int(EventType.DOMAIN)
_GLOB = frozenset("*?[")


Filter = tuple[EventType, str | None]
"""A type of event, and a topic filter or None."""
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
        self.conditions: dict[int, Condition] = {}
        self._wanted: dict[int, tuple[list[Filter], list[str]]] = {}  # by lane: what it was added with
        self._detailed: dict[int, set[int]] = {}
        self._trees: dict[int, TopicTree[int]] = {}
        self._always: dict[int, set[int]] = {}
        self._all: dict[int, tuple[int, ...]] = {}
        self._caches: dict[int, dict[str, tuple[int, ...]]] = {}
        self._patterns: dict[str, set[int]] = {}
        self._globs: list[str] = []
        self._system: set[int] = set()  # the lanes that name messages below $SYS
        wanted: dict[int, tuple[list[Filter], list[str]]] = {}
        for lane, kind, topic in rules:
            wanted.setdefault(lane, ([], []))[0].append((kind, topic))
        for lane, pattern in types:
            wanted.setdefault(lane, ([], []))[1].append(pattern)
        given = conditions or {}
        lanes: dict[int, set[int]] = {}
        for lane, (filters, patterns) in wanted.items():
            for number in self._put(lane, filters, patterns, lane in detailed, given.get(lane)):
                lanes.setdefault(number, set()).add(lane)
        self.conditions.update(given)
        for number, those in lanes.items():
            self._all[number] = tuple(sorted(those))

    def add(
        self,
        lane: int,
        filters: Iterable[Filter],
        patterns: Iterable[str] = (),
        *,
        detailed: bool = False,
        condition: Condition | None = None,
    ) -> None:
        """What a lane wants that has wanted nothing so far. For events from now on."""
        for number in self._put(lane, list(filters), list(patterns), detailed, condition):
            others = self._all.get(number, ())
            at = bisect_left(others, lane)
            self._all[number] = (*others[:at], lane, *others[at:])
            self._caches[number].clear()

    def remove(self, lane: int) -> None:
        """A lane wants nothing any more."""
        self.conditions.pop(lane, None)
        self._system.discard(lane)
        filters, patterns = self._wanted.pop(lane, ([], []))
        for kind, topic in filters:
            number = int(kind)
            if topic is None and kind not in MESSAGE_EVENTS:
                _discard(self._always, number, lane)
            elif number in self._trees:
                self._trees[number].remove("#" if topic is None else topic, lane)
        for pattern in patterns:
            _discard(self._patterns, pattern, lane)
        self._globs = [pattern for pattern in self._patterns if not _GLOB.isdisjoint(pattern)]
        for number in {int(kind) for kind, _ in filters} | ({_DOMAIN} if patterns else set()):
            _discard(self._detailed, number, lane)
            rest = tuple([one for one in self._all[number] if one != lane])
            if rest:
                self._all[number] = rest
            else:
                del self._all[number]
            self._caches[number].clear()

    def _put(
        self,
        lane: int,
        filters: list[Filter],
        patterns: list[str],
        detailed: bool,
        condition: Condition | None,
    ) -> set[int]:
        """Add to all tables but `_all` and the caches; the numbers of the types that the lane listens to."""
        numbers = set()
        for kind, topic in filters:
            number = int(kind)
            numbers.add(number)
            if topic is None and kind not in MESSAGE_EVENTS:
                self._always.setdefault(number, set()).add(lane)
            else:
                tree = self._trees.setdefault(number, TopicTree())
                if kind is EventType.MESSAGE_PUBLISH and (topic or "").partition("/")[0] == "$SYS":
                    self._system.add(lane)
                tree.add("#" if topic is None else topic, lane, lane)
            if detailed:
                self._detailed.setdefault(number, set()).add(lane)
        for pattern in patterns:
            if pattern not in self._patterns and not _GLOB.isdisjoint(pattern):
                self._globs.append(pattern)
            self._patterns.setdefault(pattern, set()).add(lane)
        if patterns:
            numbers.add(_DOMAIN)
        for number in numbers:
            self._caches.setdefault(number, {})
        if condition is not None:
            self.conditions[lane] = condition
        self._wanted[lane] = filters, patterns
        return numbers

    @property
    def system(self) -> bool:
        """Whether a rule names messages below `$SYS`."""
        return bool(self._system)

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

    def filters(self, kind: EventType) -> set[str]:
        """The topic filters of all rules for a type of event, `#` for a rule without one."""
        return {
            "#" if topic is None else topic
            for filters, _ in self._wanted.values()
            for other, topic in filters
            if other is kind
        }

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


def _discard(table: dict[Any, set[int]], key: Any, lane: int) -> None:
    """Take a lane from a set of the table, and the set when it is empty."""
    lanes = table.get(key)
    if lanes is not None:
        lanes.discard(lane)
        if not lanes:
            del table[key]

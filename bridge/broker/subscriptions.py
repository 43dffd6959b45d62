"""Who gets a message: all sessions' subscriptions in one tree, shared ones as groups (sections 4.7, 4.8)."""

from __future__ import annotations

from bridge.broker.session import Session, Subscribed
from bridge.mqtt.topics import TopicTree, parse_shared

CACHE_TOPICS = 8192
CACHE_TOPIC_SIZE = 256
"""Characters; a longer topic is matched each time, so that the cache stays small."""


class Group:
    """A shared subscription: one message goes to one member ([MQTT-4.8.2-4]). Members take turns."""

    __slots__ = ("_order", "_turn", "members")

    def __init__(self) -> None:
        self.members: dict[str, Subscribed] = {}
        self._order: list[Subscribed] = []
        self._turn = 0

    def add(self, subscribed: Subscribed) -> None:
        """Add or replace a member."""
        self.members[subscribed.session.clientid] = subscribed
        self._order = list(self.members.values())

    def remove(self, clientid: str) -> None:
        """Take a member away, if it is one."""
        if self.members.pop(clientid, None) is not None:
            self._order = list(self.members.values())

    def pick(self) -> Subscribed | None:
        """The next member that is connected and keeps up; else the next that is connected; else the next."""
        order = self._order
        count = len(order)
        if not count:
            return None
        turn = self._turn = (self._turn + 1) % count
        connected = None
        for at in range(turn - count, turn):  # negative places count from the end
            member = order[at]
            if member.session.connection is not None:
                if not member.session.queue:
                    return member
                connected = connected or member
        return connected or order[turn]


class Match:
    """What one session gets of a topic: overlapping subscriptions are one delivery ([MQTT-3.3.4-2])."""

    __slots__ = ("identifiers", "local", "qos", "retain_as_published", "session")

    def __init__(self, session: Session, subscribed: list[Subscribed]) -> None:
        self.session = session
        self.qos = max(s.options.qos for s in subscribed)
        self.retain_as_published = any(s.options.retain_as_published for s in subscribed)
        identifiers = [s.identifier for s in subscribed if s.identifier is not None]
        self.identifiers = identifiers or None  # [MQTT-3.3.4-3], [MQTT-3.3.4-4]
        local = [s for s in subscribed if not s.options.no_local]
        # What the publisher itself gets ([MQTT-3.8.3-3]): the same, less its no-local subscriptions.
        self.local: Match | None
        if len(local) == len(subscribed):
            self.local = self
        else:
            self.local = Match(session, local) if local else None


class Matched:
    """Everybody who gets a topic: sessions by themselves, and one of each group.

    `durable`: somebody's session may be stored and get more than QoS 0.
    """

    __slots__ = ("anyone", "durable", "groups", "matches")

    def __init__(self, matches: list[Match], groups: list[Group]) -> None:
        self.matches = matches
        self.groups = groups
        self.anyone = bool(matches or groups)
        self.durable = any(match.qos and match.session.stored for match in matches) or any(
            member.options.qos and member.session.stored
            for group in groups
            for member in group.members.values()
        )


class Subscriptions:
    """The tree of all subscriptions, and the answers it gave lately."""

    def __init__(self) -> None:
        self._tree: TopicTree[Subscribed | Group] = TopicTree()
        self._cache: dict[str, Matched] = {}

    def __len__(self) -> int:
        return len(self._tree)

    def add(self, subscribed: Subscribed) -> None:
        """Add or replace a session's subscription ([MQTT-3.8.4-3])."""
        topic_filter = subscribed.options.topic_filter
        shared = parse_shared(topic_filter)
        if shared is None:
            self._tree.add(topic_filter, subscribed.session.clientid, subscribed)
        else:
            name, real = shared
            group = self._tree.get(real, (name,))
            if not isinstance(group, Group):
                group = Group()
                self._tree.add(real, (name,), group)
            group.add(subscribed)
        self._cache.clear()

    def remove(self, clientid: str, topic_filter: str) -> None:
        """Take a session's subscription away."""
        shared = parse_shared(topic_filter)
        if shared is None:
            self._tree.remove(topic_filter, clientid)
        else:
            name, real = shared
            group = self._tree.get(real, (name,))
            if isinstance(group, Group):
                group.remove(clientid)
                if not group.members:
                    self._tree.remove(real, (name,))
        self._cache.clear()

    def match(self, topic: str) -> Matched:
        """All who get a message on this topic."""
        matched = self._cache.get(topic)
        if matched is None:
            matched = self._match(topic)
            if len(topic) <= CACHE_TOPIC_SIZE:
                if len(self._cache) >= CACHE_TOPICS:
                    self._cache.clear()
                self._cache[topic] = matched
        return matched

    def _match(self, topic: str) -> Matched:
        by_session: dict[str, list[Subscribed]] = {}
        groups: list[Group] = []
        for value in self._tree.match(topic):
            if isinstance(value, Group):
                groups.append(value)
            else:
                by_session.setdefault(value.session.clientid, []).append(value)
        return Matched([Match(found[0].session, found) for found in by_session.values()], groups)

"""Who gets a message: all sessions' subscriptions in one tree, shared ones as groups (sections 4.7, 4.8)."""

from __future__ import annotations

from collections.abc import Callable

from bridge.broker.session import Session, Subscribed, filter_size
from bridge.mqtt.topics import TopicTree, parse_shared

SYSTEM = "$SYS"
"""The first level of what the broker tells of itself."""
SHARE = "$share/"
BRIDGES = "$SYS/broker/connection/"
BRIDGE_LEVELS = 4  # as slashes, of `$SYS/broker/connection/<name>/state`
CACHE_TOPICS = 8192
COSTLY = 64
"""Nodes that a match may visit before that is work of its turn (`Turn.charge`), an eighth of a unit each."""
CACHE_TOPIC_SIZE = 256
"""Characters; a longer topic is matched each time, so that the cache stays small."""


class Group:
    """A shared subscription: one message goes to one member ([MQTT-4.8.2-4]). Members take turns."""

    __slots__ = ("_order", "_turn", "members")

    def __init__(self) -> None:
        self.members: dict[Session, Subscribed] = {}
        self._order: list[Subscribed] = []
        self._turn = 0

    def add(self, subscribed: Subscribed) -> None:
        """Add or replace a member."""
        self.members[subscribed.session] = subscribed
        self._order = list(self.members.values())

    def remove(self, session: Session) -> None:
        """Take a member away, if it is one."""
        if self.members.pop(session, None) is not None:
            self._order = list(self.members.values())

    def pick(self) -> Subscribed | None:
        """The next member that is connected and keeps up; else the next that is connected; else the next."""
        order = self._order
        count = len(order)
        if not count:
            return None
        turn = self._turn % count
        self._turn = turn + 1
        connected = away = None
        for at in range(turn - count, turn):  # negative places count from the end
            member = order[at]
            if member.session.connection is not None:
                if not member.session.queue:
                    return member
                connected = connected or member
            elif not member.session.ended:
                away = away or member
        return connected or away

    def living(self) -> bool:
        """Whether anybody's session has not ended."""
        return any(not session.ended for session in self.members)


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

    `reserved`: the topic is one that clients may not publish to. `durable`: somebody's session may be stored
    and get more than QoS 0.
    """

    __slots__ = ("anyone", "durable", "groups", "many", "matches", "reserved")

    def __init__(self, matches: list[Match], groups: list[Group], reserved: bool = False) -> None:
        self.reserved = reserved
        self.matches = matches
        self.groups = groups
        self.anyone = bool(matches or groups)
        count = len(matches) + len(groups)
        self.many = count if count > 4 else 0  # how many get it, where that is work to be counted
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
        self.count = 0  # of all sessions
        self.bytes = 0  # of memory that they take, roughly
        self.most = 0  # at the same time
        self.shared = 0  # of these, in groups
        self.system = 0  # of these, for topics below $SYS
        self.on_system: Callable[[], None] | None = None  # called when `system` has changed
        self.on_work: Callable[[int], None] | None = None  # called with what a costly match was

    def __len__(self) -> int:
        return len(self._tree)

    def add(self, subscribed: Subscribed) -> None:
        """Add or replace a session's subscription ([MQTT-3.8.4-3])."""
        topic_filter = subscribed.options.topic_filter
        session = subscribed.session
        shared = parse_shared(topic_filter)
        if shared is None:
            new = self._tree.get(topic_filter, session) is None
            self._tree.add(topic_filter, session, subscribed)
            self._counted(topic_filter, int(new))
        else:
            name, real = shared
            group = self._tree.get(real, (name,))
            if not isinstance(group, Group):
                group = Group()
                self._tree.add(real, (name,), group)
            new = session not in group.members
            group.add(subscribed)
            self.shared += new
            self._counted(real, int(new))
        self._cache.clear()

    def remove(self, session: Session, topic_filter: str) -> None:
        """Take a session's subscription away."""
        shared = parse_shared(topic_filter)
        if shared is None:
            self._counted(topic_filter, -int(self._tree.remove(topic_filter, session)))
        else:
            name, real = shared
            group = self._tree.get(real, (name,))
            if isinstance(group, Group) and session in group.members:
                self.shared -= 1
                self._counted(real, -1)
                group.remove(session)
                if not group.members:
                    self._tree.remove(real, (name,))
        self._cache.clear()

    def _counted(self, topic_filter: str, change: int) -> None:
        self.count += change
        self.bytes += change * filter_size(topic_filter)
        self.most = max(self.most, self.count)
        if change and is_system(topic_filter):
            self.system += change
            if self.on_system is not None:
                self.on_system()

    def forget_matches(self) -> None:
        """A session has ended: it gets nothing any more, although its subscriptions may still be here."""
        self._cache.clear()

    def match(self, topic: str) -> Matched:
        """All who get a message on this topic."""
        matched = self._cache.get(topic)
        if matched is None:
            matched = self._match(topic)
            if self._tree.cost > COSTLY and self.on_work is not None:
                self.on_work(self._tree.cost // 8)
            if len(topic) <= CACHE_TOPIC_SIZE:
                if len(self._cache) >= CACHE_TOPICS:
                    self._cache.clear()
                self._cache[topic] = matched
        return matched

    def _match(self, topic: str) -> Matched:
        by_session: dict[Session, list[Subscribed]] = {}
        groups: list[Group] = []
        for value in self._tree.match(topic):
            if isinstance(value, Group):
                if value.living():
                    groups.append(value)
            elif not value.session.ended:
                by_session.setdefault(value.session, []).append(value)
        found = [Match(session, subscribed) for session, subscribed in by_session.items()]
        return Matched(found, groups, is_reserved(topic))


def is_reserved(topic: str) -> bool:
    """Whether clients may not publish to a topic: what the broker tells of itself must be its own.

    Nor can one publish to `$share/…`, which is how a subscription is shared: nobody could subscribe to it.
    A bridge of mosquitto tells whether it is connected on `$SYS/broker/connection/<name>/state`, as its will
    too, and could not connect without: that is not below our `$SYS/brokers/`.
    """
    if not is_system(topic):
        return topic.startswith(SHARE)
    return not (topic.startswith(BRIDGES) and topic.endswith("/state") and topic.count("/") == BRIDGE_LEVELS)


def is_system(topic: str) -> bool:
    """Whether a topic, or a topic filter, is `$SYS` or below it."""
    return topic.startswith(SYSTEM) and topic[len(SYSTEM) : len(SYSTEM) + 1] in ("", "/")

"""Access rules as `auth.acl` has them: which of them concern a client, and what the first of those says."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from bridge.broker.addresses import address_of
from bridge.broker.auth_topics import Levels, Topics, fill, has_name, placeholders, topics
from bridge.broker.client import Client
from bridge.config.settings import AclRule, AclWho

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address | None
Test: TypeAlias = Callable[[Client, Address], bool]

PUBLISH, SUBSCRIBE = "publish", "subscribe"
MAX_INDEXES = 1024
"""Of those that clients share."""


class ClientRule(NamedTuple):
    """A rule as it is for one client. `qos` and `retain`: for such messages alone; None: for all."""

    action: str  # publish, subscribe or pubsub
    topics: Topics
    qos: frozenset[int] | None = None
    retain: bool | None = None


class PublishIndex:
    """The same rules for publishing: found by the topic and by its first level, not one after the other."""

    __slots__ = ("_allow", "_any", "_every", "_exact", "_heads")

    def __init__(self, rules: Iterable[ClientRule]) -> None:
        """No rule may be for one QoS or for retained messages alone."""
        self._allow: list[bool] = []
        self._exact: dict[str, int] = {}
        self._heads: dict[str, list[tuple[int, Levels]]] = {}  # by the first level, in the rules' order
        self._any: list[tuple[int, Levels]] = []  # those that begin with a wildcard
        self._every = 1 << 60
        for number, rule in enumerate(rules):
            self._allow.append(rule.topics.allow)
            if rule.action == SUBSCRIBE:
                continue
            if rule.topics.every:
                self._every = number
                break  # those behind it are never reached
            for topic in rule.topics.exact:
                self._exact.setdefault(topic, number)
            for pattern in rule.topics.wild:
                wild = pattern[0] in ("+", "#")
                (self._any if wild else self._heads.setdefault(pattern[0], [])).append((number, pattern))

    def first(self, topic: str) -> bool | None:
        """What the first rule that is for a message with this topic says; None where none is."""
        best = min(self._exact.get(topic, self._every), self._every)
        levels = topic.split("/")
        for patterns in (self._heads.get(levels[0], ()), self._any):
            for number, pattern in patterns:
                if number >= best:
                    break
                if has_name(pattern, levels, wide=not self._allow[number]):
                    best = number
                    break
        return self._allow[best] if best < len(self._allow) else None


class _Rule:
    """One rule of the file, compiled."""

    __slots__ = ("action", "allow", "fixed", "number", "patterns", "test")

    def __init__(self, number: int, rule: AclRule, test: Test | None) -> None:
        self.number = number
        self.test = test
        self.action = rule.action
        self.allow = rule.permit == "allow"
        self.patterns = rule.topics
        # What is the same for all clients is made once.
        self.fixed: ClientRule | None = None
        if not any(map(placeholders, rule.topics)):
            self.fixed = ClientRule(rule.action, topics(self.allow, rule.topics))

    def of(self, client: Client) -> ClientRule | None:
        """The rule for a client whom it concerns; None where all its topics need what the client lacks."""
        if self.fixed is not None:
            return self.fixed
        filled = [
            fill(pattern, client.clientid, client.username, allow=self.allow) for pattern in self.patterns
        ]
        known = [pattern for pattern in filled if pattern is not None]
        return ClientRule(self.action, topics(self.allow, known)) if known else None


class Acl:
    """All rules of the file, indexed by the clients that they name."""

    def __init__(self, rules: Iterable[AclRule]) -> None:
        self._by_username: dict[str, list[_Rule]] = {}
        self._by_clientid: dict[str, list[_Rule]] = {}
        self._others: list[_Rule] = []
        self._addresses = False
        self._indexes: dict[tuple[int, ...], PublishIndex] = {}
        for number, rule in enumerate(rules):
            given = [rule.username is not None, rule.clientid is not None]
            more = bool(rule.ipaddr or rule.all_of or rule.any_of)
            self._addresses = self._addresses or _has_address(rule)
            if rule.username is not None and given == [True, False] and not more:
                self._by_username.setdefault(rule.username, []).append(_Rule(number, rule, None))
            elif rule.clientid is not None and given == [False, True] and not more:
                self._by_clientid.setdefault(rule.clientid, []).append(_Rule(number, rule, None))
            else:
                self._others.append(_Rule(number, rule, _test(rule) if any(given) or more else None))

    def rules_for(self, client: Client) -> tuple[tuple[ClientRule, ...], PublishIndex]:
        """The rules that concern the client, in their order. Costs as much as there are rules for it."""
        address = address_of(client.peerhost) if self._addresses else None
        found = [rule for rule in self._others if rule.test is None or rule.test(client, address)]
        if client.username:
            found += self._by_username.get(client.username, ())
        found += self._by_clientid.get(client.clientid, ())
        found.sort(key=lambda rule: rule.number)
        rules = tuple([made for rule in found if (made := rule.of(client)) is not None])
        if any(rule.fixed is None for rule in found):
            return rules, PublishIndex(rules)
        # Clients whom the same rules concern share the index of them.
        key = tuple([rule.number for rule in found])
        index = self._indexes.get(key)
        if index is None:
            if len(self._indexes) >= MAX_INDEXES:
                self._indexes.clear()
            index = self._indexes[key] = PublishIndex(rules)
        return rules, index


def first(
    rules: Iterable[ClientRule], action: str, topic: str, qos: int = 0, retain: bool = False
) -> bool | None:
    """What the first rule that matches says: allowed or not; None where none does.

    `topic` is a topic name where `action` is `publish`, a topic filter where it is `subscribe`.
    """
    publish = action == PUBLISH
    for rule in rules:
        if rule.action not in (action, "pubsub"):
            continue
        if rule.qos is not None and qos not in rule.qos:
            continue
        if rule.retain is not None and publish and retain is not rule.retain:
            continue
        if rule.topics.has_name(topic) if publish else rule.topics.has_filter(topic):
            return rule.topics.allow
    return None


def _has_address(who: AclWho) -> bool:
    return bool(who.ipaddr) or any(map(_has_address, (*who.all_of, *who.any_of)))


def _test(who: AclWho) -> Test:
    """Whether a client is meant: all that is given must hold."""
    tests: list[Test] = []
    if who.username is not None:
        username = who.username
        tests.append(lambda client, _: client.username == username)
    if who.clientid is not None:
        clientid = who.clientid
        tests.append(lambda client, _: client.clientid == clientid)
    if who.ipaddr:
        networks = [ipaddress.ip_network(text) for text in who.ipaddr]
        tests.append(lambda _, address: address is not None and any(address in net for net in networks))
    tests += [_test(one) for one in who.all_of]
    if who.any_of:
        options = [_test(one) for one in who.any_of]
        tests.append(lambda client, address: any(option(client, address) for option in options))
    return lambda client, address: all(test(client, address) for test in tests)

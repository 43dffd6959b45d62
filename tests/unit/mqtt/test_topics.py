"""Topic names and filters, section 4.7, and the two indexes against the plain definition."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from types import FrameType
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.mqtt import topic_tree
from bridge.mqtt.topics import (
    TopicMap,
    TopicTree,
    matches,
    parse_shared,
    valid_topic_filter,
    valid_topic_name,
)

# The examples of section 4.7 among them. (filter, topic, whether they match)
MATCHES = [
    ("sport/tennis/player1/#", "sport/tennis/player1", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/tennis/player1/#", "sport/tennis/player10", False),
    ("sport/#", "sport", True),
    ("#", "a", True),
    ("#", "/", True),
    ("#", "a/b/c", True),
    ("#", "$SYS/a", False),
    ("+", "$SYS", False),
    ("+/a", "$SYS/a", False),
    ("+/monitor/Clients", "$SYS/monitor/Clients", False),
    ("$SYS/#", "$SYS/", True),
    ("$SYS/#", "$SYS", True),
    ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
    ("$SYS/+/#", "$SYS/monitor", True),
    ("a/#", "a/$b", True),
    ("a/+", "a/$b", True),
    ("sport/tennis/+", "sport/tennis/player1", True),
    ("sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("sport/+", "sport", False),
    ("sport/+", "sport/", True),
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+", "/finance", False),
    ("+", "a", True),
    ("a", "A", False),
    ("a", "/a", False),
    ("a", "a/", False),
    ("a/+/c", "a//c", True),
    ("+/+/#", "a", False),
    ("+/+/#", "a/b", True),
    ("+/#", "a", True),
    ("a b", "a b", True),
    ("//", "//", True),
    ("//", "/", False),
    ("é/+", "é/𐍈", True),
]


@pytest.mark.parametrize(("filter", "topic", "expected"), MATCHES)
def test_matches(filter: str, topic: str, expected: bool) -> None:
    assert matches(filter, topic) is expected
    tree: TopicTree[int] = TopicTree()
    tree.add(filter, "k", 1)
    assert tree.match(topic) == ([1] if expected else [])
    topics: TopicMap[int] = TopicMap()
    topics.set(topic, 1)
    assert list(topics.find(filter)) == ([(topic, 1)] if expected else [])


@pytest.mark.parametrize(
    "filter",
    ["a", "/", "#", "+", "a/#", "/#", "+/+/#", "a/+/b", "+/a", " ", "$SYS/#", "a" * 65_535, "/" * 200],
)
def test_valid_filters(filter: str) -> None:
    assert valid_topic_filter(filter)


@pytest.mark.parametrize(
    "filter",
    [
        *("", "a#", "#a", "#/a", "a/#/b", "##", "a/##", "a+", "+a", "a/b+/c", "++", "+#", "#+", "\0", "a\0b"),
        *("\ud800", "a" * 65_536, "é" * 32_768, "/" * 201),
    ],
)
def test_invalid_filters(filter: str) -> None:
    assert not valid_topic_filter(filter)


def test_levels_of_a_filter() -> None:
    assert valid_topic_filter("a/b/#", max_levels=3)
    assert not valid_topic_filter("a/b/#", max_levels=2)
    assert valid_topic_filter("/" * 65_534, max_levels=65_535)


def test_topic_names() -> None:
    for topic in ("a", "/", " ", "$SYS", "a" * 65_535, "é" * 32_767, "/" * 65_535, "\ufeff"):
        assert valid_topic_name(topic)
    for topic in ("", "+", "#", "a/+", "a#", "\0", "\udc00", "a" * 65_536, "é" * 32_768):
        assert not valid_topic_name(topic)
    assert valid_topic_name("a/b", max_levels=2)
    assert not valid_topic_name("a/b/c", max_levels=2)


def test_shared_subscriptions() -> None:
    assert parse_shared("$share/g/a/b") == ("g", "a/b")
    assert parse_shared("$share/g//") == ("g", "/")
    assert parse_shared("$share/g/#") == ("g", "#")
    assert parse_shared("$share/g/$share/h/a") == ("g", "$share/h/a")
    for filter in ("a/b", "$share", "$SHARE/g/a", "$shared/g/a", "#", "$SYS/share"):
        assert parse_shared(filter) is None
    for filter in ("$share/", "$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/#", "$share/a#/b"):
        with pytest.raises(ValueError, match=r"MQTT-4\.8\.2-"):
            parse_shared(filter)


def test_tree_replaces_and_frees() -> None:
    tree: TopicTree[str] = TopicTree()
    for filter in ("a/b", "a/+", "a/#", "#", "+", "+/b/#"):
        tree.add(filter, 1, "old")
        tree.add(filter, 1, "new")
        tree.add(filter, 2, "two")
        assert (tree.get(filter, 1), tree.get(filter, 2), tree.get(filter, 3)) == ("new", "two", None)
    assert len(tree) == 12
    assert Counter(tree.match("a/b")) == {"new": 5, "two": 5}
    assert not tree.remove("a/c", 1)
    assert not tree.remove("a/b", 3)
    assert not tree.remove("a/+", 3)
    assert not tree.remove("x/y/#", 1)
    assert tree.get("x/y/#", 1) is None
    for filter in ("a/b", "a/+", "a/#", "#", "+", "+/b/#"):
        assert tree.remove(filter, 1)
        assert not tree.remove(filter, 1)
        assert tree.remove(filter, 2)
    assert len(tree) == 0
    assert tree._root.empty()
    assert tree._exact == {}


def test_tree_version_grows_at_every_change() -> None:
    tree: TopicTree[int] = TopicTree()
    versions = [tree.version]
    for change in (
        lambda: tree.add("a", 1, 1),
        lambda: tree.add("a", 1, 2),
        lambda: tree.add("a/+", 1, 1),
        lambda: tree.remove("a", 1),
        lambda: tree.remove("a/+", 1),
    ):
        change()
        versions.append(tree.version)
    assert versions == sorted(set(versions))
    tree.remove("a", 1)
    tree.match("a")
    assert tree.version == versions[-1]


@pytest.mark.parametrize("filter", ["", "a/#/b", "a+", "+a/b", "#a", "a/b#"])
def test_tree_refuses_what_it_could_not_match(filter: str) -> None:
    tree: TopicTree[int] = TopicTree()
    with pytest.raises(ValueError, match="topic filter"):
        tree.add(filter, 1, 1)
    assert (len(tree), tree.version) == (0, 0)
    assert tree._root.empty()


def test_a_match_costs_no_more_than_the_nodes_stored() -> None:
    """All mixes of `+` and `a` in 12 levels, 8,190 nodes: that many steps, not 2^12 for each filter."""
    tree: TopicTree[int] = TopicTree()
    for n in range(1, 4096):
        tree.add("/".join("+" if n >> bit & 1 else "a" for bit in range(12)), n, n)
    assert len(tree.match("/".join("a" * 12))) == 4095
    steps = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal steps
        steps += event == "line"
        return trace

    sys.settrace(trace)
    try:
        found = tree.match("/".join(["a"] * 11 + ["b"]))
    finally:
        sys.settrace(None)
    assert len(found) == 2048
    assert steps < 20 * 8190


def test_many_levels_need_no_recursion() -> None:
    levels = 65_535
    assert levels > 10 * sys.getrecursionlimit()
    topic = "/" * (levels - 1)
    tree: TopicTree[int] = TopicTree()
    topics: TopicMap[int] = TopicMap()
    filters = ("/".join("+" * levels), topic, "+" + topic[:-1] + "/#", "#")
    topics.set(topic, 1)
    for filter in filters:
        tree.add(filter, 1, 1)
        assert matches(filter, topic)
        assert list(topics.find(filter)) == [(topic, 1)]
    assert tree.match(topic) == [1] * len(filters)
    for filter in filters:
        assert tree.get(filter, 1) == 1
        assert tree.remove(filter, 1)
    assert tree._root.empty()
    assert topics.delete(topic)
    assert topics._root.children is None
    # A chain of nodes that is dropped as a whole must not end the process by recursion either.
    tree.add(filters[0], 1, 1)
    topics.set(topic, 1)
    del tree, topics


def test_map_may_change_while_it_is_read() -> None:
    topics: TopicMap[int] = TopicMap()
    for n in range(100):
        topics.set(f"a/{n}/x", n)
    seen = []
    for topic, value in topics.find("a/#"):
        assert topics.get(topic) == value == int(topic.split("/")[1])
        seen.append(value)
        topics.delete(f"a/{(value + 50) % 100}/x")  # comes later, or was seen
        topics.set(f"b/{value}", value)
        topics.set(f"a/{value}/y", value)
    assert len(seen) == len(set(seen)) == 50


# Few different levels, so that filters and topics meet.
_levels = st.sampled_from(["", "a", "b", "$c"])
some_topics = st.lists(_levels, min_size=1, max_size=4).map("/".join).filter(bool)
some_filters = st.builds(
    lambda levels, rest: "/".join([*levels, *rest]),
    st.lists(_levels | st.just("+"), max_size=4),
    st.sampled_from([[], ["#"]]),
).filter(bool)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(some_filters, st.integers(0, 2))),
    st.lists(some_topics, min_size=1),
    st.sampled_from([1, 2, 3, topic_tree.DEEP]),
)
def test_tree_agrees_with_matches(entries: list[tuple[str, int]], topics: list[str], deep: int) -> None:
    tree: TopicTree[tuple[str, int]] = TopicTree()
    with patch.object(topic_tree, "DEEP", deep):
        for entry in entries:
            assert valid_topic_filter(entry[0])
            tree.add(*entry, entry)
        for topic in topics:
            expected = sorted(entry for entry in set(entries) if matches(entry[0], topic))
            assert sorted(tree.match(topic)) == expected


def test_no_set_of_filters_makes_a_match_visit_all_their_levels() -> None:
    """2,000 filters of 128 levels, each another order of `+` and `a`, as 2,000 times 16 levels at most."""
    rng = random.Random(1)
    deep = {"/".join(rng.choice("+a") for _ in range(128)) for _ in range(2000)}
    flat = {"/".join(rng.choice("+a") for _ in range(16)) for _ in range(2000)}

    def cost(filters: set[str], topic: str) -> float:
        tree: TopicTree[str] = TopicTree()
        for filter in filters:
            tree.add(filter, 1, filter)
        assert sorted(tree.match(topic)) == sorted(filters)
        times = []
        for _ in range(5):
            begin = time.thread_time()
            tree.match(topic)
            times.append(time.thread_time() - begin)
        return min(times)

    assert cost(deep, "/".join("a" * 128)) < 6 * cost(flat, "/".join("a" * 16))


@settings(max_examples=150, deadline=None)
@given(st.sets(some_topics), st.lists(some_filters, min_size=1))
def test_map_agrees_with_matches(names: set[str], filters: list[str]) -> None:
    topics: TopicMap[str] = TopicMap()
    for name in names:
        topics.set(name, name)
    for filter in filters:
        found = list(topics.find(filter))
        assert sorted(found) == sorted((name, name) for name in names if matches(filter, name))


class Indexes(RuleBasedStateMachine):
    """Any order of changes: what the indexes hold, find and forget is what plain dictionaries do."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = patch.object(topic_tree, "DEEP", 2)
        self.deep.start()
        self.tree: TopicTree[int] = TopicTree()
        self.filters: dict[tuple[str, int], int] = {}
        self.map: TopicMap[int] = TopicMap()
        self.topics: dict[str, int] = {}

    @rule(filter=some_filters, key=st.integers(0, 1), value=st.integers())
    def add(self, filter: str, key: int, value: int) -> None:
        self.tree.add(filter, key, value)
        self.filters[filter, key] = value

    @rule(filter=some_filters, key=st.integers(0, 1))
    def remove(self, filter: str, key: int) -> None:
        assert self.tree.remove(filter, key) == (self.filters.pop((filter, key), None) is not None)

    @rule(topic=some_topics, value=st.integers())
    def set(self, topic: str, value: int) -> None:
        self.map.set(topic, value)
        self.topics[topic] = value

    @rule(topic=some_topics)
    def delete(self, topic: str) -> None:
        assert self.map.delete(topic) == (self.topics.pop(topic, None) is not None)

    @rule(topic=some_topics, filter=some_filters)
    def ask(self, topic: str, filter: str) -> None:
        expected = [v for (f, _), v in self.filters.items() if matches(f, topic)]
        assert sorted(self.tree.match(topic)) == sorted(expected)
        assert dict(self.map.find(filter)) == {t: v for t, v in self.topics.items() if matches(filter, t)}
        assert self.map.get(topic) == self.topics.get(topic)
        assert self.tree.get(filter, 1) == self.filters.get((filter, 1))

    @invariant()
    def sizes(self) -> None:
        assert (len(self.tree), len(self.map)) == (len(self.filters), len(self.topics))

    def teardown(self) -> None:
        for filter, key in list(self.filters):
            assert self.tree.remove(filter, key)
        for topic in list(self.topics):
            assert self.map.delete(topic)
        assert self.tree._root.empty()
        assert not self.tree._exact
        assert self.map._root.children is None
        self.deep.stop()


TestIndexes = Indexes.TestCase
TestIndexes.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

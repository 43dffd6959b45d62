"""An index of topic filters, found by a topic name: subscriptions, rules."""

from __future__ import annotations

from collections.abc import Hashable
from operator import itemgetter
from typing import Generic, TypeVar

T = TypeVar("T")

DEEP = 16
"""Levels that the trie has. What a filter with wildcards has beyond them is compared as a whole."""


class _Node(Generic[T]):
    """A level of the trie. Parts that are empty are `None`: most nodes have one of the four."""

    __slots__ = ("any", "children", "rest", "tails", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] | None = None  # by the literal level
        self.any: _Node[T] | None = None  # below a `+`
        self.values: dict[Hashable, T] | None = None  # of the filter that ends here
        self.rest: dict[Hashable, T] | None = None  # of the filter that ends here with `/#`
        self.tails: dict[tuple[str, ...], _Tail[T]] | None = None  # of those that go on, at the depth DEEP

    def empty(self) -> bool:
        return not (self.children or self.any or self.values or self.rest or self.tails)


class _Tail(Generic[T]):
    """What a filter has beyond DEEP levels, and its values. A comparison costs half a microsecond."""

    __slots__ = ("_count", "_literals", "_open", "_pick", "values")

    def __init__(self, levels: tuple[str, ...]) -> None:
        self.values: dict[Hashable, T] = {}
        self._open = levels[-1] == "#"
        self._count = len(levels) - self._open
        places = [at for at in range(self._count) if levels[at] != "+"]
        self._pick = itemgetter(*places) if places else None
        self._literals = self._pick(levels) if self._pick is not None else None

    def matches(self, levels: list[str]) -> bool:
        """Whether it fits what a topic has beyond DEEP levels."""
        count = len(levels)
        if count != self._count and not (self._open and count > self._count):
            return False
        return self._pick is None or self._pick(levels) == self._literals


class TopicTree(Generic[T]):
    """Topic filters, each with values under keys; `match` gives the values of all filters that match.

    Filters without a wildcard are entries of one dictionary; the others are paths of one trie. A match
    walks the trie level by level with the set of nodes that still fit, and does not recurse: it visits every
    node at most once, and on each level no more than there are filters. The trie has `DEEP` levels: a filter
    that goes deeper is compared beyond them in one step, so that no filter can make a match visit more than
    that, whatever the order of its `+`.

    An entry costs about 0.3 KB for each level that no other filter has, and 2 KB at most for all beyond DEEP.
    """

    __slots__ = ("_exact", "_root", "_size", "cost", "version")

    def __init__(self) -> None:
        self._exact: dict[str, dict[Hashable, T]] = {}
        self._root: _Node[T] = _Node()
        self._size = 0
        self.cost = 0
        """Nodes that the latest `match` visited, and eight for each filter that it compared beyond DEEP."""
        self.version = 0
        """Grows at every change: a cached match is good as long as the version is the same."""

    def __len__(self) -> int:
        """The number of (filter, key) pairs."""
        return self._size

    def add(self, filter: str, key: Hashable, value: T) -> None:
        """Store `value`; replaces the value of the same filter and key.

        Raises `ValueError` for a wildcard that is not alone in its level, a `#` that is not the last level
        [MQTT-4.7.1-1], and an empty filter.
        """
        levels = _levels(filter)
        if levels is None:
            entries = self._exact.setdefault(filter, {})
        else:
            node = self._root
            for level in levels[:DEEP]:
                if level != "#":
                    node = _descend(node, level)
            entries = _made(node, levels)
        self._size += key not in entries
        entries[key] = value
        self.version += 1

    def remove(self, filter: str, key: Hashable) -> bool:
        """Take away the value of `filter` and `key`, and whatever only it needed. False if there is none."""
        levels = _levels(filter)
        if levels is None:
            entries = self._exact.get(filter)
            if entries is None or key not in entries:
                return False
            del entries[key]
            if not entries:
                del self._exact[filter]
        else:
            path = self._path(levels)
            if path is None:
                return False
            node = path[-1]
            entries = _entries(node, levels)
            if entries is None or key not in entries:
                return False
            del entries[key]
            if not entries:
                if len(levels) > DEEP:
                    if node.tails is not None:
                        del node.tails[tuple(levels[DEEP:])]
                        node.tails = node.tails or None
                elif levels[-1] == "#":
                    node.rest = None
                else:
                    node.values = None
                _prune(path, levels)
        self._size -= 1
        self.version += 1
        return True

    def get(self, filter: str, key: Hashable) -> T | None:
        """The value of exactly this filter and key."""
        levels = _levels(filter)
        if levels is None:
            entries = self._exact.get(filter)
        else:
            path = self._path(levels)
            entries = None if path is None else _entries(path[-1], levels)
        return None if entries is None else entries.get(key)

    def match(self, topic: str) -> list[T]:
        """The values of all filters that match the topic name, in no set order.

        A filter that begins with a wildcard matches no topic that begins with `$` [MQTT-4.7.2-1]. A key
        with several filters that match appears once for each of them.
        """
        exact = self._exact.get(topic)
        found = [] if exact is None else list(exact.values())
        cost = self.cost = 0
        root = self._root
        if root.children is None and root.any is None and root.rest is None:
            return found
        reserved = topic.startswith("$")
        if root.rest is not None and not reserved:
            found += root.rest.values()
        nodes = [root]
        levels = topic.split("/")
        count = len(levels)
        for level in levels if count <= DEEP else levels[:DEEP]:
            below: list[_Node[T]] = []
            for node in nodes:
                children = node.children
                if children is not None:
                    child = children.get(level)
                    if child is not None:
                        below.append(child)
                        if child.rest is not None:  # `a/#` matches `a`, too (section 4.7.1.2)
                            found += child.rest.values()
                child = node.any
                if child is not None and not reserved:
                    below.append(child)
                    if child.rest is not None:
                        found += child.rest.values()
            if not below:
                self.cost = cost
                return found
            nodes = below
            cost += len(nodes)
            reserved = False
        if count <= DEEP:
            for node in nodes:
                if node.values is not None:
                    found += node.values.values()
        if count >= DEEP:  # `#` beyond DEEP levels matches the level above it, too
            beyond = levels[DEEP:]
            for node in nodes:
                if node.tails is not None:
                    cost += 8 * len(node.tails)
                    for tail in node.tails.values():
                        if tail.matches(beyond):
                            found += tail.values.values()
        self.cost = cost
        return found

    def _path(self, levels: list[str]) -> list[_Node[T]] | None:
        """The nodes from the root to the one that holds the filter; `None` if it is not there."""
        node = self._root
        path = [node]
        for level in levels[:DEEP]:
            if level == "#":
                return path
            below = node.any if level == "+" else (node.children or {}).get(level)
            if below is None:
                return None
            node = below
            path.append(node)
        return path


def _levels(filter: str) -> list[str] | None:
    """The levels of a filter with wildcards; `None` for one without. Raises `ValueError` for a bad one."""
    if not filter:
        raise ValueError("a topic filter has at least one character [MQTT-4.7.3-1]")
    if "+" not in filter and "#" not in filter:
        return None
    levels = filter.split("/")
    for at, level in enumerate(levels):
        if len(level) > 1 and ("+" in level or "#" in level):
            raise ValueError(f"topic filter {filter!r}: a wildcard must be alone in its level [MQTT-4.7.1-2]")
        if level == "#" and at != len(levels) - 1:
            raise ValueError(f"topic filter {filter!r}: # must be the last level [MQTT-4.7.1-1]")
    return levels


def _descend(node: _Node[T], level: str) -> _Node[T]:
    """The node below, made if it is not there."""
    if level == "+":
        if node.any is None:
            node.any = _Node()
        return node.any
    if node.children is None:
        node.children = {}
    child = node.children.get(level)
    if child is None:
        child = node.children[level] = _Node()
    return child


def _made(node: _Node[T], levels: list[str]) -> dict[Hashable, T]:
    """The values of the filter that has this path, made if they are not there."""
    if len(levels) > DEEP:
        if node.tails is None:
            node.tails = {}
        beyond = tuple(levels[DEEP:])
        tail = node.tails.get(beyond)
        if tail is None:
            tail = node.tails[beyond] = _Tail(beyond)
        return tail.values
    if levels[-1] == "#":
        if node.rest is None:
            node.rest = {}
        return node.rest
    if node.values is None:
        node.values = {}
    return node.values


def _entries(node: _Node[T], levels: list[str]) -> dict[Hashable, T] | None:
    """The values of the filter that has this path; `None` if it is not there."""
    if len(levels) > DEEP:
        tail = (node.tails or {}).get(tuple(levels[DEEP:]))
        return None if tail is None else tail.values
    return node.rest if levels[-1] == "#" else node.values


def _prune(path: list[_Node[T]], levels: list[str]) -> None:
    """Cut the nodes from the end of `path` that hold nothing any more."""
    for at in range(len(path) - 1, 0, -1):
        if not path[at].empty():
            return
        parent, level = path[at - 1], levels[at - 1]
        if level == "+":
            parent.any = None
        elif parent.children is not None:
            del parent.children[level]
            if not parent.children:
                parent.children = None

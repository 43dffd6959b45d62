"""An index of topic names, found by a topic filter: retained messages."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

VISITS = 16
"""Nodes that a walk visits in one step at most."""


class _Node:
    __slots__ = ("children", "topic")

    def __init__(self) -> None:
        self.children: dict[str, _Node] | None = None
        self.topic: str | None = None  # the whole name, where one ends here


class TopicMap(Generic[T]):
    """Topic names with a value each; `find` gives those that a filter matches.

    A filter without wildcards is one look-up; any other walks the tree of levels without recursion and
    visits a node at most once, so that it never costs more than the levels of all stored names together.
    A name costs about 0.3 KB for each level that no other name has.
    """

    __slots__ = ("_root", "_values")

    def __init__(self) -> None:
        self._values: dict[str, T] = {}
        self._root = _Node()

    def __len__(self) -> int:
        """The number of topic names."""
        return len(self._values)

    def get(self, topic: str) -> T | None:
        """The value of exactly this topic name."""
        return self._values.get(topic)

    def names(self) -> list[str]:
        """All topic names, in the order in which they came."""
        return list(self._values)

    def items(self) -> ItemsView[str, T]:
        """All topic names with their values."""
        return self._values.items()

    def set(self, topic: str, value: T) -> None:
        """Store `value`, in the place of an older one."""
        if topic not in self._values:
            node = self._root
            for level in topic.split("/"):
                if node.children is None:
                    node.children = {}
                child = node.children.get(level)
                if child is None:
                    child = node.children[level] = _Node()
                node = child
            node.topic = topic
        self._values[topic] = value

    def delete(self, topic: str) -> bool:
        """Forget a topic name. False if it was not there."""
        if topic not in self._values:
            return False
        del self._values[topic]
        levels = topic.split("/")
        node = self._root
        path = [node]
        for level in levels:
            node = (node.children or {})[level]  # a stored name has its path
            path.append(node)
        node.topic = None
        for level in reversed(levels):
            node = path.pop()
            if node.children is not None or node.topic is not None:
                break
            siblings = path[-1].children
            if siblings is not None:
                del siblings[level]
                if not siblings:
                    path[-1].children = None
        return True

    def find(self, filter: str) -> Iterator[tuple[str, T]]:
        """The topic names that match a valid filter, with their values, in no set order.

        A filter that begins with a wildcard finds no name that begins with `$` [MQTT-4.7.2-1]. The map may
        change between two steps: a name deleted meanwhile is left out, a new one may or may not come.
        """
        return (found for found in self.walk(filter) if found is not None)

    def walk(self, filter: str) -> Iterator[tuple[str, T] | None]:
        """As `find`, with a None for each `VISITS` nodes that were visited: a filter may find nothing among
        all that there are."""
        values = self._values
        if "+" not in filter and "#" not in filter:
            if filter in values:
                yield filter, values[filter]
            return
        wanted = filter.split("/")
        stack = [(self._root, 0)]
        visits = 0
        while stack:
            node, depth = stack.pop()
            visits += 1
            if visits == VISITS:
                visits = 0
                yield None
            if depth == len(wanted):
                if node.topic is not None and node.topic in values:
                    yield node.topic, values[node.topic]
                continue
            level = wanted[depth]
            children = node.children
            if level == "#":
                # Stays at this depth of the filter: a node and everything below it (section 4.7.1.2).
                if children is not None:
                    for name, child in children.items():
                        if node is not self._root or not name.startswith("$"):
                            stack.append((child, depth))
                if node.topic is not None and node.topic in values:
                    yield node.topic, values[node.topic]
            elif children is not None:
                if level == "+":
                    for name, child in children.items():
                        if node is not self._root or not name.startswith("$"):
                            stack.append((child, depth + 1))
                else:
                    named = children.get(level)
                    if named is not None:
                        stack.append((named, depth + 1))

"""What a configuration says before it has a type: a tree of values that know where they stand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Scalar: TypeAlias = Any
"""str, int, float, bool, timedelta (pyhocon's reading of `10s`) or None (null)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: `line` is 1-based or None; an environment variable's `file` is its name."""

    file: Path
    line: int | None = None


@dataclass(slots=True)
class Node:
    """One value: an object (`dict`), a list, or a scalar.

    `key` is the full key as a message shall name it. `raw` is a scalar's text as written, where it is known
    (pyhocon turns an unquoted `007` into 7 and `12h` into a timedelta; a password must stay as written).
    `broken` marks a value that already has its error message.
    """

    value: dict[str, Node] | list[Node] | Scalar
    key: str
    place: Place
    raw: str | None = None
    broken: bool = False

    @property
    def children(self) -> dict[str, Node]:
        """The object's members; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def is_null(self) -> bool:
        return self.value is None

    def get(self, *path: str) -> Node | None:
        """The member at `path`, or None where there is none (a null counts as none, as in HOCON)."""
        node: Node | None = self
        for name in path:
            node = node.children.get(name) if node is not None else None
        return None if node is None or node.is_null else node

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Node]]:
        """The values below it with their names; a name with dots, read as objects, is put together again."""
        for name, child in self.children.items():
            if isinstance(child.value, dict):
                yield from child.leaves(f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", child


def join(parent: str, name: str) -> str:
    """The key of a member: quoted where its name has a dot or a space in it."""
    shown = (
        name
        if name and not any(c in name for c in '."{}[]=: \t\r\n')
        else json.dumps(name, ensure_ascii=False)
    )
    return f"{parent}.{shown}" if parent else shown


def shown_place(node: Node, beside: Node) -> str:
    """Where a node stands, for a message about another: `FILE:12`, `line 12` in the same file."""
    line = node.place.line
    if line is None:
        return str(node.place.file)
    return f"line {line}" if node.place.file == beside.place.file else f"{node.place.file}:{line}"


def merge(base: Node, over: Node) -> Node:
    """`over` on top of `base`: objects merge, everything else is replaced (HOCON's rule)."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    merged = dict(base.value)
    for name, child in over.value.items():
        merged[name] = merge(merged[name], child) if name in merged else child
    return Node(merged, base.key, base.place)


def put(root: Node, path: tuple[str, ...], node: Node) -> None:
    """Set `node` at `path` below `root`; objects on the way are made, with the place and key of `node`."""
    at = root
    for depth, name in enumerate(path[:-1], 1):
        child = at.children.get(name)
        if child is None or not isinstance(child.value, dict):
            child = Node({}, ".".join(path[:depth]), node.place)
            at.children[name] = child
        at = child
    at.children[path[-1]] = node


def found(node: Node) -> str:
    """The value as an error message shows it: short, on one line, a URL without its user and password."""
    value = node.value
    if isinstance(value, dict):
        return "an object { … }"
    if isinstance(value, list):
        if not value or any(isinstance(item.value, dict | list) for item in value):
            return "a list [ … ]" if value else "an empty list"
        text = ", ".join(found(item) for item in value)
        return f"[{text}]" if len(text) <= 80 else "a list [ … ]"
    if value is None:
        return "null"
    if node.raw is not None:
        text = node.raw
    else:
        text = (
            json.dumps(value, ensure_ascii=False)
            if isinstance(value, str | bool | int | float)
            else str(value)
        )
    text = re.sub(r"//\S*@", "//******@", "".join(c if c.isprintable() else " " for c in text))
    return text if len(text) <= 80 else text[:77] + "…" + ('"' if text.startswith('"') else "")

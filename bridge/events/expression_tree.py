"""A condition as a tree: what `bridge.events.expression_parse` makes and `expression_compile` reads."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_LENGTH = 4096
"""Characters of an expression."""
MAX_DEPTH = 40
"""Nodes within nodes; an evaluation recurses at most twice as deep."""
MAX_NODES = 500

Constant = str | int | float | bool | None


class Fault(ValueError):
    """A fault of an expression; `at` is the offset of its place in the text, from 0."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


@dataclass(frozen=True)
class Node:
    """`at` is where the node's text begins, from 0; `depth` and `size` count it and all below it."""

    at: int
    depth: int = field(init=False, default=1)
    size: int = field(init=False, default=1)

    def _over(self, *below: Node) -> None:
        """Take the measure of what is below. Raises Fault where it is beyond a bound."""
        depth = 1 + max((node.depth for node in below), default=0)
        size = 1 + sum(node.size for node in below)
        if depth > MAX_DEPTH:
            raise Fault(f"found more than {MAX_DEPTH} levels of nesting, expected at most so many", self.at)
        if size > MAX_NODES:
            raise Fault(f"found more than {MAX_NODES} parts, expected at most so many", self.at)
        object.__setattr__(self, "depth", depth)
        object.__setattr__(self, "size", size)


@dataclass(frozen=True)
class Literal(Node):
    """A constant."""

    value: Constant


@dataclass(frozen=True)
class Path(Node):
    """A field and the way to a value within it: keys of objects and positions in lists."""

    name: str
    steps: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return self.name + "".join(
            f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{step!r}]"
            for step in self.steps
        )


@dataclass(frozen=True)
class Call(Node):
    """A function of some arguments."""

    name: str
    arguments: tuple[Node, ...]

    def __post_init__(self) -> None:
        self._over(*self.arguments)


@dataclass(frozen=True)
class Negative(Node):
    """Unary minus."""

    operand: Node

    def __post_init__(self) -> None:
        self._over(self.operand)


@dataclass(frozen=True)
class Arithmetic(Node):
    """`first` and then, from left to right, operators of one rank (`+ -` or `* / %`) with their operands."""

    first: Node
    rest: tuple[tuple[str, Node], ...]

    def __post_init__(self) -> None:
        self._over(self.first, *(operand for _, operand in self.rest))


@dataclass(frozen=True)
class Compare(Node):
    """`operator` is one of = != < <= > >=."""

    operator: str
    left: Node
    right: Node

    def __post_init__(self) -> None:
        self._over(self.left, self.right)


@dataclass(frozen=True)
class Match(Node):
    """`left =~ filter`, or `!~` where `negated`."""

    left: Node
    filter: str
    negated: bool

    def __post_init__(self) -> None:
        self._over(self.left)


@dataclass(frozen=True)
class OneOf(Node):
    """`left in (…)`, or `not in` where `negated`."""

    left: Node
    values: tuple[Literal, ...]
    negated: bool

    def __post_init__(self) -> None:
        self._over(self.left, *self.values)


@dataclass(frozen=True)
class Not(Node):
    """`not operand`."""

    operand: Node

    def __post_init__(self) -> None:
        self._over(self.operand)


@dataclass(frozen=True)
class Logic(Node):
    """Two or more operands; `every` for `and`, else `or`."""

    every: bool
    operands: tuple[Node, ...]

    def __post_init__(self) -> None:
        self._over(*self.operands)

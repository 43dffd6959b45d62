"""Conditions on events (`webhook.where`): `payload.temp > 80 and topic =~ 'line/+/t'`. See docs/filters.md.

    condition = compile_condition("qos > 0 and payload.temp > 80")
    condition(event)  # True or False; it never raises

An expression is parsed by a grammar (`expression_parse`), checked and compiled to closures
(`expression_compile`); nothing of it is ever run as Python. Its length, nesting and parts are bounded
(`expression_tree`). For one thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bridge.events.expression_fields import FIELDS
from bridge.events.expression_tree import Fault

if TYPE_CHECKING:
    from bridge.events.rules import Condition

__all__ = ["ExpressionError", "Where", "compile_condition", "compile_where"]


class ExpressionError(ValueError):
    """A fault in an expression, at `line` and `column` of its text, both from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        place = f"at column {column}" if line == 1 else f"at line {line}, column {column}"
        super().__init__(f"{place}: {message}")
        self.message = message
        self.line = line
        self.column = column


class Where(NamedTuple):
    """A compiled expression: the condition, and the names of the fields that it reads."""

    condition: Condition
    fields: frozenset[str]

    @property
    def detailed(self) -> bool:
        """Whether it reads what only events for the detailed formats have (`Rules.detailed`)."""
        return any(_is_detailed(name) for name in self.fields)


def compile_where(text: str) -> Where:
    """Compile an expression, and tell what it reads. Raises ExpressionError."""
    # The parser's tables take a tenth of a second, which only those pay who have a condition.
    from bridge.events.expression_compile import compile_tree  # noqa: PLC0415
    from bridge.events.expression_parse import parse  # noqa: PLC0415

    try:
        return Where(*compile_tree(parse(text)))
    except Fault as fault:
        before = text[: fault.at]
        column = fault.at - (before.rfind("\n") + 1) + 1
        raise ExpressionError(fault.message, before.count("\n") + 1, column) from None


def compile_condition(text: str) -> Condition:
    """The condition of an expression: whether an event meets it. Raises ExpressionError."""
    return compile_where(text).condition


def _is_detailed(name: str) -> bool:
    field, _, member = name.partition(".")
    info = FIELDS[field]
    if info.members is None:
        return info.detailed
    return any(each.detailed for key, each in info.members.items() if member in ("", key))

"""The functions and the arithmetic of conditions. Each takes any values, never raises, and gives null for
what makes no sense."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from bridge.events.expression_fields import Kind

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LONGEST_NUMBER = 400
"""Characters of a text that is read as a number."""
_WHOLE = 1 << 63
"""Whole numbers that are calculated reach to here; beyond they are doubles, as everywhere in JSON."""


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal: both numbers, both texts, or both truths; nothing equals null."""
    kind = type(one)
    if kind is str or kind is bool:
        return kind is type(other) and bool(one == other)
    return (kind is int or kind is float) and type(other) in (int, float) and bool(one == other)


def lower(text: Any) -> str | None:
    return text.lower() if type(text) is str else None


def upper(text: Any) -> str | None:
    return text.upper() if type(text) is str else None


def length(value: Any) -> int | None:
    return len(value) if type(value) in (str, list, dict) else None


def contains(value: Any, part: Any) -> bool:
    if type(value) is str:
        return type(part) is str and part in value
    return type(value) is list and any(same(member, part) for member in value)


def starts_with(text: Any, start: Any) -> bool:
    return type(text) is str and type(start) is str and text.startswith(start)


def ends_with(text: Any, end: Any) -> bool:
    return type(text) is str and type(end) is str and text.endswith(end)


def number(value: Any) -> int | float | None:
    if type(value) in (int, float):
        return value  # type: ignore[no-any-return]
    if type(value) is not str or len(value) > _LONGEST_NUMBER:
        return None
    text = value.strip()
    if _NUMBER.fullmatch(text) is None:
        return None
    try:
        return int(text)
    except ValueError:
        found = float(text)
        return found if math.isfinite(found) else None


def topic_level(topic: Any, position: Any) -> str | None:
    if type(topic) is not str or type(position) not in (int, float):
        return None
    levels = topic.split("/")
    if position != position // 1 or not -len(levels) <= position < len(levels):
        return None
    return levels[int(position)]


def _add(one: Any, other: Any) -> Any:
    return one + other


def _subtract(one: Any, other: Any) -> Any:
    return one - other


def _multiply(one: Any, other: Any) -> Any:
    return one * other


def _divide(one: Any, other: Any) -> Any:
    return one / other


def _remainder(one: Any, other: Any) -> Any:
    """With the sign of the dividend, as in SQL."""
    if type(one) is int and type(other) is int:
        rest = abs(one) % abs(other)
        return -rest if one < 0 else rest
    return math.fmod(one, other)


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
    "%": _remainder,
}


def calculate(operator: str) -> Callable[[Any, Any], int | float | None]:
    """The operation of two numbers; null for anything else, and for what has no finite result."""
    operation = _OPERATIONS[operator]

    def calculated(one: Any, other: Any) -> int | float | None:
        if type(one) not in (int, float) or type(other) not in (int, float):
            return None
        try:
            found = operation(one, other)
            if type(found) is int:
                return found if -_WHOLE <= found < _WHOLE else float(found)
            return found if math.isfinite(found) else None
        except (ArithmeticError, ValueError):  # by zero, or beyond a double
            return None

    return calculated


class Function(NamedTuple):
    """`call` takes as many values as there are names in `parameters`; `takes` are their kinds."""

    call: Callable[..., Any]
    parameters: tuple[str, ...]
    takes: tuple[tuple[Kind, ...], ...]
    gives: Kind


_TEXT: tuple[Kind, ...] = ("text",)
_ANY: tuple[Kind, ...] = ("number", "text", "truth")

FUNCTIONS: dict[str, Function] = {
    "lower": Function(lower, ("text",), (_TEXT,), "text"),
    "upper": Function(upper, ("text",), (_TEXT,), "text"),
    "length": Function(length, ("text",), (_TEXT,), "number"),
    "contains": Function(contains, ("text", "part"), (_TEXT, _ANY), "truth"),
    "starts_with": Function(starts_with, ("text", "start"), (_TEXT, _TEXT), "truth"),
    "ends_with": Function(ends_with, ("text", "end"), (_TEXT, _TEXT), "truth"),
    "number": Function(number, ("text",), (("text", "number"),), "number"),
    "topic_level": Function(topic_level, ("topic", "position"), (_TEXT, ("number",)), "text"),
}
"""By name in lower case; `exists` is not among them, since it asks for a field and not for a value."""

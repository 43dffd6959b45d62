"""Which keys a body has: `include` and `exclude`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Choice = Callable[[dict[str, Any]], dict[str, Any]]


def make_choice(include: tuple[str, ...], exclude: tuple[str, ...]) -> Choice | None:
    """Takes the chosen keys of a body, in the body's order; None where all of them stay.

    A key that an event's body does not have is no error: bodies differ by event.
    """
    if not include and not exclude:
        return None
    wanted = frozenset(include) - frozenset(exclude)
    unwanted = frozenset(exclude)
    if include:
        return lambda fields: {name: value for name, value in fields.items() if name in wanted}
    return lambda fields: {name: value for name, value in fields.items() if name not in unwanted}

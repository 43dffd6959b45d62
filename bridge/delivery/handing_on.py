"""The trace context that goes with an event to its receiver."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bridge.events.event import Event

if TYPE_CHECKING:
    from bridge.delivery.rows import Row

TraceOf = Callable[[int, Event, "Row | None"], str | None]
"""From the sequence (or the group's number), an event that has a context, the first of a group, and its row:
the context that its request carries, None where it carries none."""


def as_it_came(seq: int, event: Event, row: Row | None) -> str | None:
    """The event's own; a group has as many as events, and one request can carry only one."""
    return event.trace if row is None or len(row.seqs) < 2 else None


def none(seq: int, event: Event, row: Row | None) -> str | None:
    """The settings have a header of that name."""
    return None

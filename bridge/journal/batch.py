"""What one turn of the loop brought: events, changes of state, and the acknowledgements that wait for both.

A sequence number is one integer: the batch's number shifted left by `INDEX_BITS`, plus the event's index in
the batch. Order and `webhook-id` come from it, never from a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from bridge.events.event import Event

INDEX_BITS = 12
MAX_BATCH_EVENTS = 1 << INDEX_BITS
MAX_BATCH_BYTES = 1 << 20


class Put(msgspec.Struct, gc=False):
    """Set a row of the broker's state, or delete it (`value` None); the journal does not know its meaning."""

    space: str
    key: str
    value: bytes | None


class Chunk(msgspec.Struct, gc=False):
    """Set a chunk of the messages that wait for the broker's subscribers, or delete it (`body` None).

    The journal does not know its meaning. A number is never used twice but to write its chunk anew.
    """

    number: int
    body: bytes | None


class Cursor(msgspec.Struct, gc=False):
    """A lane's progress: every event below `position` is settled but those in `holes` (ascending)."""

    lane: int
    position: int
    holes: list[int]


class Retry(msgspec.Struct, gc=False):
    """An event that is not going smoothly; it leaves the cursor and has a row, and its event is pinned.

    `attempt` attempts were made (0: parked behind `key`, never sent). `due` and `first` are Unix ms; `wait`
    is the scheduled pause in ms, the most that a clock that jumped may make of it; `error` says why the last
    one failed.
    """

    lane: int
    seq: int
    attempt: int
    due: int
    wait: int
    first: int
    key: str
    error: str


class Settle(msgspec.Struct, gc=False):
    """A retried event ended well or was given up without a trace: its row goes, and its pin."""

    lane: int
    seq: int


class Dead(msgspec.Struct, gc=False):
    """A retried event had its last attempt: its row becomes a dead letter, which keeps the event pinned."""

    lane: int
    seq: int
    attempt: int
    at: int
    error: str


Change = Put | Chunk | Cursor | Retry | Settle | Dead


class Writer(Protocol):
    """Something that acknowledgements are written to: a connection."""

    def write_acks(self, data: bytearray) -> None:
        """Send acknowledgements whose batch is durable."""


class Batch:
    """An open or committed batch. `size` is the events' approximate size in bytes."""

    __slots__ = ("acks", "after", "at", "begun", "changes", "events", "number", "size", "stored")

    def __init__(self, number: int, at: int) -> None:
        self.number = number
        self.at = at  # Unix ms of its opening
        self.begun = 0.0  # time.perf_counter() of what joined it first
        self.events: list[Event] = []
        self.changes: list[Change] = []
        self.size = 0
        self.stored = False  # whether its commit wrote anything, so that its release needs a sync
        self.acks: dict[Writer, bytearray] = {}
        self.after: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []  # run once durable, in order

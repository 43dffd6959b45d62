"""The interface of a durable store, the same for SQLite, memory, and later PostgreSQL and JetStream.

The seam carries whole batches one way and a durable watermark back. A batch that `commit` returned for is
readable and survives the end of the process; it survives a power cut once `durable` has reached its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

from bridge.events.event import Event
from bridge.journal.batch import Batch, Change, Retry
from bridge.telemetry.histogram import Histogram


class StoreError(Exception):
    """The store cannot be opened, read or written; the text names the file and the cause in one line."""


class StoreFull(StoreError):
    """There is no room for what was to be written; nothing of it was."""


class Room(NamedTuple):
    """The room that a store has.

    `free`: bytes that it can still take, roughly: free on its disk, or in its own file. `total`: bytes of
    that disk. `oldest`: the lowest batch in the log, None if it is empty.
    """

    free: int
    total: int
    oldest: int | None


class LaneState(msgspec.Struct):
    """A lane as the store knows it. `position` and `holes` are those of `Cursor`."""

    id: int
    name: str
    position: int
    holes: list[int]
    retries: int = 0
    dead: int = 0


class Backlog(msgspec.Struct):
    """What a lane has still to do from a position on: events and their approximate bytes."""

    events: int
    bytes: int


class DeadLetter(msgspec.Struct):
    """An event that had its last attempt. `at` is Unix ms."""

    lane: int
    seq: int
    attempt: int
    at: int
    error: str


class DeadTotals(msgspec.Struct):
    """A lane's dead letters: how many, and the bytes that they take, roughly."""

    letters: int
    bytes: int


class DeadCause(NamedTuple):
    """Dead letters of one cause: how many, and when the first and the last of them died (Unix ms)."""

    cause: str
    letters: int
    first: int
    last: int


class OldDead(NamedTuple):
    """When a dead letter had its last attempt (Unix ms), which it is, and roughly the bytes it takes."""

    at: int
    seq: int
    size: int


def lane_space(name: str, lane: int) -> str:
    """A space for state that goes with a lane: it is forgotten when the lane is."""
    return f"{name}/{lane}"


def lane_of_space(space: str) -> int | None:
    """The lane that a space of state goes with; None if it goes with none."""
    _, slash, tail = space.rpartition("/")
    return int(tail) if slash and tail.isdecimal() else None


class Store(Protocol):
    """An append-only log of batches, a cursor per lane, retry rows, and a key-value part for state."""

    id: str
    """The store's own id, 12 lower-case hex digits, made once at its creation."""
    next_batch: int
    """The number the next batch takes. At every opening it leaps by 2^20, so that a sequence number that
    went out before a power cut (delivered, not yet synced) is never given to another event."""
    durable: int
    """The highest batch number that is safe from a power cut."""
    on_durable: Callable[[int], None] | None
    """Called in the loop's thread when `durable` has grown."""
    on_error: Callable[[StoreError], None] | None
    """Called once, in the loop's thread, when the store has failed for good: a sync that failed (what it
    should have written may be gone though a second one succeeds), a file that was taken away. `durable` grows
    no more then, `commit` raises, and no acknowledgement may go out: the process has to end."""

    sync_times: Histogram
    """How long syncs took, in seconds."""

    @property
    def head(self) -> int:
        """The position behind the last batch that was committed: the tail, where a new lane starts."""

    def commit(self, batches: Sequence[Batch]) -> None:
        """Write the events and changes of the batches in one transaction, without a sync.

        Raises StoreError where nothing was written (file gone; StoreFull: no room): the batches may be
        offered again.
        Raises ValueError where a number is not above all numbers committed before. Changes of a lane that was
        dropped are left out, state in its spaces too.
        """

    def sync(self) -> None:
        """Ask for all that was committed to become durable; `on_durable` follows, at once or later."""

    def lane(self, name: str) -> LaneState:
        """The lane of that name, made at the log's tail if new (durable with the next sync)."""

    def lanes(self) -> list[LaneState]:
        """All lanes, those of endpoints that are configured no more included."""

    def drop_lane(self, lane: int) -> None:
        """Forget a lane with its retries, its dead letters and its spaces of state (`lane_space`)."""

    def read(self, lane: int, position: int, max_bytes: int) -> tuple[list[tuple[int, Event]], int]:
        """The lane's events from `position` on (sequence, event), ascending, and where to read on.

        Reads whole batches until `max_bytes` is passed (at least one batch that has something for the lane),
        and skips those that have nothing for it without decoding them. An empty list with an unchanged or
        later position at the log's head means caught up. One call looks at a bounded number of batches: an
        empty list with a position that has grown and is below `head` says to call again.
        """

    def fetch(self, seqs: Sequence[int]) -> dict[int, Event]:
        """The events of these sequences, from the log or pinned; those that are gone are left out."""

    def retries(self, lane: int) -> list[Retry]:
        """The lane's retry rows in order of their sequence."""

    def row_sizes(self, lane: int) -> dict[int, int]:
        """The approximate bytes that each of the lane's retry rows pins, by sequence, without decoding."""

    def dead(self, lane: int, after: int = -1, limit: int | None = None) -> list[DeadLetter]:
        """The lane's dead letters above the sequence `after`, in order of their sequence, at most `limit`."""

    def dead_totals(self, lane: int) -> DeadTotals:
        """How many dead letters the lane has, and what they take; without looking at each."""

    def dead_of(self, lane: int, cause: str, after: int, limit: int) -> tuple[list[DeadLetter], int | None]:
        """Of at most `limit` of the lane's dead letters above the sequence `after`, those of that cause; and
        the sequence to go on behind, None where there are no more. A cause is what an error begins with, up
        to the first `: `."""

    def dead_causes(self, lane: int, after: int, limit: int) -> tuple[list[DeadCause], int | None]:
        """At most `limit` of the lane's dead letters above the sequence `after` by their cause; and the
        sequence to go on behind, None where there are no more."""

    def oldest_dead(self, lane: int, limit: int) -> list[OldDead]:
        """The lane's dead letters that died first, at most `limit`."""

    def backlog(self, lane: int, position: int) -> Backlog:
        """What the log holds for a lane from a position on, without decoding events."""

    def seek_bytes(self, lane: int, position: int, drop_bytes: int) -> tuple[int, Backlog]:
        """The position that lies at least `drop_bytes` of the lane's events further on (whole batches), and
        what lies between."""

    def seek_age(self, lane: int, position: int, before: int) -> tuple[int, Backlog]:
        """The position of the first batch opened at or after `before` (Unix ms), and what lies between."""

    def load(self, space: str) -> Iterator[tuple[str, bytes]]:
        """The state rows of a space, by key."""

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """The chunks of queued messages by their number, ascending. Not while they are written."""

    def chunk(self, number: int) -> bytes | None:
        """One chunk; None if there is none of that number."""

    def trim(self, before: int, limit: int = 256) -> int:
        """Delete up to `limit` batches numbered below `before`; how many went. Pinned events stay."""

    def room(self) -> Room | None:
        """How much room there was at the last `trim` or `mend`; None where it cannot be told."""

    def mend(self, changes: Sequence[Change]) -> None:
        """After a commit was refused with StoreFull: write these changes, which are those of lanes to events
        that were committed before and chunks that are deleted, from what is kept in reserve. Then more of the
        log can be trimmed.

        Raises StoreError where nothing was written.
        """

    def size(self) -> int:
        """Bytes on disk (or in memory)."""

    def close(self) -> None:
        """Commit, sync, unlock."""

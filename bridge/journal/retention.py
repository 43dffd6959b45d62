"""How far back the log is kept after its events are settled, so that they can be replayed
(`sqlite.retention`).

The log is cut into segments, each a row of the store's state: the number of its first batch, when that was
committed, and the bytes of events before it since the counting began. So the lowest batch to keep is known
without looking at the log, also after a restart, and a replay finds the place of a time. A segment ends at
1/1024 of either bound, so what is kept is at most that much more or less than asked for; after a crash the
bytes of its last segment are a guess.

What is kept for a replay alone gives way where the store's disk has little room: it is at most what leaves
`reserve_bytes` free. Pages that are free in the store's file count as room, so that it does not swing.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable

import msgspec

from bridge.journal.batch import Batch
from bridge.journal.journal import Journal
from bridge.journal.store import Room

log = logging.getLogger(__name__)

SPACE = "retention"
_END = "end"  # the row that a proper end leaves: the bytes counted so far
PARTS = 1024
"""Segments that make up one of the bounds."""

SLACK_MS = 10_000
"""How much later than it happened an event may have been committed, as a replay takes it."""


MIN_RESERVE = 64 << 20
MAX_RESERVE = 1 << 30


def reserve_bytes(total: int) -> int:
    """What is to stay free on a disk of so many bytes: 5 % of it, from 64 MiB to 1 GiB, and of a small disk
    no more than a quarter."""
    return min(max(MIN_RESERVE, min(total // 20, MAX_RESERVE)), total // 4)


class Segment(msgspec.Struct, array_like=True):
    """A stretch of the log: from the batch `first` on, whose time is `at` (Unix ms); `start` is the sum of
    the bytes of all events before it."""

    first: int
    at: int
    start: int


class Retention:
    """Watches what is committed. `max_age` in seconds, `max_bytes` in bytes as `event_size` counts; if either
    is 0 nothing is kept for replay. Until `start` the whole log is kept. `room` tells the store's room."""

    def __init__(
        self,
        journal: Journal,
        max_age: float,
        max_bytes: int,
        *,
        clock: Callable[[], float] = time.time,
        room: Callable[[], Room | None] | None = None,
    ) -> None:
        self._journal = journal
        self._room = room or journal.store.room
        self._limit = max_bytes  # of the bytes kept, by the room there is
        self.short = False  # the disk has little room, less is kept than allowed
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._clock = clock
        self._on = max_age > 0 and max_bytes > 0
        self._step_bytes = max(max_bytes // PARTS, 1)
        self._step_ms = max_age * 1000 / PARTS
        self._bytes = 0
        # The log may reach further back than the segments do: what lies there is the first one's.
        self._segments = [Segment(0, 0, 0)]

    def start(self) -> None:
        """Take up where the last process ended; before the first event. Raises StoreError."""
        self._load()
        if self._on:
            self._begin(self._journal.store.next_batch)
            self._journal.on_commit.append(self._committed)

    def _load(self) -> None:
        found: list[Segment] = []
        end: int | None = None
        for key, value in self._journal.store.load(SPACE):
            try:
                if key == _END:
                    end = msgspec.msgpack.decode(value, type=int)
                    segment = None
                else:
                    segment = msgspec.msgpack.decode(value, type=Segment)
            except msgspec.MsgspecError:
                segment = None
            if (
                segment is None
                or not self._on
                or (found and (segment.start < found[-1].start or segment.at < found[-1].at))
            ):
                self._journal.put(SPACE, key, None)
            else:
                found.append(segment)
        if found:
            self._segments = found
        last = self._segments[-1].start
        if end is not None and end >= last:
            self._bytes = end
        elif found:
            self._bytes = last + self._step_bytes // 2

    def close(self) -> None:
        """Before the last commit: keep the exact count."""
        if self._on:
            self._journal.put(SPACE, _END, msgspec.msgpack.encode(self._bytes))

    def _begin(self, first: int) -> None:
        # Never earlier than the one before it, so that a clock that was set back spoils no order.
        segment = Segment(first, max(int(self._clock() * 1000), self._segments[-1].at), self._bytes)
        self._segments.append(segment)
        self._journal.put(SPACE, f"{first:016x}", msgspec.msgpack.encode(segment))

    def _committed(self, batch: Batch) -> None:
        self._bytes += batch.size
        last = self._segments[-1]
        if self._bytes - last.start >= self._step_bytes or self._clock() * 1000 - last.at >= self._step_ms:
            self._begin(batch.number + 1)

    def low(self) -> int | None:
        """The lowest batch to keep for replay; None: none has to be kept."""
        if not self._on:
            return None
        # A segment may go when all of it is too old, or when the segments behind it fill the bound.
        segments = self._segments
        room = self._room()
        if room is not None:
            self._fit(room)
        if self._limit <= 0:
            self._begin_anew()
            return None
        old = bisect_left(segments, (self._clock() - self._max_age) * 1000, key=lambda segment: segment.at)
        full = bisect_right(segments, self._bytes - self._limit, key=lambda segment: segment.start)
        return segments[max(old - 1, full - 1, 0)].first

    def _fit(self, room: Room) -> None:
        """Set the limit by the room that the store has."""
        reserve = reserve_bytes(room.total)
        if self.short:
            if room.free >= 2 * reserve:
                self.short = False
                log.info("there is room again on the store's disk for what sqlite.retention keeps")
            elif room.oldest is not None and room.oldest < self._segments[0].first:
                return  # what was given up is not yet deleted
        kept = self._bytes - self._segments[0].start
        self._limit = min(self._max_bytes, kept + room.free - reserve)
        if room.free < reserve and not self.short:
            self.short = True
            log.warning(
                "the store's disk has %d MB of room left: less is kept for `hookmq replay` than "
                "sqlite.retention allows: free some space there, or set sqlite.retention.max_bytes lower",
                room.free // 1_000_000,
            )

    def _begin_anew(self) -> None:
        """Nothing is kept: the log begins here."""
        first = self._journal.store.next_batch
        if first > self._segments[-1].first and self._bytes > self._segments[-1].start:
            self._begin(first)

    def forget(self, low: int) -> None:
        """All batches below `low` were, or are about to be, deleted."""
        segments = self._segments
        count = 0
        while count + 1 < len(segments) and segments[count + 1].first <= low:
            count += 1
        for segment in segments[:count]:
            if segment.first:
                self._journal.put(SPACE, f"{segment.first:016x}", None)
        del segments[:count]

    # -- for a replay ----------------------------------------------------------------------------------

    def span(self, since: int, until: int) -> tuple[int, int | None]:
        """The batches that hold what happened from `since` to `until` (Unix ms), roughly: the first, and the
        first behind them (None: up to the log's head).

        By the clock as it was; where it was set back in between, rather more than less.
        """
        segments = self._segments
        # An event happened somewhat before its commit, and a segment begins with a commit.
        first = max(bisect_left(segments, since, key=lambda segment: segment.at) - 1, 0)
        end = bisect_right(segments, until + SLACK_MS, key=lambda segment: segment.at)
        ahead = segments[-1].at > self._clock() * 1000
        return segments[first].first, None if ahead or end == len(segments) else segments[end].first

    def bytes_before(self, batch: int) -> int:
        """Bytes of events before a batch, roughly: to tell how far a reader of the log has come."""
        if batch >= self._journal.store.next_batch:
            return self._bytes
        index = bisect_right(self._segments, batch, key=lambda segment: segment.first)
        return self._segments[max(index - 1, 0)].start

    @property
    def bytes(self) -> int:
        """Bytes of all events so far, counted from where `bytes_before` counts."""
        return self._bytes

    @property
    def since(self) -> int:
        """Unix ms from which on the log is complete, roughly; 0 if that is not known."""
        return self._segments[0].at

"""Reading the log of a SQLite store: by position, by sequence, and by the totals that stand beside each
batch."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from bridge.events.event import Event
from bridge.journal.batch import INDEX_BITS, MAX_BATCH_EVENTS
from bridge.journal.codec import Totals, decode_event, decode_events, decode_totals, event_size
from bridge.journal.store import Backlog

INDEX_MASK = MAX_BATCH_EVENTS - 1

_SCAN_ROWS = 2048  # batches that one `read` looks at, at most: some milliseconds
_FIRST_STEP = 32
_STEP_ROWS = 512


class SqliteLog:
    """Reads `log` and `pinned`. Errors are those of sqlite3 and msgspec; the store translates them.

    Every query is read to its end at once: an open statement would hold a checkpoint up.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._execute = database.execute
        self._last: tuple[int, list[Event]] = (-1, [])

    def read(
        self, lane: int, position: int, head: int, max_bytes: int
    ) -> tuple[list[tuple[int, Event]], int]:
        """See `Store.read`."""
        found: list[tuple[int, Event]] = []
        size = 0
        number = position >> INDEX_BITS
        scanned, step = 0, _FIRST_STEP
        while scanned < _SCAN_ROWS:
            rows = self._rows(number, step)
            for batch, _, lanes in rows:
                totals = decode_totals(lanes).get(lane)
                if totals is None:
                    continue
                first = batch << INDEX_BITS
                for index, event in enumerate(self._batch(batch)):
                    if lane in event.targets and first + index >= position:
                        found.append((first + index, event))
                size += totals[1]
                if size >= max_bytes and found:
                    return found, (batch + 1) << INDEX_BITS
            if len(rows) < step:
                return found, max(position, head)
            number = rows[-1][0] + 1
            scanned += step
            step = _STEP_ROWS
        return found, number << INDEX_BITS

    def fetch(self, seqs: Sequence[int]) -> dict[int, Event]:
        """See `Store.fetch`."""
        events: dict[int, Event] = {}
        for seq in sorted(seqs):  # so that each batch is decoded once
            event = self.find(seq, {})
            if event is not None:
                events[seq] = event
        return events

    def find(self, seq: int, fresh: Mapping[int, list[Event]]) -> Event | None:
        """One event: from batches that are being committed (by number), pinned, or from the log."""
        number = seq >> INDEX_BITS
        events = fresh.get(number)
        if events is None:
            row = self._execute("SELECT event FROM pinned WHERE seq = ?", (seq,)).fetchone()
            if row is not None:
                return decode_event(row[0])
            events = self._batch(number)
        index = seq & INDEX_MASK
        return events[index] if index < len(events) else None

    def is_pinned(self, seq: int) -> bool:
        """Whether a copy of the event is kept."""
        return self._execute("SELECT 1 FROM pinned WHERE seq = ?", (seq,)).fetchone() is not None

    def backlog(self, lane: int, position: int) -> Backlog:
        """See `Store.backlog`. About a microsecond a batch."""
        between = Backlog(0, 0)
        for _, _, events, size in self._from(lane, position):
            between.events += events
            between.bytes += size
        return between

    def seek_bytes(self, lane: int, position: int, head: int, drop_bytes: int) -> tuple[int, Backlog]:
        """See `Store.seek_bytes`."""
        between = Backlog(0, 0)
        if drop_bytes <= 0:
            return position, between
        for batch, _, events, size in self._from(lane, position):
            between.events += events
            between.bytes += size
            if between.bytes >= drop_bytes:
                return (batch + 1) << INDEX_BITS, between
        return max(position, head), between

    def seek_age(self, lane: int, position: int, head: int, before: int) -> tuple[int, Backlog]:
        """See `Store.seek_age`."""
        between = Backlog(0, 0)
        for batch, at, events, size in self._from(lane, position):
            if at >= before:
                return max(position, batch << INDEX_BITS), between
            between.events += events
            between.bytes += size
        return max(position, head), between

    def forget_before(self, number: int) -> None:
        """Batches below that number were deleted."""
        if self._last[0] < number:
            self._last = (-1, [])

    def _from(self, lane: int, position: int) -> Iterator[tuple[int, int, int, int]]:
        """Batch, its time, and the events and bytes it holds for a lane from a position on."""
        number = position >> INDEX_BITS
        if position & INDEX_MASK:
            # The one batch that the position parts is counted event by event.
            row = self._execute("SELECT at FROM log WHERE batch = ?", (number,)).fetchone()
            if row is not None:
                rest = self._batch(number)[position & INDEX_MASK :]
                sizes = [event_size(event) for event in rest if lane in event.targets]
                yield number, row[0], len(sizes), sum(sizes)
            number += 1
        while rows := self._rows(number, _STEP_ROWS):
            for batch, at, lanes in rows:
                totals: Totals = decode_totals(lanes)
                events, size = totals.get(lane, (0, 0))
                yield batch, at, events, size
            number = rows[-1][0] + 1

    def _rows(self, number: int, limit: int) -> list[tuple[int, int, bytes]]:
        return self._execute(
            "SELECT batch, at, lanes FROM log WHERE batch >= ? ORDER BY batch LIMIT ?", (number, limit)
        ).fetchall()

    def _batch(self, number: int) -> list[Event]:
        """The events of a batch, empty where it is gone. The last one is kept: several lanes that read in
        step, and retries of one batch, decode it once."""
        if self._last[0] != number:
            row = self._execute("SELECT body FROM log WHERE batch = ?", (number,)).fetchone()
            if row is None:
                return []
            self._last = (number, decode_events(row[0]))
        return self._last[1]

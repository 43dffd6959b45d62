"""Reading the log of a SQLite store: by position, by sequence, and by the totals that stand beside each
batch."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from bridge.events.event import Event
from bridge.journal.batch import INDEX_BITS, MAX_BATCH_EVENTS
from bridge.journal.codec import decode_event, decode_events, decode_totals, event_size
from bridge.journal.store import Backlog

INDEX_MASK = MAX_BATCH_EVENTS - 1

# What one `read` does at most, so that it takes some milliseconds: batches looked at, and bytes of bodies,
# which hold the events of other lanes too.
_SCAN_ROWS = 2048
_SCAN_BYTES = 4 << 20
_FIRST_STEP = 32
_STEP_ROWS = 512

_NOTHING = (0, 0)
_BODIES = "SELECT batch, body FROM log WHERE batch BETWEEN ? AND ? ORDER BY batch"


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
        size = body_bytes = scanned = 0
        number = position >> INDEX_BITS
        step = _FIRST_STEP
        while scanned < _SCAN_ROWS:
            rows = self._rows(number, step)
            # Neighbours that the lane wants are read by one query: (first, last) batch of each run.
            runs: list[tuple[int, int]] = []
            neighbour = full = False
            for batch, _, length, lanes in rows:
                scanned += 1
                number = batch + 1
                totals = decode_totals(lanes).get(lane)
                if totals is None:
                    neighbour = False
                    continue
                if neighbour:
                    runs[-1] = (runs[-1][0], batch)
                else:
                    runs.append((batch, batch))
                    neighbour = True
                size += totals[1]
                body_bytes += length
                if size >= max_bytes or body_bytes >= _SCAN_BYTES:
                    full = True
                    break
            for run in runs:
                for batch, body in self._execute(_BODIES, run):
                    seq = batch << INDEX_BITS
                    for event in decode_events(body):
                        if lane in event.targets and seq >= position:
                            found.append((seq, event))
                        seq += 1
            if full and found:
                break
            if not full and len(rows) < step:
                return found, max(position, head)
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
            for batch, at, _, lanes in rows:
                events, size = decode_totals(lanes).get(lane, _NOTHING)
                yield batch, at, events, size
            number = rows[-1][0] + 1

    def _rows(self, number: int, limit: int) -> list[tuple[int, int, int, bytes]]:
        return self._execute(
            "SELECT batch, at, bytes, lanes FROM log WHERE batch >= ? ORDER BY batch LIMIT ?", (number, limit)
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

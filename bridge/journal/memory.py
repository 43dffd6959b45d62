"""The store in memory: the same interface and rules, and nothing left after the end of the process.

For tests, and for users whose events need not outlive a restart. What was committed is durable as far as it
can be, so `sync` reports at once. Written for plainness, not from the SQLite store: each checks the other.
"""

from __future__ import annotations

import asyncio
import secrets
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from bridge.events.event import Event
from bridge.journal.batch import INDEX_BITS, MAX_BATCH_EVENTS, Batch, Change, Chunk, Cursor, Dead, Put, Retry
from bridge.journal.codec import DEAD_OVERHEAD, event_size
from bridge.journal.store import (
    Backlog,
    DeadCause,
    DeadLetter,
    DeadTotals,
    LaneState,
    OldDead,
    Room,
    StoreError,
    lane_of_space,
)
from bridge.telemetry.histogram import DISK_S, Histogram

_INDEX_MASK = MAX_BATCH_EVENTS - 1
_SCAN_BATCHES = 2048  # that one `read` looks at, at most
_FIRST_BATCH = 1 << 20  # as a new SQLite store begins


class MemoryStore:
    """The `Store` of one process without a disk."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Make an empty store; the loop is not needed, every store is made with one."""
        self.id = secrets.token_hex(6)
        self.next_batch = _FIRST_BATCH
        self.durable = _FIRST_BATCH - 1
        self.sync_times = Histogram(DISK_S)  # nothing is synced
        self.on_durable: Callable[[int], None] | None = None
        self.on_error: Callable[[StoreError], None] | None = None
        self._committed = _FIRST_BATCH - 1
        self._numbers: list[int] = []  # of the batches in the log, ascending
        self._log: dict[int, tuple[int, list[Event]]] = {}
        self._bytes = 0
        self._lanes: dict[int, LaneState] = {}
        self._last_lane = 0
        self._retries: dict[tuple[int, int], Retry] = {}
        self._dead: dict[tuple[int, int], DeadLetter] = {}
        self._pinned: dict[int, tuple[Event, set[int]]] = {}  # with the lanes that refer to it
        self._state: dict[str, dict[str, bytes]] = {}
        self._chunks: dict[int, bytes] = {}

    @property
    def head(self) -> int:
        """See `Store.head`."""
        return (self._committed + 1) << INDEX_BITS

    def commit(self, batches: Sequence[Batch]) -> None:
        """See `Store.commit`."""
        last = self._committed
        for batch in batches:
            if batch.number <= last:
                raise ValueError(f"batch {batch.number} is not above {last}, the last one committed")
            last = batch.number
            if len(batch.events) > MAX_BATCH_EVENTS:
                raise ValueError(f"batch {last} has {len(batch.events)} events, more than {MAX_BATCH_EVENTS}")
        for batch in batches:
            if batch.events:
                self._numbers.append(batch.number)
                self._log[batch.number] = (batch.at, list(batch.events))
                self._bytes += sum(map(event_size, batch.events))
        self.mend([change for batch in batches for change in batch.changes])
        self._committed = last
        self.next_batch = max(self.next_batch, last + 1)

    def mend(self, changes: Sequence[Change]) -> None:
        """See `Store.mend`."""
        settled: list[tuple[int, int]] = []
        for change in changes:
            if isinstance(change, Put):
                self._put(change)
            elif isinstance(change, Chunk):
                self._chunks.pop(change.number, None)
                if change.body is not None:
                    self._chunks[change.number] = change.body
            elif change.lane not in self._lanes:
                continue
            elif isinstance(change, Cursor):
                lane = self._lanes[change.lane]
                lane.position, lane.holes = change.position, list(change.holes)
            else:
                place = (change.lane, change.seq)
                self._retries.pop(place, None)
                self._dead.pop(place, None)
                if isinstance(change, Retry):
                    self._pin(*place)
                    self._retries[place] = change
                elif isinstance(change, Dead):
                    self._pin(*place)
                    self._dead[place] = DeadLetter(*place, change.attempt, change.at, change.error)
                else:
                    settled.append(place)
        for place in settled:  # at the end: what the same commit retries again keeps its event
            if place not in self._retries and place not in self._dead:
                self._unpin(*place)

    def _put(self, change: Put) -> None:
        owner = lane_of_space(change.space)
        if owner is not None and owner not in self._lanes:
            return
        rows = self._state.setdefault(change.space, {})
        if change.value is None:
            rows.pop(change.key, None)
        else:
            rows[change.key] = change.value

    def _pin(self, lane: int, seq: int) -> None:
        pinned = self._pinned.get(seq)
        if pinned is None:
            event = self._find(seq)
            if event is None:
                return
            pinned = self._pinned[seq] = (event, set())
        pinned[1].add(lane)

    def _unpin(self, lane: int, seq: int) -> None:
        pinned = self._pinned.get(seq)
        if pinned is not None:
            pinned[1].discard(lane)
            if not pinned[1]:
                del self._pinned[seq]

    def _find(self, seq: int) -> Event | None:
        if seq in self._pinned:
            return self._pinned[seq][0]
        _, events = self._log.get(seq >> INDEX_BITS, (0, []))
        index = seq & _INDEX_MASK
        return events[index] if index < len(events) else None

    def sync(self) -> None:
        """See `Store.sync`."""
        if self._committed > self.durable:
            self.durable = self._committed
            if self.on_durable is not None:
                self.on_durable(self.durable)

    def lane(self, name: str) -> LaneState:
        """See `Store.lane`."""
        for state in self.lanes():
            if state.name == name:
                return state
        self._last_lane += 1
        self._lanes[self._last_lane] = LaneState(self._last_lane, name, self.head, [])
        return LaneState(self._last_lane, name, self.head, [])

    def lanes(self) -> list[LaneState]:
        """See `Store.lanes`."""
        return [
            LaneState(
                lane.id,
                lane.name,
                lane.position,
                list(lane.holes),
                sum(1 for owner, _ in self._retries if owner == lane.id),
                sum(1 for owner, _ in self._dead if owner == lane.id),
            )
            for lane in self._lanes.values()
        ]

    def drop_lane(self, lane: int) -> None:
        """See `Store.drop_lane`."""
        self._lanes.pop(lane, None)
        for rows in (self._retries, self._dead):
            for place in [place for place in rows if place[0] == lane]:
                del rows[place]
                self._unpin(*place)
        for space in [space for space in self._state if lane_of_space(space) == lane]:
            del self._state[space]

    def retries(self, lane: int) -> list[Retry]:
        """See `Store.retries`."""
        return [row for (owner, _), row in sorted(self._retries.items()) if owner == lane]

    def row_sizes(self, lane: int) -> dict[int, int]:
        """See `Store.row_sizes`."""
        seqs = [seq for owner, seq in self._retries if owner == lane]
        return {seq: event_size(event) for seq, event in self.fetch(seqs).items()}

    def dead(self, lane: int, after: int = -1, limit: int | None = None) -> list[DeadLetter]:
        """See `Store.dead`."""
        rows = [row for (owner, seq), row in sorted(self._dead.items()) if owner == lane and seq > after]
        return rows[:limit]

    def dead_of(self, lane: int, cause: str, after: int, limit: int) -> tuple[list[DeadLetter], int | None]:
        """See `Store.dead_of`."""
        window = self.dead(lane, after, limit)
        end = window[-1].seq if len(window) == limit else None
        return [row for row in window if row.error.partition(": ")[0] == cause], end

    def dead_causes(self, lane: int, after: int, limit: int) -> tuple[list[DeadCause], int | None]:
        """See `Store.dead_causes`."""
        window = self.dead(lane, after, limit)
        times: dict[str, list[int]] = {}
        for row in window:
            times.setdefault(row.error.partition(": ")[0], []).append(row.at)
        end = window[-1].seq if len(window) == limit else None
        return [DeadCause(cause, len(at), min(at), max(at)) for cause, at in times.items()], end

    def dead_totals(self, lane: int) -> DeadTotals:
        """See `Store.dead_totals`."""
        found = self.oldest_dead(lane, len(self._dead))
        return DeadTotals(len(found), sum(old.size for old in found))

    def oldest_dead(self, lane: int, limit: int) -> list[OldDead]:
        """See `Store.oldest_dead`."""
        found = []
        for (owner, seq), letter in self._dead.items():
            if owner == lane:
                event = self._find(seq)
                size = DEAD_OVERHEAD + len(letter.error) + (0 if event is None else event_size(event))
                found.append(OldDead(letter.at, seq, size))
        return sorted(found)[:limit]

    def read(self, lane: int, position: int, max_bytes: int) -> tuple[list[tuple[int, Event]], int]:
        """See `Store.read`."""
        found: list[tuple[int, Event]] = []
        size = 0
        start = bisect_left(self._numbers, position >> INDEX_BITS)
        for number in self._numbers[start : start + _SCAN_BATCHES]:
            for seq, event in self._lane_events(lane, number):
                size += event_size(event)
                if seq >= position:
                    found.append((seq, event))
            if size >= max_bytes and found:
                return found, (number + 1) << INDEX_BITS
        if start + _SCAN_BATCHES < len(self._numbers):
            return found, (self._numbers[start + _SCAN_BATCHES - 1] + 1) << INDEX_BITS
        return found, max(position, self.head)

    def _lane_events(self, lane: int, number: int) -> list[tuple[int, Event]]:
        first = number << INDEX_BITS
        return [(first + i, event) for i, event in enumerate(self._log[number][1]) if lane in event.targets]

    def fetch(self, seqs: Sequence[int]) -> dict[int, Event]:
        """See `Store.fetch`."""
        events = ((seq, self._find(seq)) for seq in seqs)
        return {seq: event for seq, event in events if event is not None}

    def backlog(self, lane: int, position: int) -> Backlog:
        """See `Store.backlog`."""
        between = Backlog(0, 0)
        for _, part in self._from(lane, position):
            between.events += part.events
            between.bytes += part.bytes
        return between

    def _from(self, lane: int, position: int) -> Iterator[tuple[int, Backlog]]:
        start = bisect_left(self._numbers, position >> INDEX_BITS)
        for number in self._numbers[start:]:
            sizes = [event_size(event) for seq, event in self._lane_events(lane, number) if seq >= position]
            yield number, Backlog(len(sizes), sum(sizes))

    def seek_bytes(self, lane: int, position: int, drop_bytes: int) -> tuple[int, Backlog]:
        """See `Store.seek_bytes`."""
        between = Backlog(0, 0)
        if drop_bytes <= 0:
            return position, between
        for number, part in self._from(lane, position):
            between.events += part.events
            between.bytes += part.bytes
            if between.bytes >= drop_bytes:
                return (number + 1) << INDEX_BITS, between
        return max(position, self.head), between

    def seek_age(self, lane: int, position: int, before: int) -> tuple[int, Backlog]:
        """See `Store.seek_age`."""
        between = Backlog(0, 0)
        for number, part in self._from(lane, position):
            if self._log[number][0] >= before:
                return max(position, number << INDEX_BITS), between
            between.events += part.events
            between.bytes += part.bytes
        return max(position, self.head), between

    def load(self, space: str) -> Iterator[tuple[str, bytes]]:
        """See `Store.load`."""
        yield from sorted(self._state.get(space, {}).items())

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """See `Store.chunks`."""
        yield from sorted(self._chunks.items())

    def chunk(self, number: int) -> bytes | None:
        """See `Store.chunk`."""
        return self._chunks.get(number)

    def trim(self, before: int, limit: int = 256) -> int:
        """See `Store.trim`."""
        count = min(bisect_left(self._numbers, before), limit)
        for number in self._numbers[:count]:
            self._bytes -= sum(map(event_size, self._log.pop(number)[1]))
        del self._numbers[:count]
        return count

    def room(self) -> Room | None:
        """See `Store.room`: not told."""
        return None

    def size(self) -> int:
        """See `Store.size`: the log's events as `event_size` counts them."""
        return self._bytes

    def close(self) -> None:
        """See `Store.close`."""
        self.sync()

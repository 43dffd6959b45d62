"""What a lane has still to send for the first time: in memory while it keeps up, in the log when it does not.

* `tail` is the first sequence this lane has not taken: all of it below is in `fresh` or was dispatched.
* Up to date, pushes are taken at `tail`. When memory is at its bound the backlog is `behind`: it takes no
  pushes and reads the log from `tail` on, until a read finds nothing more. A push comes after its batch is
  readable, so what was dropped here is read there; and what was read before its push came is below `tail`,
  and skipped. So the changeover has no gap and no duplicate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bridge.events.event import Event
from bridge.journal.codec import EVENT_OVERHEAD, event_size
from bridge.journal.store import Backlog as Amount
from bridge.journal.store import Store

MEMORY_BYTES = 8 << 20
MEMORY_EVENTS = 20_000
READ_BYTES = 256 << 10
"""What one read of the log takes, roughly: it holds up the loop for as long as decoding takes."""
READS = 4
"""Reads at a time that find nothing for the lane, before others have their turn."""


class Backlog:
    """The fresh events of one lane. Sizes are approximate bytes."""

    __slots__ = ("_log", "_store", "behind", "fresh", "lane", "memory_bytes", "tail")

    def __init__(self, lane: int, store: Store, position: int) -> None:
        self.lane = lane
        self.fresh: deque[tuple[int, Event, int]] = deque()  # (sequence, event, size), ascending
        self.memory_bytes = 0
        self.tail = position
        self.behind = True  # what a restart finds is in the log
        self._store = store
        self._log = store.backlog(lane, position)

    @property
    def position(self) -> int:
        """The next sequence to be dispatched for the first time."""
        return self.fresh[0][0] if self.fresh else self.tail

    @property
    def events(self) -> int:
        return len(self.fresh) + self._log.events

    @property
    def bytes(self) -> int:
        return self.memory_bytes + self._log.bytes

    @property
    def waiting(self) -> bool:
        """Whether there may be something to send."""
        return bool(self.fresh) or self.behind

    def push(self, items: Sequence[tuple[int, Event]], end: int) -> None:
        """Take the lane's events of committed batches, ascending; every event below `end` was offered."""
        self._add([(seq, event, event_size(event)) for seq, event in items], end)

    def push_from(self, first: int, events: Sequence[Event]) -> int:
        """Take from a committed batch's events those that are for this lane, and say how many these are;
        `first` is the first one's sequence."""
        own = self.lane
        taken = [
            (seq, event, len(event.payload) + len(event.topic) + len(event.clientid) + EVENT_OVERHEAD)
            for seq, event in enumerate(events, first)
            if own in event.targets
        ]
        self._add(taken, first + len(events))
        return len(taken)

    def _add(self, taken: list[tuple[int, Event, int]], end: int) -> None:
        if end <= self.tail:
            return  # read from the log before
        if taken and taken[0][0] < self.tail:
            taken = [item for item in taken if item[0] >= self.tail]
        size = sum([item[2] for item in taken])
        if not self.behind and (
            len(self.fresh) + len(taken) > MEMORY_EVENTS or self.memory_bytes + size > MEMORY_BYTES
        ):
            self.behind = True
        if self.behind:
            self._log.events += len(taken)
            self._log.bytes += size
        else:
            self.fresh.extend(taken)
            self.memory_bytes += size
            self.tail = end

    def refill(self) -> bool:
        """Read on in the log if `behind`; whether there is something in `fresh` now. Raises StoreError.

        False while still `behind` means that it has to be called again.
        """
        reads = READS
        while self.behind and self.memory_bytes < READ_BYTES and reads:
            items, position = self._store.read(self.lane, self.tail, READ_BYTES)
            self.tail = max(position, self.tail)
            size = 0
            for seq, event in items:
                length = event_size(event)
                size += length
                self.fresh.append((seq, event, length))
            self.memory_bytes += size
            self._less(len(items), size)
            if self.tail >= self._store.head:
                self.behind = False
                self._log = Amount(0, 0)
            elif not items:
                reads -= 1
        return bool(self.fresh)

    def oldest_ts(self) -> int | None:
        """Unix ms of the oldest event that waits; None if there is none. Raises StoreError.

        Where nothing is in memory it is read from the log, for as far as a turn may look.
        """
        if self.fresh:
            return self.fresh[0][1].ts
        position = self.tail
        for _ in range(READS if self.behind else 0):
            items, after = self._store.read(self.lane, position, 1)
            if items:
                return items[0][1].ts
            if after <= position or after >= self._store.head:
                break
            position = after
        return None

    def drop_bytes(self, keep: int) -> Amount:
        """Give up the oldest events until at most `keep` bytes wait (in the log: whole batches)."""
        dropped = Amount(0, 0)
        fresh = self.fresh
        while fresh and self.bytes > keep:
            self._drop_first(dropped)
        if self.behind and self.bytes > keep:
            position, gone = self._store.seek_bytes(self.lane, self.tail, self.bytes - keep)
            self._skip(position, gone, dropped)
        return dropped

    def drop_older(self, before: int) -> Amount:
        """Give up what happened before `before` (Unix ms)."""
        dropped = Amount(0, 0)
        fresh = self.fresh
        while fresh and fresh[0][1].ts < before:
            self._drop_first(dropped)
        if self.behind and not fresh:
            position, gone = self._store.seek_age(self.lane, self.tail, before)
            self._skip(position, gone, dropped)
        return dropped

    def _drop_first(self, dropped: Amount) -> None:
        size = self.fresh.popleft()[2]
        self.memory_bytes -= size
        dropped.events += 1
        dropped.bytes += size

    def _skip(self, position: int, gone: Amount, dropped: Amount) -> None:
        if position > self.tail:
            self.tail = position
            self._less(gone.events, gone.bytes)
            dropped.events += gone.events
            dropped.bytes += gone.bytes

    def _less(self, events: int, size: int) -> None:
        # The store counts whole batches and this class events, so both are only nearly the same.
        self._log = Amount(max(self._log.events - events, 0), max(self._log.bytes - size, 0))

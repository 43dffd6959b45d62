"""The turn: what arrived in one turn of the loop is committed once, synced once, then acknowledged.

1. `append`, `put`, `change`, `ack` and `after` join the open batch; the first of them books the turn's end.
2. At the end of the turn the batch is committed; where an acknowledgement waits for it, it is synced.
3. When it is durable its acknowledgements are written and its `after` calls run, always in batch order.
4. The lanes see a batch as soon as it is committed.

A turn that brought nothing to acknowledge is synced at the latest `LAZY_SYNC_S` later; progress of lanes
alone is committed at the latest `LAZY_COMMIT_S` later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any

from bridge.events.event import Event
from bridge.journal.batch import (
    INDEX_BITS,
    MAX_BATCH_BYTES,
    MAX_BATCH_EVENTS,
    Batch,
    Change,
    Chunk,
    Put,
    Writer,
)
from bridge.journal.codec import EVENT_OVERHEAD
from bridge.journal.store import Store, StoreError, StoreFull, lane_of_space
from bridge.telemetry.histogram import DISK_S, Histogram, Longest

log = logging.getLogger(__name__)

LAZY_COMMIT_S = 0.04
LAZY_SYNC_S = 0.1
RETRY_COMMIT_S = 0.5
TRIM_EVERY_BATCHES = 32
TRIM_SHIFT = 16
"""So many bytes, as a power of two, count as a batch more: what one trim deletes is to exceed what came."""
TRIM_EVERY_S = 0.5
MEND_TRIMS = 4
"""Trims in one go where the store has no room."""
TELL_STALL_S = 60.0
"""Between two stalls that are told."""


def _no_cursors() -> Iterable[Change]:
    return ()


def _no_low() -> int | None:
    return None


def _of_lane(change: Change) -> bool:
    """Whether a change tells of events that were committed before, and so needs none of its batch."""
    if isinstance(change, Put):
        return lane_of_space(change.space) is not None
    return not isinstance(change, Chunk)


def _mends(change: Change) -> bool:
    """Whether it may go before the rest of its batch, since it needs nothing of that and makes room."""
    return change.body is None if isinstance(change, Chunk) else _of_lane(change)


class Journal:
    """The open batch and its way to the store. All methods run in the loop's thread."""

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.cursors: Callable[[], Iterable[Change]] = _no_cursors  # progress of lanes, asked at each commit
        self.state: Callable[[], Iterable[Change]] = _no_cursors  # the broker's, asked at each commit
        self.low: Callable[[], int | None] = _no_low  # lowest batch that a lane still needs; None: nothing
        self.before_commit: Callable[[Sequence[Batch]], None] | None = None  # again after a refused commit
        self.on_commit: list[Callable[[Batch], None]] = []
        self.on_stall: list[Callable[[bool], None]] = []  # True: the store refuses; False: it works again
        self.full: set[int] = set()  # lanes that turn new publishes away (`on_full = refuse`)
        self.overfull: set[int] = set()  # and those whose reserve for lifecycle events is used up too
        self.stalled = False
        self.stalls = 0  # times that the store began to refuse
        self.stored_events: dict[int, int] = {}  # since the start, by `Event.type`
        self.acknowledged = 0  # events whose batch is durable and had somebody to tell
        self.commit_times = Histogram(DISK_S)
        # From the first of a turn until its acknowledgements are written.
        self.ack_times = Histogram(DISK_S)
        self.turns = Longest()  # of the loop, as far as it had something to commit; the app adds to it
        self._begun = 0.0
        self._loop = loop
        self._clock = clock
        self._open = Batch(store.next_batch, int(clock() * 1000))
        self._closed: list[Batch] = []  # full batches of this turn, and those the store refused
        self._waiting: deque[Batch] = deque()  # committed, not yet durable, with something to release
        self._unacked: dict[Writer, int] = {}  # the last batch that each writer waits for
        self._booked = False
        self._lazy: asyncio.TimerHandle | None = None
        self._sync_timer: asyncio.TimerHandle | None = None
        self._trim_timer: asyncio.TimerHandle | None = None
        self._again_timer: asyncio.TimerHandle | None = None
        self._untrimmed = 0
        self._tell_at = loop.time()
        self._told = False  # that the store refuses to write
        self._ended = False
        store.on_durable = self._durable

    # -- joining the open batch ------------------------------------------------------------------------

    def append(self, event: Event) -> int:
        """Add an event; returns its sequence. The caller has set `event.targets`."""
        batch = self._open
        events = batch.events
        index = len(events)
        if index == MAX_BATCH_EVENTS or batch.size > MAX_BATCH_BYTES:
            batch = self._rotate()
            events = batch.events
            index = 0
        events.append(event)
        batch.size += len(event.payload) + len(event.topic) + len(event.clientid) + EVENT_OVERHEAD
        if not self._booked:
            self._book()
        return batch.number << INDEX_BITS | index

    def put(self, space: str, key: str, value: bytes | None) -> None:
        """Set (or with None delete) a row of state in the same commit as this turn's events."""
        self._open.changes.append(Put(space, key, value))
        if not self._booked:
            self._book()

    def change(self, change: Change) -> None:
        """Add a lane's change; it is committed with the next batch, at the latest `LAZY_COMMIT_S` later."""
        self._open.changes.append(change)
        self.touch()

    def touch(self) -> None:
        """A lane has progress to tell: see to a commit soon."""
        if not self._booked and self._lazy is None:
            self._lazy = self._loop.call_later(LAZY_COMMIT_S, self._end_turn)

    def ack(self, writer: Writer, data: bytes) -> None:
        """Write `data` to `writer` once everything that joined the batch so far is durable."""
        acks = self._open.acks
        waiting = acks.get(writer)
        if waiting is None:
            acks[writer] = bytearray(data)
            self._unacked[writer] = self._open.number
            if not self._booked:
                self._book()
        else:
            waiting += data

    def answer(self, writer: Writer, data: bytes) -> None:
        """Write `data`, which promises nothing, to `writer`: at once, or behind what it waits for already."""
        if writer in self._unacked:
            self.ack(writer, data)
        else:
            writer.write_acks(bytearray(data))

    def after(self, call: Callable[..., Any], *args: Any) -> None:
        """Call once the batch is durable and its acknowledgements are written; calls keep their order."""
        self._open.after.append((call, args))
        if not self._booked:
            self._book()

    @property
    def waiting(self) -> bool:
        """Whether a committed batch still waits for its sync."""
        return bool(self._waiting)

    @property
    def lanes_stored(self) -> bool:
        """Whether all that lanes have told is in the store, be it that new events find no room there."""
        return not any(_of_lane(change) for batch in (*self._closed, self._open) for change in batch.changes)

    # -- the end of the turn ---------------------------------------------------------------------------

    def _book(self) -> None:
        self._booked = True
        self._begun = perf_counter()
        self._loop.call_soon(self._end_turn)

    def _rotate(self) -> Batch:
        full = self._open
        self._closed.append(full)
        self._open = Batch(full.number + 1, full.at)
        return self._open

    def _end_turn(self) -> None:
        self._booked = False
        if self._lazy is not None:
            self._lazy.cancel()
            self._lazy = None
        if self.stalled or self._ended:
            return  # the retry timer offers everything again
        self._commit()

    def _commit(self) -> None:
        begun, self._begun = self._begun, 0.0
        batch = self._open
        batch.changes.extend(self.state())
        batch.changes.extend(self.cursors())
        if self._closed:
            batches = [*self._closed, batch]
            stored = True
        else:
            batches = [batch]
            stored = bool(batch.events or batch.changes)
        for one in batches:
            if not one.begun:
                one.begun = begun
        if stored:
            if self.before_commit is not None:
                self.before_commit(batches)
            began = perf_counter()
            try:
                self.store.commit(batches)
            except StoreError as error:
                if not (isinstance(error, StoreFull) and self._mended(batches)):
                    self._refused(error)
                    return
            now = perf_counter()
            self.commit_times.observe(now - began)
            # Nearly the whole turn; a commit that was booked by none, or that waited for room, tells of none.
            if begun and now - begun > self.turns.present and not self.stalled:
                self.turns.note(now - begun)
        self._closed = []
        self._open = Batch(batch.number + 1, int(self._clock() * 1000))
        self._release(batches, stored=stored)
        if stored:
            for committed in batches:
                self._untrimmed += 1 + (committed.size >> TRIM_SHIFT)
                if committed.events:
                    self._count(committed.events)
                    for call in self.on_commit:
                        call(committed)
            if self._untrimmed >= TRIM_EVERY_BATCHES:
                self._trim()
            elif self._trim_timer is None:
                self._trim_timer = self._loop.call_later(TRIM_EVERY_S, self._trim)
        if self.stalled:
            self._goes_on()

    def _count(self, events: list[Event]) -> None:
        kinds = [event.type for event in events]
        first = kinds[0]
        same = kinds.count(first)  # nearly always all of them
        counts = self.stored_events
        counts[first] = counts.get(first, 0) + same
        if same != len(kinds):
            for kind in kinds:
                if kind != first:
                    counts[kind] = counts.get(kind, 0) + 1

    def _release(self, batches: list[Batch], *, stored: bool) -> None:
        promised = False
        for batch in batches:
            batch.stored = stored
            if batch.acks or batch.after:
                promised = True
                self._waiting.append(batch)
        if not promised:
            if stored and self._sync_timer is None:
                self._sync_timer = self._loop.call_later(LAZY_SYNC_S, self._sync)
        elif stored:
            self._sync()
        else:
            self._durable(self.store.durable)

    def _sync(self) -> None:
        if self._sync_timer is not None:
            self._sync_timer.cancel()
            self._sync_timer = None
        self.store.sync()

    def _durable(self, durable: int) -> None:
        """Release, in order, what is safe: batches up to the watermark, and those that stored nothing."""
        waiting = self._waiting
        unacked = self._unacked
        while waiting:
            batch = waiting[0]
            if batch.stored and batch.number > durable:
                return
            waiting.popleft()
            self.acknowledged += len(batch.events)
            for writer, data in batch.acks.items():
                if unacked.get(writer) == batch.number:
                    del unacked[writer]
                try:
                    writer.write_acks(data)
                except Exception:  # a fault of one connection is not the others'
                    log.exception("an acknowledgement could not be written")
            if batch.acks:
                self.ack_times.observe(perf_counter() - batch.begun)
            for call, args in batch.after:
                try:
                    call(*args)
                except Exception:
                    log.exception("what follows a commit failed")

    def _refused(self, error: StoreError) -> None:
        """Nothing was written: hold what is there, let publishers wait, and offer it again."""
        self._closed.append(self._open)
        self._open = Batch(self._open.number + 1, int(self._clock() * 1000))
        if not self.stalled:
            self.stalled = True
            self.stalls += 1
            self._told = False
            for call in self.on_stall:
                call(True)
        now = self._loop.time()
        if not self._told and now >= self._tell_at:
            # A store that lives from one settled event to the next stalls and goes on all the time.
            self._told = True
            self._tell_at = now + TELL_STALL_S
            log.error("the store refuses to write, publishers wait: %s", error)
        if self._again_timer is not None:
            self._again_timer.cancel()
        if not self._ended:
            self._again_timer = self._loop.call_later(RETRY_COMMIT_S, self._offer_again)

    def _mended(self, batches: list[Batch]) -> bool:
        """The store has no room for these batches: write what the lanes have done from its reserve, trim what
        nobody needs, and try once more; whether that was written."""
        store = self.store
        try:
            store.mend([change for batch in batches for change in batch.changes if _mends(change)])
            for batch in batches:
                batch.changes = [change for change in batch.changes if not _mends(change)]
            for _ in range(MEND_TRIMS):
                if not self._trim_once():
                    break
            store.commit(batches)
        except StoreError as error:
            log.debug("the store cannot mend itself: %s", error)
            return False
        return True

    def end(self) -> None:
        """The store has failed for good: commit, sync and acknowledge nothing more."""
        self._ended = True
        self._waiting.clear()
        self._unacked.clear()
        self._stop_timers()

    def _stop_timers(self) -> None:
        for timer in (self._lazy, self._sync_timer, self._trim_timer, self._again_timer):
            if timer is not None:
                timer.cancel()

    def _offer_again(self) -> None:
        self._again_timer = None
        self._commit()

    def _goes_on(self) -> None:
        self.stalled = False
        if self._again_timer is not None:
            self._again_timer.cancel()
            self._again_timer = None
        if self._told:
            log.warning("the store writes again")
        for call in self.on_stall:
            call(False)

    def _trim(self) -> None:
        if self._trim_timer is not None:
            self._trim_timer.cancel()
            self._trim_timer = None
        self._untrimmed = 0
        if self.stalled:
            return  # rows that pin events are not in the store yet
        try:
            self._trim_once()
        except StoreError as error:  # the next commit meets the same cause and tells it
            log.debug("the log was not trimmed: %s", error)

    def _trim_once(self) -> int:
        low = self.low()
        return self.store.trim(self._open.number if low is None else low, 4 * TRIM_EVERY_BATCHES)

    def commit(self) -> None:
        """Commit now what is open, so that the store can be asked for it; it is synced as it would be."""
        self._end_turn()

    def flush(self) -> None:
        """Commit and sync now what is open; for start-up and shutdown."""
        self._commit()
        self._sync()

    def close(self) -> None:
        """Commit what is open, stop the timers and close the store."""
        if not self._ended:
            self.flush()
        if self.stalled:
            events = sum(len(batch.events) for batch in [*self._closed, self._open])
            log.error(
                "the store still refuses to write: %d events that were not acknowledged are lost, "
                "and what was delivered meanwhile may come twice",
                events,
            )
        self._stop_timers()
        self._ended = True
        self.store.close()

"""What a lane has begun and not settled, apart from the requests in flight.

* A failed event has a row (`Retry`) and waits in a heap for its due time; then it is read from the store.
* A lifecycle event whose client has an unsettled one before it is parked: in memory while that one is in
  flight (it is a hole of the cursor then), as a row while that one waits for a retry.
* `ready` and `due` are what the lane may send next.

Due times are wall-clock in the store and monotonic in here: a clock that jumps stretches no wait in a run,
and after a restart none beyond its step of the schedule.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from bridge.delivery.ordering import Order
from bridge.delivery.report import FailureLog
from bridge.events.event import MESSAGE_EVENTS, Event
from bridge.journal.batch import Change, Dead, Retry, Settle
from bridge.journal.store import LaneState, Store, StoreError

log = logging.getLogger(__name__)

MAX_HELD = 1000
"""Events parked in memory behind one that is in flight; more are parked as rows."""
FETCH = 16
"""Events of due retries, or of one client's parked events, that are read from the store at a time."""
AGAIN_S = 1.0
"""When the store could not be read: seconds until the next try."""

MESSAGES = frozenset(int(kind) for kind in MESSAGE_EVENTS)
"""The types of event that wait for nobody."""


class Outbox(Protocol):
    """What a lane needs of the journal."""

    store: Store

    def change(self, change: Change) -> None:
        """Join the next batch; it is committed soon, in one transaction with the lane's `cursor()`."""


class Row(msgspec.Struct, gc=False):
    """A retry row in memory, without its event. `first` is Unix ms of the first attempt, 0 before it."""

    seq: int
    attempt: int
    first: int
    key: str


class Retries:
    """The rows and parked events of one lane. `on_due` is called when something has become due.

    `on_row` is called when an event leaves the cursor for a row.
    """

    def __init__(
        self,
        lane: int,
        name: str,
        outbox: Outbox,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        failures: FailureLog,
        on_due: Callable[[], None],
        on_row: Callable[[], None],
    ) -> None:
        self.order = Order()
        self.rows: dict[int, Row] = {}
        self.due: deque[tuple[Row, Event]] = deque()
        # what goes first: events whose blocker was settled, and those that a crash had cut off
        self.ready: deque[tuple[int, Event, Row | None]] = deque()
        self.held: set[int] = set()  # parked in memory: unsettled, without a row
        self.unstored: list[int] = []  # got a row since the last commit
        self._heap: list[tuple[float, int]] = []  # (due in loop time, sequence) of rows that wait for a retry
        self._lane = lane
        self._name = name
        self._outbox = outbox
        self._store = outbox.store
        self._loop = loop
        self._clock = clock
        self._failures = failures
        self._on_due = on_due
        self._on_row = on_row
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def holes(self) -> list[int]:
        """The sequences in here that are unsettled and have no row."""
        return [*self.held, *(seq for seq, _, row in self.ready if row is None)]

    def restore(self, state: LaneState) -> None:
        """Take up what the store knows: what was in flight, and the rows. Raises StoreError."""
        self.held.clear()
        rows = {row.seq: row for row in self._store.retries(self._lane)}
        holes = [seq for seq in state.holes if seq not in rows]
        events = self._store.fetch(holes)
        now, wall = self._loop.time(), self._clock() * 1000
        for seq in sorted([*rows, *events]):  # ascending: the first unsettled event of a key blocks it
            stored = rows.get(seq)
            if stored is None:
                event = events[seq]
                if event.type in MESSAGES or not event.clientid or self.order.admit(event.clientid):
                    self.ready.append((seq, event, None))
                else:
                    self.order.queue(event.clientid).items.append((seq, event))
                    self.held.add(seq)
                continue
            row = self.rows[seq] = Row(seq, stored.attempt, stored.first if stored.attempt else 0, stored.key)
            if row.key and not self.order.admit(row.key):
                self.order.queue(row.key).items.append((seq, None))
                continue
            if row.key:
                self.order.queue(row.key).waiting = True
            wait = min(max(stored.due - wall, 0), stored.wait)
            heapq.heappush(self._heap, (now + wait / 1000, seq))
        self.take_due()

    def new_row(self, seq: int, key: str) -> Row:
        """An event leaves the cursor; the change that stores its row follows."""
        row = self.rows[seq] = Row(seq, 0, 0, key)
        self.unstored.append(seq)
        self._on_row()
        return row

    def again(self, seq: int, event: Event) -> None:
        """A settled event, or a dead letter, is to be sent again: it gets a row that is due now."""
        key = "" if event.type in MESSAGES else event.clientid
        self._park_row(seq, key, int(self._clock() * 1000))
        if key:
            admitted = self.order.admit(key)
            queue = self.order.queue(key)
            if not admitted:
                queue.items.append((seq, None))
                return
            queue.waiting = True
        heapq.heappush(self._heap, (self._loop.time(), seq))
        self._arm()

    def settle(self, row: Row) -> None:
        """A row's event was delivered."""
        del self.rows[row.seq]
        self._outbox.change(Settle(self._lane, row.seq))

    def stop(self) -> None:
        """No timer from now on."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def retry(self, row: Row, now: int, wait: int, error: str) -> None:
        """Try again in `wait` ms; what was parked behind it gets rows. `now` is Unix ms."""
        change = self._outbox.change
        change(Retry(self._lane, row.seq, row.attempt, now + wait, wait, row.first, row.key, error))
        heapq.heappush(self._heap, (self._loop.time() + wait / 1000, row.seq))
        self._arm()
        if row.key:
            queue = self.order.queue(row.key)
            queue.waiting = True
            for index, (seq, event) in enumerate(queue.items):
                if event is not None and seq in self.held:
                    self.held.discard(seq)
                    queue.items[index] = (seq, None)
                    self._park_row(seq, row.key, now)

    def bury(self, row: Row, now: int, error: str) -> None:
        """Make it a dead letter, and let those go on that were parked behind it."""
        if row.seq in self.unstored:  # a dead letter comes from a row
            self._outbox.change(Retry(self._lane, row.seq, row.attempt, now, 0, row.first, row.key, error))
        self._outbox.change(Dead(self._lane, row.seq, row.attempt, now, error))
        del self.rows[row.seq]
        if row.key:
            self.release(row.key)

    # -- order of one client's lifecycle events --------------------------------------------------------

    def park(self, seq: int, event: Event) -> None:
        """Keep a lifecycle event back until its client's earlier ones are settled."""
        key = event.clientid
        queue = self.order.queue(key)
        if queue.waiting or len(self.held) >= MAX_HELD:
            queue.items.append((seq, None))
            self._park_row(seq, key, int(self._clock() * 1000))
        else:
            queue.items.append((seq, event))
            self.held.add(seq)

    def _park_row(self, seq: int, key: str, now: int) -> None:
        self.new_row(seq, key)
        self._outbox.change(Retry(self._lane, seq, 0, now, 0, now, key, ""))

    def release(self, key: str) -> None:
        """A blocker is settled: the next of its client becomes ready."""
        while (queue := self.order.release(key)) is not None:
            items = queue.items
            if items[0][1] is None:
                seqs = [items[i][0] for i in range(min(FETCH, len(items))) if items[i][1] is None]
                events = self._fetch(seqs)
                if events is None:  # ask again later
                    seq = items.popleft()[0]
                    queue.waiting = True
                    heapq.heappush(self._heap, (self._loop.time() + AGAIN_S, seq))
                    self._arm()
                    return
                for i in range(min(FETCH, len(items))):
                    if items[i][1] is None:
                        items[i] = (items[i][0], events.get(items[i][0]))
            seq, event = items.popleft()
            if event is not None:
                self.held.discard(seq)
                self.ready.append((seq, event, self.rows.get(seq)))
                return
            self._gone(seq)

    # -- retries that are due --------------------------------------------------------------------------

    def _arm(self) -> None:
        """Have the timer run at the earliest due time that lies ahead."""
        if self._stopped or not self._heap:
            return
        due = self._heap[0][0]
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._retry_due)

    def _retry_due(self) -> None:
        self._timer = None
        if not self.due:  # else the lane comes for more when it has sent these
            self.take_due()
        self._on_due()

    def take_due(self) -> None:
        """Read the events of the next due retries. `due` is empty."""
        heap = self._heap
        now = self._loop.time()
        while heap and heap[0][0] <= now and not self.due:
            seqs: list[int] = []
            while heap and heap[0][0] <= now and len(seqs) < FETCH:
                seqs.append(heapq.heappop(heap)[1])
            events = self._fetch(seqs)
            if events is None:
                for seq in seqs:
                    heapq.heappush(heap, (now + AGAIN_S, seq))
                break
            for seq in seqs:
                event = events.get(seq)
                if event is not None:
                    self.due.append((self.rows[seq], event))
                else:
                    key = self.rows[seq].key
                    self._gone(seq)
                    if key:
                        self.release(key)
        if not self.due:
            self._arm()

    def _fetch(self, seqs: Sequence[int]) -> dict[int, Event] | None:
        """The events of rows; None if the store cannot be read now."""
        try:
            return self._store.fetch(seqs)
        except StoreError as error:
            self._failures.store(error)
            return None

    def _gone(self, seq: int) -> None:
        """A row whose event the store has no more; nothing can be sent for it."""
        log.error("webhook %s: the store has lost the event %x that was to be retried", self._name, seq)
        self.rows.pop(seq, None)
        self._outbox.change(Settle(self._lane, seq))

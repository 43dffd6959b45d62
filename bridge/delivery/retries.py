"""What a lane has begun and not settled, apart from the requests in flight.

* What failed has rows (`Retry`) and waits in a heap for its due time; then it is read from the store.
* An event whose key has an unsettled one before it is parked (`bridge.delivery.ordering`): in memory while
  that one is in flight (it is a hole of the cursor then), as a row while that one waits for a retry. At most
  `max_parked`, and `HELD_BYTES` in memory: then the lane stops at the next of them.
* `ready` and `due` are what the lane may send next. Where requests carry several events, `due` holds groups
  alone, and single events become `ready` for the next group.

Due times are wall-clock in the store and monotonic in here: a clock that jumps stretches no wait in a run,
and after a restart none beyond its step of the schedule.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Container, Sequence

from bridge.config.settings import AnyEndpoint
from bridge.delivery.ordering import KeyOf, Order, Queue, key_function
from bridge.delivery.report import FailureLog
from bridge.delivery.row_book import RowBook
from bridge.delivery.rows import Outbox, Row
from bridge.events.event import Event
from bridge.journal.batch import Retry
from bridge.journal.codec import event_size

MAX_HELD = 10_000
"""Events parked in memory behind one that is in flight; more are parked as rows."""
HELD_BYTES = 16 << 20
"""Their bytes; beyond it the lane stops until one of them goes."""
FETCH = 16
"""Events of due retries, or of one key's parked events, that are read from the store at a time."""
FETCH_BYTES = 1 << 20
"""Their bytes, but for the first."""
AGAIN_S = 1.0
"""When the store could not be read: seconds until the next try."""


class Retries(RowBook):
    """The rows and parked events of one lane. `on_due` is called when something has become due.

    `on_row` is called when the cursor has to be committed together with a change.
    """

    def __init__(
        self,
        lane: int,
        endpoint: AnyEndpoint,
        outbox: Outbox,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        failures: FailureLog,
        on_due: Callable[[], None],
        on_row: Callable[[], None],
    ) -> None:
        super().__init__(lane, endpoint.name, outbox, failures, on_row)
        self.order = Order()
        self.key_of: KeyOf = key_function(endpoint.ordering)
        self.parked = 0  # events behind a blocked key
        self.due: deque[tuple[Row, list[Event]]] = deque()
        # events whose blocker was settled, and those that a crash had cut off
        self.ready: deque[tuple[int, Event, Row | None]] = deque()
        self.held: set[int] = set()  # parked in memory: unsettled, without a row
        self.held_bytes = 0
        self.heap: list[tuple[float, int]] = []  # (due in loop time, number) of rows that wait for a retry
        self.loop = loop
        self.clock = clock
        self.groups = endpoint.batch is not None
        # with one key for all, nothing behind it could go on: it waits in the log instead
        self._max_parked = 0 if endpoint.ordering == "endpoint" else endpoint.max_parked
        self._on_due = on_due
        self._timer: asyncio.TimerHandle | None = None
        self._probed = 0  # the last row that went out before it was due
        self._stopped = False

    @property
    def retrying(self) -> int:
        """Events with a row that are not parked."""
        return self.count - (self.parked - len(self.held))

    @property
    def any(self) -> bool:
        """Whether there is anything in here that is not settled and stored."""
        return bool(
            self.count or self.parked or self.ready or self.due or self.frozen or self.held or self.unstored
        )

    def holes(self) -> list[int]:
        """The sequences in here that are unsettled and have no row."""
        holes = [*self.held, *(seq for seq, _, row in self.ready if row is None)]
        for row in self.frozen.values():
            holes += [seq for seq in row.seqs if seq not in row.rowed] if row.rowed else row.seqs
        return holes

    def stop(self) -> None:
        """No timer from now on."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- rows that wait --------------------------------------------------------------------------------

    def again(self, seq: int, event: Event) -> None:
        """A settled event, or a dead letter, is to be sent again: it gets a row that is due now."""
        key = self.key_of(event)
        self._park_row(seq, key, event_size(event), int(self.clock() * 1000))
        if key:
            admitted = self.order.admit(key)
            queue = self.order.queue(key)
            if not admitted:
                queue.items.append((seq, None))
                self.parked += 1
                return
            queue.waiting = True
        heapq.heappush(self.heap, (self.loop.time(), seq))
        self._arm()

    def retry(self, row: Row, now: int, wait: int, error: str) -> None:
        """Try again in `wait` ms; what was parked behind it gets rows. `now` is Unix ms."""
        self.failed(row, now, wait, error)
        self.wait(row, self.loop.time() + wait / 1000)

    def wait(self, row: Row, due: float) -> None:
        """Have a row wait until `due` (loop time); what was parked behind it in memory gets rows."""
        heapq.heappush(self.heap, (due, row.seq))
        self._arm()
        for key in row.blocked():
            queue = self.order.queue(key)
            queue.waiting = True
            if not self.held:
                continue
            now = int(self.clock() * 1000)
            for index, (seq, event) in enumerate(queue.items):
                if event is not None and seq in self.held:
                    self._unhold(seq, event)
                    queue.items[index] = (seq, None)
                    self._park_row(seq, key, event_size(event), now)

    def bury(self, row: Row, now: int, error: str) -> None:
        """Make its events dead letters, and let those go on that were parked behind them."""
        super().bury(row, now, error)
        self._release_all(row)

    def present(self, row: Row, events: dict[int, Event]) -> list[Event]:
        """See `RowBook`; where nothing is left, those go on that were parked behind it."""
        found = super().present(row, events)
        if not found:
            self._release_all(row)
        return found

    def _release_all(self, row: Row) -> None:
        for key in row.blocked():
            self.release(key)

    # -- order -----------------------------------------------------------------------------------------

    def may_park(self, key: str, size: int) -> bool:
        """Whether an event of a blocked key has room."""
        if self.parked >= self._max_parked:
            return False
        return self.held_bytes + size <= HELD_BYTES or not self.held or self.order.waiting(key)

    def park(self, seq: int, event: Event, key: str) -> None:
        """Keep an event back until its key's earlier ones are settled."""
        queue = self.order.queue(key)
        self.parked += 1
        if queue.waiting or len(self.held) >= MAX_HELD:
            queue.items.append((seq, None))
            self._park_row(seq, key, event_size(event), int(self.clock() * 1000))
        else:
            self.hold(queue, seq, event)

    def hold(self, queue: Queue, seq: int, event: Event) -> None:
        """Park an event in memory."""
        queue.items.append((seq, event))
        self.held.add(seq)
        self.held_bytes += event_size(event)

    def _unhold(self, seq: int, event: Event) -> None:
        self.held.discard(seq)
        self.held_bytes -= event_size(event)

    def _park_row(self, seq: int, key: str, size: int, now: int) -> None:
        self.new_row(seq, key, size)
        self.outbox.change(Retry(self.lane, seq, 0, now, 0, now, key, ""))

    def release(self, key: str) -> None:
        """A blocker is settled: the next of its key becomes ready."""
        while (queue := self.order.release(key)) is not None:
            item = self._next(queue)
            if item is None:  # the store cannot be read: ask again later
                seq = queue.items.popleft()[0]
                self.parked -= 1
                queue.waiting = True
                heapq.heappush(self.heap, (self.loop.time() + AGAIN_S, seq))
                self._arm()
                return
            seq, event, row = item
            if event is not None:
                self.ready.append((seq, event, row))
                return
            self._gone(seq)

    def follow(self, key: str) -> tuple[int, Event, Row | None] | None:
        """The next parked event of a key, to go in one request with its blocker; None if there is none."""
        while (queue := self.order.parked(key)) is not None:
            item = self._next(queue)
            if item is None:
                return None
            seq, event, row = item
            if event is not None:
                return seq, event, row
            self._gone(seq)
        return None

    def _next(self, queue: Queue) -> tuple[int, Event | None, Row | None] | None:
        """Take a queue's first item, with its event; None, and it stays, if the store cannot be read."""
        items = queue.items
        if items[0][1] is None:
            found = [items[i][0] for i in range(min(FETCH, len(items))) if items[i][1] is None]
            seqs = self._within(found)
            events = self.fetch(seqs)
            if events is None:
                return None
            for index in range(min(FETCH, len(items))):
                seq = items[index][0]
                if items[index][1] is None and seq in events:
                    items[index] = (seq, events[seq])
        seq, event = items.popleft()
        self.parked -= 1
        if event is not None and seq in self.held:
            self._unhold(seq, event)
        return seq, event, self.rows.get(seq)

    def _within(self, numbers: Sequence[int]) -> list[int]:
        """The first of these rows, as many as may be read at a time."""
        size = 0
        for index, number in enumerate(numbers):
            row = self.rows.get(number)
            size += row.size if row is not None else 0
            if size > FETCH_BYTES and index:
                return list(numbers[:index])
        return list(numbers)

    # -- retries that are due --------------------------------------------------------------------------

    def _arm(self) -> None:
        """Have the timer run at the earliest due time that lies ahead."""
        if self._stopped or not self.heap:
            return
        due = self.heap[0][0]
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        # At least a millisecond: for less uvloop makes no timer, but a handle without `when`.
        self._timer = self.loop.call_later(max(due - self.loop.time(), 0.001), self._retry_due)

    def _retry_due(self) -> None:
        self._timer = None
        if not self.due:  # else the lane comes for more when it has sent these
            self.take_due()
        self._on_due()

    def take_due(self) -> None:
        """Read the events of the next retries that are due. `due` is empty."""
        heap = self.heap
        now = self.loop.time()
        while heap and heap[0][0] <= now and not self.due:
            if self.groups and len(self.ready) >= FETCH:
                return  # the next group takes them, and asks for more
            numbers: list[int] = []
            size = 0
            while heap and heap[0][0] <= now and len(numbers) < FETCH:
                size += self.rows[heap[0][1]].size
                if size > FETCH_BYTES and numbers:
                    break
                numbers.append(heapq.heappop(heap)[1])
            if not self._load(numbers, now):
                break
        if not self.due:
            self._arm()

    def _load(self, numbers: Sequence[int], now: float) -> bool:
        """Put rows with their events into `due`; False, and they wait, if the store cannot be read."""
        rows = [self.rows[number] for number in numbers]
        events = self.fetch([seq for row in rows for seq in row.seqs])
        if events is None:
            for number in numbers:
                heapq.heappush(self.heap, (now + AGAIN_S, number))
            return False
        for row in rows:
            found = self.present(row, events)
            if not found:
                continue
            if self.groups and not row.group:
                self._sending(row)
                self.ready.append((row.seq, found[0], row))
            else:
                self.due.append((row, found))
        return True

    def more(self) -> None:
        """`ready` has room again."""
        if not self.due and not self._stopped:
            self.take_due()

    def take(self) -> tuple[Row, list[Event]]:
        """The next due row, to be sent now."""
        item = self.due.popleft()
        self._sending(item[0])
        if not self.due:
            self.take_due()
        return item

    def _sending(self, row: Row) -> None:
        for key in row.blocked():
            self.order.in_flight(key)

    def take_early(self) -> tuple[Row, list[Event], float] | None:
        """A row that is not due yet, another one each time, and when it is; None if there is none.

        A single event where groups are sent becomes `ready` instead.
        """
        heap = self.heap
        if not heap:
            return None
        last = self._probed
        index = min(range(len(heap)), key=lambda i: (heap[i][1] <= last, heap[i][1]))
        due, number = heap[index]
        self._probed = number
        row = self.rows[number]
        events = self.fetch(row.seqs)
        if events is None:
            return None
        heap[index] = heap[-1]
        heap.pop()
        heapq.heapify(heap)
        found = self.present(row, events)
        if not found:
            return None
        self._sending(row)
        if self.groups and not row.group:
            self.ready.append((row.seq, found[0], row))
            return None
        return row, found, due

    def all_due(self) -> None:
        """Let nothing wait any longer, the oldest first."""
        now = self.loop.time()
        self.heap[:] = [(now, number) for number in sorted(number for _, number in self.heap)]
        if not self.due:
            self.take_due()

    def _place(self, seq: int) -> int | None:
        """Where in the heap the row stands that an event waits in."""
        for index, (_, number) in enumerate(self.heap):
            row = self.rows.get(number)
            if number == seq or (row is not None and seq in row.seqs):
                return index
        return None

    def due_of(self, seq: int) -> tuple[Row, float] | None:
        """The row that an event waits in, and when it is due (loop time); None where it waits for no time."""
        index = self._place(seq)
        return None if index is None else (self.rows[self.heap[index][1]], self.heap[index][0])

    def hurry_some(self, seqs: Container[int]) -> set[int]:
        """Let these events, and their groups, wait no longer; which events that were."""
        now = self.loop.time()
        found: set[int] = set()
        for index, (_, number) in enumerate(self.heap):
            row = self.rows[number]
            if number in seqs or any(seq in seqs for seq in row.seqs):
                self.heap[index] = (now, number)
                found.update(row.seqs)
        if found:
            heapq.heapify(self.heap)
            if not self.due:
                self.take_due()
        return found

    def waits(self, seq: int) -> bool:
        """Whether an event, or a group of that number, waits for its due time."""
        return self._place(seq) is not None

    def hurry(self, seq: int) -> None:
        """Let an event, or its group, wait no longer."""
        index = self._place(seq)
        if index is not None:
            self.heap[index] = (self.loop.time(), self.heap[index][1])
            heapq.heapify(self.heap)
            if not self.due:
                self.take_due()

    def _gone(self, seq: int) -> None:
        """A parked event that the store has no more."""
        self._lost(seq)
        row = self.rows.get(seq)
        if row is not None:
            self.settle(row)

"""One endpoint's way through the log: what is sent, what waits, what is tried again, what is given up.

* Fresh events go out in ascending sequence. A success costs no row: the cursor says what is settled.
* A failed event leaves the cursor for a retry row; after its last attempt it becomes a dead letter. At most
  `MAX_RETRYING` rows: then no fresh event is taken, and the rest waits in the log.
* Lifecycle events of one client keep their order (`bridge.delivery.ordering`); messages wait for nobody.
* While fresh events and due retries both wait they take turns.
"""

from __future__ import annotations

import asyncio
import logging
import random as _random
import time
from collections.abc import Callable, Iterable, Sequence

from bridge.config.settings import Endpoint
from bridge.delivery.attempts import AttemptSink
from bridge.delivery.backlog import Backlog
from bridge.delivery.bounds import Bounds
from bridge.delivery.connect import Network
from bridge.delivery.egress import Trust
from bridge.delivery.http import Connection
from bridge.delivery.oauth2 import make_token_source
from bridge.delivery.pool import Pool
from bridge.delivery.report import FailureLog
from bridge.delivery.retries import MESSAGES, Outbox, Retries, Row
from bridge.delivery.retry import GiveUp, Outcome, RetryAt, decide
from bridge.delivery.signing import SigningError
from bridge.delivery.target import Target
from bridge.events.event import Event
from bridge.events.formats import BodyCounts, make_formatter
from bridge.journal.batch import INDEX_BITS, Cursor
from bridge.journal.store import LaneState, StoreError

log = logging.getLogger(__name__)

MAX_RETRYING = 10_000
"""Retry and parked rows of one lane."""
TICK_S = 1.0
ERROR_TEXT = 200
"""Characters of an error that a row keeps."""


class Lane:
    """One endpoint; raises EndpointError if it cannot work as configured. For the loop's thread only.

    `on_dirty` is called when the cursor has something new to commit; the journal then asks `cursor()` at its
    next commit. `on_full(full)` is called when an endpoint with `on_full = refuse` passes its bound, and
    again when there is room. `network` is what all endpoints share: egress guard and resolver; `trust` says
    whose endpoint it is.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        state: LaneState,
        outbox: Outbox,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = _random.random,
        network: Network | None = None,
        trust: Trust = "operator",
    ) -> None:
        self.id = state.id
        self.endpoint = endpoint
        self.dirty = False
        self.on_dirty: Callable[[], None] | None = None
        self.delivered = 0
        self.failed = 0  # attempts
        self.dead = state.dead  # dead letters
        self.attempts: AttemptSink | None = None  # told of every attempt
        self.body_counts = BodyCounts()
        self.target = Target(endpoint, outbox.store.id)
        for warning in self.target.warnings:
            log.warning("%s", warning)
        network = network if network is not None else Network(loop)
        connector = network.connector(self.target, name=endpoint.name, proxy=endpoint.proxy, trust=trust)
        self.pool = Pool(
            *(self.target, endpoint.pool_size, endpoint.cancel_timeout / 1000, loop),
            clock=clock,
            connector=connector,
        )
        self.pool.on_success = self._succeeded
        self.pool.on_failure = self._failed
        self.pool.on_free = self.pump
        self._tokens = make_token_source(endpoint, self.target, network, loop, trust=trust)
        if self._tokens is not None:
            self._tokens.on_token = self._authorized
        self._state = state
        self._loop = loop
        self._clock = clock
        self._random = random
        self._format = make_formatter(endpoint, self.body_counts)
        self._backlog = Backlog(state.id, outbox.store, state.position)
        self.bounds = Bounds(endpoint, self._backlog, loop, clock)
        self._failures = FailureLog(self.target.label, loop)
        self._retries = Retries(
            *(self.id, endpoint.name, outbox, loop, clock, self._failures, self.pump, self._touch)
        )
        self._retries.held.update(state.holes)  # until `start` takes them up
        self._ready = self._retries.ready
        self._due = self._retries.due
        self._rows = self._retries.rows
        self._retries_turn = False
        self._pump_booked = False
        self._stopping = True  # until start
        self._drained: asyncio.Future[None] | None = None
        self._tick_timer: asyncio.TimerHandle | None = None

    # -- what is known about it ------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.endpoint.name

    @property
    def state(self) -> str:
        """In one word what is to be known of it first."""
        return "full" if self.full else "on"

    @property
    def backlog_events(self) -> int:
        """Fresh events that wait; those in flight and those with a row are not among them."""
        return self._backlog.events

    @property
    def backlog_bytes(self) -> int:
        return self._backlog.bytes

    @property
    def in_flight(self) -> int:
        return self.pool.in_flight

    @property
    def retrying(self) -> int:
        """Rows: events that wait for a retry, are being retried, or are parked behind one."""
        return len(self._rows)

    @property
    def behind(self) -> bool:
        """Whether the lane reads the log from disk."""
        return self._backlog.behind

    @property
    def full(self) -> bool:
        """Whether new publishes are to be turned away for this endpoint (`on_full = refuse`)."""
        return self.bounds.full

    @property
    def expired(self) -> int:
        """Events given up because of the backlog's bounds."""
        return self.bounds.expired

    @property
    def on_full(self) -> Callable[[bool], None] | None:
        return self.bounds.on_full

    @on_full.setter
    def on_full(self, call: Callable[[bool], None] | None) -> None:
        self.bounds.on_full = call

    @property
    def oldest_ts(self) -> int | None:
        """Unix ms of the oldest event in flight or waiting in memory for its first attempt."""
        times = [c.event.ts for c in self.pool.connections if c.busy]
        if self._backlog.fresh:
            times.append(self._backlog.fresh[0][1].ts)
        return min(times, default=None)

    def _unsettled(self) -> list[int]:
        """The dispatched sequences that the cursor has as holes, in no order."""
        holes = [c.seq for c in self.pool.connections if c.busy and c.row is None]
        holes += self._retries.holes()
        return holes

    def cursor(self) -> Cursor:
        """The lane's progress, for the commit that takes it together with all changes told so far."""
        self.dirty = False
        self._retries.unstored.clear()
        return Cursor(self.id, self._backlog.position, sorted(self._unsettled()))

    def low_batch(self) -> int | None:
        """The lowest batch that this lane still needs in the log; None if it needs none."""
        needed = self._unsettled()
        needed += self._retries.unstored
        if self._backlog.waiting:
            needed.append(self._backlog.position)
        return min(needed) >> INDEX_BITS if needed else None

    # -- in and out ------------------------------------------------------------------------------------

    def push(self, first_seq: int, events: Sequence[Event]) -> None:
        """Take from just committed events those that are for this lane; `first_seq` is the first one's."""
        own = self.id
        self.take(
            [(seq, event) for seq, event in enumerate(events, first_seq) if own in event.targets],
            first_seq + len(events),
        )

    def take(self, items: Sequence[tuple[int, Event]], end: int) -> None:
        """Take this lane's just committed events; every event below the sequence `end` was offered."""
        self._backlog.push(items, end)
        try:
            if self.bounds.check_bytes():
                self._touch()
        except StoreError as error:
            self._failures.store(error)

    def start(self) -> None:
        """Begin to send: what was in flight, the retries, then the log from the cursor's position on.

        Raises StoreError.
        """
        self._retries.restore(self._state)
        self._stopping = False
        self._tick_timer = self._loop.call_later(TICK_S, self._tick)
        if self._tokens is not None:
            self._tokens.start()
        self.pump()

    def pump(self) -> None:
        """Send as much as the free connections allow."""
        if self._stopping or not (self._ready or self._due or self._backlog.fresh or self._backlog.behind):
            return
        pool = self.pool
        while True:
            connection = pool.free()
            if connection is None:
                return
            if not self._feed(connection):
                pool.release(connection)
                return

    async def stop(self, deadline: float) -> None:
        """Send nothing new, wait until `deadline` (loop time) for requests in flight, close the connections.

        What is unsettled then is a hole of the cursor and comes again after a restart, with the same id.
        """
        self._stopping = True
        if self._tokens is not None:
            self._tokens.close()
        self._retries.stop()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
            self._tick_timer = None
        if self.pool.in_flight:
            self._drained = self._loop.create_future()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._drained
            except TimeoutError:
                log.warning(
                    "webhook %s: %d requests without an answer, they come again at the next start",
                    self.name,
                    self.pool.in_flight,
                )
        # what was cut off keeps its place as a hole, for the cursor of the last commit
        self._retries.held.update(self._unsettled())
        self._ready.clear()
        self.pool.close()
        self._failures.flush()
        self._touch()

    # -- sending ---------------------------------------------------------------------------------------

    def _feed(self, connection: Connection) -> bool:
        """Send the next request on a free connection; False if there is none, or no token to send it with."""
        if self._tokens is not None and not self._tokens.ready():
            return False
        backlog = self._backlog
        fresh = backlog.fresh
        while True:
            row: Row | None = None
            blocked = len(self._rows) >= MAX_RETRYING
            if self._ready:
                seq, event, row = self._ready.popleft()
            elif self._due and (self._retries_turn or blocked or not fresh):
                self._retries_turn = False
                row, event = self._due.popleft()
                seq = row.seq
                if row.key:
                    self._retries.order.in_flight(row.key)
                if not self._due:
                    self._retries.take_due()
            elif blocked or not (fresh or (backlog.behind and self._refill())):
                return False
            else:
                seq, event, size = fresh.popleft()
                backlog.memory_bytes -= size
                self._retries_turn = True
                if (
                    event.type not in MESSAGES
                    and event.clientid
                    and not self._retries.order.admit(event.clientid)
                ):
                    self._retries.park(seq, event)
                    continue
            try:
                body = self._format(event)
            except Exception as error:
                self._unsendable(seq, event, row, error)
                continue
            connection.event = event
            connection.row = row
            try:
                connection.send(seq, 1 if row is None else row.attempt + 1, body)
            except SigningError as error:
                self._unsendable(seq, event, row, error)
                continue
            return True

    def _unsendable(self, seq: int, event: Event, row: Row | None, error: Exception) -> None:
        """No request could be made of an event: a fault of our own."""
        outcome = Outcome(error="body", text=str(error))
        if self.attempts is not None:
            self.attempts.unsent(seq, 1 if row is None else row.attempt + 1, event, outcome)
        self._settle_failure(seq, event, row, outcome)

    def _authorized(self) -> None:
        """A new token has come."""
        if self._tokens is not None and self._tokens.value is not None:
            self.pool.authorize(self._tokens.value)
            self.pump()

    def _refill(self) -> bool:
        try:
            found = self._backlog.refill()
        except StoreError as error:
            self._failures.store(error)  # the next tick asks again
            return False
        if not found and self._backlog.behind and not self._pump_booked:
            self._pump_booked = True  # a long part of the log has nothing for this lane: let others run
            self._loop.call_soon(self._pump_again)
        return found

    def _pump_again(self) -> None:
        self._pump_booked = False
        self.pump()

    def _go_on(self, connection: Connection) -> None:
        """After an outcome: the next request on this connection, or on those that are free."""
        if self._stopping:
            self.pool.release(connection)
            if self._drained is not None and not self._drained.done() and not self.pool.in_flight:
                self._drained.set_result(None)
        elif not connection.open:
            self.pump()
        elif not self._feed(connection):
            self.pool.release(connection)

    def _touch(self) -> None:
        if not self.dirty:
            self.dirty = True
            if self.on_dirty is not None:
                self.on_dirty()

    # -- outcomes --------------------------------------------------------------------------------------

    def _succeeded(self, connection: Connection) -> None:
        event: Event = connection.event
        row: Row | None = connection.row
        if self.attempts is not None:
            self.attempts.succeeded(connection)
        self._delivered(event, row)
        if not self._stopping and connection.open:
            if not self._feed(connection):
                self.pool.release(connection)
        else:
            self._go_on(connection)

    def _delivered(self, event: Event, row: Row | None) -> None:
        self.delivered += 1
        if row is not None:
            self._retries.settle(row)
        elif not self.dirty:
            self._touch()
        if event.type not in MESSAGES and event.clientid:
            self._retries.release(event.clientid)

    def _failed(self, connection: Connection, outcome: Outcome) -> None:
        if outcome.status == 401 and self._tokens is not None:
            latest = connection.request.startswith(self.pool.head)
            if self._tokens.refused(latest=latest):  # the same attempt, with the next token
                self._ready.appendleft((connection.seq, connection.event, connection.row))
                self._go_on(connection)
                return
        if self.attempts is not None:
            self.attempts.failed(connection, outcome)
        self._settle_failure(connection.seq, connection.event, connection.row, outcome)
        self._go_on(connection)

    def _settle_failure(self, seq: int, event: Event, row: Row | None, outcome: Outcome) -> None:
        self.failed += 1
        now = int(self._clock() * 1000)
        if row is None:
            key = "" if event.type in MESSAGES else event.clientid
            row = self._retries.new_row(seq, key)
        row.attempt += 1
        row.first = row.first or now
        decision = decide(row.attempt, outcome, now_ms=now, first_ms=row.first, random=self._random())
        error = str(outcome)[:ERROR_TEXT]
        if isinstance(decision, RetryAt):
            self._failures.note(outcome)
            self._retries.retry(row, now, decision.wait_ms, error)
        elif isinstance(decision, GiveUp):
            self._failures.dead(seq, decision.reason)
            self.dead += 1
            self._retries.bury(row, now, error)
        else:  # the policy takes it for a success
            self._delivered(event, row)

    # -- sending again by hand -------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more rows it may have."""
        return MAX_RETRYING - len(self._rows)

    def under_way(self, seqs: Iterable[int]) -> set[int]:
        """Those of these events that have a row, are being sent, or wait for their turn."""
        position = self._backlog.position
        unsettled = set(self._unsettled())
        return {seq for seq in seqs if seq >= position or seq in self._rows or seq in unsettled}

    def replay(self, items: Sequence[tuple[int, Event]]) -> list[int]:
        """Send settled or dead events again, with their ids, as if for the first time.

        Each gets a row that is due now, so that it survives a restart; those under way already are left out.
        Returns the sequences that were taken. The caller keeps to `room`.
        """
        skipped = self.under_way([seq for seq, _ in items])
        taken = [(seq, event) for seq, event in items if seq not in skipped]
        for seq, event in taken:
            self._retries.again(seq, event)
        return [seq for seq, _ in taken]

    # -- once a second ---------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._tick_timer = self._loop.call_later(TICK_S, self._tick)
        self._failures.flush()
        try:
            if self.bounds.check_age() | self.bounds.check_bytes():
                self._touch()
        except StoreError as error:
            self._failures.store(error)
        self.pump()

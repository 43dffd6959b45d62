"""One endpoint's way through the log: what is sent, what waits, what is tried again, what is given up.

* Fresh events go out in ascending sequence. A success costs no row: the cursor says what is settled.
* A failed event leaves the cursor for a retry row; after its last attempt it becomes a dead letter. At most
  `MAX_RETRYING` rows, which pin at most `backlog.max_bytes`: then no fresh event is taken, and the rest waits
  in the log.
* What must keep its order waits for its turn (`bridge.delivery.ordering`).
* While fresh events and what has waited longer (retries, parked events) both wait they take turns.
* Whether a request may go out now is the gate's to say (`bridge.delivery.gate`), while it is `strict`.
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
from bridge.delivery.batching import Batcher
from bridge.delivery.bounds import Bounds
from bridge.delivery.connect import Network
from bridge.delivery.egress import Trust
from bridge.delivery.health import Health, OnChange
from bridge.delivery.http import Connection
from bridge.delivery.oauth2 import make_token_source
from bridge.delivery.pool import Pool
from bridge.delivery.report import FailureLog
from bridge.delivery.restoring import restore
from bridge.delivery.retries import MESSAGES, Outbox, Retries, Row
from bridge.delivery.retry import GiveUp, Outcome, RetryAt, decide, make_policy
from bridge.delivery.signing import SigningError
from bridge.delivery.target import Target
from bridge.events.event import Event
from bridge.events.formats import BodyCounts, make_formatter
from bridge.journal.batch import INDEX_BITS, Cursor
from bridge.journal.codec import event_size
from bridge.journal.store import LaneState, StoreError

log = logging.getLogger(__name__)

MAX_RETRYING = 10_000
"""Events of one lane that are between two attempts, beside those that are parked behind them."""
TICK_S = 1.0
ERROR_TEXT = 200
"""Characters of an error that a row keeps."""
MANY_HOLES = 1000
"""So many events parked in memory make a cursor long: then it is stored at most once in `LAZY_CURSOR_S`."""
LAZY_CURSOR_S = 0.1
UNSIGNED_PAUSE_S = 1.0
"""After a request that could not be signed: seconds until the next is begun."""


class Lane:
    """One endpoint; raises EndpointError if it cannot work as configured. For the loop's thread only.

    `on_dirty` is called when the cursor has something new to commit; the journal then asks `cursor()` at its
    next commit. `on_full(full)` is called when an endpoint with `on_full = refuse` passes its bound, and
    again when there is room; `on_health` is an `OnChange`. `network` is what all endpoints share: egress
    guard and resolver; `trust` says whose endpoint it is.
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
        self.policy = make_policy(endpoint)
        self.body_counts = BodyCounts()
        self.target = Target(endpoint, outbox.store.id)
        for warning in self.target.warnings:
            log.warning("%s", warning)
        network = network if network is not None else Network(loop)
        connector = network.connector(self.target, name=endpoint.name, proxy=endpoint.proxy, trust=trust)
        size = endpoint.pool_size
        if endpoint.max_in_flight is not None and endpoint.batch is None:
            size = min(size, endpoint.max_in_flight)
        self.pool = Pool(
            *(self.target, size, endpoint.cancel_timeout / 1000, loop),
            clock=clock,
            connector=connector,
            success=self.policy.success,
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
            *(self.id, endpoint, outbox, loop, clock, self._failures, self.pump, self._touch)
        )
        self._health = Health(self.id, endpoint, outbox, loop, clock, random, size)
        self._gate = self._health.gate
        self.bounds.refusing(on=not self._health.off)
        self._keyed = endpoint.ordering != "none"  # messages have an order too
        self._key_of = self._retries.key_of
        self._max_pinned = endpoint.backlog.max_bytes
        self._batcher: Batcher | None = None
        if endpoint.batch is not None:
            self._batcher = Batcher(
                *(endpoint, self._retries, self._backlog, self._format, self._refill, self._no_item),
                *(self.pump, loop),
            )
        # An age is told by the lesser of two clocks: one that leaps forward makes nothing old at once.
        self._run_ms = int((clock() - loop.time()) * 1000)
        self._retries.held.update(state.holes)  # until `start` takes them up
        self._ready = self._retries.ready
        self._due = self._retries.due
        self._late_turn = False
        self._early_due = 0.0  # of the row that is out as a probe
        self._pump_booked = False
        self._stopping = True  # until start
        self._drained: asyncio.Future[None] | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._wake_timer: asyncio.TimerHandle | None = None
        self._touch_timer: asyncio.TimerHandle | None = None

    # -- what is known about it ------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.endpoint.name

    @property
    def state(self) -> str:
        """In one word what is to be known of it first: off, failing, full, slow or on."""
        state = self._health.state
        return "full" if self.full and state in ("on", "slow") else state

    @property
    def health(self) -> Health:
        """Whether it is off, failing, for how long, and why."""
        return self._health

    @property
    def on_health(self) -> OnChange | None:
        return self._health.on_change

    @on_health.setter
    def on_health(self, call: OnChange | None) -> None:
        self._health.on_change = call

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
        return self._retries.count

    @property
    def pinned_bytes(self) -> int:
        """Bytes of the events that have a row."""
        return self._retries.bytes

    @property
    def shown_failed(self) -> int:
        """Events that show as failed though they are tried again (`retry.schedule = mes`)."""
        if self.policy.failed_from is None:
            return 0
        rows = self._retries.rows.values()
        return sum(len(row.seqs) for row in rows if self.policy.shows_failed(row.attempt))

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
        return Cursor(self.id, self._backlog.position, sorted(set(self._unsettled())))

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
        health = self._health
        restore(
            *(self._retries, self._state),
            recovered_at=health.recovered_at,
            reordered=health.reordered(),
        )
        if health.off:
            log.warning("webhook %s: switched off, nothing is sent: %s", self.name, health.off)
        self._stopping = False
        self._tick_timer = self._loop.call_later(TICK_S, self._tick)
        if self._tokens is not None:
            self._tokens.start()
        self.pump()

    def pump(self) -> None:
        """Send as much as the free connections and the gate allow."""
        if self._stopping:
            return
        if self._batcher is not None:
            self._batcher.gather(self._slots(), blocked=self._blocked())
        if self._gate.strict:
            self._pump_strictly()
            return
        if self._batcher is None and not (
            self._ready or self._due or self._backlog.fresh or self._backlog.behind
        ):
            return
        pool = self.pool
        while True:
            connection = pool.free()
            if connection is None:
                return
            if not self._feed(connection):
                pool.release(connection)
                return

    def _pump_strictly(self) -> None:
        """`pump` while the gate holds something back."""
        gate, pool = self._gate, self.pool
        while True:
            wait = gate.wait(self._loop.time(), pool.in_flight)
            if wait is None:
                return
            if wait > 0:
                self._wake_in(wait)
                return
            connection = pool.free()
            if connection is None:
                return
            early = False
            if not self._feed(connection):
                early = gate.breaker.open and self._feed_early(connection)
                if not early:
                    pool.release(connection)
                    return
            gate.sent(connection.seq, early=early)

    def _slots(self) -> int:
        """How many requests may begin now."""
        in_flight = self.pool.in_flight
        if not self._gate.strict:
            return self.pool.size - in_flight
        if self._gate.wait(self._loop.time(), in_flight) != 0:
            return 0
        return 1 if self._gate.breaker.open else self._gate.pace.limit - in_flight

    def _wake_in(self, seconds: float) -> None:
        """Pump then."""
        at = self._loop.time() + seconds
        if self._wake_timer is not None:
            if self._wake_timer.when() <= at:
                return
            self._wake_timer.cancel()
        # At least a millisecond: for less uvloop makes no timer, but a handle without `when`.
        self._wake_timer = self._loop.call_later(max(seconds, 0.001), self._woken)

    def _woken(self) -> None:
        self._wake_timer = None
        self.pump()

    async def stop(self, deadline: float) -> None:
        """Send nothing new, wait until `deadline` (loop time) for requests in flight, close the connections.

        What is unsettled then is a hole of the cursor and comes again after a restart, with the same id.
        """
        self._stopping = True
        if self._tokens is not None:
            self._tokens.close()
        self._retries.stop()
        if self._batcher is not None:
            self._batcher.stop()
        for timer in (self._tick_timer, self._wake_timer, self._touch_timer):
            if timer is not None:
                timer.cancel()
        self._tick_timer = self._wake_timer = self._touch_timer = None
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
        self._retries.frozen.clear()
        self.pool.close()
        self._failures.flush()
        self._touch()

    # -- sending ---------------------------------------------------------------------------------------

    def _feed(self, connection: Connection) -> bool:
        """Send the next request on a free connection; False if there is none, or no token to send it with."""
        if self._tokens is not None and not self._tokens.ready():
            return False
        if self._batcher is not None:
            return self._feed_group(connection, self._batcher)
        backlog = self._backlog
        fresh = backlog.fresh
        retries = self._retries
        blocked = False
        while True:
            row: Row | None = None
            if retries.count >= MAX_RETRYING or retries.bytes >= self._max_pinned:
                blocked = blocked or self._blocked()
            if (self._ready or self._due) and (
                self._late_turn or blocked or not (fresh or (backlog.behind and self._refill()))
            ):
                self._late_turn = False
                if self._ready:
                    seq, event, row = self._ready.popleft()
                else:
                    row, events = retries.take()
                    seq, event = row.seq, events[0]
            elif blocked or not (fresh or (backlog.behind and self._refill())):
                return False
            else:
                item = fresh.popleft()
                seq, event, size = item
                self._late_turn = True
                if self._keyed or event.type not in MESSAGES:
                    key = self._key_of(event)
                    if key and not retries.order.admit(key):
                        if retries.may_park(key, size):
                            backlog.memory_bytes -= size
                            retries.park(seq, event, key)
                        else:  # the lane stops here; what has begun goes on
                            fresh.appendleft(item)
                            blocked = True
                        continue
                backlog.memory_bytes -= size
            try:
                body = self._format(event)
            except Exception as error:
                self._unsendable(seq, event, row, Outcome(error="body", text=str(error)))
                continue
            connection.event = event
            connection.row = row
            try:
                connection.send(seq, 1 if row is None else row.attempt + 1, body)
            except SigningError as error:
                self._unsigned(seq, event, row, error)
                return False
            return True

    def _feed_group(self, connection: Connection, batcher: Batcher) -> bool:
        """`_feed` where a request carries several events."""
        while True:
            body = None
            if batcher.sendable and (self._late_turn or not self._due):
                row, events, body = batcher.sendable.popleft()
                self._late_turn = False
            elif self._due and batcher.allows(len(self._due[0][0].seqs)):
                row, events = self._retries.take()
                self._late_turn = True
            else:
                return False
            if self._send_row(connection, row, events, body):
                return True
            if self._gate.strict:
                return False

    def _send_row(
        self, connection: Connection, row: Row, events: list[Event], body: bytes | None = None
    ) -> bool:
        """Send what a row stands for; False if no request could be made of it."""
        batcher = self._batcher
        try:
            if body is None:
                body = batcher.body(row, events) if batcher is not None else self._format(events[0])
        except Exception as error:
            self._unsendable(row.seq, events[0], row, Outcome(error="body", text=str(error)))
            return False
        connection.event = events[0]
        connection.row = row
        try:
            connection.send(row.seq, row.attempt + 1, body)
        except SigningError as error:
            self._unsigned(row.seq, events[0], row, error)
            return False
        if batcher is not None:
            batcher.out[row.seq] = events
        return True

    def _feed_early(self, connection: Connection) -> bool:
        """Probe with an event that is not due, when nothing else is there to probe with.

        If it fails it waits on as if nothing had been: it is no attempt of its schedule.
        """
        if self._tokens is not None and not self._tokens.ready():
            return False
        found = self._retries.take_early()
        if found is None:
            return False
        row, events, self._early_due = found
        return self._send_row(connection, row, events)

    def _unsendable(self, seq: int, event: Event, row: Row | None, outcome: Outcome) -> None:
        """No request could be made of an event: a fault of our own."""
        if self.attempts is not None:
            self.attempts.unsent(seq, 1 if row is None else row.attempt + 1, event, outcome)
        self._settle_failure(seq, event, row, outcome)

    def _unsigned(self, seq: int, event: Event, row: Row | None, error: Exception) -> None:
        """A request could not be signed. The next one could not either: wait a moment."""
        self._health.hold(UNSIGNED_PAUSE_S)
        self._wake_in(UNSIGNED_PAUSE_S)
        self._unsendable(seq, event, row, Outcome(error="sign", text=str(error)))

    def _no_item(self, seq: int, event: Event, row: Row | None, key: str, error: Exception) -> None:
        """No part of a group could be made of an event, which blocks `key` if that is not empty."""
        if row is None:
            row = self._retries.new_row(seq, key, event_size(event))
        row.keys = (key,)
        self._unsendable(seq, event, row, Outcome(error="body", text=str(error)))

    async def authorized(self) -> str:
        """Wait until requests can be sent with a token, where they need one; why they cannot, or empty."""
        return "" if self._tokens is None else await self._tokens.wait()

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
        else:
            if connection.open:
                self.pool.release(connection)
            self.pump()

    def _blocked(self) -> bool:
        """Whether there are too many rows to begin with fresh events."""
        retries = self._retries
        return retries.retrying >= MAX_RETRYING or retries.bytes >= self._max_pinned

    def _progress(self) -> None:
        """Something was settled without a row."""
        if len(self._retries.held) <= MANY_HOLES:
            self._touch()
        elif self._touch_timer is None:
            self._touch_timer = self._loop.call_later(LAZY_CURSOR_S, self._touch_late)

    def _touch_late(self) -> None:
        self._touch_timer = None
        self._touch()

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
        if self._gate.strict:
            if self._health.succeeded():
                self._retries.all_due()
            self._delivered(event, row)
            self._go_on(connection)
            return
        self._delivered(event, row)
        if connection.open and not self._stopping and self._batcher is None:
            if not self._feed(connection):
                self.pool.release(connection)
        else:
            self._go_on(connection)

    def _delivered(self, event: Event, row: Row | None) -> None:
        if row is None:
            self.delivered += 1
            if not self.dirty:
                self._progress()
            if self._keyed or event.type not in MESSAGES:
                key = self._key_of(event)
                if key:
                    self._retries.release(key)
            return
        self.delivered += len(row.seqs)
        self._retries.settle(row)
        for key in row.blocked():
            self._retries.release(key)
        if self._batcher is not None:
            self._batcher.out.pop(row.seq, None)

    def _failed(self, connection: Connection, outcome: Outcome) -> None:
        if outcome.status == 401 and self._tokens is not None:
            latest = connection.request.startswith(self.pool.head)
            if self._tokens.refused(latest=latest):  # the same attempt, with the next token
                self._send_again(connection)
                self._go_on(connection)
                return
        if self.attempts is not None:
            self.attempts.failed(connection, outcome)
        was_off = bool(self._health.off)
        row: Row | None = connection.row
        early = self._health.failed(connection.seq, outcome, connection.began)
        if self._batcher is not None:
            self._batcher.out.pop(connection.seq, None)
        if early and row is not None:
            self.failed += 1
            self._failures.note(outcome)
            self._retries.wait(row, self._early_due)
        else:
            self._settle_failure(connection.seq, connection.event, row, outcome)
        if self._health.off and not was_off:
            self.bounds.refusing(on=False)
        self._go_on(connection)

    def _send_again(self, connection: Connection) -> None:
        """What a connection had in flight goes out again, as if it had not."""
        row: Row | None = connection.row
        if self._gate.breaker.probe == connection.seq:
            self._gate.breaker.unused()
        if self._batcher is not None and row is not None:
            self._due.appendleft((row, self._batcher.out.pop(row.seq)))
        else:
            self._ready.appendleft((connection.seq, connection.event, row))

    def _settle_failure(self, seq: int, event: Event, row: Row | None, outcome: Outcome) -> None:
        self.failed += 1
        now = int(self._clock() * 1000)
        if row is None:
            key = self._key_of(event) if self._keyed or event.type not in MESSAGES else ""
            row = self._retries.new_row(seq, key, event_size(event))
        row.attempt += 1
        row.first = row.first or now
        age = min(now, int(self._loop.time() * 1000) + self._run_ms) - row.first
        decision = decide(
            *(self.policy, row.attempt, outcome),
            now_ms=now,
            first_ms=now - max(age, 0),
            random=self._random(),
        )
        error = str(outcome)[:ERROR_TEXT]
        if isinstance(decision, RetryAt):
            self._failures.note(outcome)
            self._retries.retry(row, now, decision.wait_ms, error)
        elif isinstance(decision, GiveUp):
            for each in row.seqs:
                self._failures.dead(each, decision.reason)
            self.dead += len(row.seqs)
            self._retries.bury(row, now, error)
        else:  # the policy takes it for a success
            self._delivered(event, row)

    # -- by hand: switching, sending again -------------------------------------------------------------

    def switch_off(self, reason: str) -> bool:
        """Send nothing any more, also after a restart; False if it was off. What is in flight may end."""
        if self._health.off:
            return False
        self._health.switch_off(reason)
        self.bounds.refusing(on=False)
        return True

    def switch_on(self) -> bool:
        """Send again, what waits at once; False if it was on."""
        if not self._health.switch_on():
            return False
        self.bounds.refusing(on=True)
        self._retries.all_due()
        self.pump()
        return True

    @property
    def room(self) -> int:
        """How many more rows it may have."""
        return 0 if self._blocked() else MAX_RETRYING - self._retries.retrying

    def under_way(self, seqs: Iterable[int]) -> set[int]:
        """Those of these events that have a row, are being sent, or wait for their turn."""
        position = self._backlog.position
        known = set(self._unsettled())
        for row in self._retries.rows.values():
            known.update(row.seqs)
        return {seq for seq in seqs if seq >= position or seq in known}

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

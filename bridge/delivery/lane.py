"""One endpoint's way through the log: what is sent, what waits, what is tried again, what is given up.

* Fresh events go out in ascending sequence. A success costs no row: the cursor says what is settled.
* A failed event leaves the cursor for a retry row; after its last attempt it becomes a dead letter. At most
  `MAX_RETRYING` rows, which pin at most `backlog.max_bytes`: then no fresh event is taken, and the rest waits
  in the log.
* What must keep its order waits for its turn (`bridge.delivery.ordering`).

What goes out next, and when, is in `bridge.delivery.sending`, and what follows from an attempt in
`bridge.delivery.outcomes`.
"""

from __future__ import annotations

import asyncio
import logging
import random as _random
import time
from collections.abc import Callable, Container, Iterable, Sequence

from bridge.config.settings import AnyEndpoint, Trust
from bridge.delivery.connect import Network
from bridge.delivery.health import Health, OnChange
from bridge.delivery.outcomes import Outcomes
from bridge.delivery.restoring import restore
from bridge.delivery.rows import Outbox
from bridge.delivery.transport import Carrier
from bridge.events.event import Event
from bridge.journal.batch import INDEX_BITS, Cursor
from bridge.journal.store import LaneState, StoreError

log = logging.getLogger(__name__)

MAX_RETRYING = 10_000
"""Events of one lane that are between two attempts, beside those that are parked behind them."""
MAX_TO_COME = 20
"""Attempts to come that are told."""
TICK_S = 1.0
MANY_HOLES = 1000
"""So many events parked in memory make a cursor long: then it is stored at most once in `LAZY_CURSOR_S`."""
LAZY_CURSOR_S = 0.1


class Lane(Outcomes):
    """One endpoint; raises EndpointError if it cannot work as configured. For the loop's thread only.

    `on_dirty` is called when the cursor has something new to commit, and `on_pressing` when it belongs to a
    change that was told: then the commit of that change asks for `cursor()`, else one soon. `on_active(True)`
    is called when something comes up, and `on_active(False)` when there has been nothing to do for a second:
    `low_batch()` is None then. `on_full(full)` is called when an endpoint with `on_full = refuse` passes its
    bound, and again when there is room; `on_health` is an `OnChange`.
    `network` is what all endpoints share: egress guard and resolver; `trust` says whose endpoint it is;
    `node` is this HookMQ's name in bodies.
    """

    def __init__(
        self,
        endpoint: AnyEndpoint,
        state: LaneState,
        outbox: Outbox,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = _random.random,
        network: Network | None = None,
        trust: Trust = "operator",
        node: str | None = None,
    ) -> None:
        self.id = state.id
        self.endpoint = endpoint
        self.on_dirty: Callable[[], None] | None = None
        self.on_pressing: Callable[[], None] | None = None
        self.on_active: Callable[[bool], None] | None = None
        self.leaving = False  # removed: it is sent what waits for it, and then it ends
        self.matched = 0  # events that its rules and its condition wanted
        super().__init__(
            *(endpoint, state, outbox, loop, clock, random),
            network=network,
            trust=trust,
            max_retrying=MAX_RETRYING,
            node=node,
        )
        self._retries.held.update(state.holes)  # until `start` takes them up
        self._drained: asyncio.Future[None] | None = None
        self._tick_timer: asyncio.TimerHandle | None = None  # while it is active
        self._touch_timer: asyncio.TimerHandle | None = None

    # -- what is known about it ------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.endpoint.name

    @property
    def state(self) -> str:
        """In one word what is to be known of it first: off, asking, failing, leaving, full, slow or on."""
        state = self._health.state
        if state != "off" and self._gate.asking:
            return "asking"
        if self.leaving and state in ("on", "slow"):
            return "leaving"
        return "full" if self.full and state in ("on", "slow") else state

    @property
    def reason(self) -> str:
        """Why nothing is sent: it is switched off, or has not agreed; else empty."""
        if self._health.off or self._permission is None:
            return self._health.off
        return self._permission.reason

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
        """Events in the requests that wait for an answer."""
        return sum(1 if c.row is None else len(c.row.seqs) for c in self.pool.connections if c.busy)

    @property
    def queued(self) -> int:
        """Events that wait: for their first attempt, for a retry, or parked behind another one."""
        unsettled = self._backlog.events + self._retries.count + len(set(self._unsettled()))
        return max(unsettled - self.in_flight, 0)

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

    def oldest_waiting(self) -> int | None:
        """Unix ms of the oldest event in flight or waiting for its first attempt, in memory or in the log.

        Raises StoreError.
        """
        times = [c.event.ts for c in self.pool.connections if c.busy]
        times += [event.ts for _, event, row in self._retries.ready if row is None]
        waiting = self._backlog.oldest_ts()
        return min(times, default=waiting) if waiting is None else min([waiting, *times])

    def _unsettled(self) -> list[int]:
        """The dispatched sequences that the cursor has as holes, in no order."""
        holes = [c.seq for c in self.pool.connections if c.busy and c.row is None]
        holes += self._retries.holes()
        return holes

    def cursor(self) -> Cursor:
        """The lane's progress, for the commit that takes it together with all changes told so far."""
        self.dirty = self.pressing = False
        holes: list[int] = []
        if self._retries.any:
            holes = sorted(set(self._unsettled()))
            self._retries.unstored.clear()
        elif self.pool.in_flight:
            holes = [c.seq for c in self.pool.connections if c.busy and c.row is None]
            holes.sort()
        return Cursor(self.id, self._backlog.position, holes)

    def low_batch(self) -> int | None:
        """The lowest batch that this lane still needs in the log; None if it needs none."""
        if not (self.pool.in_flight or self._retries.any or self._backlog.waiting):
            return None
        needed = self._unsettled()
        needed += self._retries.unstored
        if self._backlog.waiting:
            needed.append(self._backlog.position)
        return min(needed) >> INDEX_BITS if needed else None

    def go_on_counting(self, before: Lane) -> None:
        """Count on where the lane counted that this one comes in place of."""
        self.matched, self.delivered = before.matched, before.delivered
        self.failed, self.retried = before.failed, before.retried
        self.failures, self.grouped, self.buried = before.failures, before.grouped, before.buried
        self.timed, self.timed_s = before.timed, before.timed_s
        self.bounds.expired, self.bounds.expired_bytes = before.bounds.expired, before.bounds.expired_bytes

    # -- in and out ------------------------------------------------------------------------------------

    def push(self, first_seq: int, events: Sequence[Event]) -> None:
        """Take from just committed events those that are for this lane; `first_seq` is the first one's."""
        self.matched += self._backlog.push_from(first_seq, events)
        self._hold_bound()

    def take(self, items: Sequence[tuple[int, Event]], end: int) -> None:
        """Take this lane's just committed events; every event below the sequence `end` was offered."""
        self.matched += len(items)
        self._backlog.push(items, end)
        self._hold_bound()

    def _hold_bound(self) -> None:
        if self._tick_timer is None and not self._stopping:
            self._activate()
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
            log.warning("%s: switched off, nothing is sent: %s", self.endpoint.title, health.off)
        self._stopping = False
        self._activate()
        if self._tokens is not None:
            self._tokens.start()
        if self._permission is not None and not health.off:
            self._permission.start()
        self.pump()

    async def stop(self, deadline: float) -> None:
        """Send nothing new, wait until `deadline` (loop time) for requests in flight, close the connections.

        What is unsettled then is a hole of the cursor and comes again after a restart, with the same id.
        """
        self._stopping = True
        if self._tokens is not None:
            self._tokens.close()
        if self._permission is not None:
            self._permission.close()
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
                    "%s: %d requests without an answer, they come again at the next start",
                    self.endpoint.title,
                    self.pool.in_flight,
                )
        # what was cut off keeps its place as a hole, for the cursor of the last commit
        self._retries.held.update(self._unsettled())
        self._ready.clear()
        self._retries.frozen.clear()
        self.pool.close()
        self._failures.flush()
        self._touch()

    # -- going on --------------------------------------------------------------------------------------

    def _go_on(self, connection: Carrier) -> None:
        """After an outcome: the next request on this connection, or on those that are free."""
        if self._stopping:
            self.pool.release(connection)
            if self._drained is not None and not self._drained.done() and not self.pool.in_flight:
                self._drained.set_result(None)
        else:
            if connection.open:
                self.pool.release(connection)
            self.pump()

    def _progress(self) -> None:
        """Something was settled without a row."""
        if len(self._retries.held) <= MANY_HOLES:
            self._dirtied()
        elif self._touch_timer is None:
            self._touch_timer = self._loop.call_later(LAZY_CURSOR_S, self._touch_late)

    def _touch_late(self) -> None:
        self._touch_timer = None
        self._dirtied()

    def _touch(self) -> None:
        if not self.pressing:
            self.pressing = True
            self._dirtied()
            if self.on_pressing is not None:
                self.on_pressing()

    def _dirtied(self) -> None:
        if not self.dirty:
            self.dirty = True
            if self._tick_timer is None and not self._stopping:
                self._activate()
            if self.on_dirty is not None:
                self.on_dirty()

    # -- by hand: switching, sending again -------------------------------------------------------------

    def switch_off(self, reason: str) -> bool:
        """Send nothing any more, also after a restart; False if it was off. What is in flight may end."""
        if self._health.off:
            return False
        self._health.switch_off(reason)
        self.bounds.refusing(on=False)
        if self._permission is not None:
            self._permission.pause()
        return True

    def switch_on(self) -> bool:
        """Send again, what waits at once; False if it was on."""
        if not self._health.switch_on():
            return False
        self.bounds.refusing(on=True)
        if self._permission is not None:
            self._permission.start()
        self._retries.all_due()
        self.pump()
        return True

    def hurry(self) -> None:
        """Let nothing wait for a retry any longer: what it failed for may be mended."""
        self._retries.all_due()
        self.pump()

    def waits_for_retry(self, seq: int) -> bool:
        """Whether an event, or a group of that number, waits for its next attempt."""
        return self._retries.waits(seq)

    def hurry_one(self, seq: int) -> None:
        """Let an event, or its group, wait for its next attempt no longer."""
        self._retries.hurry(seq)
        self.pump()

    def hurry_some(self, seqs: Container[int]) -> set[int]:
        """Let these events, and the groups that they are in, wait for their next attempt no longer; which
        events that were."""
        found = self._retries.hurry_some(seqs)
        self.pump()
        return found

    def attempts_to_come(self, seq: int) -> list[tuple[int, int]]:
        """The number of each further attempt of an event that waits for one, and when it is (Unix ms), if all
        of them fail: the first as it stands, the others by the schedule, without what a receiver may ask for.
        """
        found = self._retries.due_of(seq)
        if found is None:
            return []
        row, due = found
        at = self._clock() + max(due - self._loop.time(), 0.0)
        first = (row.first or int(self._clock() * 1000)) / 1000
        times = [(row.attempt + 1, int(at * 1000))]
        for number in range(row.attempt + 1, min(len(self.policy.waits), row.attempt + MAX_TO_COME)):
            at += self.policy.waits[number]
            if self.policy.max_age is not None and at - first > self.policy.max_age:
                break
            times.append((number + 1, int(at * 1000)))
        return times

    @property
    def room(self) -> int:
        """How many more rows it may have; none while it stops, for another lane may come in its place."""
        return 0 if self._stopping or self._blocked() else self._max_retrying - self._retries.retrying

    def under_way(self, seqs: Iterable[int]) -> set[int]:
        """Those of these events that have a row, are being sent, or wait for their turn."""
        position = self._backlog.position
        known = set(self._unsettled())
        for row in self._retries.rows.values():
            known.update(row.seqs)
        return {seq for seq in seqs if seq >= position or seq in known}

    def unattempted(self) -> set[int]:
        """Events with a row that was not yet attempted: sent again, or parked behind another one."""
        return {seq for row in self._retries.rows.values() if not row.attempt for seq in row.seqs}

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

    # -- once a second, while it is active -------------------------------------------------------------

    def _activate(self) -> None:
        self._tick_timer = self._loop.call_later(TICK_S, self._tick)
        if self.on_active is not None:
            self.on_active(True)

    @property
    def _idle(self) -> bool:
        """Whether nothing is under way, waits, or is still to be told."""
        return not (
            self.dirty
            or self.pool.in_flight
            or self._retries.any
            or self._backlog.waiting
            or self._failures.waiting
            or self.bounds.untold
        )

    def _tick(self) -> None:
        self._tick_timer = None
        self._failures.flush()
        try:
            if self.bounds.check_age() | self.bounds.check_bytes():
                self._touch()
        except StoreError as error:
            self._failures.store(error)
        self.pump()
        if self._tick_timer is None:
            if not self._idle:
                self._tick_timer = self._loop.call_later(TICK_S, self._tick)
            elif self.on_active is not None:
                self.on_active(False)

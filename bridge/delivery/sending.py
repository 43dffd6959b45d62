"""What an endpoint is sent next, and when: the half of a lane that feeds its connections.

* Fresh events go out in ascending sequence. While they and what has waited longer (retries, parked events)
  both wait they take turns.
* Too many rows, or an event that must be parked where there is no room for it: then no fresh event is taken.
* Whether a request may go out now is the gate's to say (`bridge.delivery.gate`), while it is `strict`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from bridge.config.settings import AnyEndpoint, Endpoint, Trust
from bridge.delivery.backlog import Backlog
from bridge.delivery.batching import Batcher
from bridge.delivery.bounds import Bounds
from bridge.delivery.compose import FillError
from bridge.delivery.connect import Network
from bridge.delivery.health import Health
from bridge.delivery.ordering import MESSAGES
from bridge.delivery.report import FailureLog
from bridge.delivery.retries import Retries
from bridge.delivery.retry import Outcome, make_policy
from bridge.delivery.rows import Outbox, Row
from bridge.delivery.signing import SigningError
from bridge.delivery.transport import Carrier, Transport
from bridge.delivery.wiring import wire
from bridge.events.event import Event
from bridge.events.formats import BodyCounts, Origin
from bridge.journal.codec import event_size
from bridge.journal.store import LaneState, StoreError

log = logging.getLogger(__name__)

UNSIGNED_PAUSE_S = 1.0
"""After a request that could not be signed: seconds until the next is begun."""


class Sender:
    """Builds what sending needs, and sends. What follows is the subclass's: the methods at the end."""

    def __init__(
        self,
        endpoint: AnyEndpoint,
        state: LaneState,
        outbox: Outbox,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        random: Callable[[], float],
        *,
        network: Network | None,
        trust: Trust,
        max_retrying: int,
        node: str | None,
    ) -> None:
        self.policy = make_policy(endpoint)
        self.body_counts = BodyCounts()
        origin = Origin(store_id=outbox.store.id)
        if node is not None:
            origin = origin._replace(node=node)
        network = network if network is not None else Network(loop)
        wired = wire(
            *(endpoint, origin, self.body_counts, self.policy, network, loop),
            clock=clock,
            random=random,
            trust=trust,
        )
        self.format = wired.format
        self.target = wired.target
        for warning in self.target.warnings:
            log.warning("%s", warning)
        self.pool: Transport = wired.transport
        self.pool.on_success = self._succeeded
        self.pool.on_failure = self._failed
        self.pool.on_free = self.pump
        self._tokens = wired.tokens
        if self._tokens is not None:
            self._tokens.on_token = self.pump
        self._state = state
        self._loop = loop
        self._clock = clock
        self._random = random
        self._permission = wired.permission
        if self._permission is not None:
            self._permission.on_granted = self._permitted
        self._format = self.format.body if self.target.has_body else _no_body
        self._backlog = Backlog(state.id, outbox.store, state.position)
        self.bounds = Bounds(endpoint, self._backlog, loop, clock)
        # A webhook is known by its URL; several publishers may have one broker.
        label = self.target.label if isinstance(endpoint, Endpoint) else endpoint.title
        self._failures = FailureLog(label, loop)
        self._retries = Retries(
            *(state.id, endpoint, outbox, loop, clock, self._failures, self.pump, self._touch)
        )
        self._health = Health(state.id, endpoint, outbox, loop, clock, random, self.pool.size)
        self._gate = self._health.gate
        self.bounds.refusing(on=not self._health.off)
        self._keyed = endpoint.ordering != "none"  # messages have an order too
        self._key_of = self._retries.key_of
        self._max_pinned = endpoint.backlog.max_bytes
        self._batcher: Batcher | None = None
        if isinstance(endpoint, Endpoint) and endpoint.batch is not None:
            self._batcher = Batcher(
                *(endpoint, self._retries, self._backlog, self._format, self._refill, self._no_item),
                *(self.pump, loop),
            )
        self._ready = self._retries.ready
        self._due = self._retries.due
        self._max_retrying = max_retrying
        self._late_turn = False
        self._early_due = 0.0  # of the row that is out as a probe
        self._pump_booked = False
        self._stopping = True  # until the lane starts
        self._wake_timer: asyncio.TimerHandle | None = None

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

    def _feed(self, connection: Carrier) -> bool:
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
            if retries.count:
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
                body = self._format(seq, event)
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
            except FillError as error:
                self._unsendable(seq, event, row, Outcome(error="body", text=str(error)))
                continue
            return True

    def _feed_group(self, connection: Carrier, batcher: Batcher) -> bool:
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
        self, connection: Carrier, row: Row, events: list[Event], body: bytes | None = None
    ) -> bool:
        """Send what a row stands for; False if no request could be made of it."""
        batcher = self._batcher
        try:
            if body is None:
                body = batcher.body(row, events) if batcher is not None else self._format(row.seq, events[0])
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
        except FillError as error:
            self._unsendable(row.seq, events[0], row, Outcome(error="body", text=str(error)))
            return False
        if batcher is not None:
            batcher.out[row.seq] = events
        return True

    def _feed_early(self, connection: Carrier) -> bool:
        """Probe with an event that is not due, when nothing else is there to probe with.

        If it fails it waits on as if nothing had been: it is no attempt of its schedule.
        """
        if self._tokens is not None and not self._tokens.ready():
            return False
        found = self._retries.take_early()
        if found is None:
            if self._ready and not self._pump_booked:  # a single event that has to join a group first
                self._pump_booked = True
                self._loop.call_soon(self._pump_again)
            return False
        row, events, self._early_due = found
        return self._send_row(connection, row, events)

    def _unsigned(self, seq: int, event: Event, row: Row | None, error: Exception) -> None:
        """A request could not be signed. The next one could not either: wait a moment."""
        self._health.hold(UNSIGNED_PAUSE_S)
        self._wake_in(UNSIGNED_PAUSE_S)
        self._unsendable(seq, event, row, Outcome(error="sign", text=str(error)))

    def _permitted(self) -> None:
        """The endpoint has agreed to be sent events."""
        if self._permission is not None:
            self._gate.allow(self._permission.per_minute, self._loop.time())
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

    def _blocked(self) -> bool:
        """Whether there are too many rows to begin with fresh events."""
        retries = self._retries
        return retries.retrying >= self._max_retrying or retries.bytes >= self._max_pinned

    def _no_item(self, seq: int, event: Event, row: Row | None, key: str, error: Exception) -> None:
        """No part of a group could be made of an event, which blocks `key` if that is not empty."""
        if row is None:
            row = self._retries.new_row(seq, key, event_size(event))
        row.keys = (key,)
        self._unsendable(seq, event, row, Outcome(error="body", text=str(error)))

    def carried(self, connection: Carrier) -> list[Event]:
        """The events of the request that a connection carries, until its outcome is settled."""
        if self._batcher is not None:
            return self._batcher.out.get(connection.seq) or [connection.event]
        return [connection.event]

    def body(self, seq: int, event: Event) -> bytes:
        """The body of a request that carries this one event."""
        if self._batcher is not None:
            return self._batcher.single(seq, event)
        return self._format(seq, event)

    async def authorized(self) -> str:
        """Wait until a request may go: with a token, and with permission, where it needs one.

        Returns why it may not, or an empty text.
        """
        if self._tokens is not None:
            missing = await self._tokens.wait()
            if missing:
                return f"no token from {missing}"
        if self._permission is not None:
            missing = await self._permission.wait()
            if missing:
                return f"the endpoint does not allow events (abuse_protection): {missing}"
        return ""

    def begin_draft(self) -> None:
        """For a test with a lane that is not served: ask for what `authorized` waits for."""
        for one in (self._tokens, self._permission):
            if one is not None:
                one.start()

    def end_draft(self) -> None:
        """The test is over: ask no more."""
        for one in (self._tokens, self._permission):
            if one is not None:
                one.close()
        self.pool.close()

    # -- what the subclass makes of it -----------------------------------------------------------------

    def _succeeded(self, connection: Carrier) -> None:
        """A request was answered with success."""
        raise NotImplementedError

    def _failed(self, connection: Carrier, outcome: Outcome) -> None:
        """A request has failed."""
        raise NotImplementedError

    def _unsendable(self, seq: int, event: Event, row: Row | None, outcome: Outcome) -> None:
        """No request could be made of an event: a fault of our own."""
        raise NotImplementedError

    def _touch(self) -> None:
        """The cursor has something new that goes with the next commit."""
        raise NotImplementedError


def _no_body(seq: int, event: Event) -> bytes:
    return b""

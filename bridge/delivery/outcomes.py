"""What follows from each attempt of a lane: it is counted and told, then settled, tried again or given up.

What is decided is in `bridge.delivery.retry`, what an endpoint's health makes of it in
`bridge.delivery.health`; here it is carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.config.settings import AnyEndpoint, Trust
from bridge.delivery.attempts import AttemptSink
from bridge.delivery.connect import Network
from bridge.delivery.ordering import MESSAGES
from bridge.delivery.permission import Asked
from bridge.delivery.retry import GiveUp, Outcome, RetryAt, decide
from bridge.delivery.rows import Outbox, Row
from bridge.delivery.sending import Sender
from bridge.delivery.timings import Timings, result
from bridge.delivery.transport import Carrier
from bridge.events.event import Event
from bridge.journal.codec import event_size
from bridge.journal.store import LaneState

ERROR_TEXT = 200
"""Characters of an error that a row keeps."""


class Outcomes(Sender):
    """A sender that knows what to do about answers. Going on is the subclass's: the methods at the end."""

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
        self.dirty = False  # progress was made since the last `cursor()`
        self.pressing = False  # and the next commit has to take it
        self.delivered = 0  # events
        self.failed = 0  # attempts
        self.retried = 0  # attempts that were not an event's first
        self.grouped = 0  # events delivered beside the first one of their request
        self.buried = 0  # events that became dead letters since the start
        self.failures: dict[str, int] = {}  # failed attempts by `result`
        self.dead = state.dead  # dead letters
        self.timings = Timings()  # of this endpoint alone, until it is given the common ones
        self.timed = 0  # successful attempts whose time was taken
        self.timed_s = 0.0
        self.attempts: AttemptSink | None = None  # told of every attempt
        self.tracing: AttemptSink | None = None  # and this one too
        super().__init__(
            *(endpoint, state, outbox, loop, clock, random),
            network=network,
            trust=trust,
            max_retrying=max_retrying,
            node=node,
        )
        if self._permission is not None:
            self._permission.on_asked = self._asked
        # An age is told by the lesser of two clocks: one that leaps forward makes nothing old at once.
        self._run_ms = int((clock() - loop.time()) * 1000)

    def _succeeded(self, connection: Carrier) -> None:
        if self.attempts is not None:
            self.attempts.succeeded(connection)
        if self.tracing is not None:
            self.tracing.succeeded(connection)
        if not self.dirty:
            self._take_time(connection)
        row: Row | None = connection.row
        if self._gate.strict:
            if self._health.succeeded():
                self._retries.all_due()
            self._delivered(connection.event, row)
            self._go_on(connection)
            return
        event: Event = connection.event
        if row is not None or self._keyed or event.type not in MESSAGES:
            self._delivered(event, row)
        else:
            self.delivered += 1
            if not self.dirty:
                self._progress()
        if connection.open and not self._stopping and self._batcher is None:
            if not self._feed(connection):
                self.pool.release(connection)
        else:
            self._go_on(connection)

    def _take_time(self, connection: Carrier) -> None:
        """The first success since the last commit: the one of this turn whose time is taken."""
        spent = max(self._loop.time() - connection.began, 0.0)
        self.timed += 1
        self.timed_s += spent
        self.timings.succeeded.observe(spent)
        self.timings.way.observe(max(self._clock() - connection.event.ts / 1000, 0.0))

    def _delivered(self, event: Event, row: Row | None) -> None:
        if row is None:
            self.delivered += 1
            if not self.dirty:
                self._progress()
            key = self._key_of(event)
            if key:
                self._retries.release(key)
            return
        self.delivered += len(row.seqs)
        self.grouped += len(row.seqs) - 1
        if row.attempt:
            self.retried += 1
        self._retries.settle(row)
        for key in row.blocked():
            self._retries.release(key)
        if self._batcher is not None:
            self._batcher.out.pop(row.seq, None)

    def _failed(self, connection: Carrier, outcome: Outcome) -> None:
        tokens = self._tokens
        if outcome.status == 401 and tokens is not None and tokens.refused(connection.request):
            self._send_again(connection)  # the same attempt, with the next token
            self._go_on(connection)
            return
        if self.attempts is not None:
            self.attempts.failed(connection, outcome)
        if self.tracing is not None:
            self.tracing.failed(connection, outcome)
        self.timings.failed.observe(max(self._loop.time() - connection.began, 0.0))
        self._count_failure(outcome)
        was_off = bool(self._health.off)
        row: Row | None = connection.row
        early = self._health.failed(connection.seq, outcome, connection.began)
        if self._batcher is not None:
            self._batcher.out.pop(connection.seq, None)
        if row is not None and row.attempt:
            self.retried += 1
        if early and row is not None:
            self.failed += 1
            self._failures.note(outcome)
            self._retries.wait(row, self._early_due)
        else:
            self._settle_failure(connection.seq, connection.event, row, outcome)
        if self._health.off and not was_off:
            self.bounds.refusing(on=False)
        self._go_on(connection)

    def _send_again(self, connection: Carrier) -> None:
        """What a connection had in flight goes out again, as if it had not."""
        row: Row | None = connection.row
        if self._gate.breaker.probe == connection.seq:
            self._gate.breaker.unused()
        if self._batcher is not None and row is not None:
            self._due.appendleft((row, self._batcher.out.pop(row.seq)))
        else:
            self._ready.appendleft((connection.seq, connection.event, row))

    def _unsendable(self, seq: int, event: Event, row: Row | None, outcome: Outcome) -> None:
        """No request could be made of an event: a fault of our own."""
        if self.attempts is not None:
            self.attempts.unsent(seq, 1 if row is None else row.attempt + 1, event, outcome)
        self._count_failure(outcome)
        self._settle_failure(seq, event, row, outcome)

    def _count_failure(self, outcome: Outcome) -> None:
        kind = result(outcome)
        self.failures[kind] = self.failures.get(kind, 0) + 1

    def _asked(self, asked: Asked) -> None:
        """The endpoint was asked whether it wants events."""
        if self.attempts is not None:
            self.attempts.asked(asked)

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
            self.buried += len(row.seqs)
            self._retries.bury(row, now, error)
        else:  # the policy takes it for a success
            self._delivered(event, row)

    # -- what the subclass makes of it -----------------------------------------------------------------

    def _progress(self) -> None:
        """Something was settled without a row, and `dirty` is not set."""
        raise NotImplementedError

    def _go_on(self, connection: Carrier) -> None:
        """After an outcome: the next request on this connection, or on those that are free."""
        raise NotImplementedError

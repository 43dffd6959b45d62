"""The connections to one endpoint: opened when needed, reused, swept for their time limits.

* The connection used last is used next, so that those a lower load does not need end by `IDLE_S`.
* After a connect that failed no other is begun for a pause that doubles from `PAUSE_MIN_S` to `PAUSE_MAX_S`:
  an endpoint that is down costs one attempt a pause, and not one for every event that waits. Connections
  that are open go on.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Container

from bridge.delivery.compose import composer, pieces
from bridge.delivery.connect import Connector, Network
from bridge.delivery.handing_on import TraceOf, as_it_came
from bridge.delivery.http import Connection
from bridge.delivery.request import request_maker
from bridge.delivery.retry import Outcome
from bridge.delivery.target import Target
from bridge.events.event import Event

IDLE_S = 60.0
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 1.0
CALM_SWEEPS = 20
"""After so many sweeps with nothing in flight a pool has a timer of its own, for idle connections."""


class Pool:
    """Up to `size` connections to a target; `timeout` in seconds bounds an attempt, connecting included.

    The owner sets `on_success(connection)` (a status of `success`; then `connection.open` says whether it can
    be used again), `on_failure(connection, outcome)`, and `on_free()` (the pause after a failed connect is
    over). All are called from the loop, never from inside `free`, `release` or `Connection.send`.
    """

    def __init__(
        self,
        target: Target,
        size: int,
        timeout: float,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.time,
        connector: Connector | None = None,
        success: Container[int] = range(200, 300),
    ) -> None:
        self.target = target
        self.clock = clock
        self.connector = connector if connector is not None else Network(loop).connector(target)
        self.compose = composer(target)  # None: `request` makes them
        self.sign = target.sign  # None: requests are not signed
        self.head = b""
        self.pieces = (b"", b"", b"")  # of a head with marks
        self._set_head(target.head)
        self.trace_of: TraceOf = as_it_came  # for events that have a trace context
        self.success = success  # statuses
        self.size = size
        self.timeout = timeout
        self.loop = loop
        self.now = loop.time
        self.memo = b"\0"  # a whole keep-alive 2xx response as it came last; nothing equals this one
        self.slow = True  # it is not swept at the pace of requests
        self.resent = 0  # requests that met a connection which the server had closed
        self.opened = 0  # TCP connections, made
        self.idle: list[Connection] = []
        self.connections: set[Connection] = set()
        self.on_success: Callable[[Connection], None] = _nobody
        self.on_failure: Callable[[Connection, Outcome], None] = _nobody_failed
        self.on_free: Callable[[], None] = _nothing
        self._sweeper = self.connector.sweepers.every(min(max(timeout / 20, 0.005), 0.1))
        self._calm = 0  # sweeps in a row that found nothing in flight
        self._timer: asyncio.TimerHandle | None = None  # for idle connections, while `slow`
        self._pause = 0.0
        self._pause_timer: asyncio.TimerHandle | None = None
        self._closed = False

    def twin(self) -> Pool:
        """A pool of one connection to the same target, with the same credentials and limits."""
        other = copy.copy(self)
        other.size = 1
        other.memo = b"\0"
        other.slow = True
        other.resent = other.opened = 0
        other.idle = []
        other.connections = set()
        other.on_success, other.on_failure, other.on_free = _nobody, _nobody_failed, _nothing
        other._timer = other._pause_timer = None
        other._pause = 0.0
        other._closed = False
        return other

    def composed(self, seq: int, attempt: int, body: bytes, event: Event) -> bytes:
        """See `Transport`: what `Connection.send` makes."""
        if self.compose is None:
            return self.request(seq, attempt, body)
        return self.compose(self, seq, attempt, body, event)

    @property
    def in_flight(self) -> int:
        """Connections with a request on them, or being opened for one."""
        return len(self.connections) - len(self.idle)

    def free(self) -> Connection | None:
        """A connection to send on; if it is not used after all it goes back with `release`."""
        if self.idle:
            return self.idle.pop()
        if len(self.connections) < self.size and self._pause_timer is None and not self._closed:
            connection = Connection(self)
            self.connections.add(connection)
            return connection
        return None

    def authorize(self, value: bytes) -> None:
        """From now on requests carry this value of `Authorization`."""
        self._set_head(self.target.authorized(value))

    def _set_head(self, head: bytes) -> None:
        self.head = self.connector.head(head)
        self.request = request_maker(self.head, self.clock)
        if self.target.fill is not None:
            self.pieces = pieces(self.head)

    def latest(self, request: bytes) -> bool:
        """Whether a request has the present head, and with it the newest token."""
        if self.target.fill is not None:
            return self.pieces[2] in request
        return request.startswith(self.head)

    def release(self, connection: Connection) -> None:
        """Take back a connection that has nothing to send."""
        connection.rest(self.now() + IDLE_S)
        if not connection.open or not connection.connected:
            self.connections.discard(connection)
            return
        self.idle.append(connection)
        if self.slow and self._timer is None:
            self._timer = self.loop.call_later(IDLE_S, self._sweep_idle)

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    def stale(self, ended: Connection) -> None:
        """Send the request of a connection that the server had closed between requests on a new one."""
        self.resent += 1
        connection = Connection(self)
        self.connections.add(connection)
        connection.resend(ended)
        ended.event = ended.row = None
        if self.slow:
            self.watch()

    def connected(self) -> None:
        """A connection was made."""
        self.opened += 1
        self._pause = 0.0
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None
            self.loop.call_soon(self._pause_over)

    def connect_failed(self) -> None:
        """A connection could not be made; several that had begun together count as one."""
        if self._pause_timer is None and not self._closed:
            self._pause = min(max(self._pause * 2, PAUSE_MIN_S), PAUSE_MAX_S)
            self._pause_timer = self.loop.call_later(self._pause, self._pause_over)

    def _pause_over(self) -> None:
        self._pause_timer = None
        if not self._closed:
            self.on_free()

    def watch(self) -> None:
        """A request is out: be swept at the pace that its time limit asks for."""
        self.slow = False
        self._calm = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sweeper.join(self)

    def sweep(self, now: float) -> bool:
        """End what has passed its limit at `now` (loop time); whether to go on at this pace."""
        for connection in [c for c in self.connections if c.deadline <= now]:
            if connection.deadline <= now:  # an outcome before it in this sweep may have used it again
                connection.expire()
        if len(self.connections) > len(self.idle):
            self._calm = 0
            return True
        self._calm += 1
        if self._calm < CALM_SWEEPS and self.connections:
            return True
        self.slow = True
        if self.idle and not self._closed:
            delay = max(min(c.deadline for c in self.idle) - now, 0.001)
            self._timer = self.loop.call_later(delay, self._sweep_idle)
        return False

    def _sweep_idle(self) -> None:
        self._timer = None
        self._calm = CALM_SWEEPS
        if self.sweep(self.now()) and self.slow:  # what has ended has brought a request
            self.watch()

    def close(self) -> None:
        """Close all connections at once; requests on them have no outcome."""
        self._closed = True
        for timer in (self._timer, self._pause_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._pause_timer = None
        self._sweeper.leave(self)
        for connection in list(self.connections):
            connection.busy = False
            connection.abort()


def _nobody(connection: Connection) -> None:
    """Until the owner has set its own."""


def _nobody_failed(connection: Connection, outcome: Outcome) -> None:
    """Until the owner has set its own."""


def _nothing() -> None:
    """Until the owner has set its own."""

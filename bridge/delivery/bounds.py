"""How much may wait for an endpoint, in bytes and age, and what happens beyond (`webhook.backlog`).

`expire` gives up the oldest events, counted and logged; `refuse` says `full` until a tenth is free again.
Publishes are refused then, but lifecycle events go on: they have a reserve of a tenth beyond the bound, and
beyond that they are not taken either (`overfull`), so that nobody fills the disk by connecting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from bridge.config.settings import AnyEndpoint
from bridge.delivery.backlog import Backlog
from bridge.journal.store import Backlog as Amount

log = logging.getLogger(__name__)

ROOM = 0.9
"""The share of `max_bytes` below which an endpoint that refuses takes events again."""
RESERVE = 1.1
"""The share of `max_bytes` up to which an endpoint that refuses still takes lifecycle events."""
SLACK = 64
"""An expiry by bytes frees 1/64 of `max_bytes` at a time, so that not every batch brings one."""
LOG_EVERY_S = 10.0


class Bounds:
    """Watches one backlog. The check methods say whether the cursor has moved; they raise StoreError."""

    def __init__(
        self,
        endpoint: AnyEndpoint,
        backlog: Backlog,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
    ) -> None:
        self.full = False
        self.overfull = False
        self.expired = 0  # events
        self.expired_bytes = 0
        self.on_full: Callable[[bool], None] | None = None
        self.on_overfull: Callable[[bool], None] | None = None
        self._title = endpoint.title
        self._max_bytes = endpoint.backlog.max_bytes
        self._max_age = endpoint.backlog.max_age
        self._refuses = self._refuse = endpoint.backlog.on_full == "refuse"
        self._backlog = backlog
        self._loop = loop
        self._clock = clock
        # The age of an event is told by the lesser of the wall clock and the run's own clock, which began at
        # the wall clock's time: a wall clock that leaps forward makes nothing old at once.
        self._offset = clock() - loop.time()
        self._unlogged = Amount(0, 0)
        self._next_log = 0.0

    @property
    def untold(self) -> bool:
        """Whether it turns something away, or has given up something that is not yet in the log."""
        return self.full or self.overfull or bool(self._unlogged.events)

    def refusing(self, *, on: bool) -> None:
        """Whether publishes may be refused: an endpoint that is switched off expires its events instead."""
        self._refuse = self._refuses and on
        if not self._refuse:
            self._set_full(full=False)
            if self.overfull:
                self._set_overfull(overfull=False)

    def check_bytes(self) -> bool:
        """Hold the backlog to its bound in bytes."""
        size = self._backlog.bytes
        if self._refuse and self.overfull != (size > RESERVE * self._max_bytes):
            self._set_overfull(overfull=not self.overfull)
        if size <= self._max_bytes:
            if self.full and size < ROOM * self._max_bytes and not self._too_old():
                self._set_full(full=False)
            return False
        if self._refuse:
            self._set_full(full=True)
            return False
        return self._expire(self._backlog.drop_bytes(self._max_bytes - self._max_bytes // SLACK))

    def check_age(self) -> bool:
        """Hold the backlog to its bound in age."""
        if self._refuse:
            if self._too_old():
                self._set_full(full=True)
            return False
        moved = self._expire(self._backlog.drop_older(self._before()))
        self._tell()
        return moved

    def _before(self) -> int:
        """Unix ms before which an event is too old."""
        now = min(self._clock(), self._loop.time() + self._offset)
        return int((now - self._max_age) * 1000)

    def _too_old(self) -> bool:
        fresh = self._backlog.fresh
        return bool(fresh) and fresh[0][1].ts < self._before()

    def _set_full(self, *, full: bool) -> None:
        if full != self.full:
            self.full = full
            if full:
                log.warning("%s: the backlog is at its bound, new publishes are refused", self._title)
            else:
                log.warning("%s: the backlog has room again", self._title)
            if self.on_full is not None:
                self.on_full(full)

    def _set_overfull(self, *, overfull: bool) -> None:
        self.overfull = overfull
        if overfull:
            log.warning("%s: the reserve is full too, lifecycle events are lost", self._title)
        if self.on_overfull is not None:
            self.on_overfull(overfull)

    def _expire(self, dropped: Amount) -> bool:
        if not dropped.events:
            return False
        self.expired += dropped.events
        self.expired_bytes += dropped.bytes
        self._unlogged.events += dropped.events
        self._unlogged.bytes += dropped.bytes
        self._tell()
        return True

    def _tell(self) -> None:
        now = self._loop.time()
        if self._unlogged.events and now >= self._next_log:
            self._next_log = now + LOG_EVERY_S
            log.warning(
                "%s: the backlog is at its bound: gave up the oldest %d events (%d bytes), %d in all",
                self._title,
                self._unlogged.events,
                self._unlogged.bytes,
                self.expired,
            )
            self._unlogged = Amount(0, 0)

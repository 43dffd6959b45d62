"""One timer for the time limits of all connections to all endpoints.

A pool joins when it sends, and leaves by itself when it has had nothing in flight for a while: a timer for
each pool, set up for nearly every request, was a tenth of the time with a thousand endpoints.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

log = logging.getLogger(__name__)


class Swept(Protocol):
    """A pool, as a sweeper sees it."""

    def sweep(self, now: float) -> bool:
        """Act on limits that have passed at `now` (loop time); False to leave."""


class Sweeper:
    """Sweeps those that have joined every `interval` seconds; no timer while there are none."""

    __slots__ = ("_interval", "_joined", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        self._loop = loop
        self._interval = interval
        self._joined: dict[Swept, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def join(self, pool: Swept) -> None:
        """Sweep this one from now on, until it leaves."""
        self._joined[pool] = None
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval, self._sweep)

    def leave(self, pool: Swept) -> None:
        """Sweep this one no more."""
        self._joined.pop(pool, None)
        if not self._joined and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        now = self._loop.time()
        # Set up again first: what is called may join and leave.
        self._timer = self._loop.call_later(self._interval, self._sweep)
        for pool in list(self._joined):
            if pool not in self._joined:
                continue
            try:
                if not pool.sweep(now):
                    self.leave(pool)
            except Exception:  # a fault of one endpoint is not the others'
                log.exception("a time limit could not be acted on")


class Sweepers:
    """The sweepers of one process, by interval: endpoints with the same time limit share one."""

    __slots__ = ("_loop", "_made")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._made: dict[float, Sweeper] = {}

    def every(self, interval: float) -> Sweeper:
        """The sweeper of that interval in seconds."""
        found = self._made.get(interval)
        if found is None:
            found = self._made[interval] = Sweeper(self._loop, interval)
        return found

"""How many dead letters are kept, in bytes and age (`webhook.dead`): beyond it the oldest are given up.

Looked at once in `TICK_S` by two look-ups in an index for each endpoint that has any; an event that is
delivered costs nothing here. "Oldest" is by the last attempt. An age is told by the lesser of the wall clock
and the run's own clock, so that a wall clock that leaps forward makes nothing old at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from bridge.config.settings import DeadBound, title
from bridge.journal.batch import Settle
from bridge.journal.journal import Journal
from bridge.journal.store import OldDead, StoreError

log = logging.getLogger(__name__)

TICK_S = 1.0
SLICE = 500
"""Dead letters that are given up in one turn of the loop."""
PAUSE_S = 0.02
"""Between two slices."""
LOG_EVERY_S = 10.0


class Owner(Protocol):
    """Who has dead letters: a lane, served or not."""

    id: int
    dead: int

    @property
    def name(self) -> str:
        """The endpoint's name."""

    def under_way(self, seqs: Iterable[int]) -> set[int]:
        """Those of these events that are being sent again."""


class Kept:
    """The dead letters of one endpoint, and how many of them were given up since the start."""

    def __init__(self, owner: Owner, bound: DeadBound) -> None:
        self.given_up = 0
        self._owner = owner
        self._bound = bound
        self._untold = 0
        self._untold_bytes = 0
        self._tell_at = 0.0

    def give_up(self, journal: Journal, now_ms: int) -> bool:
        """Give up what is beyond the bounds, at most a slice; whether there may be more.

        Raises StoreError.
        """
        owner = self._owner
        if not owner.dead:
            return False
        size = journal.store.dead_totals(owner.id).bytes
        before = now_ms - int(self._bound.max_age * 1000)
        found: list[OldDead] = []
        # Most often nothing is to be done, and the oldest one says so.
        for limit in (1, SLICE):
            found = journal.store.oldest_dead(owner.id, limit)
            if not found or (size <= self._bound.max_bytes and found[0].at >= before):
                return False
        # One that is being sent again at this moment is a dead letter no more.
        busy = owner.under_way([letter.seq for letter in found])
        gone = 0
        for letter in found:
            if size <= self._bound.max_bytes and letter.at >= before:
                break
            size -= letter.size
            if letter.seq not in busy:
                journal.change(Settle(owner.id, letter.seq))
                gone += 1
                self._untold_bytes += letter.size
        owner.dead -= gone
        self.given_up += gone
        self._untold += gone
        return gone == SLICE

    def tell(self, now: float) -> None:
        """Log what was given up, now and then; `now` is loop time."""
        if self._untold and now >= self._tell_at:
            self._tell_at = now + LOG_EVERY_S
            log.warning(
                "%s: dead letters are at their bound (webhook.dead): gave up the oldest %d "
                "(%d bytes), %d in all",
                title(self._owner.name),
                self._untold,
                self._untold_bytes,
                self.given_up,
            )
            self._untold = self._untold_bytes = 0


class DeadBounds:
    """Holds all endpoints to their bounds. For the loop's thread."""

    def __init__(
        self,
        journal: Journal,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._loop = loop
        self._clock = clock
        self._offset = clock() - loop.time()
        self._kept: dict[int, Kept] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._complain_at = 0.0

    def watch(self, owner: Owner, bound: DeadBound) -> None:
        """Hold an endpoint to its bound."""
        self._kept[owner.id] = Kept(owner, bound)

    def forget(self, lane: int) -> None:
        """Look after a lane no more: it is deleted."""
        self._kept.pop(lane, None)

    def given_up(self, lane: int) -> int:
        """How many dead letters of a lane were given up since the start."""
        kept = self._kept.get(lane)
        return 0 if kept is None else kept.given_up

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        for kept in self._kept.values():
            kept.tell(float("inf"))

    def _tick(self) -> None:
        more = False
        if not self._journal.stalled:
            more = self._look()
        self._timer = self._loop.call_later(PAUSE_S if more else TICK_S, self._tick)

    def _look(self) -> bool:
        """Whether there may be more to give up."""
        now = self._loop.time()
        now_ms = int(min(self._clock(), now + self._offset) * 1000)
        more = False
        for kept in list(self._kept.values()):
            before = kept.given_up
            try:
                more |= kept.give_up(self._journal, now_ms)
            except StoreError as error:
                if now >= self._complain_at:
                    self._complain_at = now + LOG_EVERY_S
                    log.warning("the dead letters cannot be looked at: %s", error)
            if kept.given_up > before:
                # At once, so that whoever reads the store next sees them no more.
                self._journal.flush()
            kept.tell(now)
        return more

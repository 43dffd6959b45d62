"""What a lane says in the log about failures: at most a line a second for each kind, with counts."""

from __future__ import annotations

import asyncio
import logging

from bridge.delivery.retry import Outcome

log = logging.getLogger(__name__)

EVERY_S = 1.0
STORE_EVERY_S = 10.0


class FailureLog:
    """`label` names the endpoint without user, password or query."""

    def __init__(self, label: str, loop: asyncio.AbstractEventLoop) -> None:
        self._label = label
        self._loop = loop
        self._failed = 0
        self._last = ""
        self._next = 0.0
        self._dead = 0
        self._reason = ""
        self._next_dead = 0.0
        self._next_store = 0.0

    @property
    def waiting(self) -> bool:
        """Whether something has gathered that is not yet written."""
        return bool(self._failed or self._dead)

    def note(self, outcome: Outcome) -> None:
        """An attempt failed and will be repeated."""
        self._failed += 1
        self._last = str(outcome)[:200]
        if self._loop.time() >= self._next:
            self.flush()

    def dead(self, seq: int, reason: str) -> None:
        """An event was given up."""
        self._dead += 1
        self._reason = f"{seq:016x}: {reason}"[:300]
        if self._loop.time() >= self._next_dead:
            self.flush()

    def store(self, error: Exception) -> None:
        """The store could not be read; delivery goes on by itself once it can."""
        now = self._loop.time()
        if now >= self._next_store:
            self._next_store = now + STORE_EVERY_S
            log.error("%s: delivery waits for the store: %s", self._label, error)

    def flush(self) -> None:
        """Write what has gathered."""
        now = self._loop.time()
        if self._failed:
            self._next = now + EVERY_S
            more = f" ({self._failed} failed attempts)" if self._failed > 1 else ""
            log.warning("%s: attempt failed, %s%s", self._label, self._last, more)
            self._failed = 0
        if self._dead:
            self._next_dead = now + EVERY_S
            more = f" ({self._dead} dead letters)" if self._dead > 1 else ""
            log.error("%s: gave up event %s%s", self._label, self._reason, more)
            self._dead = 0

"""A lane that nobody serves: its endpoint is disabled, or is in the configuration no more.

What waits for it is kept for the day it is served again, within its bounds in bytes and age, and pins nothing
beyond them. New events are not for it, so it only ever shrinks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from bridge.config.settings import BacklogBound, title
from bridge.delivery.backlog import Backlog
from bridge.events.event import Event
from bridge.journal.batch import INDEX_BITS, Cursor
from bridge.journal.store import LaneState, Store

log = logging.getLogger(__name__)


class Parked:
    """Holds one unserved lane to `bound`. `expire` is to be called now and then."""

    def __init__(
        self,
        state: LaneState,
        store: Store,
        bound: BacklogBound,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = state.name
        self.retrying = state.retries
        self.dead = state.dead
        self.id = state.id
        self.note = ""
        self.reason = ""  # why its settings cannot work, if they cannot
        self._holes = list(state.holes)
        self._bound = bound
        self._clock = clock
        self._backlog = Backlog(state.id, store, state.position)

    @property
    def waiting(self) -> int:
        """Events kept for it in the log; those with a retry row are not among them."""
        return self._backlog.events + len(self._holes)

    def take(self, items: Sequence[tuple[int, Event]], end: int) -> None:
        """Count just committed events that were for it before it was parked."""
        self._backlog.push(items, end)

    def pump(self) -> None:
        """Nothing is sent."""

    def under_way(self, seqs: Iterable[int]) -> set[int]:
        """Those of these events that are being sent: none."""
        return set()

    def oldest_ts(self) -> int | None:
        """Unix ms of the oldest event that waits in the log. Raises StoreError."""
        return self._backlog.oldest_ts()

    def low_batch(self) -> int | None:
        """The lowest batch that it needs in the log; None if it needs none."""
        needed = list(self._holes)
        if self._backlog.events:
            needed.append(self._backlog.tail)
        return min(needed) >> INDEX_BITS if needed else None

    def expire(self) -> Cursor | None:
        """Give up what is beyond the bounds; the moved cursor, if it moved. Raises StoreError."""
        if not self.waiting:
            return None
        dropped = self._backlog.drop_older(int((self._clock() - self._bound.max_age) * 1000))
        more = self._backlog.drop_bytes(self._bound.max_bytes)
        gone = dropped.events + more.events
        if not gone:
            return None
        self._holes.clear()  # older than what was dropped
        log.warning("%s is not served: gave up its oldest %d events", title(self.name), gone)
        return Cursor(self.id, self._backlog.tail, [])

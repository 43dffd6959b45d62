"""How fast each endpoint has lately been served: counters looked at every few seconds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from bridge.delivery.lane import Lane

EVERY_S = 5.0
WINDOW_S = 60.0


class Rates:
    """Deliveries and failed attempts a second, over the last minute or since the start."""

    def __init__(self, lanes: Callable[[], Iterable[Lane]], loop: asyncio.AbstractEventLoop) -> None:
        self._lanes = lanes
        self._loop = loop
        # loop time, and by lane id (delivered, failed)
        self._samples: deque[tuple[float, dict[int, tuple[int, int]]]] = deque(
            maxlen=int(WINDOW_S / EVERY_S) + 1
        )
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._loop.call_later(EVERY_S, self.start)
        self._samples.append((self._loop.time(), {lane.id: _counts(lane) for lane in self._lanes()}))

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def of(self, lane: Lane) -> tuple[float, float]:
        """Deliveries, and failed attempts, a second."""
        for at, counts in self._samples:
            if lane.id in counts:
                seconds = self._loop.time() - at
                if seconds <= 0:
                    break
                delivered, failed = _counts(lane)
                before_delivered, before_failed = counts[lane.id]
                return (delivered - before_delivered) / seconds, (failed - before_failed) / seconds
        return 0.0, 0.0


def _counts(lane: Lane) -> tuple[int, int]:
    return lane.delivered, lane.failed

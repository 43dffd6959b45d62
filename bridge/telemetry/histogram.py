"""Times in buckets, and the longest of the last minute: plain numbers, read when somebody asks.

An observation costs about as much as one clock call, so that hot paths make one a turn, not one an event.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

DISK_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Upper bounds in seconds for what a disk does: a fast one takes 0.1 ms, an SD card 50."""
ANSWER_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""For what a receiver does."""
WAY_S = (*ANSWER_S, 60.0, 300.0, 1800.0, 7200.0, 28800.0, 86400.0)
"""For an event's whole way, retries included."""


class Histogram:
    """Counts of values by upper bound (inclusive), and their sum. The last count is of what is above all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` ascend."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.counts)

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound (`+Inf` the last) and how many values are at or below it, as Prometheus has them."""
        found: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            found.append((bound, total))
        return found


class Longest:
    """The longest time of the last minute, roughly: of two spans of `SPAN_S`, the present one and the last.

    So it does not matter how many look at it, nor when. `present` is for the hot path: to be raised by `note`
    where a time is above it.
    """

    __slots__ = ("_before", "_until", "present")

    SPAN_S = 30.0

    def __init__(self) -> None:
        self.present = 0.0
        self._before = 0.0
        self._until = 0.0

    def note(self, seconds: float) -> None:
        """Take a time into account."""
        self.present = max(self.present, seconds)

    def roll(self, now: float) -> None:
        """Begin the next span where this one is over; to be called every second or so. `now` in seconds."""
        if now >= self._until:
            self._until = now + self.SPAN_S
            self._before, self.present = self.present, 0.0

    @property
    def value(self) -> float:
        """Seconds."""
        return max(self.present, self._before)

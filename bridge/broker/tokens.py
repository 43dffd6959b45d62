"""The token bucket: a rate, and how much may come at once."""

from __future__ import annotations


class TokenBucket:
    """At most `rate` a second on average, and at most `burst` at once."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, now: float, burst: float | None = None) -> None:
        self._rate = rate
        self._burst = self._tokens = max(1.0, rate if burst is None else burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Take one, if there is one."""
        if self.wait(now) > 0:
            return False
        self._tokens -= 1
        return True

    def wait(self, now: float, size: float = 1.0) -> float:
        """Seconds until `size` may be spent; more than the burst may be once the bucket is full."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        missing = min(size, self._burst) - self._tokens
        return missing / self._rate if missing > 1e-9 else 0.0

    def spend(self, size: float = 1.0) -> None:
        """Take `size`, be it more than there is: who comes next waits for it."""
        self._tokens -= size

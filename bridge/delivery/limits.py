"""How much at a time and how fast: concurrency that follows the endpoint, pauses, and a token bucket.

* A status that asks for less (429, 502, 503, 504) halves the requests in flight, once for all that were sent
  together; at one request, further ones pause the lane, longer each time. What succeeds afterwards raises
  the limit by one for each full round.
* After an outage the limit begins at one and doubles with each round until it is where it was: the ramp.
* `Retry-After` pauses the lane for as long as it says, up to `MAX_PAUSE_S`; the event that got it waits as
  long as it says up to `retry.max_retry_after`.

Times are loop time in seconds. Pure: no clock, timer or socket.
"""

from __future__ import annotations

MIN_PAUSE_S = 0.5
MAX_STEP_S = 30.0
"""The longest pause that repeated statuses make of themselves."""
MAX_PAUSE_S = 300.0
"""The longest pause that a Retry-After makes: then one request asks again, whatever the first one said."""
TIMER_S = 0.002


class Pace:
    """The requests that may be in flight (`limit`, at most `size`), and until when none may begin."""

    __slots__ = ("_credit", "_cut_at", "_step", "_threshold", "limit", "size", "until")

    def __init__(self, size: int) -> None:
        self.size = size
        self.limit = size
        self.until = 0.0
        self._threshold = size  # below it the limit doubles with each round, above it grows by one
        self._credit = 0
        self._cut_at = -1.0
        self._step = 0.0

    @property
    def free(self) -> bool:
        """Whether it holds nothing back, and remembers nothing."""
        return self.limit >= self.size and not self.until

    def ramp(self) -> None:
        """The endpoint has come back."""
        self.limit = 1
        self._threshold = self.size
        self._credit = 0
        self.until = self._step = 0.0

    def slow(self, now: float, began: float, asked: float | None) -> None:
        """A request that was begun at `began` was answered with "less"; `asked` are seconds to wait."""
        if asked is not None:
            self.until = max(self.until, now + min(asked, MAX_PAUSE_S))
        if began <= self._cut_at:
            return  # sent before the last cut: it says nothing new
        self._cut_at = now
        self._credit = 0
        if self.limit > 1:
            self.limit = self._threshold = max(self.limit // 2, 1)
        elif asked is None:
            self._step = min(max(self._step * 2, MIN_PAUSE_S), MAX_STEP_S)
            self.until = max(self.until, now + self._step)

    def succeeded(self, now: float) -> None:
        """A request has succeeded."""
        self._step = 0.0
        if self.until and now >= self.until:
            self.until = 0.0
        if self.limit >= self.size:
            return
        if self.limit < self._threshold:
            self.limit += 1
            return
        self._credit += 1
        if self._credit >= self.limit:
            self._credit = 0
            self.limit += 1


class Bucket:
    """`per_second` requests in the long run, up to `burst` at once.

    At a high rate up to `TIMER_S` of it go at once too: timers ring no more often.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, per_second: float, burst: int, now: float) -> None:
        self._rate = per_second
        self._burst = max(float(burst), per_second * TIMER_S)
        self._tokens = float(burst)
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until a request may go out; 0 if it may now."""
        self._tokens = min(self._tokens + (now - self._at) * self._rate, self._burst)
        self._at = now
        # A timer that rings a rounding error early would find nothing and ring again.
        return 0.0 if self._tokens >= 1 - 1e-6 else (1 - self._tokens) / self._rate

    def take(self) -> None:
        """A request goes out."""
        self._tokens -= 1

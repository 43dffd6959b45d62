"""Whether an endpoint may be sent a request now: switched off, not yet allowed, breaker, pace and rate limit
in one place.

While nothing holds back, `strict` is False and the lane asks nothing here.
"""

from __future__ import annotations

from bridge.config.settings import AnyEndpoint
from bridge.delivery.breaker import Breaker
from bridge.delivery.limits import Bucket, Pace
from bridge.delivery.retry import Bearing


class Gate:
    """The state of one endpoint. `now` is loop time in seconds, `size` the requests that may be in flight."""

    __slots__ = ("_rate_limit", "asking", "breaker", "bucket", "off", "pace", "strict")

    def __init__(self, endpoint: AnyEndpoint, size: int, now: float) -> None:
        self.breaker = Breaker(endpoint.breaker)
        self.pace = Pace(size)
        limit = self._rate_limit = endpoint.rate_limit
        self.bucket = Bucket(limit.per_second, limit.burst, now) if limit is not None else None
        self.off = False
        self.asking = endpoint.abuse_protection  # until `allow`
        self.strict = self.asking or self.bucket is not None

    def _refresh(self) -> None:
        self.strict = (
            self.off
            or self.asking
            or self.bucket is not None
            or self.breaker.failures > 0
            or not self.pace.free
        )

    def allow(self, per_minute: int | None, now: float) -> None:
        """The endpoint has agreed to requests, to so many a minute if it is not None."""
        self.asking = False
        if per_minute is not None:
            own = self._rate_limit
            per_second, burst = (own.per_second, own.burst) if own is not None else (per_minute / 60, 1)
            per_second = min(per_second, per_minute / 60)
            burst = max(
                min(burst, int(per_minute - per_second * 60)), 1
            )  # no minute has more than was allowed
            self.bucket = Bucket(per_second, burst, now)
        self._refresh()

    def switch(self, *, off: bool) -> None:
        """Send nothing, or begin again with a ramp."""
        self.off = off
        if not off:
            self.breaker.succeeded()
            self.pace.ramp()
        self._refresh()

    def resume(self, now: float) -> None:
        """It was taken for dead when the last process ended: begin with a probe."""
        self.breaker.trip(now, 0.0)
        self.breaker.next_probe = now
        self._refresh()

    def hold(self, until: float) -> None:
        """Begin no request until then."""
        self.pace.until = max(self.pace.until, until)
        self._refresh()

    def wait(self, now: float, in_flight: int) -> float | None:
        """Seconds until a request may go out, 0 if it may now; None: something has to happen before."""
        if self.off or self.asking:
            return None
        breaker = self.breaker
        until = self.pace.until
        if breaker.open:
            if breaker.probe is not None:
                return None
            until = max(until, breaker.next_probe)
        elif in_flight >= self.pace.limit:
            return None
        if until > now:
            return until - now
        return self.bucket.wait(now) if self.bucket is not None else 0.0

    def sent(self, number: int, *, early: bool = False) -> None:
        """A request goes out that `wait` has let through. `early`: a probe before it is due."""
        if self.breaker.open:
            self.breaker.probe = number
            self.breaker.early = early
        if self.bucket is not None:
            self.bucket.take()

    def succeeded(self, now: float) -> bool:
        """An attempt has succeeded; whether the endpoint was taken for dead before."""
        recovered = self.breaker.succeeded()
        if recovered:
            self.pace.ramp()
        else:
            self.pace.succeeded(now)
        self._refresh()
        return recovered

    def failed(
        self, number: int, kind: Bearing, now: float, began: float, asked: float | None, random: float
    ) -> bool:
        """An attempt begun at `began` has failed; whether the endpoint is now taken for dead."""
        opened = False
        if kind != "ours":
            opened = self.breaker.failed(number, now, random)
            if kind == "slow":
                self.pace.slow(now, began, asked)
        elif number == self.breaker.probe:
            self.breaker.unused()
        self._refresh()
        return opened

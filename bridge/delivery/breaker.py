"""The circuit breaker of an endpoint: a dead endpoint costs one request an interval, not one an event.

* Closed: requests go out. After `failures` failures in a row, of whatever events, it opens.
* Open: one probe at a time, an event like any other. The wait before a probe grows from `FIRST_PROBE_S` to
  `probe_interval`. Waiting behind it is no attempt.
* Any success closes it, that of a request from before it opened too.

Times are loop time in seconds. Pure: no clock, timer or socket.
"""

from __future__ import annotations

from bridge.config.settings import BreakerPolicy

FIRST_PROBE_S = 1.0
"""Before the first probe: most outages are short. It doubles up to `probe_interval`."""


class Breaker:
    """Counts what the lane tells it. `early` is for the lane's use: the probe was not due."""

    __slots__ = ("_interval", "_policy", "early", "failures", "next_probe", "open", "probe")

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._interval = 0.0
        self.open = False
        self.failures = 0  # in a row
        self.next_probe = 0.0
        self.probe: int | None = None  # the number of the request that is out as a probe
        self.early = False

    def succeeded(self) -> bool:
        """An attempt has succeeded; whether this has closed it."""
        closed = self.open
        self.open = False
        self.failures = 0
        self.probe = None
        self.early = False
        return closed

    def failed(self, number: int, now: float, random: float) -> bool:
        """The attempt of a request has failed; whether this has opened it. `random` spreads the probes."""
        self.failures += 1
        if self.open:
            if number == self.probe:
                self.unused()
                self._interval = min(self._interval * 2, self._policy.probe_interval)
                self.next_probe = now + self._interval * (1 + 0.1 * random)
            return False
        if self.failures < self._policy.failures:
            return False
        self.trip(now, random)
        return True

    def trip(self, now: float, random: float) -> None:
        """Open it."""
        self.open = True
        self.failures = max(self.failures, 1)
        self._interval = min(FIRST_PROBE_S, self._policy.probe_interval)
        self.next_probe = now + self._interval * (1 + 0.1 * random)

    def unused(self) -> None:
        """The probe is out no more, and has said nothing about the endpoint."""
        self.probe = None
        self.early = False

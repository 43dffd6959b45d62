"""Failed logins slow down the address that they came from, and no other.

After some failures the further attempts of that address are looked at one by one, at growing intervals; one
that would have to wait too long is refused at once. A client whose password was right before does not wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from bridge.broker.addresses import network_of

FREE_FAILURES = 10
"""Failures of one address before anything slows down."""
FIRST_INTERVAL_S = 0.1
MAX_INTERVAL_S = 2.0
MAX_WAIT_S = 8.0
"""The longest that an attempt waits for its turn; clients give up soon after."""
FORGET_S = 300.0
"""Without a failure for so long an address begins anew."""
MAX_ADDRESSES = 4096


class Throttle:
    """Which addresses have failed how often, and when the next attempt of each may be looked at."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds that only grow."""
        self._clock = clock
        # Failures, the time of the last one, and from when on the next attempt may be looked at.
        self._failed: OrderedDict[str, tuple[int, float, float]] = OrderedDict()

    def slows(self, address: str) -> bool:
        """Whether attempts of that address are slowed at all."""
        if not self._failed:
            return False
        failures, at, _ = self._failed.get(network_of(address), (0, 0.0, 0.0))
        return failures >= FREE_FAILURES and self._clock() - at <= FORGET_S

    def failing(self, address: str) -> bool:
        """Whether an attempt of that address, or of its network, has failed lately."""
        if not self._failed:
            return False
        found = self._failed.get(network_of(address))
        return found is not None and self._clock() - found[1] <= FORGET_S

    def wait(self, address: str) -> float | None:
        """Seconds until this attempt may be looked at, which it is to be then; None: it is refused."""
        if not self.slows(address):
            return 0.0
        key = network_of(address)
        failures, at, free = self._failed[key]
        now = self._clock()
        start = max(now, free)
        if start - now > MAX_WAIT_S:
            return None
        interval = min(FIRST_INTERVAL_S * 2.0 ** min(failures - FREE_FAILURES, 16), MAX_INTERVAL_S)
        self._failed[key] = (failures, at, start + interval)
        return start - now

    def failed(self, address: str) -> None:
        """Count a failure."""
        key = network_of(address)
        now = self._clock()
        failures, at, free = self._failed.pop(key, (0, now, 0.0))
        self._failed[key] = (1 if now - at > FORGET_S else failures + 1, now, free)
        if len(self._failed) > MAX_ADDRESSES:
            self._failed.popitem(last=False)

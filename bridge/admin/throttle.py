"""Failed logins are slowed: by address, with a table of bounded size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from bridge.broker.addresses import network_of

FREE_FAILURES = 5
"""Failures of one address before the first wait: people mistype."""
FIRST_WAIT_S = 1.0
MAX_WAIT_S = 60.0
FORGET_S = 900.0
"""Without a failure for so long an address begins anew."""
MAX_ADDRESSES = 4096


class Throttle:
    """Which addresses have to wait, after failure upon failure twice as long."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()  # failures, the last one's time

    def wait(self, address: str) -> float:
        """Seconds until that address may try again; 0 where it may now."""
        failures, at = self._failed.get(network_of(address), (0, 0.0))
        beyond = failures - FREE_FAILURES
        if beyond < 0:
            return 0.0
        wait = min(FIRST_WAIT_S * 2.0 ** min(beyond, 16), MAX_WAIT_S)
        return max(at + wait - self._clock(), 0.0)

    def failed(self, address: str) -> None:
        """Count a failure."""
        key = network_of(address)
        now = self._clock()
        failures, at = self._failed.pop(key, (0, now))
        self._failed[key] = (1 if now - at > FORGET_S else failures + 1, now)
        if len(self._failed) > MAX_ADDRESSES:
            self._failed.popitem(last=False)

    def passed(self, address: str) -> None:
        """The address has shown that it knows: forget its failures."""
        self._failed.pop(network_of(address), None)

"""What follows from an attempt: a pure function, without clock, sockets or store.

The schedule is that of Standard Webhooks 1.0.0: each wait begins when the attempt before it has failed.
Jitter only adds, so that no attempt comes early. This is the place of the delivery policy: what a status such
as 410, 429 or 503 means beyond "failed", `retry-after`, and schedules per endpoint belong into `decide`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEDULE_S = (0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
"""Seconds before each attempt, counted from the failure of the one before it."""
JITTER = 0.1
"""The most that jitter adds, as a share of the wait."""

ErrorKind = Literal["timeout", "connect", "tls", "dns", "reset", "protocol", "body", "egress", "proxy"]


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How one attempt ended: with an HTTP status, or with an error before a whole response was there.

    `text` says more: the cause of an error, or the beginning of the response's body. `error` "body" means
    that no request could be built from the event, "egress" that its address is none that requests may go to,
    and "proxy" that the configured proxy, not the endpoint, was in the way.
    """

    status: int | None = None
    error: ErrorKind | None = None
    text: str = ""

    @property
    def ok(self) -> bool:
        """2xx, and nothing else: a redirect is a failure and is never followed."""
        return self.status is not None and 200 <= self.status < 300

    def __str__(self) -> str:
        what = f"status {self.status}" if self.error is None else self.error
        return f"{what}: {self.text}" if self.text else what


class Success(msgspec.Struct, frozen=True, gc=False):
    """The event is delivered."""


class RetryAt(msgspec.Struct, frozen=True, gc=False):
    """Try again in `wait_ms` milliseconds."""

    wait_ms: int


class GiveUp(msgspec.Struct, frozen=True, gc=False):
    """No further attempt: a dead letter."""

    reason: str


Decision = Success | RetryAt | GiveUp

_SUCCESS = Success()


def decide(attempt: int, outcome: Outcome, *, now_ms: int, first_ms: int, random: float) -> Decision:
    """What follows from attempt number `attempt` (1 is the first).

    `now_ms` and `first_ms` are Unix ms of now and of the first attempt; `random` is in [0, 1).
    """
    if outcome.ok:
        return _SUCCESS
    if outcome.error == "body":
        return GiveUp(f"no request could be built: {outcome.text}")
    if attempt >= len(SCHEDULE_S):
        hours = max(now_ms - first_ms, 0) / 3_600_000
        return GiveUp(f"failed {attempt} times over {hours:.1f} h, the last time with {outcome}")
    return RetryAt(int(SCHEDULE_S[attempt] * 1000 * (1 + JITTER * random)))

"""What follows from an attempt: pure functions, without clock, sockets or store.

* A schedule is the waits before each attempt, each counted from the failure of the attempt before it. Its
  presets are that of Standard Webhooks 1.0.0 and that of MES. Jitter only adds: no attempt comes early.
* `Retry-After` (RFC 9110 section 10.2.3) can make a wait longer, up to a bound, and never shorter.
* 410 switches the endpoint off; 429, 502, 503 and 504 slow it down. Every other failure is tried again, but
  for an event that no request can be built from: that is a dead letter at once.
"""

from __future__ import annotations

from collections.abc import Container
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec

from bridge.config.settings import AnyEndpoint, RetryPolicy

SCHEDULE_S: tuple[float, ...] = (
    *(0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600),
    24 * 3600,
)
"""`standard`: seconds before each attempt, counted from the failure of the one before it."""
MES_S: tuple[float, ...] = (0, 5, 30, 5 * 60, 30 * 60, *(24 * 3600,) * 7)
"""`mes`: five attempts, then daily for seven days."""
MES_FAILED_FROM = 5
"""The attempt from which on an event shows as failed under `mes`, while the daily ones continue."""
MAX_WAIT_S = 365 * 86400.0
"""No wait of `exponential` is longer."""
SLOW_DOWN = frozenset({429, 502, 503, 504})
GONE = 410

ErrorKind = Literal[
    "timeout", "connect", "tls", "dns", "reset", "protocol", "body", "egress", "proxy", "sign", "refused",
    "busy",
]  # fmt: skip


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How one attempt ended: with an HTTP status, or with an error before a whole response was there.

    `text` says more: the cause of an error, or the beginning of the response's body. `error` "body" means
    that no request could be built from the event, "sign" that it could not be signed, "egress" that its
    address is none that requests may go to, and "proxy" that the configured proxy, not the endpoint, was in
    the way. "refused" and "busy" are an MQTT broker's reason codes (0x80 and above): busy, it wants less at a
    time. `retry_after` is that header as it came, empty if there was none.
    """

    status: int | None = None
    error: ErrorKind | None = None
    text: str = ""
    retry_after: str = ""

    @property
    def ok(self) -> bool:
        """2xx. What counts as success for an endpoint is in its policy."""
        return self.status is not None and 200 <= self.status < 300

    def __str__(self) -> str:
        what = f"status {self.status}" if self.error is None else self.error
        return f"{what}: {self.text}" if self.text else what


class Policy(msgspec.Struct, frozen=True):
    """`webhook.retry` and `webhook.success`, worked out. Times in seconds.

    `waits` stand before each attempt, the first one 0. From attempt number `failed_from` on an event shows
    as failed though it is tried again. `max_age` counts from the first attempt.
    """

    waits: tuple[float, ...]
    jitter: float = 0.1
    max_age: float | None = None
    max_retry_after: float = 86400.0
    success: Container[int] = range(200, 300)
    failed_from: int | None = None

    def shows_failed(self, attempt: int) -> bool:
        """Whether an event with so many failed attempts shows as failed, though it is tried again."""
        return self.failed_from is not None and attempt >= self.failed_from


def make_policy(endpoint: AnyEndpoint) -> Policy:
    """The policy of an endpoint."""
    retry = endpoint.retry
    return Policy(
        waits=_waits(retry),
        jitter=retry.jitter,
        max_age=retry.max_age if retry.schedule == "exponential" else None,
        max_retry_after=retry.max_retry_after,
        success=statuses(endpoint.success),
        failed_from=MES_FAILED_FROM if retry.schedule == "mes" else None,
    )


def statuses(ranges: tuple[tuple[int, int], ...]) -> Container[int]:
    """The statuses of inclusive ranges."""
    if len(ranges) == 1:
        return range(ranges[0][0], ranges[0][1] + 1)
    return frozenset(status for low, high in ranges for status in range(low, high + 1))


def _waits(retry: RetryPolicy) -> tuple[float, ...]:
    if retry.schedule == "standard":
        return SCHEDULE_S
    if retry.schedule == "mes":
        return MES_S
    if retry.schedule != "exponential":
        return retry.schedule or (0,)
    waits = [0.0]
    wait = min(retry.base, MAX_WAIT_S)
    while len(waits) < retry.max_attempts:
        waits.append(wait)
        wait = min(wait * retry.factor, MAX_WAIT_S)
    return tuple(waits)


class Success(msgspec.Struct, frozen=True, gc=False):
    """The event is delivered."""


class RetryAt(msgspec.Struct, frozen=True, gc=False):
    """Try again in `wait_ms` milliseconds. `failed`: it shows as failed meanwhile."""

    wait_ms: int
    failed: bool = False


class GiveUp(msgspec.Struct, frozen=True, gc=False):
    """No further attempt: a dead letter."""

    reason: str


Decision = Success | RetryAt | GiveUp

_SUCCESS = Success()


def decide(
    policy: Policy, attempt: int, outcome: Outcome, *, now_ms: int, first_ms: int, random: float
) -> Decision:
    """What follows from attempt number `attempt` (1 is the first).

    `now_ms` and `first_ms` are Unix ms of now and of the first attempt; `random` is in [0, 1).
    """
    if outcome.error is None and outcome.status in policy.success:
        return _SUCCESS
    if outcome.error == "body":
        return GiveUp(f"no request could be built: {outcome.text}")
    age_ms = max(now_ms - first_ms, 0)
    if attempt >= len(policy.waits):
        return GiveUp(f"failed {attempt} times over {age_ms / 3_600_000:.1f} h, the last time with {outcome}")
    wait_ms = int(policy.waits[attempt] * 1000 * (1 + policy.jitter * random))
    asked_ms = retry_after_ms(outcome.retry_after, now_ms)
    if asked_ms is not None:
        wait_ms = max(wait_ms, min(asked_ms, int(policy.max_retry_after * 1000)))
    if policy.max_age is not None and age_ms + wait_ms > policy.max_age * 1000:
        return GiveUp(
            f"failed {attempt} times, and the next attempt would come {(age_ms + wait_ms) / 1000:.0f} s "
            f"after the first, later than retry.max_age ({policy.max_age:g} s); "
            f"the last time with {outcome}"
        )
    return RetryAt(wait_ms, policy.shows_failed(attempt))


def retry_after_ms(value: str, now_ms: int) -> int | None:
    """The wait in ms that a `Retry-After` asks for; None if there is none or it is malformed."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return int(value) * 1000
    try:
        when = parsedate_to_datetime(value)
        if when.tzinfo is None:  # "-0000"; HTTP-date is always GMT, RFC 9110 section 5.6.7
            when = when.replace(tzinfo=UTC)
        return max(int(when.timestamp() * 1000) - now_ms, 0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


Bearing = Literal["failed", "slow", "gone", "way", "ours"]


def bearing(outcome: Outcome) -> Bearing:
    """What a failure says about the endpoint.

    * failed: it did not take the event.
    * slow: and wants less at a time (429, 502, 503, 504; an MQTT broker's "busy").
    * gone: and wants nothing any more (410).
    * way: something between it and us is at fault (proxy, egress rules). Nothing can be sent, but the
      endpoint is not to blame.
    * ours: we could not make the request. It says nothing about the endpoint.
    """
    if outcome.error is not None:
        if outcome.error in ("body", "sign"):
            return "ours"
        if outcome.error == "busy":
            return "slow"
        return "way" if outcome.error in ("proxy", "egress") else "failed"
    if outcome.status == GONE:
        return "gone"
    return "slow" if outcome.status in SLOW_DOWN else "failed"

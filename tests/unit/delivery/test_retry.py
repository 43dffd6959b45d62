"""The decision after an attempt, and what a failure says about the endpoint."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.settings import Endpoint, RetryPolicy
from bridge.delivery.retry import (
    MES_S,
    SCHEDULE_S,
    GiveUp,
    Outcome,
    Policy,
    RetryAt,
    Success,
    bearing,
    decide,
    make_policy,
    retry_after_ms,
)

FAILURES = [
    Outcome(status=500),
    Outcome(status=301),
    Outcome(status=410),
    Outcome(status=429),
    Outcome(status=503),
    Outcome(error="timeout"),
    Outcome(error="connect"),
    Outcome(error="tls"),
    Outcome(error="dns"),
    Outcome(error="reset"),
    Outcome(error="protocol"),
    Outcome(error="sign"),
    Outcome(error="egress"),
    Outcome(error="proxy"),
    Outcome(status=407, error="proxy"),
]
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
STANDARD = make_policy(Endpoint(url="http://a/"))


def policy(success: tuple[tuple[int, int], ...] = ((200, 299),), **retry: Any) -> Policy:
    return make_policy(Endpoint(url="http://a/", retry=RetryPolicy(**retry), success=success))


def waits(policy: Policy, attempts: int) -> list[int]:
    """The waits after each of so many failures."""
    found = []
    for attempt in range(1, attempts + 1):
        decision = decide(policy, attempt, FAILURES[0], now_ms=0, first_ms=0, random=0.0)
        assert isinstance(decision, RetryAt)
        found.append(decision.wait_ms)
    last = decide(policy, attempts + 1, FAILURES[0], now_ms=0, first_ms=0, random=0.0)
    assert isinstance(last, GiveUp)
    return found


# -- schedules ---------------------------------------------------------------------------------------------


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    assert waits(STANDARD, 9) == [
        *(5_000, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR),
        *(10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR),
    ]


def test_the_schedule_of_mes_shows_failed_from_the_fifth_attempt_on_and_goes_on_daily() -> None:
    mes = policy(schedule="mes")
    assert waits(mes, 11) == [5_000, 30_000, 5 * MINUTE, 30 * MINUTE, *[DAY] * 7]
    shown = [decide(mes, attempt, FAILURES[0], now_ms=0, first_ms=0, random=0.0) for attempt in range(1, 12)]
    assert [each.failed for each in shown if isinstance(each, RetryAt)] == [False] * 4 + [True] * 7
    assert not STANDARD.shows_failed(9)


def test_an_exponential_schedule() -> None:
    assert waits(policy(schedule="exponential", base=2, factor=3, max_attempts=5), 4) == [
        *(2_000, 6_000, 18_000, 54_000)
    ]
    assert waits(policy(schedule="exponential", base=1, factor=1, max_attempts=3), 2) == [1000, 1000]
    assert waits(policy(schedule="exponential", max_attempts=1), 0) == []


def test_an_exponential_schedule_has_no_wait_beyond_a_year() -> None:
    found = waits(policy(schedule="exponential", base=1e6, factor=1000, max_attempts=1000), 999)
    assert set(found[2:]) == {365 * DAY}


def test_a_list_of_waits() -> None:
    assert waits(policy(schedule=(0, 5, 60.5)), 2) == [5_000, 60_500]
    assert waits(policy(schedule=(0,)), 0) == []


@pytest.mark.parametrize("outcome", FAILURES, ids=str)
def test_after_the_last_attempt_it_gives_up(outcome: Outcome) -> None:
    decision = decide(STANDARD, 10, outcome, now_ms=75 * HOUR, first_ms=0, random=0.5)
    assert isinstance(decision, GiveUp)
    assert "10 times over 75.0 h" in decision.reason
    assert str(outcome) in decision.reason


def test_max_age_counts_from_the_first_attempt() -> None:
    short = policy(schedule="exponential", base=10, factor=1, max_attempts=100, max_age=60)
    assert isinstance(decide(short, 5, FAILURES[0], now_ms=50_000, first_ms=0, random=0.0), RetryAt)
    late = decide(short, 6, FAILURES[0], now_ms=50_001, first_ms=0, random=0.0)
    assert isinstance(late, GiveUp)
    assert "retry.max_age (60 s)" in late.reason
    # a clock that was set back makes nothing old
    assert isinstance(decide(short, 5, FAILURES[0], now_ms=0, first_ms=10**9, random=0.0), RetryAt)


def test_max_age_belongs_to_exponential() -> None:
    assert policy(schedule="standard", max_age=60).max_age is None


# -- success -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", [1, 5, 10, 11])
@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_is_success_at_any_attempt(attempt: int, status: int) -> None:
    decision = decide(STANDARD, attempt, Outcome(status=status), now_ms=0, first_ms=0, random=0.0)
    assert isinstance(decision, Success)


def test_success_is_what_the_endpoint_says() -> None:
    only = policy(success=((200, 200), (409, 410)))
    for status, well in ((200, True), (201, False), (204, False), (409, True), (410, True), (411, False)):
        decision = decide(only, 1, Outcome(status=status), now_ms=0, first_ms=0, random=0.0)
        assert isinstance(decision, Success) is well, status


def test_what_cannot_be_built_is_not_tried_again() -> None:
    decision = decide(STANDARD, 1, Outcome(error="body", text="why"), now_ms=0, first_ms=0, random=0.0)
    assert isinstance(decision, GiveUp)
    assert "why" in decision.reason


# -- jitter ------------------------------------------------------------------------------------------------


@given(
    st.integers(1, len(SCHEDULE_S) - 1),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(FAILURES),
)
def test_jitter_only_adds_and_at_most_a_tenth(attempt: int, random: float, outcome: Outcome) -> None:
    decision = decide(STANDARD, attempt, outcome, now_ms=1, first_ms=0, random=random)
    assert isinstance(decision, RetryAt)
    assert SCHEDULE_S[attempt] * 1000 <= decision.wait_ms <= SCHEDULE_S[attempt] * 1100


@given(st.floats(0, 1), st.floats(0, 1, exclude_max=True), st.integers(1, len(MES_S) - 1))
def test_jitter_is_a_setting(jitter: float, random: float, attempt: int) -> None:
    decision = decide(
        policy(schedule="mes", jitter=jitter), attempt, FAILURES[0], now_ms=1, first_ms=0, random=random
    )
    assert isinstance(decision, RetryAt)
    assert MES_S[attempt] * 1000 <= decision.wait_ms <= MES_S[attempt] * 1000 * (1 + jitter)


# -- Retry-After -------------------------------------------------------------------------------------------


def after(value: str, policy: Policy = STANDARD, now_ms: int = 0) -> int:
    outcome = Outcome(status=503, retry_after=value)
    decision = decide(policy, 1, outcome, now_ms=now_ms, first_ms=0, random=0.0)
    assert isinstance(decision, RetryAt)
    return decision.wait_ms


def test_retry_after_in_seconds_makes_a_wait_longer_and_never_shorter() -> None:
    assert after("120") == 120_000
    assert after("4") == 5_000
    assert after("0") == 5_000


def test_retry_after_as_a_date() -> None:
    now = 1_800_000_000
    assert after(formatdate(now + 90, usegmt=True), now_ms=now * 1000) == 90_000
    assert after(formatdate(now - 90, usegmt=True), now_ms=now * 1000) == 5_000
    # the two older forms, RFC 9110 section 5.6.7
    assert retry_after_ms("Sunday, 06-Nov-94 08:49:37 GMT", 784111767_000) == 10_000
    assert retry_after_ms("Sun Nov  6 08:49:37 1994", 784111767_000) == 10_000


def test_retry_after_is_bounded() -> None:
    assert after("86401") == DAY
    assert after("9" * 60) == DAY
    assert after("60", policy(max_retry_after=30)) == 30_000
    assert after("60", policy(max_retry_after=0)) == 5_000
    assert after("Fri, 31 Dec 9999 23:59:59 GMT") == DAY


@pytest.mark.parametrize(
    "value", ["", "soon", "-5", "1.5", "+5", "٣", "5 s", "Mon, 99 Jan 2026 00:00:00 GMT"]
)
def test_a_malformed_retry_after_is_none(value: str) -> None:
    assert retry_after_ms(value, 0) is None
    assert after(value) == 5_000


@given(st.text(max_size=64))
def test_no_retry_after_does_harm(value: str) -> None:
    found = retry_after_ms(value, 1_800_000_000_000)
    assert found is None or found >= 0
    assert 5_000 <= after(value, now_ms=1_800_000_000_000) <= DAY


def test_retry_after_does_not_add_an_attempt() -> None:
    outcome = Outcome(status=503, retry_after="1")
    assert isinstance(decide(STANDARD, 10, outcome, now_ms=0, first_ms=0, random=0.0), GiveUp)


def test_retry_after_beyond_max_age_gives_up() -> None:
    short = policy(schedule="exponential", base=1, max_attempts=5, max_age=60)
    outcome = Outcome(status=503, retry_after="61")
    assert isinstance(decide(short, 1, outcome, now_ms=0, first_ms=0, random=0.0), GiveUp)


# -- what a failure says about the endpoint ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        *((Outcome(status=status), "slow") for status in (429, 502, 503, 504)),
        *((Outcome(status=status), "failed") for status in (301, 400, 401, 404, 408, 413, 500, 501, 505)),
        *(
            (Outcome(error=error), "failed")
            for error in ("timeout", "connect", "tls", "dns", "reset", "protocol")
        ),
        (Outcome(status=410), "gone"),
        (Outcome(error="egress"), "way"),
        (Outcome(status=407, error="proxy"), "way"),
        (Outcome(error="body"), "ours"),
        (Outcome(error="sign"), "ours"),
    ],
)
def test_what_a_failure_says(outcome: Outcome, expected: str) -> None:
    assert bearing(outcome) == expected

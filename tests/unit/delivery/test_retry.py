"""The decision after an attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery.retry import SCHEDULE_S, GiveUp, Outcome, RetryAt, Success, decide

FAILURES = [
    Outcome(status=500),
    Outcome(status=301),
    Outcome(status=410),
    Outcome(error="timeout"),
    Outcome(error="connect"),
    Outcome(error="tls"),
    Outcome(error="dns"),
    Outcome(error="reset"),
    Outcome(error="protocol"),
]


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    waits = [decide(n, FAILURES[0], now_ms=0, first_ms=0, random=0.0) for n in range(1, 10)]
    minute, hour = 60_000, 3_600_000
    assert waits == [
        RetryAt(wait)
        for wait in (
            *(5_000, 5 * minute, 30 * minute, 2 * hour, 5 * hour),
            *(10 * hour, 14 * hour, 20 * hour, 24 * hour),
        )
    ]


@pytest.mark.parametrize("outcome", FAILURES, ids=str)
def test_after_the_last_attempt_it_gives_up(outcome: Outcome) -> None:
    decision = decide(10, outcome, now_ms=75 * 3_600_000, first_ms=0, random=0.5)
    assert isinstance(decision, GiveUp)
    assert "10 times over 75.0 h" in decision.reason
    assert str(outcome) in decision.reason


@pytest.mark.parametrize("attempt", [1, 5, 10, 11])
@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_is_success_at_any_attempt(attempt: int, status: int) -> None:
    decision = decide(attempt, Outcome(status=status), now_ms=0, first_ms=0, random=0.0)
    assert isinstance(decision, Success)


def test_what_cannot_be_built_is_not_tried_again() -> None:
    decision = decide(1, Outcome(error="body", text="why"), now_ms=0, first_ms=0, random=0.0)
    assert isinstance(decision, GiveUp)
    assert "why" in decision.reason


@given(
    st.integers(1, len(SCHEDULE_S) - 1),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(FAILURES),
)
def test_jitter_only_adds_and_at_most_a_tenth(attempt: int, random: float, outcome: Outcome) -> None:
    decision = decide(attempt, outcome, now_ms=1, first_ms=0, random=random)
    assert isinstance(decision, RetryAt)
    assert SCHEDULE_S[attempt] * 1000 <= decision.wait_ms <= SCHEDULE_S[attempt] * 1100

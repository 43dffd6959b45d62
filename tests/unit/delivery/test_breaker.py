"""The breaker, the pace, the bucket and the gate that holds them: pure, with the time as a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.settings import BreakerPolicy, Endpoint, RateLimit
from bridge.delivery.gate import Gate
from bridge.delivery.limits import MAX_PAUSE_S, MAX_STEP_S, Bucket, Pace


def make(failures: int = 3, probe_interval: float = 15.0, **keys: object) -> Gate:
    breaker = BreakerPolicy(failures=failures, probe_interval=probe_interval)
    return Gate(Endpoint(url="http://a/", breaker=breaker, **keys), 8, 0.0)  # type: ignore[arg-type]


def fail(gate: Gate, number: int = 1, now: float = 0.0, began: float = 0.0) -> bool:
    return gate.failed(number, "failed", now, began, None, 0.0)


# -- breaker -----------------------------------------------------------------------------------------------


def test_failures_in_a_row_open_it_and_a_success_between_does_not_count() -> None:
    gate = make()
    assert not gate.strict
    assert not fail(gate)
    assert not fail(gate)
    assert gate.strict
    assert not gate.succeeded(0.0)
    assert not gate.strict
    assert [fail(gate) for _ in range(3)] == [False, False, True]
    assert gate.breaker.open
    assert not fail(gate)  # it opens once


def test_open_it_lets_one_probe_out_at_a_time_and_waits_longer_each_time() -> None:
    gate = make()
    for _ in range(3):
        fail(gate)
    now = 0.0
    waits = []
    for number in range(8):
        wait = gate.wait(now, 0)
        assert wait is not None
        waits.append(wait)
        now += wait
        assert gate.wait(now, 0) == 0
        gate.sent(number)
        assert gate.wait(now + 1000, 1) is None  # while it is out
        fail(gate, number, now)
    assert waits == [1, 2, 4, 8, 15, 15, 15, 15]


def test_the_wait_before_a_probe_is_at_most_its_setting() -> None:
    gate = make(probe_interval=0.25)
    for _ in range(3):
        fail(gate)
    assert gate.wait(0.0, 0) == 0.25


def test_requests_from_before_it_opened_neither_end_the_probe_nor_prolong_the_wait() -> None:
    gate = make()
    for number in range(3):
        fail(gate, number)
    gate.sent(7)
    fail(gate, 5, 1.0)
    assert gate.breaker.probe == 7
    assert gate.succeeded(2.0)  # and a success of theirs proves that it lives
    assert not gate.breaker.open


def test_a_fault_of_our_own_does_not_count_and_frees_the_probe() -> None:
    gate = make()
    for _ in range(100):
        assert not gate.failed(1, "ours", 0.0, 0.0, None, 0.0)
    assert not gate.strict
    for _ in range(3):
        fail(gate)
    gate.sent(9)
    gate.failed(9, "ours", 5.0, 5.0, None, 0.0)
    assert gate.breaker.probe is None
    assert gate.wait(5.0, 0) == 0


def test_after_a_recovery_the_requests_in_flight_double_up_to_the_size() -> None:
    gate = make()
    for _ in range(3):
        fail(gate)
    gate.sent(1)
    assert gate.succeeded(1.0)
    rounds = []
    while gate.strict:
        rounds.append(gate.pace.limit)
        for _ in range(gate.pace.limit):
            gate.succeeded(1.0)
    assert rounds == [1, 2, 4]
    assert gate.pace.limit == 8


def test_switched_off_nothing_goes_out() -> None:
    gate = make(rate_limit=RateLimit(per_second=1))
    gate.switch(off=True)
    assert gate.wait(1e9, 0) is None
    gate.switch(off=False)
    assert gate.wait(0.0, 0) == 0
    assert gate.pace.limit == 1


@given(st.lists(st.sampled_from(["failed", "slow", "way", "ours", "ok", "send"]), max_size=60))
def test_it_never_locks_itself_up(steps: list[str]) -> None:
    """Whatever happens, once all that is out has ended a request may go out some time."""
    gate = make(failures=2)
    now = 0.0
    out: list[int] = []
    number = 0
    for step in [*steps, *["ok"] * len(steps)]:
        now += 0.1
        if step == "send" and gate.wait(now, len(out)) == 0:
            number += 1
            gate.sent(number)
            out.append(number)
        elif step == "ok" and out:
            out.pop()
            gate.succeeded(now)
        elif step in ("failed", "slow", "way", "ours") and out:
            gate.failed(out.pop(0), step, now, now - 0.05, None, 0.0)  # type: ignore[arg-type]
    while out:
        gate.failed(out.pop(), "failed", now, now, None, 0.0)
    wait = gate.wait(now, 0)
    assert wait is not None
    assert wait <= 30
    assert gate.wait(now + wait, 0) == 0


# -- pace --------------------------------------------------------------------------------------------------


def test_asked_for_less_it_halves_once_for_all_that_were_sent_together() -> None:
    pace = Pace(32)
    for _ in range(32):
        pace.slow(now=10.0, began=9.0, asked=None)
    assert pace.limit == 16
    pace.slow(now=11.0, began=10.5, asked=None)
    assert pace.limit == 8


def test_it_recovers_by_one_for_each_full_round() -> None:
    pace = Pace(8)
    pace.slow(1.0, 0.5, None)
    assert pace.limit == 4
    rounds = 0
    while not pace.free:
        for _ in range(pace.limit):
            pace.succeeded(2.0)
        rounds += 1
        assert rounds <= 4
        assert pace.limit == 4 + rounds


def test_at_one_request_it_pauses_longer_each_time_and_a_success_ends_that() -> None:
    pace = Pace(1)
    now, pauses = 0.0, []
    for _ in range(10):
        pace.slow(now + 1, now, None)
        pauses.append(pace.until - (now + 1))
        now = pace.until + 1
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, MAX_STEP_S, MAX_STEP_S, MAX_STEP_S, MAX_STEP_S])
    pace.succeeded(now)
    assert pace.free
    pace.slow(now + 1, now, None)
    assert pace.until == pytest.approx(now + 1.5)


def test_retry_after_pauses_up_to_its_bound() -> None:
    pace = Pace(4)
    pace.slow(10.0, 9.0, 30.0)
    assert pace.until == 40.0
    pace.slow(10.0, 9.0, 7.0)
    assert pace.until == 40.0
    pace.slow(10.0, 9.0, 1e6)
    assert pace.until == 10.0 + MAX_PAUSE_S


# -- bucket ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "burst"), [(1.0, 1), (10.0, 5), (100.0, 1), (0.5, 3)])
def test_a_bucket_keeps_its_rate_and_its_burst(rate: float, burst: int) -> None:
    bucket = Bucket(rate, burst, 0.0)
    now, sent = 0.0, []
    while now < 100:
        wait = bucket.wait(now)
        if wait:
            now += wait
            continue
        bucket.take()
        sent.append(now)
    assert sent.count(0.0) == burst
    assert len(sent) == pytest.approx(burst + 100 * rate, abs=1.5)
    for begin in sent[:50]:  # in no second more than the rate and the burst
        assert sum(begin <= at < begin + 1 for at in sent) <= burst + rate + 1


def test_an_idle_bucket_holds_its_burst_and_no_more() -> None:
    bucket = Bucket(1.0, 2, 0.0)
    taken = 0
    while not bucket.wait(1e6):
        bucket.take()
        taken += 1
    assert taken == 2


def test_a_fast_bucket_is_not_slowed_by_timers_of_a_millisecond() -> None:
    bucket = Bucket(10_000.0, 1, 0.0)
    sent = 0
    for tick in range(1, 1001):
        while not bucket.wait(tick / 1000):
            bucket.take()
            sent += 1
    assert sent == pytest.approx(10_000, rel=0.01)

"""A lane before a dead endpoint, an endpoint that comes back, one that asks for less, and one that is off."""

from __future__ import annotations

import itertools
import logging
from email.utils import formatdate

import pytest

from bridge.config.settings import BacklogBound, BreakerPolicy, RateLimit, RetryPolicy
from bridge.delivery import lane as lane_module
from bridge.delivery import retry
from tests.integration import receiver as scripts
from tests.integration.receiver import Exchange, Receiver
from tests.unit.delivery.conftest import until
from tests.unit.delivery.policy.warp import Make, texts, turns, wall, warp
from tests.unit.delivery.rig import Rig

BREAKER = BreakerPolicy(failures=5, probe_interval=20)
HOUR = 3600.0


async def idle(box: Rig) -> None:
    """Nothing is in flight, and the store knows all."""
    await until(lambda: not box.lane.in_flight)
    box.flush()


async def opened(box: Rig, receiver: Receiver, events: int = 10) -> None:
    """Publish events that fail until the breaker is open."""
    for n in range(events):
        box.publish(f"e{n}")
    await until(lambda: box.lane.state == "failing")
    await idle(box)


# -- the breaker -------------------------------------------------------------------------------------------


async def test_a_dead_endpoint_costs_one_request_an_interval(receiver: Receiver, rig: Make) -> None:
    receiver.status = 500
    box = rig(receiver.url(), pool_size=2, breaker=BREAKER)
    await opened(box, receiver, 100)
    assert 5 <= len(receiver.requests) <= 6  # what was in flight when it opened may come on top
    spent = len(receiver.requests)
    for wait in (1, 2, 4, 8, 16, 20, 20, 20):
        await warp(wait * 0.9)
        assert len(receiver.requests) == spent
        await warp(wait * 0.1 + 0.01)
        spent += 1
        await receiver.wait_count(spent)
        await idle(box)
    assert receiver.most_busy <= 2
    attempted = {request.id for request in receiver.requests}
    assert box.lane.retrying == len(attempted)  # waiting behind it is no attempt
    assert box.lane.backlog_events == 100 - len(attempted)
    assert all(row.attempt <= 3 for row in box.store.retries(box.lane.id))


async def test_when_it_comes_back_retries_become_due_and_the_backlog_drains_with_a_ramp(
    receiver: Receiver, rig: Make
) -> None:
    receiver.status = 500
    box = rig(receiver.url(), pool_size=8, breaker=BREAKER)
    await opened(box, receiver, 200)
    failed = len(receiver.requests)
    busy: list[int] = []

    async def play(exchange: Exchange) -> None:
        busy.append(receiver.busy)
        await turns(3)
        await exchange.respond(204)

    receiver.script = play
    await warp(1.01)
    await receiver.wait_for(lambda rs: len({r.id for r in rs[failed:]}) == 200)
    await idle(box)
    assert busy[:2] == [1, 1]
    assert max(busy[:3]) <= 2
    assert max(busy[:7]) <= 4
    assert max(busy) == 8
    assert box.lane.state == "on"
    assert not box.lane._gate.strict
    assert box.lane.retrying == box.lane.dead == 0
    assert sorted({request.attempt for request in receiver.requests[failed:]}) == [1, 2]


async def test_a_full_table_of_retries_does_not_keep_a_recovered_endpoint_idle(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows are due in hours and nothing fresh may begin: a row that is not due serves as the probe."""
    monkeypatch.setattr(lane_module, "MAX_RETRYING", 10)
    receiver.status = 500
    retry = RetryPolicy(schedule=(0, HOUR, HOUR))
    box = rig(receiver.url(), pool_size=4, breaker=BREAKER, retry=retry)
    await opened(box, receiver, 50)
    now = 0.0
    while box.lane.retrying < 10:
        await warp(20.5)
        now += 20.5
        await idle(box)
    for _ in range(5):  # probes that fail are no attempts of the rows
        spent = len(receiver.requests)
        await warp(22)
        now += 22
        await receiver.wait_count(spent + 1)
        await idle(box)
    assert now < HOUR / 2
    assert {row.attempt for row in box.store.retries(box.lane.id)} == {1}
    assert len({request.id for request in receiver.requests[-5:]}) == 5  # another one each time
    receiver.status = 204
    await warp(22)
    await receiver.wait_for(lambda rs: len({r.id for r in rs if r.attempt}) == 50)
    await until(lambda: not box.lane.retrying and not box.lane.backlog_events)
    assert box.lane.dead == 0


async def test_the_breaker_stays_open_over_a_restart_and_its_first_probe_goes_at_once(
    receiver: Receiver, rig: Make
) -> None:
    receiver.status = 500
    box = rig(receiver.url(), pool_size=4, breaker=BREAKER)
    await opened(box, receiver, 30)
    spent = len(receiver.requests)
    again = rig(receiver.url(), box.kill(), pool_size=4, breaker=BREAKER)
    assert again.lane.state == "failing"
    await receiver.wait_count(spent + 1)
    await idle(again)
    assert len(receiver.requests) == spent + 1


async def test_what_had_failed_before_a_recovery_is_due_after_a_crash_too(
    receiver: Receiver, rig: Make
) -> None:
    receiver.status = 500
    box = rig(receiver.url(), pool_size=1, breaker=BREAKER, retry=RetryPolicy(schedule=(0, HOUR, HOUR)))
    await opened(box, receiver, 5)
    assert box.lane.retrying == 5

    receiver.scripts.append(scripts.status(204))
    receiver.script = scripts.hang
    await warp(1.01)
    await until(lambda: box.lane.delivered == 1 and box.lane.in_flight)
    box.flush()
    left = box.kill()
    receiver.script, receiver.status = None, 204
    again = rig(receiver.url(), left, pool_size=1, breaker=BREAKER)
    await until(lambda: again.lane.delivered == 4 and not again.lane.retrying)


async def test_a_fault_of_our_own_does_not_open_it(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), breaker=BREAKER)
    for _ in range(20):
        box.journal.append(box.event(99))  # type: ignore[arg-type]  # no such type: no body can be made
    box.publish("good")
    await receiver.wait_count(1)
    await idle(box)
    assert box.lane.state == "on"
    assert box.lane.dead == 20


async def test_one_dead_endpoint_does_not_slow_another(receiver: Receiver, rig: Make) -> None:
    async with Receiver() as hung:
        hung.script = scripts.hang
        box = rig(receiver.url(), pool_size=32)
        other = box.add(hung.url(), "hung", pool_size=32)
        other.start()
        for n in range(500):
            box.publish(str(n), (box.lane.id, other.id))
        await receiver.wait_count(500, timeout=5)
        assert other.in_flight == 32


# -- slower ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_status_that_asks_for_less_halves_what_is_in_flight(
    receiver: Receiver, rig: Make, status: int
) -> None:
    box = rig(receiver.url(), pool_size=8)
    receiver.delay = 0.01
    receiver.scripts.extend([scripts.status(status)])
    for n in range(100):
        box.publish(str(n))
    await until(lambda: box.lane.failed == 1)
    assert box.lane.state == "slow"
    assert box.lane._gate.pace.limit == 4
    await until(lambda: box.lane.delivered == 99)
    assert box.lane.state == "on"  # and it has recovered


async def test_retry_after_pauses_the_lane_and_the_event(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=2)
    receiver.scripts.append(scripts.status(429, headers=[("Retry-After", "30")]))
    box.publish("a")
    await until(lambda: box.lane.failed == 1)
    box.publish("b")
    box.flush()
    (row,) = box.store.retries(box.lane.id)
    assert row.wait == 30_000
    await warp(29.9)
    assert len(receiver.requests) == 1
    await warp(0.2)
    await receiver.wait_count(3)
    assert sorted(texts(receiver.requests[1:])) == ["a", "b"]


async def test_retry_after_as_a_date(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url())
    date = formatdate(wall() + 120, usegmt=True)
    receiver.scripts.append(scripts.status(503, headers=[("retry-after", date)]))
    box.publish("a")
    await until(lambda: box.lane.retrying == 1)
    box.flush()
    (row,) = box.store.retries(box.lane.id)
    assert 118_000 <= row.wait <= 120_000


async def test_a_retry_after_beyond_its_bound_is_cut(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), retry=RetryPolicy(max_retry_after=60))
    receiver.scripts.append(scripts.status(429, headers=[("Retry-After", "100000")]))
    box.publish("a")
    await until(lambda: box.lane.retrying == 1)
    await warp(60.1)
    await receiver.wait_count(2)


async def test_the_retry_after_of_an_earlier_response_is_forgotten(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=1)
    receiver.scripts.append(scripts.status(500, headers=[("Retry-After", "1000")]))
    receiver.scripts.append(
        scripts.raw(
            b"HTTP/1.1 103 Early\r\nRetry-After: 500\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
        )
    )
    box.publish("a")
    box.publish("b")
    await until(lambda: box.lane.retrying == 2)
    box.flush()
    assert [row.wait for row in box.store.retries(box.lane.id)] == [1_000_000, 5000]


# -- off ---------------------------------------------------------------------------------------------------


async def test_410_switches_off_and_its_events_are_kept(
    receiver: Receiver, rig: Make, caplog: pytest.LogCaptureFixture
) -> None:
    box = rig(receiver.url(), pool_size=1)
    told: list[tuple[str, str]] = []
    box.lane.on_health = lambda state, why: told.append((state, why))
    receiver.scripts.append(scripts.status(410))
    for n in range(10):
        box.publish(str(n))
    await until(lambda: box.lane.state == "off")
    await idle(box)
    assert told == [("off", "it answered 410 (gone)")]
    assert "switched off: it answered 410 (gone)" in caplog.text
    await warp(100 * HOUR)
    assert len(receiver.requests) == 1
    assert (box.lane.retrying, box.lane.backlog_events, box.lane.dead) == (1, 9, 0)

    again = rig(receiver.url(), box.kill(), pool_size=1)  # it outlives a restart
    assert again.lane.state == "off"
    again.publish("10")
    await warp(10)
    assert len(receiver.requests) == 1
    assert again.lane.health.off == "it answered 410 (gone)"
    assert again.lane.health.off_at

    assert again.lane.switch_on()
    assert not again.lane.switch_on()
    await receiver.wait_count(12)
    await idle(again)
    assert sorted(texts(receiver.requests[1:]), key=int) == [str(n) for n in range(11)]
    third = rig(receiver.url(), again.kill(), pool_size=1)
    assert third.lane.state != "off"


async def test_changed_settings_switch_on_again(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url())
    receiver.status = 410
    box.publish("a")
    await until(lambda: box.lane.state == "off")
    await idle(box)
    left = box.kill()
    receiver.status = 204
    again = rig(receiver.url(), left, headers=(("x-key", "new"),))
    await receiver.wait_count(2)
    assert again.lane.state == "on" or again.lane.delivered


async def test_by_hand_it_is_switched_off_and_on(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url())
    assert box.lane.switch_off("by hand")
    assert not box.lane.switch_off("again")
    box.publish("a")
    await warp(100)
    assert not receiver.requests
    assert box.lane.switch_on()
    await receiver.wait_count(1)


async def test_what_is_off_refuses_nobody_and_keeps_to_its_bound(receiver: Receiver, rig: Make) -> None:
    bound = BacklogBound(max_bytes=65536, on_full="refuse")
    box = rig(receiver.url(), backlog=bound)
    box.lane.switch_off("by hand")
    for n in range(2000):
        box.publish(f"{n:04}")
        if n % 100 == 0:
            box.flush()
    box.flush()
    assert not box.lane.full
    assert box.lane.expired > 500
    assert box.lane.backlog_bytes <= 65536


async def test_hours_of_failing_switch_it_off(receiver: Receiver, rig: Make) -> None:
    receiver.status = 500
    breaker = BreakerPolicy(failures=3, probe_interval=600, disable_after=2 * HOUR)
    box = rig(receiver.url(), breaker=breaker, retry=RetryPolicy(schedule=(0, *[HOUR] * 100)))
    for n in range(50):
        box.publish(str(n))
    await until(lambda: box.lane.state == "failing")
    passed = 0.0
    while passed < HOUR:
        await warp(60)
        passed += 60
        await until(lambda: not box.lane.in_flight)
    box.flush()
    assert box.lane.state == "failing"
    assert box.lane.health.failing_s == pytest.approx(HOUR, abs=700)  # counted at each failure
    box = rig(receiver.url(), box.kill(), breaker=breaker)  # the time of failing goes on after a restart
    while box.lane.state == "failing":
        await warp(60)
        passed += 60
        await until(lambda: not box.lane.in_flight)
        assert passed < 3 * HOUR
    assert box.lane.state == "off"
    assert passed > 1.7 * HOUR
    assert box.lane.dead == 0
    assert "failed for 2." in box.lane.health.off


async def test_a_success_ends_the_time_of_failing(receiver: Receiver, rig: Make) -> None:
    receiver.status = 500
    breaker = BreakerPolicy(failures=3, probe_interval=60, disable_after=2 * HOUR)
    box = rig(receiver.url(), breaker=breaker, retry=RetryPolicy(schedule=(0, *[HOUR] * 100)))
    for n in range(200):
        box.publish(str(n))
    await until(lambda: box.lane.state == "failing")
    for _ in range(100):
        await warp(60)
        await until(lambda: not box.lane.in_flight)
    receiver.status = 204
    await warp(70)
    await until(lambda: box.lane.delivered == 200)
    receiver.status = 500
    box.publish("x")
    box.publish("y")
    box.publish("z")
    await until(lambda: box.lane.state == "failing")
    await warp(60)
    assert box.lane.state == "failing"
    assert box.lane.health.failing_s < 100


async def test_a_proxy_in_the_way_opens_the_breaker_and_never_switches_off(
    receiver: Receiver, rig: Make
) -> None:
    receiver.script = scripts.status(407)
    breaker = BreakerPolicy(failures=2, probe_interval=60, disable_after=HOUR)
    box = rig(receiver.url(), breaker=breaker, proxy=f"http://127.0.0.1:{receiver.port}")
    for n in range(100):
        box.publish(str(n))
    await until(lambda: box.lane.state == "failing")
    for _ in range(120):
        await warp(60)
        await until(lambda: not box.lane.in_flight)
    assert box.lane.state == "failing"
    receiver.script = scripts.status(500)  # and when it is gone the endpoint is not blamed for its time
    for _ in range(5):
        await warp(60)
        await until(lambda: not box.lane.in_flight)
    assert box.lane.state == "failing"


# -- success, limits ---------------------------------------------------------------------------------------


async def test_only_the_statuses_of_success_succeed(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=1, success=((200, 200), (409, 409)))
    receiver.scripts.extend([scripts.status(code, b"why") for code in (200, 201, 409, 204)])
    for n in range(4):
        box.publish(str(n))
    await until(lambda: box.lane.delivered == 2 and box.lane.failed == 2)
    box.flush()
    assert [row.error for row in box.store.retries(box.lane.id)] == ["status 201: why", "status 204"]


async def test_max_in_flight(receiver: Receiver, rig: Make) -> None:
    receiver.delay = 0.005
    box = rig(receiver.url(), pool_size=32, max_in_flight=3)
    for n in range(60):
        box.publish(str(n))
    await receiver.wait_count(60)
    assert receiver.most_busy == 3


async def test_a_rate_limit_holds_for_first_attempts_and_retries(receiver: Receiver, rig: Make) -> None:
    box = rig(
        receiver.url(),
        pool_size=8,
        rate_limit=RateLimit(per_second=2, burst=3),
        retry=RetryPolicy(schedule=(0, 0)),
    )
    receiver.scripts.extend([scripts.status(500)] * 2)
    for n in range(10):
        box.publish(str(n))
    await receiver.wait_count(3)
    await idle(box)
    counts = [len(receiver.requests)]
    for _ in range(8):
        await warp(0.5)
        await until(lambda: not box.lane.in_flight)
        counts.append(len(receiver.requests))
    assert counts[0] == 3
    assert all(after - before <= 1 for before, after in itertools.pairwise(counts)), counts
    assert counts[-1] >= 10
    await warp(5)
    await until(lambda: box.lane.delivered == 10)


async def test_a_lane_under_mes_shows_what_failed_five_times(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "MES_S", (0, *[0.0] * 4, HOUR, HOUR))
    receiver.status = 500
    box = rig(receiver.url(), retry=RetryPolicy(schedule="mes"))
    box.publish("a")
    await receiver.wait_count(5)
    await until(lambda: not box.lane.in_flight)
    assert (box.lane.retrying, box.lane.shown_failed, box.lane.dead) == (1, 1, 0)
    receiver.status = 204
    await warp(HOUR)
    await until(lambda: box.lane.delivered == 1)
    assert box.lane.shown_failed == 0


async def test_rows_are_bounded_in_bytes(receiver: Receiver, rig: Make) -> None:
    receiver.status = 500
    bound = BacklogBound(max_bytes=1 << 18)
    box = rig(receiver.url(), pool_size=2, backlog=bound)
    for n in range(16):  # each counts for 20,000 bytes, its topic and its payload
        box.publish("x" * 10_000)
        await until(lambda n=n: box.lane.failed == n + 1 or box.lane.backlog_events)
    box.flush()
    assert (1 << 18) <= box.lane.pinned_bytes < (1 << 18) + 2 * 20_100
    retrying = box.lane.retrying
    assert box.lane.backlog_events == 16 - retrying > 0
    box.flush()
    again = rig(receiver.url(), box.kill(), pool_size=2, backlog=bound)
    assert again.lane.retrying == retrying
    assert again.lane.pinned_bytes == pytest.approx(box.lane.pinned_bytes, rel=0.05)
    assert again.lane.room == 0
    receiver.status = 204
    await warp(6)
    await until(lambda: not again.lane.retrying and not again.lane.backlog_events)
    assert again.lane.pinned_bytes == 0


async def test_nothing_is_said_of_a_healthy_endpoint(
    receiver: Receiver, rig: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bridge.delivery")
    box = rig(receiver.url())
    for n in range(10):
        box.publish(str(n))
    await until(lambda: box.lane.delivered == 10)
    assert not caplog.records

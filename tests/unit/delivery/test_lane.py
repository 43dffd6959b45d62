"""The lane: what is sent, tried again, ordered, bounded and remembered, with a real receiver and journal."""

from __future__ import annotations

import asyncio
import logging
import random as randomness
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bridge.config.settings import BacklogBound
from bridge.delivery import backlog, lane, retries, retry
from bridge.journal.batch import INDEX_BITS, MAX_BATCH_EVENTS
from bridge.journal.memory import MemoryStore
from bridge.journal.store import StoreError
from tests.integration import receiver as scripts
from tests.integration.receiver import Exchange, Receiver, Request
from tests.unit.delivery.conftest import until
from tests.unit.delivery.rig import Rig

Make = Callable[..., Rig]


@pytest.fixture
async def rig() -> AsyncIterator[Make]:
    """`rig(url, …)`: a started Rig, killed at the end."""
    made: list[Rig] = []

    def make(url: str, store: MemoryStore | None = None, **settings: Any) -> Rig:
        made.append(Rig(url, store, **settings))
        return made[-1].start()

    yield make
    for each in made:
        each.kill()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of 0.05 s instead of minutes and hours, three attempts in all."""
    monkeypatch.setattr(retry, "SCHEDULE_S", (0, 0.05, 0.05))


def texts(requests: list[Request]) -> list[str]:
    return [request.json.get("payload") or request.json["topic"] for request in requests]


async def settled(rig: Rig) -> None:
    """Everything was delivered or given up, and the store knows."""
    lane = rig.lane
    await until(lambda: not (lane.in_flight or lane.retrying or lane.backlog_events or lane.behind))
    rig.flush()
    state = rig.store.lane("default")
    assert (state.holes, state.retries) == ([], 0)
    assert rig.store.backlog(lane.id, state.position).events == 0
    assert lane.low_batch() is None


# -- the smooth way ----------------------------------------------------------------------------------------


async def test_events_go_out_once_in_order_and_cost_no_row(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=1)
    seqs = [box.publish(str(n)) for n in range(100)]
    await receiver.wait_count(100)
    await settled(box)
    assert texts(receiver.requests) == [str(n) for n in range(100)]
    assert [request.id for request in receiver.requests] == [box.webhook_id(seq) for seq in seqs]
    assert sorted(request.id for request in receiver.requests) == [
        request.id for request in receiver.requests
    ]
    assert (box.lane.delivered, box.lane.failed) == (100, 0)
    assert box.store.retries(box.lane.id) == []


async def test_events_for_others_are_not_sent(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url())
    box.publish("mine")
    box.publish("other", targets=(99,))
    box.publish("both", targets=(box.lane.id, 99))
    box.publish("none", targets=())
    await receiver.wait_count(2)
    await settled(box)
    assert texts(receiver.requests) == ["mine", "both"]


async def test_two_lanes_get_their_events_of_one_batch(receiver: Receiver, rig: Make) -> None:
    async with Receiver() as second:
        box = rig(receiver.url(), pool_size=1)
        other = box.add(second.url(), "second", pool_size=1)
        other.start()
        a, b = box.lane.id, other.id
        for n, targets in enumerate([(a,), (b,), (a, b), (), (99, a), (b,)]):
            box.publish(str(n), targets)
        await receiver.wait_count(3)
        await second.wait_count(3)
        assert texts(receiver.requests) == ["0", "2", "4"]
        assert texts(second.requests) == ["1", "2", "5"]


async def test_a_dead_endpoint_does_not_slow_another(receiver: Receiver, rig: Make) -> None:
    async with Receiver() as dead:
        dead.script = scripts.hang
        box = rig(receiver.url())
        other = box.add(dead.url(), "dead")
        other.start()
        for n in range(50):
            box.publish(str(n), (box.lane.id, other.id))
        await receiver.wait_count(50, timeout=1.5)  # the dead one's time limit is 2 s
        assert other.in_flight == 4
        assert other.backlog_events == 46


async def test_the_cursor_has_what_is_in_flight_as_holes(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=3)
    receiver.script = scripts.hang
    seqs = [box.publish(str(n)) for n in range(5)]
    await receiver.wait_count(3)
    cursor = box.lane.cursor()
    assert cursor.holes == seqs[:3]
    assert cursor.position == seqs[3]
    assert box.lane.low_batch() == seqs[0] >> INDEX_BITS
    assert (box.lane.in_flight, box.lane.backlog_events) == (3, 2)
    assert box.lane.oldest_ts is not None


async def test_progress_is_told_once_until_it_is_committed(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url())
    told = 0

    def on_dirty() -> None:
        nonlocal told
        told += 1

    box.lane.on_dirty = on_dirty
    for n in range(20):
        box.publish(str(n))
    await until(lambda: box.lane.delivered == 20)
    assert told == 1
    assert box.lane.dirty
    box.flush()
    assert not box.lane.dirty


# -- failures ----------------------------------------------------------------------------------------------


async def test_a_failure_is_tried_again_with_the_same_id_and_body(
    receiver: Receiver, rig: Make, quick: None
) -> None:
    box = rig(receiver.url())
    receiver.scripts.extend([scripts.status(500, b"no"), scripts.status(503)])
    seq = box.publish("x")
    await receiver.wait_count(1)
    await until(lambda: box.lane.retrying)
    box.flush()
    (row,) = box.store.retries(box.lane.id)
    assert (row.seq, row.attempt, row.wait, row.key) == (seq, 1, 50, "")
    assert row.error == "status 500: no"
    assert row.due == row.first + 50
    assert box.store.lane("default").holes == []
    await receiver.wait_count(3)
    await settled(box)
    assert [request.attempt for request in receiver.requests] == [1, 2, 3]
    assert {request.id for request in receiver.requests} == {box.webhook_id(seq)}
    assert len({request.body for request in receiver.requests}) == 1
    assert (box.lane.delivered, box.lane.failed, box.lane.dead) == (1, 2, 0)


async def test_after_the_last_attempt_it_is_a_dead_letter(receiver: Receiver, rig: Make, quick: None) -> None:
    box = rig(receiver.url())
    receiver.status = 404
    seq = box.publish("x")
    await receiver.wait_count(3)
    await settled(box)
    (letter,) = box.store.dead(box.lane.id)
    assert (letter.seq, letter.attempt, letter.error) == (seq, 3, "status 404")
    assert box.lane.dead == 1
    assert len(receiver.requests) == 3
    assert seq in box.store.fetch([seq])  # a dead letter keeps its event


async def test_what_cannot_be_built_is_a_dead_letter_and_stops_nobody(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url())
    box.publish("before")
    bad = box.journal.append(box.event(99))  # type: ignore[arg-type]  # no such type
    box.publish("after")
    await receiver.wait_count(2)
    await settled(box)
    assert sorted(texts(receiver.requests)) == ["after", "before"]
    assert [letter.seq for letter in box.store.dead(box.lane.id)] == [bad]


async def test_other_events_go_on_while_one_waits(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=1)
    receiver.scripts.append(scripts.status(500))
    for n in range(10):
        box.publish(str(n))
    await receiver.wait_count(10)
    assert texts(receiver.requests) == [str(n) for n in range(10)]
    assert box.lane.retrying == 1
    await until(lambda: not box.lane.in_flight)
    assert box.lane.low_batch() is not None  # its row is not committed yet: the log must keep the event
    box.flush()
    assert box.lane.low_batch() is None


async def test_the_log_is_trimmed_and_a_retry_keeps_its_event(
    receiver: Receiver, rig: Make, quick: None
) -> None:
    box = rig(receiver.url())
    receiver.scripts.append(scripts.status(500))
    box.publish("x")
    for n in range(5):
        box.publish(str(n))
    await until(lambda: box.lane.retrying and not box.lane.in_flight)
    box.flush()
    assert box.lane.low_batch() is None
    box.store.trim(box.journal._open.number)
    assert box.store.size() == 0
    await receiver.wait_for(lambda requests: "x" in texts(requests[1:]))
    await settled(box)


async def test_rows_are_bounded_and_the_rest_waits_in_the_log(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "MAX_RETRYING", 10)
    monkeypatch.setattr(retry, "SCHEDULE_S", (0, 0.3, 0.05, 0.05, 0.05))
    box = rig(receiver.url(), pool_size=4)
    receiver.status = 500
    for n in range(100):
        box.publish(str(n))
    await until(lambda: box.lane.retrying >= 10 and not box.lane.in_flight)
    assert 10 <= box.lane.retrying <= 13  # what was in flight when the bound was reached may come on top
    assert box.lane.backlog_events == 100 - box.lane.retrying
    sent = len(receiver.requests)
    box.lane.pump()
    await asyncio.sleep(0.05)
    assert len(receiver.requests) == sent
    receiver.status = 204
    await receiver.wait_for(lambda requests: len({request.id for request in requests}) == 100)
    await settled(box)
    assert box.lane.dead == 0


async def test_due_retries_and_fresh_events_take_turns(receiver: Receiver, rig: Make, quick: None) -> None:
    box = rig(receiver.url(), pool_size=1)
    receiver.status = 500
    for n in range(20):
        box.publish(f"r{n}")
    await until(lambda: box.lane.retrying == 20)
    gate = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        await gate.wait()
        await exchange.respond(204)

    receiver.script = wait
    sent = len(receiver.requests)
    for n in range(20):
        box.publish(f"f{n}")
    await asyncio.sleep(0.1)  # until the retries are due, behind the one connection
    gate.set()
    await receiver.wait_count(sent + 40)
    kinds = "".join(text[0] for text in texts(receiver.requests[sent + 2 : sent + 40]))
    assert "rfrfrfrfrfrfrfrfrfrf" in kinds


async def test_a_refused_endpoint_does_not_burn_the_attempts_of_all(receiver: Receiver, rig: Make) -> None:
    await receiver.stop()
    box = rig(receiver.url(), pool_size=8)
    for n in range(1000):
        box.publish(str(n))
    await until(lambda: box.lane.failed >= 10)
    assert box.lane.retrying < 20
    await receiver.start()
    await receiver.wait_count(980)
    assert box.lane.failed < 20


# -- restarts ----------------------------------------------------------------------------------------------


async def test_what_was_in_flight_at_a_crash_comes_again_and_nothing_is_lost(
    receiver: Receiver, rig: Make
) -> None:
    box = rig(receiver.url(), pool_size=4)
    for n in range(10):
        box.publish(str(n))
    await receiver.wait_count(10)
    await settled(box)
    receiver.script = scripts.hang
    for n in range(10, 20):
        box.publish(str(n))
    await receiver.wait_count(14)
    box.journal._commit()
    left = box.kill()
    receiver.script = None
    again = rig(receiver.url(), left, pool_size=4)
    await receiver.wait_count(24)
    await settled(again)
    sent = texts(receiver.requests)
    assert sorted(sent[14:], key=int) == [str(n) for n in range(10, 20)]
    assert {r.id for r in receiver.requests[10:14]} == {
        r.id for r in receiver.requests if r.json["payload"] in ["10", "11", "12", "13"]
    }


async def test_a_retry_survives_a_restart_with_its_attempt_and_its_wait(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "SCHEDULE_S", (0, 0.4, 0.4, 0.4))
    box = rig(receiver.url())
    receiver.scripts.append(scripts.reset)
    box.publish("x")
    await until(lambda: box.lane.retrying)
    box.flush()
    (before,) = box.store.retries(box.lane.id)
    again = rig(receiver.url(), box.kill())
    assert again.lane.retrying == 1
    await asyncio.sleep(0.05)
    assert len(receiver.requests) == 1
    await receiver.wait_count(2)
    assert receiver.requests[1].at - receiver.requests[0].at >= 0.398  # due times are whole milliseconds
    assert receiver.requests[1].attempt == 2
    assert receiver.requests[1].id == receiver.requests[0].id
    assert before.error.startswith("reset")
    await settled(again)


@pytest.mark.parametrize("jump", [-50 * 365 * 86400.0, 50 * 365 * 86400.0])
async def test_a_clock_that_jumps_stretches_no_wait(
    receiver: Receiver, rig: Make, quick: None, jump: float
) -> None:
    now = [1_800_000_000.0]
    box = rig(receiver.url(), clock=lambda: now[0])
    receiver.scripts.extend([scripts.status(500), scripts.status(500)])
    box.publish("x")
    await until(lambda: box.lane.retrying)
    now[0] += jump  # within the run …
    await receiver.wait_count(2)
    await until(lambda: box.lane.failed == 2)
    box.flush()
    left = box.kill()
    now[0] += jump  # … and over a restart
    again = rig(receiver.url(), left, clock=lambda: now[0])
    await receiver.wait_count(3, timeout=2)
    await settled(again)
    assert receiver.requests[2].attempt == 3


async def test_stop_waits_for_requests_in_flight_and_sends_nothing_new(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=4)
    receiver.delay = 0.2
    for n in range(10):
        box.publish(str(n))
    await receiver.wait_count(4)
    await box.lane.stop(box.loop.time() + 5)
    assert box.lane.delivered == 4
    await receiver.wait_closed()
    assert len(receiver.requests) == 4
    box.flush()
    receiver.delay = 0
    again = rig(receiver.url(), box.kill())
    await receiver.wait_count(10)
    await settled(again)
    assert sorted(texts(receiver.requests), key=int) == [str(n) for n in range(10)]  # none twice


async def test_stop_ends_at_its_deadline_and_keeps_what_is_unsettled(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=2)
    receiver.script = scripts.hang
    seqs = [box.publish(str(n)) for n in range(3)]
    await receiver.wait_count(2)
    began = box.loop.time()
    await box.lane.stop(began + 0.1)
    assert box.loop.time() - began < 1
    box.flush()
    state = box.store.lane("default")
    assert (state.holes, state.position) == (seqs[:2], seqs[2])
    receiver.script = None
    again = rig(receiver.url(), box.kill())
    await receiver.wait_count(5)
    await settled(again)
    assert sorted(texts(receiver.requests)) == ["0", "0", "1", "1", "2"]


# -- order of lifecycle events -----------------------------------------------------------------------------


async def test_lifecycle_events_of_one_client_keep_their_order(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=8)
    gate = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        await gate.wait()
        await exchange.respond(204)

    receiver.script = wait
    for n in range(5):
        box.life("a", f"a{n}")
        box.life("b", f"b{n}")
        box.publish(f"m{n}", client="a")
    await receiver.wait_count(7)  # one of a, one of b, and all messages
    assert sorted(texts(receiver.requests)) == ["a0", "b0", "m0", "m1", "m2", "m3", "m4"]
    assert len(box.lane.cursor().holes) == 15  # the parked ones are not settled
    gate.set()
    await receiver.wait_count(15)
    await settled(box)
    for client in "ab":
        assert [t for t in texts(receiver.requests) if t[0] == client] == [f"{client}{n}" for n in range(5)]


async def test_a_failed_lifecycle_event_holds_back_its_client_alone(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "SCHEDULE_S", (0, 0.3, 0.3))
    box = rig(receiver.url(), pool_size=1)
    receiver.scripts.append(scripts.status(500))
    box.life("a", "a0")
    box.life("a", "a1")
    box.life("b", "b0")
    box.publish("m", client="a")
    box.life("b", "b1")
    await receiver.wait_count(4)
    late = box.life("a", "a2")
    await until(lambda: box.lane.retrying == 3)
    assert texts(receiver.requests) == ["a0", "b0", "m", "b1"]
    box.flush()
    rows = box.store.retries(box.lane.id)
    assert [(row.attempt, row.key) for row in rows] == [(1, "a"), (0, "a"), (0, "a")]
    assert rows[2].seq == late
    await receiver.wait_count(7)
    await settled(box)
    assert texts(receiver.requests)[4:] == ["a0", "a1", "a2"]
    assert [request.attempt for request in receiver.requests] == [1, 1, 1, 1, 2, 1, 1]


async def test_order_survives_a_restart(receiver: Receiver, rig: Make, quick: None) -> None:
    box = rig(receiver.url(), pool_size=2)
    receiver.scripts.append(scripts.status(500))
    for n in range(40):
        box.life("a", f"a{n}")
    await until(lambda: box.lane.retrying == 40)
    box.flush()
    again = rig(receiver.url(), box.kill(), pool_size=2)
    again.life("a", "a40")
    await receiver.wait_count(42)
    await settled(again)
    assert texts(receiver.requests)[1:] == [f"a{n}" for n in range(41)]


async def test_behind_a_blocker_that_waits_since_before_a_restart_events_get_rows(
    receiver: Receiver, rig: Make
) -> None:
    box = rig(receiver.url())
    receiver.scripts.append(scripts.status(500))
    box.life("a", "a0")
    await until(lambda: box.lane.retrying)
    box.flush()
    again = rig(receiver.url(), box.kill())
    again.life("a", "a1")
    await until(lambda: again.lane.retrying == 2)
    assert again.lane.cursor().holes == []


async def test_order_survives_a_crash_with_the_blocker_in_flight(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "MAX_HELD", 3)  # the others are parked as rows
    box = rig(receiver.url(), pool_size=4)
    receiver.script = scripts.hang
    for n in range(8):
        box.life("a", f"a{n}")
    await receiver.wait_count(1)
    box.flush()
    state = box.store.lane("default")
    assert (len(state.holes), state.retries) == (4, 4)
    left = box.kill()
    receiver.script = None
    again = rig(receiver.url(), left, pool_size=4)
    await receiver.wait_count(9)
    await settled(again)
    assert texts(receiver.requests)[1:] == [f"a{n}" for n in range(8)]
    assert receiver.most_busy <= 2  # the one that hung, and one at a time


async def test_more_cut_off_events_than_connections_stay_holes(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=6)
    receiver.script = scripts.hang
    receiver.scripts.append(scripts.status(204))
    seqs = [box.publish(str(n)) for n in range(6)]
    await receiver.wait_count(6)
    await until(lambda: box.lane.delivered)
    box.flush()
    again = rig(receiver.url(), box.kill(), pool_size=2)
    await receiver.wait_count(8)
    answered = receiver.requests[0].id
    holes = [seq for seq in seqs if box.webhook_id(seq) != answered]
    assert again.lane.cursor().holes == holes
    assert again.lane.low_batch() == holes[0] >> INDEX_BITS


async def test_before_the_start_a_lane_keeps_what_a_crash_had_cut_off(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=3)
    receiver.script = scripts.hang
    receiver.scripts.append(scripts.status(204))
    for n in range(3):
        box.publish(str(n))
    await until(lambda: box.lane.delivered)
    box.flush()
    state = box.store.lane("default")
    assert len(state.holes) == 2
    unstarted = Rig(receiver.url(), box.kill())
    assert unstarted.lane.low_batch() == state.holes[0] >> INDEX_BITS
    assert unstarted.lane.cursor().holes == state.holes
    unstarted.kill()


async def test_behind_a_blocker_in_flight_events_wait_without_a_row(
    receiver: Receiver, rig: Make, quick: None
) -> None:
    box = rig(receiver.url())
    receiver.scripts.extend([scripts.status(500), scripts.hang])
    box.life("a", "a0")
    await receiver.wait_count(2)  # the second attempt hangs
    late = box.life("a", "a1")
    await until(lambda: box.lane.cursor().holes == [late])
    assert box.lane.retrying == 1


async def test_a_dead_letter_lets_its_client_go_on(receiver: Receiver, rig: Make, quick: None) -> None:
    box = rig(receiver.url())
    receiver.scripts.extend([scripts.status(500)] * 3)
    for n in range(3):
        box.life("a", f"a{n}")
    await receiver.wait_count(5)
    await settled(box)
    assert texts(receiver.requests) == ["a0", "a0", "a0", "a1", "a2"]
    assert box.lane.dead == 1


async def test_clients_without_an_id_are_not_ordered(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=4)
    receiver.script = scripts.hang
    for n in range(3):
        box.life("", f"x{n}")
    await receiver.wait_count(3)


# -- memory and bounds -------------------------------------------------------------------------------------


async def test_a_lane_that_falls_behind_reads_the_log_and_catches_up(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MEMORY_EVENTS", 50)
    monkeypatch.setattr(backlog, "READ_BYTES", 2000)
    box = rig(receiver.url(), pool_size=1)
    sent = 0
    for _ in range(40):
        for _ in range(20):
            box.publish(str(sent))
            sent += 1
        await asyncio.sleep(0)
    assert box.lane.behind
    assert len(box.lane._backlog.fresh) <= 50
    while len(receiver.requests) < 600:
        box.publish(str(sent))
        sent += 1
        await receiver.wait_count(len(receiver.requests) + 1)
    await receiver.wait_count(sent)
    assert not box.lane.behind
    box.publish(str(sent))
    await receiver.wait_count(sent + 1)
    await settled(box)
    assert texts(receiver.requests) == [str(n) for n in range(sent + 1)]


async def test_expire_gives_up_the_oldest_and_counts_them(
    receiver: Receiver, rig: Make, caplog: pytest.LogCaptureFixture
) -> None:
    box = rig(receiver.url(), pool_size=1, backlog=BacklogBound(max_bytes=65536))
    receiver.script = scripts.hang
    for n in range(MAX_BATCH_EVENTS):
        box.publish(f"{n:04}")
        if n % 100 == 0:
            await asyncio.sleep(0)
    await until(lambda: box.lane.in_flight == 1)
    box.flush()
    assert box.lane.backlog_bytes <= 65536
    kept = box.lane.backlog_events
    assert box.lane.expired == MAX_BATCH_EVENTS - 1 - kept
    assert box.lane.expired > 3000
    warnings = [r.getMessage() for r in caplog.records if "gave up the oldest" in r.getMessage()]
    assert len(warnings) == 1
    state = box.store.lane("default")
    assert len(state.holes) == 1  # what is in flight is not given up
    receiver.script = None
    receiver.close_connections()
    await receiver.wait_for(lambda rs: texts(rs[-1:])[0] == f"{MAX_BATCH_EVENTS - 1:04}")
    assert texts(receiver.requests)[1] == f"{MAX_BATCH_EVENTS - kept:04}"


async def test_expire_by_age_uses_no_clock_that_leapt(receiver: Receiver, rig: Make) -> None:
    now = [0.0]  # a gateway that boots in 1970
    box = rig(receiver.url(), pool_size=1, clock=lambda: now[0], backlog=BacklogBound(max_age=3600))
    receiver.script = scripts.hang
    for n in range(10):
        box.publish(str(n))
    await receiver.wait_count(1)
    now[0] = 1_800_000_000.0
    box.lane._tick()
    assert box.lane.expired == 0
    assert box.lane.backlog_events == 9


async def test_expire_by_age(receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    box = rig(receiver.url(), pool_size=1, backlog=BacklogBound(max_age=0.2))
    receiver.script = scripts.hang
    for n in range(10):
        box.publish(str(n))
    await receiver.wait_count(1)
    await until(lambda: box.lane.expired == 9)
    assert box.lane.backlog_events == 0


async def test_refuse_says_full_until_a_tenth_is_free(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=1, backlog=BacklogBound(max_bytes=65536, on_full="refuse"))
    said: list[bool] = []
    box.lane.on_full = said.append
    gate = asyncio.Semaphore(0)

    async def wait(exchange: Exchange) -> None:
        await gate.acquire()
        await exchange.respond(204)

    receiver.script = wait
    while not box.lane.full:
        box.publish("x" * 400)
        await asyncio.sleep(0)
    total = box.lane.backlog_events
    assert box.lane.backlog_bytes > 65536
    gate.release()
    await receiver.wait_count(2)
    box.lane._tick()
    assert box.lane.full  # not at the first one that went
    for _ in range(total // 5):
        gate.release()
    await receiver.wait_count(total // 5)
    await until(lambda: not box.lane.full)
    assert box.lane.backlog_bytes < 0.9 * 65536
    assert said == [True, False]
    assert box.lane.expired == 0


async def test_a_store_that_cannot_be_read_for_a_while_loses_nothing(
    receiver: Receiver, rig: Make, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "TICK_S", 0.05)
    monkeypatch.setattr(retries, "AGAIN_S", 0.05)
    monkeypatch.setattr(backlog, "MEMORY_EVENTS", 5)
    box = rig(receiver.url(), pool_size=1)
    receiver.scripts.append(scripts.status(500))
    broken = True
    read, fetch = box.store.read, box.store.fetch

    def check(call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*arguments: Any) -> Any:
            if broken:
                raise StoreError("hookmq.db: disk I/O error")
            return call(*arguments)

        return checked

    monkeypatch.setattr(box.store, "read", check(read))
    monkeypatch.setattr(box.store, "fetch", check(fetch))
    for n in range(3):
        box.life("a", f"a{n}")
    await asyncio.sleep(0)
    for n in range(20):
        box.publish(str(n))
    await receiver.wait_count(1)
    await asyncio.sleep(0.2)
    broken = False
    await receiver.wait_count(24)
    await settled(box)
    sent = texts(receiver.requests)
    assert [text for text in sent if text[0] == "a"] == ["a0", "a0", "a1", "a2"]
    assert sorted((text for text in sent if text[0] != "a"), key=int) == [str(n) for n in range(20)]


# -- what is said ------------------------------------------------------------------------------------------


async def test_failures_are_one_line_a_second_and_tell_no_secret(
    receiver: Receiver, rig: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.script = scripts.status(500, b"line one\r\nline two")
    box = rig(receiver.url("/hook?token=hunter2", userinfo="user:hunter3@"))
    for n in range(200):
        box.publish(str(n))
    await until(lambda: box.lane.failed == 200)
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("bridge.delivery")]
    assert 1 <= len(lines) <= 3
    assert lines[0] == f"http://127.0.0.1:{receiver.port}/hook: attempt failed, status 500: line one line two"
    assert "hunter" not in caplog.text
    box.lane._tick()
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("bridge.delivery")]
    assert f"({200 - 1} failed attempts)" in lines[-1] or "failed attempts)" in lines[-1]


# -- all at once -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_random_failures_and_crashes_lose_nothing_and_keep_order(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Everything arrives; what comes twice has one id; a client's lifecycle events begin in their order."""
    monkeypatch.setattr(retry, "SCHEDULE_S", (0, *(0.02,) * 50))
    monkeypatch.setattr(backlog, "MEMORY_EVENTS", 60)
    monkeypatch.setattr(backlog, "READ_BYTES", 3000)
    monkeypatch.setattr(lane, "MAX_RETRYING", 40)
    monkeypatch.setattr(retries, "MAX_HELD", 5)
    dice = randomness.Random(seed)
    choices = [scripts.status(204)] * 6 + [
        scripts.status(500),
        scripts.reset,
        scripts.close,
        scripts.cut_in_body,
        scripts.respond_and_close,
        scripts.respond_with_close,
    ]
    accepted: dict[str, list[str]] = defaultdict(list)  # by client, as the receiver took them

    async def play(exchange: Exchange) -> None:
        await asyncio.sleep(dice.random() * 0.004)
        script = dice.choice(choices)
        text = texts([exchange.request])[0]
        if script in (choices[0], scripts.respond_and_close, scripts.respond_with_close):
            accepted[text.split("-")[0]].append(text)
        await script(exchange)

    receiver.script = play
    box = rig(receiver.url(), pool_size=5)
    count: dict[str, int] = defaultdict(int)
    ids: dict[str, str] = {}
    crashes = 0
    for _ in range(120):
        for _ in range(dice.randrange(8)):
            client = dice.choice(["a", "b", "m"])
            text = f"{client}-{count[client]}"
            count[client] += 1
            seq = box.publish(text) if client == "m" else box.life(client, text)
            ids[text] = box.webhook_id(seq)
        box.journal._commit()
        if dice.random() < 0.05:
            box = rig(receiver.url(), box.kill(), pool_size=5)
            crashes += 1
        await asyncio.sleep(dice.random() * 0.01)
    receiver.script = None
    accepted_before = {client: list(found) for client, found in accepted.items()}
    total = {f"{client}-{n}" for client, number in count.items() for n in range(number)}
    await until(lambda: not (box.lane.in_flight or box.lane.retrying or box.lane.backlog_events), within=20)
    await settled(box)
    arrived = texts(receiver.requests)
    assert set(arrived) == total
    assert crashes
    assert box.store.dead(box.lane.id) == []
    for request in receiver.requests:
        assert request.id == ids[texts([request])[0]]
    for client in "ab":
        # the first time that each was taken is in their order: none overtakes one that was not settled
        first = list(dict.fromkeys(accepted_before.get(client, [])))
        assert first == [f"{client}-{n}" for n in range(len(first))]

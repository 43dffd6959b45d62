"""Settled events and dead letters sent again: which ones, how many at a time, what becomes of the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bridge.config.settings import RetryPolicy
from bridge.delivery import replay as module
from bridge.delivery.replay import Progress, Replay, letters
from bridge.events.event import Event, EventType
from bridge.journal.memory import MemoryStore
from bridge.journal.retention import Retention
from tests.integration.receiver import Exchange, Receiver
from tests.unit.delivery.conftest import until
from tests.unit.delivery.rig import Rig

ONCE = RetryPolicy(schedule=(0.0,))
FOREVER = 1 << 60


class Plant(Rig):
    """A rig that keeps settled events."""

    def __init__(self, url: str, store: MemoryStore | None = None, **settings: Any) -> None:
        self.kept = settings.pop("kept", 1 << 30)
        super().__init__(url, store, **settings)
        self.retention = Retention(self.journal, 3600.0 if self.kept else 0.0, self.kept, clock=self.clock)
        self.retention.start()

    def _low(self) -> int | None:
        lows = [lane.low_batch() for lane in self.lanes] + [self.retention.low()]
        low = min((low for low in lows if low is not None), default=None)
        if low is not None:
            self.retention.forget(low)
        return low

    async def settled(self) -> None:
        """Everything was delivered or given up, and the store knows."""
        lane = self.lane
        self.flush()
        await until(lambda: not (lane.in_flight or lane.retrying or lane.backlog_events or lane.behind))
        self.flush()

    async def replay(
        self, since: int = 0, before: int = FOREVER, wanted: Callable[[Event], bool] = lambda event: True
    ) -> Progress:
        replay = Replay(self.lane, self.journal)
        async for _ in replay.log(self.retention, since, before, wanted):
            pass
        return replay.progress

    async def replay_dead(self, seqs: list[int] | None = None) -> Progress:
        replay = Replay(self.lane, self.journal)
        async for _ in replay.dead(seqs):
            pass
        return replay.progress


Make = Callable[..., Plant]


@pytest.fixture
async def plant() -> AsyncIterator[Make]:
    """`plant(url, …)`: a started Plant, killed at the end."""
    made: list[Plant] = []

    def make(url: str, store: MemoryStore | None = None, **settings: Any) -> Plant:
        made.append(Plant(url, store, **settings))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.kill()


def payloads(receiver: Receiver) -> list[str]:
    return [request.json["payload"] for request in receiver.requests]


async def test_a_time_is_sent_again_with_its_ids(plant: Make, receiver: Receiver) -> None:
    now = 1_700_000_000.0
    rig = plant(receiver.url(), clock=lambda: now)
    seqs = {}
    for second in range(10):
        now = 1_700_000_000.0 + second
        seqs[second] = rig.publish(str(second))
        rig.flush()
    await rig.settled()
    first = {request.json["payload"]: request.id for request in receiver.requests}
    receiver.requests.clear()
    progress = await rig.replay(1_700_000_003_000, 1_700_000_007_000)
    await rig.settled()
    assert sorted(payloads(receiver)) == ["3", "4", "5", "6"]
    assert all(request.id == first[request.json["payload"]] for request in receiver.requests)
    assert [request.attempt for request in receiver.requests] == [1] * 4
    assert (progress.taken, progress.under_way, progress.gone) == (4, 0, 0)
    assert progress.done == progress.total
    assert rig.store.retries(rig.lane.id) == []
    assert rig.lane.delivered == 14


async def test_only_what_is_wanted_and_only_of_this_lane(plant: Make, receiver: Receiver) -> None:
    async with Receiver() as other:
        rig = plant(receiver.url())
        second = rig.add(other.url(), "second")
        second.start()
        for index in range(6):
            rig.publish(f"{index}", targets=(rig.lane.id,) if index % 2 else (second.id,))
        rig.publish("both", targets=(rig.lane.id, second.id))
        await until(lambda: rig.lane.delivered == 4 and second.delivered == 4)
        await rig.settled()
        receiver.requests.clear()
        await rig.replay(wanted=lambda event: event.topic != "3")
        await rig.settled()
        assert sorted(payloads(receiver)) == ["1", "5", "both"]
        assert len(other.requests) == 4


async def test_dead_letters_are_among_it(plant: Make, receiver: Receiver) -> None:
    rig = plant(receiver.url(), retry=ONCE)
    receiver.status = 500
    bad = [rig.publish(f"bad{i}") for i in range(3)]
    await rig.settled()
    receiver.status = 204
    rig.publish("good")
    await rig.settled()
    assert rig.lane.dead == 3
    receiver.requests.clear()
    progress = await rig.replay()
    await rig.settled()
    assert sorted(payloads(receiver)) == ["bad0", "bad1", "bad2", "good"]
    assert progress.taken == 4
    assert rig.lane.dead == 0
    assert rig.store.dead(rig.lane.id) == []
    assert rig.store.fetch(bad).keys() <= set(bad)


async def test_dead_letters_outlive_the_log(plant: Make, receiver: Receiver) -> None:
    """Their events are pinned; the log has forgotten them."""
    rig = plant(receiver.url(), retry=ONCE, kept=0)
    receiver.status = 500
    for index in range(3):
        rig.publish(f"bad{index}")
        rig.flush()
    await rig.settled()
    receiver.status = 204
    rig.publish("good")
    await rig.settled()
    rig.store.trim(rig.store.next_batch)
    receiver.requests.clear()
    progress = await rig.replay()
    await rig.settled()
    assert sorted(payloads(receiver)) == ["bad0", "bad1", "bad2"]
    assert (progress.taken, rig.lane.dead) == (3, 0)


async def test_what_is_under_way_is_left_out(plant: Make, receiver: Receiver) -> None:
    rig = plant(receiver.url(), retry=RetryPolicy(schedule=(0.0, 3600.0)), pool_size=2)
    rig.publish("settled")
    await rig.settled()
    receiver.status = 500
    rig.publish("waits for its retry")
    await until(lambda: rig.lane.retrying == 1)
    receiver.script = Exchange.hang
    for index in range(4):
        rig.publish(f"in flight or fresh {index}")
    await until(lambda: rig.lane.in_flight == 2)
    receiver.requests.clear()
    progress = await rig.replay()
    assert (progress.taken, progress.under_way) == (1, 5)


async def test_a_second_replay_at_once_takes_nothing_twice(plant: Make, receiver: Receiver) -> None:
    rig = plant(receiver.url())
    for index in range(50):
        rig.publish(str(index))
    await rig.settled()
    receiver.delay = 0.01
    receiver.requests.clear()
    first, second = await asyncio.gather(rig.replay(), rig.replay())
    await rig.settled()
    assert first.taken + second.taken == len(receiver.requests)
    assert first.taken == 50
    assert second.under_way > 0


async def test_the_chosen_dead_letters(plant: Make, receiver: Receiver) -> None:
    rig = plant(receiver.url(), retry=ONCE)
    receiver.status = 500
    seqs = [rig.publish(str(index)) for index in range(5)]
    await rig.settled()
    receiver.status = 204
    receiver.requests.clear()
    progress = await rig.replay_dead([seqs[3], seqs[1]])
    await rig.settled()
    assert sorted(payloads(receiver)) == ["1", "3"]
    assert (progress.taken, progress.done, progress.total, rig.lane.dead) == (2, 2, 2, 3)
    assert [letter.seq for part in letters(rig.store, rig.lane.id, 0, FOREVER) for letter in part] == [
        seqs[0],
        seqs[2],
        seqs[4],
    ]


async def test_all_dead_letters_in_slices(
    plant: Make, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE", 7)
    monkeypatch.setattr(module, "OUTSTANDING", 20)
    rig = plant(receiver.url(), retry=ONCE)
    receiver.status = 500
    for index in range(50):
        rig.publish(str(index))
    await rig.settled()
    assert rig.lane.dead == 50
    receiver.status = 204
    receiver.requests.clear()
    progress = await rig.replay_dead()
    await rig.settled()
    assert Counter(payloads(receiver)) == Counter(str(index) for index in range(50))
    assert (progress.taken, rig.lane.dead, rig.store.dead(rig.lane.id)) == (50, 0, [])


async def test_one_that_fails_again_is_a_dead_letter_again(plant: Make, receiver: Receiver) -> None:
    rig = plant(receiver.url(), retry=ONCE)
    receiver.status = 500
    seq = rig.publish("x")
    await rig.settled()
    await rig.replay_dead()
    await rig.settled()
    assert rig.lane.dead == 1
    assert [(letter.seq, letter.attempt) for letter in rig.store.dead(rig.lane.id)] == [(seq, 1)]
    assert list(rig.store.fetch([seq])) == [seq]


async def test_it_waits_for_room_and_fresh_events_go_on(
    plant: Make, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OUTSTANDING", 20)
    monkeypatch.setattr(module, "SLICE", 10)
    rig = plant(receiver.url(), pool_size=2)
    for index in range(200):
        rig.publish(f"old{index}")
    await rig.settled()
    receiver.requests.clear()
    receiver.delay = 0.002
    most = 0

    async def follow() -> None:
        replay = Replay(rig.lane, rig.journal)
        async for _ in replay.log(rig.retention, 0, FOREVER, lambda event: event.topic.startswith("old")):
            pass

    running = asyncio.create_task(follow())
    await until(lambda: len(receiver.requests) > 20)
    for index in range(20):
        rig.publish(f"new{index}")
    while not running.done():
        most = max(most, rig.lane.retrying)
        await asyncio.sleep(0.001)
    await rig.settled()
    sent = payloads(receiver)
    assert Counter(sent) == Counter([f"old{i}" for i in range(200)] + [f"new{i}" for i in range(20)])
    assert most <= 20
    # They took turns: the last fresh one did not wait for the replay's end.
    assert sent.index("new19") < 20 + 20 + 3 * 20


async def test_a_dead_endpoint_holds_the_replay(
    plant: Make, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OUTSTANDING", 10)
    monkeypatch.setattr(module, "SLICE", 10)
    monkeypatch.setattr(module, "TELL_S", 0.01)
    rig = plant(receiver.url(), retry=RetryPolicy(schedule=(0.0, 3600.0)))
    for index in range(30):
        rig.publish(str(index))
    await rig.settled()
    receiver.status = 500
    replay = Replay(rig.lane, rig.journal)
    async for progress in replay.log(rig.retention, 0, FOREVER, lambda event: True):
        if progress.waiting and rig.lane.failed >= 10:
            break  # as a client does that has seen enough
    assert (replay.progress.taken, rig.lane.retrying) == (10, 10)


async def test_events_that_went_while_it_waited_are_counted(
    plant: Make, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OUTSTANDING", 10)
    monkeypatch.setattr(module, "SLICE", 10)
    monkeypatch.setattr(module, "TELL_S", 0.0)
    rig = plant(receiver.url(), pool_size=10)
    for index in range(30):
        rig.publish(str(index))
    await rig.settled()
    receiver.requests.clear()
    receiver.delay = 0.2
    replay = Replay(rig.lane, rig.journal)
    trimmed = False
    async for progress in replay.log(rig.retention, 0, FOREVER, lambda event: True):
        if progress.waiting and not trimmed:
            trimmed = True
            rig.flush()
            rig.store.trim(rig.store.next_batch)
    await rig.settled()
    assert (replay.progress.taken, replay.progress.gone) == (10, 20)
    assert len(receiver.requests) == 10


async def test_what_was_handed_over_survives_a_crash(plant: Make, receiver: Receiver) -> None:
    rig = plant(receiver.url())
    seqs = [rig.publish(str(index)) for index in range(5)]
    await rig.settled()
    receiver.script = Exchange.hang
    await rig.replay()
    rig.flush()
    assert [row.seq for row in rig.store.retries(rig.lane.id)] == seqs
    rig.store.trim(rig.store.next_batch)  # the rows have pinned them
    await receiver.wait_for(lambda requests: len(requests) == len(seqs) + rig.lane.in_flight)
    store = rig.kill()
    receiver.script = None
    receiver.requests.clear()
    rig = plant(receiver.url(), store)
    await rig.settled()
    assert sorted(payloads(receiver)) == ["0", "1", "2", "3", "4"]
    assert {request.attempt for request in receiver.requests} == {1}


async def test_lifecycle_events_keep_their_order(plant: Make, receiver: Receiver) -> None:
    rig = plant(receiver.url(), pool_size=8)
    for client in ("a", "b", "c"):
        for index in range(8):
            rig.journal.append(rig.event(EventType.SESSION_SUBSCRIBED, client, f"{client}{index}"))
    await rig.settled()
    receiver.requests.clear()
    receiver.delay = 0.001
    await rig.replay()
    await rig.settled()
    for client in ("a", "b", "c"):
        topics = [r.json["topic"] for r in receiver.requests if r.json["clientid"] == client]
        assert topics == [f"{client}{index}" for index in range(8)]


async def test_a_store_that_refuses_holds_the_replay(
    plant: Make, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TELL_S", 0.0)
    rig = plant(receiver.url())
    for index in range(5):
        rig.publish(str(index))
    await rig.settled()
    rig.journal.stalled = True
    replay = Replay(rig.lane, rig.journal)
    async for progress in replay.log(rig.retention, 0, FOREVER, lambda event: True):
        if progress.waiting:
            assert progress.taken == 0
            rig.journal.stalled = False
    await rig.settled()
    assert replay.progress.taken == 5

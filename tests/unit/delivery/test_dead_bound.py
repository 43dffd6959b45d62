"""`webhook.dead`: how many dead letters are kept, which go first, and what is said of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bridge.config.settings import DeadBound, RetryPolicy
from bridge.delivery import dead_bound as module
from bridge.delivery.dead_bound import DeadBounds
from bridge.delivery.parked import Parked
from bridge.journal.memory import MemoryStore
from bridge.journal.store import StoreError
from tests.integration.receiver import Exchange, Receiver
from tests.unit.delivery.conftest import until
from tests.unit.delivery.rig import Rig

ONCE = RetryPolicy(schedule=(0.0,))
DAY = 86400.0


class Plant(Rig):
    """A rig whose dead letters are bounded; its clock is the wall clock plus `ahead` seconds."""

    def __init__(self, url: str, bound: DeadBound, store: MemoryStore | None = None, **settings: Any) -> None:
        super().__init__(url, store, retry=ONCE, **settings)
        self.ahead = 0.0
        self.bounds = DeadBounds(self.journal, self.loop, clock=lambda: self.clock() + self.ahead)
        self.bounds.watch(self.lane, bound)

    async def bury(self, *texts: str) -> None:
        """Have events die, one after the other."""
        for text in texts:
            before = self.lane.dead
            self.publish(text)
            await until(lambda before=before: self.lane.dead == before + 1)  # type: ignore[misc]
            self.flush()

    def left(self) -> list[str]:
        """The payloads of the dead letters, by the time of their death."""
        store = self.journal.store
        seqs = [old.seq for old in store.oldest_dead(self.lane.id, 10_000)]
        events = store.fetch(seqs)
        assert self.lane.dead == len(seqs)
        return [events[seq].payload.decode() for seq in seqs]

    def pinned(self) -> set[int]:
        """What is in the store though the log is empty."""
        self.store.trim(self.store.next_batch)
        return set(self.store._pinned)

    def look(self, **later: float) -> None:
        """Let a tick come, with the run's own clock `run` seconds later."""
        self.bounds._offset += later.get("run", 0.0)
        self.bounds._look()


Make = Callable[..., Plant]


@pytest.fixture
async def plant(receiver: Receiver) -> AsyncIterator[Make]:
    """`plant(bound, …)`: a started Plant whose receiver answers 500, killed at the end."""
    receiver.status = 500
    made: list[Plant] = []

    def make(bound: DeadBound, store: MemoryStore | None = None, **settings: Any) -> Plant:
        made.append(Plant(receiver.url(), bound, store, **settings))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.bounds.stop()
        each.kill()


async def test_the_oldest_go_beyond_the_bytes(plant: Make, caplog: pytest.LogCaptureFixture) -> None:
    rig = plant(DeadBound(max_bytes=7000))  # each takes about 2,270: the text is its topic too
    await rig.bury(*[f"{n}".ljust(1000) for n in range(4)])
    rig.look()
    assert len(rig.left()) == 3
    assert (rig.bounds.given_up(rig.lane.id), "gave up" in caplog.text) == (1, True)
    assert [text.strip() for text in rig.left()] == ["1", "2", "3"]
    assert rig.journal.store.dead_totals(rig.lane.id).bytes <= 7000
    before = caplog.text
    rig.look()
    assert (len(rig.left()), caplog.text) == (3, before)
    assert len(rig.pinned()) == 3  # their events are gone with them


async def test_the_oldest_go_beyond_the_age(plant: Make) -> None:
    rig = plant(DeadBound(max_age=DAY))
    await rig.bury("a", "b")
    rig.ahead = DAY - 60
    rig.look(run=DAY - 60)
    assert rig.left() == ["a", "b"]
    rig.ahead = DAY + 60
    rig.look(run=120)
    assert rig.left() == []
    assert rig.bounds.given_up(rig.lane.id) == 2


async def test_a_clock_that_leaps_makes_nothing_old(plant: Make) -> None:
    rig = plant(DeadBound(max_age=DAY))
    await rig.bury("a")
    rig.ahead = 50 * 365 * DAY  # a gateway booted in 1970, and now knows the time
    rig.look()
    assert rig.left() == ["a"]


async def test_none_are_kept_with_zero_and_an_unserved_endpoint_is_held_to_it(plant: Make) -> None:
    rig = plant(DeadBound())
    await rig.bury("a", "b", "c")
    state = rig.journal.store.lanes()[0]
    parked = Parked(state, rig.journal.store, rig.lane.endpoint.backlog)
    bounds = DeadBounds(rig.journal, rig.loop)
    bounds.watch(parked, DeadBound(max_bytes=0))
    bounds._look()
    assert (parked.dead, bounds.given_up(parked.id)) == (0, 3)
    assert rig.journal.store.dead(parked.id) == []


async def test_what_is_being_sent_again_is_left_alone(plant: Make, receiver: Receiver) -> None:
    rig = plant(DeadBound(max_bytes=0))
    await rig.bury("a", "b")
    receiver.script = Exchange.hang
    store = rig.journal.store
    first, _ = store.dead(rig.lane.id)
    taken = rig.lane.replay(list(store.fetch([first.seq]).items()))  # not yet committed
    rig.lane.dead -= len(taken)
    rig.look()
    assert store.dead(rig.lane.id) == []
    assert [row.seq for row in store.retries(rig.lane.id)] == [first.seq]
    assert rig.pinned() == {first.seq}
    assert (rig.lane.dead, rig.bounds.given_up(rig.lane.id)) == (0, 1)


async def test_many_go_in_slices_by_themselves(plant: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 3)
    monkeypatch.setattr(module, "TICK_S", 0.01)
    rig = plant(DeadBound(max_bytes=0))
    await rig.bury(*"abcdefgh")
    rig.bounds.start()
    await until(lambda: rig.lane.dead == 0)
    assert rig.left() == []
    assert rig.bounds.given_up(rig.lane.id) == 8


async def test_a_store_that_refuses_is_left_alone_and_one_that_cannot_be_read_is_told(
    plant: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = plant(DeadBound(max_bytes=0))
    await rig.bury("a")
    rig.journal.stalled = True
    rig.bounds._tick()
    assert rig.left() == ["a"]
    rig.journal.stalled = False

    def broken(lane: int) -> None:
        raise StoreError("no such disk")

    monkeypatch.setattr(rig.journal.store, "dead_totals", broken)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            rig.look()
    assert caplog.text.count("the dead letters cannot be looked at: no such disk") == 1

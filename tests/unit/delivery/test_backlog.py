"""The changeover between memory and log has no gap and no duplicate, whatever comes in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.delivery import backlog as module
from bridge.delivery.backlog import Backlog
from bridge.events.event import Event
from bridge.journal.batch import INDEX_BITS, Batch
from bridge.journal.codec import event_size
from bridge.journal.memory import MemoryStore


def event(targets: tuple[int, ...], size: int = 10, ts: int = 0) -> Event:
    return Event(10, ts, "c", None, "", targets, "t", b"x" * size)


class Model:
    """A store, a backlog on it, and what the lane should see."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch | None = None) -> None:
        self.store = MemoryStore()
        self.lane = self.store.lane("a").id
        self.other = self.store.lane("b").id
        self.backlog = Backlog(self.lane, self.store, self.store.lane("a").position)
        self.number = self.store.next_batch
        self.unpushed: list[Batch] = []
        self.wanted: list[int] = []  # committed for this lane, ascending
        self.taken: list[int] = []

    def commit(self, mine: list[bool], size: int = 10, at: int = 0) -> None:
        batch = Batch(self.number, at)
        self.number += 1
        for index, wanted in enumerate(mine):
            batch.events.append(event((self.lane,) if wanted else (self.other,), size, at))
            if wanted:
                self.wanted.append(batch.number << INDEX_BITS | index)
        self.store.commit([batch])
        self.unpushed.append(batch)

    def push(self) -> None:
        """The oldest batch that was committed and not told yet."""
        if self.unpushed:
            batch = self.unpushed.pop(0)
            first = batch.number << INDEX_BITS
            items = [(first + i, e) for i, e in enumerate(batch.events) if self.lane in e.targets]
            self.backlog.push(items, first + len(batch.events))

    def take(self, count: int) -> None:
        for _ in range(count):
            if not self.backlog.fresh and not self.backlog.refill():
                return
            seq, _, size = self.backlog.fresh.popleft()
            self.backlog.memory_bytes -= size
            self.taken.append(seq)

    def restart(self) -> None:
        """A new process knows the position alone; what was not told before the crash never is."""
        self.backlog = Backlog(self.lane, self.store, self.backlog.position)
        self.unpushed.clear()

    def check(self) -> None:
        backlog = self.backlog
        assert self.taken == self.wanted[: len(self.taken)]
        position = backlog.position
        assert all(seq < position for seq in self.taken)
        assert all(seq >= position for seq in self.wanted[len(self.taken) :])
        assert backlog.memory_bytes == sum(size for _, _, size in backlog.fresh)
        if not self.unpushed and not backlog.behind:
            assert backlog.events == len(self.wanted) - len(self.taken)
            assert backlog.bytes == backlog.memory_bytes


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.lists(st.booleans(), min_size=1, max_size=6)),
        st.tuples(st.just("push"), st.none()),
        st.tuples(st.just("push all"), st.none()),
        st.tuples(st.just("take"), st.integers(1, 8)),
        st.tuples(st.just("restart"), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(STEPS, st.integers(1, 12), st.sampled_from([1, 200, 1000]), st.sampled_from([1, 3, 2048]))
def test_every_event_is_taken_once_and_in_order(
    steps: list[tuple[str, object]], memory_events: int, read_bytes: int, scan: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MEMORY_EVENTS", memory_events)
        patch.setattr(module, "READ_BYTES", read_bytes)
        patch.setattr("bridge.journal.memory._SCAN_BATCHES", scan)
        model = Model()
        for step, argument in steps:
            if step == "commit":
                assert isinstance(argument, list)
                model.commit(argument)
            elif step == "push":
                model.push()
            elif step == "push all":
                while model.unpushed:
                    model.push()
            elif step == "take":
                assert isinstance(argument, int)
                model.take(argument)
            else:
                model.restart()
            model.check()
        while model.unpushed:
            model.push()
        while len(model.taken) < len(model.wanted):
            model.take(1)
        model.take(1)
        model.check()
        assert model.taken == model.wanted
        assert not model.backlog.waiting or not model.backlog.refill()


def test_memory_is_bounded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 50_000)
    monkeypatch.setattr(module, "READ_BYTES", 5_000)
    model = Model()
    model.take(1)
    for _ in range(200):
        model.commit([True] * 10, size=100)
        model.push()
    size = event_size(event((1,), 100))
    assert model.backlog.behind
    assert model.backlog.memory_bytes <= 50_000
    assert (model.backlog.events, model.backlog.bytes) == (2000, 2000 * size)
    model.take(1000)
    assert (model.backlog.events, model.backlog.bytes) == (1000, 1000 * size)
    assert model.backlog.memory_bytes <= 50_000
    model.take(1001)
    assert (model.backlog.events, model.backlog.bytes, model.backlog.behind) == (0, 0, False)


def test_an_event_larger_than_the_memory_bound_is_read_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 1000)
    model = Model()
    model.take(1)
    model.commit([True], size=5000)
    model.push()
    assert model.backlog.behind
    model.take(2)
    assert model.taken == model.wanted
    assert not model.backlog.behind


def test_a_push_that_overlaps_what_was_read_brings_the_rest_alone() -> None:
    model = Model()
    model.commit([True] * 4)
    model.take(4)
    first = model.wanted[0]
    model.backlog.tail = first + 2
    model.backlog.push([(first + n, event((model.lane,))) for n in range(4)], first + 4)
    assert [seq for seq, _, _ in model.backlog.fresh] == [first + 2, first + 3]
    assert model.backlog.tail == first + 4


@pytest.mark.parametrize("behind", [False, True])
def test_dropping_by_bytes_gives_up_the_oldest(monkeypatch: pytest.MonkeyPatch, behind: bool) -> None:
    monkeypatch.setattr(module, "READ_BYTES", 1000)
    model = Model()
    if not behind:
        model.take(1)
    for _ in range(100):
        model.commit([True, False])
        model.push()
    size = event_size(event((1,)))
    dropped = model.backlog.drop_bytes(30 * size)
    assert (dropped.events, dropped.bytes) == (70, 70 * size)
    assert (model.backlog.events, model.backlog.bytes) == (30, 30 * size)
    model.take(100)
    assert model.taken == model.wanted[70:]


@pytest.mark.parametrize("behind", [False, True])
def test_dropping_by_age_gives_up_what_is_older(monkeypatch: pytest.MonkeyPatch, behind: bool) -> None:
    monkeypatch.setattr(module, "READ_BYTES", 1000)
    model = Model()
    model.take(0 if behind else 1)
    for at in range(100):
        model.commit([True], at=at)
        model.push()
    if behind:
        model.take(5)  # some of the oldest are in memory, the rest in the log
    dropped = model.backlog.drop_older(60)
    assert dropped.events == (55 if behind else 60)
    model.take(100)
    assert model.taken[-40:] == model.wanted[60:]
    assert model.backlog.drop_older(1000).events == 0


def test_a_long_part_of_the_log_without_events_for_the_lane_is_passed_in_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.journal.memory._SCAN_BATCHES", 2)
    model = Model()
    for _ in range(30):
        model.commit([False])
    model.commit([True])
    calls = 0
    while not model.backlog.refill():
        calls += 1
        assert model.backlog.behind
        assert calls < 10
    assert calls >= 2
    model.take(1)
    assert model.taken == model.wanted


@pytest.mark.parametrize("behind", [False, True])
def test_the_oldest_that_waits_is_known_also_on_disk(behind: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.journal.memory._SCAN_BATCHES", 2)
    model = Model()
    assert model.backlog.oldest_ts() is None
    model.take(0 if behind else 1)
    for at, mine in enumerate([[False]] * 4 + [[False, True], [True]]):
        model.commit(mine, at=at)
        model.push()
    assert model.backlog.behind is behind
    assert model.backlog.oldest_ts() == 4
    assert len(model.backlog.fresh) == (0 if behind else 2)  # looking reads nothing into memory
    model.take(1)
    assert model.backlog.oldest_ts() == 5
    model.take(1)
    assert model.backlog.oldest_ts() is None

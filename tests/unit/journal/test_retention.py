"""How far back the log is kept for a replay: by bytes, by age, across restarts, and where a time is found."""

from __future__ import annotations

import asyncio
import copy
import logging

import pytest

from bridge.events.event import Event, EventType
from bridge.journal import retention as module
from bridge.journal.codec import event_size
from bridge.journal.journal import Journal
from bridge.journal.memory import MemoryStore
from bridge.journal.retention import Retention, reserve_bytes
from bridge.journal.store import Room

START = 1_700_000_000.0
SIZE = 1000


class Plant:
    """A journal on a store in memory, whose clock stands still unless told."""

    def __init__(self, max_age: float, max_bytes: int, store: MemoryStore | None = None) -> None:
        self.now = START
        self.store = store or MemoryStore()
        self.lane = self.store.lane("a").id
        self.disk = 0  # bytes of the disk that the store lies on; 0: not told
        self.others = 0  # bytes that others have on it
        self.journal = Journal(self.store, asyncio.get_running_loop(), clock=lambda: self.now)
        self.retention = Retention(self.journal, max_age, max_bytes, clock=lambda: self.now, room=self.room)
        self.retention.start()
        self.journal.low = self._low
        self.journal.flush()

    def _low(self) -> int | None:
        """As the running process does it, where no lane needs anything."""
        low = self.retention.low()
        self.retention.forget(self.store.next_batch if low is None else low)
        return low

    def room(self) -> Room | None:
        """What the store would tell."""
        if not self.disk:
            return None
        oldest = self.store._numbers[0] if self.store._numbers else None
        return Room(max(self.disk - self.others - self.store.size(), 0), self.disk, oldest)

    def publish(self, count: int = 1) -> list[int]:
        """One batch for each event; their batch numbers."""
        numbers = []
        for _ in range(count):
            event = Event(EventType.MESSAGE_PUBLISH, int(self.now * 1000), "c", None, "", (self.lane,), "t")
            event.payload = bytes(SIZE - event_size(event))
            numbers.append(self.journal.append(event) >> 12)
            self.journal.flush()
        return numbers

    def trim(self) -> None:
        """Everything that may go goes now."""
        low = self._low()
        self.store.trim(self.store.next_batch if low is None else low, 1 << 20)
        self.journal.flush()

    def kept(self) -> int:
        """Events in the log."""
        return self.store.backlog(self.lane, 0).events

    def restart(self, max_age: float, max_bytes: int, *, crash: bool = False) -> Plant:
        """Another process on what this one has left."""
        if not crash:
            self.retention.close()
            self.journal.flush()
        self.store.on_durable = None
        store = copy.deepcopy(self.store)
        store.next_batch += 1 << 20
        other = Plant(max_age, max_bytes, store)
        other.now = self.now
        return other


@pytest.fixture(autouse=True)
def few_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTS", 10)


async def test_what_is_settled_is_kept_up_to_the_bound_in_bytes() -> None:
    plant = Plant(3600, 100 * SIZE)
    plant.publish(80)
    plant.trim()
    assert plant.kept() == 80
    plant.publish(400)
    plant.trim()
    assert 100 <= plant.kept() <= 111
    # The rows of the state do not grow either.
    assert len(list(plant.store.load(module.SPACE))) <= 13


async def test_what_is_settled_is_kept_up_to_its_age() -> None:
    plant = Plant(1000, 1 << 30)
    for _ in range(50):
        plant.publish(2)
        plant.now += 100
    plant.trim()
    assert 20 <= plant.kept() <= 24
    plant.now += 500
    plant.publish()  # a quiet time ends with it
    plant.trim()
    assert 11 <= plant.kept() <= 15


@pytest.mark.parametrize(("age", "size"), [(0.0, 1 << 30), (3600.0, 0)])
async def test_nothing_is_kept_where_a_bound_is_zero(age: float, size: int) -> None:
    plant = Plant(age, size)
    plant.publish(5)
    plant.trim()
    assert plant.retention.low() is None
    assert plant.kept() == 0
    assert list(plant.store.load(module.SPACE)) == []


async def test_turning_it_off_forgets_the_rows() -> None:
    plant = Plant(3600, 10 * SIZE)
    plant.publish(8)
    other = plant.restart(0, 0)
    assert list(other.store.load(module.SPACE)) == []
    other.trim()
    assert other.kept() == 0


@pytest.mark.parametrize("crash", [False, True])
async def test_the_count_goes_on_after_a_restart(crash: bool) -> None:
    plant = Plant(3600, 100 * SIZE)
    plant.publish(95)
    plant = plant.restart(3600, 100 * SIZE, crash=crash)
    plant.trim()
    assert plant.kept() == 95
    plant.publish(50)
    plant.trim()
    assert 95 <= plant.kept() <= 120 if crash else 100 <= plant.kept() <= 111


async def test_many_crashes_neither_empty_the_log_nor_let_it_grow() -> None:
    plant = Plant(3600, 100 * SIZE)
    for _ in range(40):
        plant.publish(5)
        plant.trim()
        plant = plant.restart(3600, 100 * SIZE, crash=True)
    plant.trim()
    assert 60 <= plant.kept() <= 140


LESS = "less is kept for `hookmq replay` than"
AGAIN = "there is room again"


@pytest.mark.parametrize(
    ("total", "reserve"),
    [(24 << 20, 6 << 20), (512 << 20, 64 << 20), (8 << 30, (8 << 30) // 20), (1 << 40, 1 << 30)],
)
def test_what_stays_free_of_a_disk(total: int, reserve: int) -> None:
    assert reserve_bytes(total) == reserve


async def test_what_is_kept_leaves_a_reserve_free(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk of 400 events, of which a quarter is to stay free, and a bound of 1,000."""
    monkeypatch.setattr(module, "PARTS", 200)
    caplog.set_level(logging.INFO)
    plant = Plant(3600, 1000 * SIZE)
    plant.disk = 400 * SIZE
    for _ in range(290):
        plant.publish()
        plant.trim()
    assert (plant.kept(), caplog.text) == (290, "")
    for _ in range(1000):
        plant.publish()
        plant.trim()
        assert plant.kept() <= 306
    assert plant.kept() >= 290
    # It hovers at the bound, and is told once.
    assert (caplog.text.count(LESS), caplog.text.count(AGAIN)) == (1, 0)
    assert "the store's disk has 0 MB of room left" in caplog.text
    assert len(list(plant.store.load(module.SPACE))) <= 70


async def test_nothing_is_kept_where_others_fill_the_disk(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PARTS", 200)
    caplog.set_level(logging.INFO)
    plant = Plant(3600, 200 * SIZE)
    plant.disk = 400 * SIZE
    plant.publish(80)
    plant.trim()
    plant.now += 5
    plant.others = 320 * SIZE
    plant.trim()
    assert (plant.kept(), plant.retention.low()) == (0, None)
    plant.publish(5)
    plant.trim()
    assert plant.kept() == 0
    # What a replay would be told is true, and the rows of what is gone are gone.
    assert plant.retention.since == int(plant.now * 1000)
    assert len(list(plant.store.load(module.SPACE))) <= 2
    # Half a disk free is needed to call it enough; in between what fits is kept.
    plant.others = 260 * SIZE
    plant.trim()
    plant.publish(100)
    plant.trim()
    assert 35 <= plant.kept() <= 41
    assert (caplog.text.count(LESS), caplog.text.count(AGAIN)) == (1, 0)
    plant.others = 0
    plant.trim()
    plant.publish(100)
    plant.trim()
    assert 135 <= plant.kept() <= 141
    assert (caplog.text.count(LESS), caplog.text.count(AGAIN)) == (1, 1)


async def test_no_more_is_given_up_before_the_last_cut_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trimming goes in steps, and until it is done the disk looks as full as before."""
    monkeypatch.setattr(module, "PARTS", 200)
    plant = Plant(3600, 400 * SIZE)
    plant.disk = 400 * SIZE
    plant.publish(250)
    plant.trim()
    plant.others = 100 * SIZE
    lows = set()
    for _ in range(20):
        low = plant._low()
        assert low is not None
        lows.add(low)
        plant.store.trim(low, 1)
    assert len(lows) == 1
    plant.trim()
    assert 195 <= plant.kept() <= 201


async def test_a_store_of_before_keeps_what_it_has() -> None:
    """The log of a version that kept no segments reaches further back than they do."""
    plant = Plant(0, 0)
    plant.publish(7)
    plant = plant.restart(3600, 100 * SIZE)
    plant.trim()
    assert plant.kept() == 7
    assert plant.retention.span(0, 1 << 50) == (0, None)


async def test_damaged_rows_are_forgotten() -> None:
    plant = Plant(3600, 100 * SIZE)
    plant.publish(30)
    plant.journal.put(module.SPACE, "0000000000000001", b"\xc1")
    plant.journal.put(module.SPACE, "end", b"\xc1")
    plant = plant.restart(3600, 100 * SIZE, crash=True)
    plant.publish(300)
    plant.trim()
    assert 95 <= plant.kept() <= 115


async def test_the_batches_of_a_time_are_found() -> None:
    plant = Plant(10_000, 1 << 30)  # a segment for each 1,000 s
    batches: dict[int, int] = {}
    for second in range(0, 10_000, 500):
        plant.now = START + second
        [batches[second]] = plant.publish()

    def span(since: int, until: int) -> set[int]:
        first, end = plant.retention.span(int((START + since) * 1000), int((START + until) * 1000))
        return {s for s, batch in batches.items() if batch >= first and (end is None or batch < end)}

    for since, until in ((2000, 3000), (0, 100), (4100, 4200), (9000, 20_000), (-50, -10)):
        found = span(since, until)
        assert {s for s in batches if since <= s < until} <= found
        assert all(since - 2000 <= s <= until + 2000 for s in found)
    assert plant.retention.bytes_before(batches[0]) == 0
    assert 9 * SIZE <= plant.retention.bytes_before(batches[5000]) <= 10 * SIZE
    assert plant.retention.bytes_before(plant.store.next_batch) == plant.retention.bytes == 20 * SIZE


async def test_a_clock_that_is_set_back_loses_nothing() -> None:
    plant = Plant(1000, 1 << 30)
    plant.publish(3)
    plant.now = 100.0  # a gateway that boots in 1970
    for _ in range(3):
        plant.publish()
        plant.now += 200
    plant.trim()
    plant.now = START + 500
    plant.publish()
    plant.trim()
    assert plant.kept() == 7
    assert plant.retention.span(int(START * 1000), int((START + 600) * 1000))[1] is None


async def test_a_clock_that_ran_ahead_hides_nothing() -> None:
    plant = Plant(1000, 1 << 30)
    plant.now = START + 1e9
    plant.publish(3)
    plant.now = START
    numbers = plant.publish(3)
    first, end = plant.retention.span(int((START - 10) * 1000), int((START + 10) * 1000))
    assert first <= numbers[0]
    assert end is None

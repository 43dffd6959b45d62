"""A store without room: what lanes have done is written from its reserve, what nobody needs goes, and the
commit is offered again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from bridge.events.event import Event
from bridge.journal import journal as module
from bridge.journal.batch import INDEX_BITS, Batch, Change, Chunk, Cursor, Put, Retry, Settle
from bridge.journal.journal import Journal
from bridge.journal.memory import MemoryStore
from bridge.journal.store import StoreFull, lane_space
from tests.contract.store_support import until

WAITS = "the store refuses to write, publishers wait: "
AGAIN = "the store writes again"


class SmallStore(MemoryStore):
    """Holds `most` batches; `mended` are the changes that came from the reserve."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.mended: list[Change] = []
        self._inside = False

    def commit(self, batches: Sequence[Batch]) -> None:
        if len(self._numbers) + sum(1 for batch in batches if batch.events) > self.most:
            raise StoreFull("full")
        self._inside = True
        try:
            super().commit(batches)
        finally:
            self._inside = False

    def mend(self, changes: Sequence[Change]) -> None:
        if not self._inside:
            self.mended += changes
        super().mend(changes)


class Plant:
    """A journal on a small store, with one lane that needs all batches from `low` on."""

    def __init__(self, most: int) -> None:
        self.store = SmallStore(most)
        self.lane = self.store.lane("a").id
        self.journal = Journal(self.store, asyncio.get_running_loop())
        self.low: int | None = None
        self.stalls: list[bool] = []
        self.journal.low = lambda: self.low
        self.journal.on_stall.append(self.stalls.append)

    async def publish(self) -> int:
        """One event in one turn; its sequence."""
        seq = self.journal.append(Event(10, 0, "c", None, "", (self.lane,), "t"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return seq


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_COMMIT_S", 0.005)
    monkeypatch.setattr(module, "TRIM_EVERY_S", 3600)
    monkeypatch.setattr(module, "TRIM_EVERY_BATCHES", 1000)


async def test_what_nobody_needs_makes_room_and_nobody_waits(caplog: pytest.LogCaptureFixture) -> None:
    plant = Plant(3)
    for _ in range(10):
        await plant.publish()
    assert (plant.stalls, caplog.text) == ([], "")
    assert plant.store.backlog(plant.lane, 0).events <= 3
    plant.journal.close()


async def test_progress_is_written_while_events_are_refused() -> None:
    """The lanes' rows, and nothing else: neither the event nor what must not part from it."""
    plant = Plant(2)
    seqs = [await plant.publish() for _ in range(2)]
    plant.low = seqs[0] >> INDEX_BITS
    plant.journal.put("broker", "k", b"v")
    refused = await plant.publish()
    assert (plant.stalls, plant.store.mended) == ([True], [])

    progress: list[Change] = [
        Retry(plant.lane, seqs[0], 1, 5000, 4000, 900, "", "503"),
        Put(lane_space("groups", plant.lane), "g", b"1"),
        Cursor(plant.lane, seqs[1], []),
    ]
    for change in progress:
        plant.journal.change(change)
    await until(lambda: bool(plant.store.mended))
    assert plant.store.mended == progress
    assert list(plant.store.load("broker")) == []
    assert plant.store.fetch([refused]) == {}
    await asyncio.sleep(0.02)
    assert plant.store.mended == progress  # once
    assert plant.stalls == [True]

    plant.low = seqs[1] >> INDEX_BITS  # the first event is only a row now
    await until(lambda: plant.stalls == [True, False])
    # The row's event was pinned before its batch was trimmed.
    assert set(plant.store.fetch([*seqs, refused])) == {*seqs, refused}
    assert list(plant.store.load("broker")) == [("k", b"v")]
    assert plant.store.lane("a").position == seqs[1]
    plant.journal.close()


async def test_nothing_that_was_settled_meanwhile_comes_back() -> None:
    plant = Plant(1)
    first = await plant.publish()
    plant.low = first >> INDEX_BITS
    await plant.publish()
    plant.journal.change(Retry(plant.lane, first, 1, 5000, 4000, 900, "", "503"))
    await until(lambda: len(plant.store.mended) == 1)
    plant.journal.change(Settle(plant.lane, first))
    await until(lambda: len(plant.store.mended) == 2)
    plant.low = None
    await until(lambda: plant.stalls == [True, False])
    assert plant.store.retries(plant.lane) == []
    plant.journal.close()


async def test_a_store_that_stalls_again_and_again_tells_it_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plant = Plant(1)
    low = await plant.publish() >> INDEX_BITS

    async def stall() -> None:
        plant.low = low
        before = len(plant.stalls)
        await plant.publish()
        assert plant.journal.stalled
        assert len(plant.stalls) == before + 1

    async def go_on() -> None:
        plant.low = None
        await until(lambda: not plant.journal.stalled)

    for _ in range(3):
        await stall()
        await go_on()
    assert (caplog.text.count(WAITS), caplog.text.count(AGAIN)) == (1, 1)
    # One that lasts is told, though late.
    await stall()
    plant.journal._tell_at = 0.0
    await until(lambda: caplog.text.count(WAITS) == 2)
    await go_on()
    assert (caplog.text.count(WAITS), caplog.text.count(AGAIN)) == (2, 2)
    plant.journal.close()


async def test_trims_keep_pace_with_large_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is bytes too: thirty-two batches of a megabyte would be more than one trim deletes."""
    monkeypatch.setattr(module, "TRIM_EVERY_BATCHES", 32)
    plant = Plant(1000)
    most = 0
    for _ in range(64):
        event = Event(10, 0, "c", None, "", (plant.lane,), "t", payload=bytes(500_000))
        plant.journal.append(event)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        most = max(most, len(plant.store._numbers))
    assert most <= 5
    plant.journal.close()


async def test_queued_messages_that_nobody_needs_make_room() -> None:
    """Deleting a chunk needs nothing of its batch; a new one comes with its batch, or not at all."""
    plant = Plant(most=1)
    plant.low = 0
    await plant.publish()
    await until(lambda: not plant.stalls)
    plant.journal.state = lambda: [Chunk(1, None), Chunk(2, b"new")]
    await plant.publish()
    await until(lambda: plant.stalls == [True])
    assert plant.store.mended[:1] == [Chunk(1, None)]
    assert all(change == Chunk(1, None) for change in plant.store.mended)
    assert list(plant.store.chunks()) == []
    plant.journal.state = list
    plant.low = None
    await until(lambda: plant.stalls == [True, False])
    assert list(plant.store.chunks()) == [(2, b"new")]

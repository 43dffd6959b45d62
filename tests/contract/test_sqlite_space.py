"""The room of the SQLite store: what it takes of a disk that is nearly full, and how it mends itself."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from bridge.journal import reserve as reserve_module
from bridge.journal.batch import Cursor, Retry
from bridge.journal.filesystem import Disk, disk_of
from bridge.journal.reserve import ReserveFile
from bridge.journal.store import StoreError, StoreFull
from tests.contract.store_support import commit, event, open_sqlite

MIB = 1 << 20
GIVEN_UP = "the store's reserve is given up"
AGAIN = "there is room for the store's reserve again"


class Small:
    """A disk of `total` bytes with nothing on it but the store and what others have."""

    def __init__(self, folder: Path, total: int) -> None:
        self.total = total
        self.others = 0
        self._folder = folder

    def __call__(self, folder: Path) -> Disk:
        assert folder == self._folder
        used = sum(path.stat().st_size for path in folder.iterdir()) if folder.exists() else 0
        return Disk(max(self.total - used - self.others, 0), self.total)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "hookmq.db"


@pytest.fixture
def small(path: Path) -> Small:
    return Small(path.parent, 16 * MIB)


def test_the_file_system_tells_its_room(tmp_path: Path) -> None:
    found = disk_of(tmp_path)
    assert found is not None
    assert 0 < found.free <= found.total
    assert disk_of(tmp_path / "missing") is None


async def test_the_file_never_promises_more_than_its_disk_has(path: Path, small: Small) -> None:
    store = open_sqlite(path, disk=small)
    a = store.lane("a").id
    written = 0

    def fill() -> None:
        nonlocal written
        while True:
            commit(store, [event("x", a, size=100_000)])
            written += 100_000
            store.trim(0)  # a look

    with pytest.raises(StoreFull, match="full: free some space there"):
        fill()
    # What was not taken is the log's part, and the reserve.
    assert 10 * MIB < written < 14 * MIB
    assert store.checkpointer.now()
    used = sum(file.stat().st_size for file in path.parent.iterdir())
    # By what the log grew after the last look the reserve may be needed, but no more.
    assert used - MIB <= small.total
    assert path.with_name("hookmq.db.reserve").stat().st_size == MIB
    room = store.room()
    assert room is not None
    assert (room.total, room.free < 3 * MIB) == (small.total, True)
    # It grows again once there is more.
    small.total *= 2
    store.mend([])
    commit(store, [event("x", a, size=100_000)])
    store.close()


async def test_what_is_trimmed_counts_as_room(path: Path, small: Small) -> None:
    store = open_sqlite(path, disk=small)
    a = store.lane("a").id
    seqs = [commit(store, [event("x", a, size=100_000)])[0] for _ in range(60)]
    assert store.checkpointer.now()
    store.trim(0)
    before = store.room()
    store.trim(seqs[30] >> 12)
    after = store.room()
    assert before is not None
    assert after is not None
    assert after.free - before.free > 2_000_000  # 3 MB, less what the log grew
    assert (before.oldest, after.oldest) == (seqs[0] >> 12, seqs[30] >> 12)
    store.close()


async def test_progress_and_trimming_find_room_where_events_find_none(
    path: Path, small: Small, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Others took all that was left, and the file has no free page."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(reserve_module, "AGAIN_S", 0.0)
    store = open_sqlite(path, disk=small)
    a = store.lane("a").id
    seqs = [commit(store, [event("x", a, size=100_000)])[0] for _ in range(40)]
    assert store.checkpointer.now()
    small.others = small.total
    store.trim(0)
    with pytest.raises(StoreFull):
        commit(store, [event("x", a, size=100_000)])
    # A row pins a copy of its event, which takes pages: they come from the reserve.
    store.mend([Retry(a, seqs[0], 1, 5000, 4000, 900, "", "503"), Cursor(a, seqs[20], [])])
    assert caplog.text.count(GIVEN_UP) == 1
    assert not path.with_name("hookmq.db.reserve").exists()
    with pytest.raises(StoreFull):  # of which no event takes a page
        commit(store, [event("x", a, size=600_000)])
    assert store.trim(seqs[20] >> 12) == 20
    seqs += commit(store, [event("y", a, size=100_000)])
    assert set(store.fetch(seqs)) == {seqs[0], *seqs[20:]}
    # The file gives room back until there is a reserve again.
    small.others = 0
    store.trim(0)
    assert path.with_name("hookmq.db.reserve").stat().st_size == MIB
    assert caplog.text.count(AGAIN) == 1
    store.close()


async def test_a_file_without_a_reserve_gives_pages_back(
    path: Path, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve_module, "AGAIN_S", 0.0)
    store = open_sqlite(path, disk=small)
    a = store.lane("a").id
    seqs = [commit(store, [event("x", a, size=100_000)])[0] for _ in range(80)]
    assert store.checkpointer.now()
    os.unlink(path.with_name("hookmq.db.reserve"))
    store._space._reserve.held = False
    small.others = small(path.parent).free
    store.trim(0)
    assert not path.with_name("hookmq.db.reserve").exists()
    for _ in range(40):
        store.trim(seqs[-1] >> 12)
        store.checkpointer.now()
    assert path.with_name("hookmq.db.reserve").stat().st_size == MIB
    store.close()


async def test_a_small_disk_has_a_short_log(path: Path, small: Small) -> None:
    store = open_sqlite(path, disk=small)
    assert store.checkpointer.soft == MIB
    a = store.lane("a").id
    for _ in range(100):
        seq = commit(store, [event("x", a, size=100_000)])[0]
        store.trim(seq >> 12)
        store.sync()
        if store.checkpointer._running is not None:
            store.checkpointer._end()
    assert store._wal.size() < 3 * MIB
    store.close()


async def test_a_disk_with_plenty_of_room_is_looked_at_once_a_second(path: Path) -> None:
    looks = 0

    def disk(folder: Path) -> Disk:
        nonlocal looks
        looks += 1
        return Disk(1 << 40, 1 << 40)

    store = open_sqlite(path, disk=disk)
    a = store.lane("a").id
    before, begin = looks, time.monotonic()
    for _ in range(50):
        commit(store, [event("x", a)])
        store.trim(0)
    assert 1 <= looks - before <= 2 + time.monotonic() - begin
    store.mend([])
    store.close()


async def test_a_disk_that_tells_nothing_limits_nothing(path: Path) -> None:
    store = open_sqlite(path, disk=lambda folder: None)
    a = store.lane("a").id
    for _ in range(20):
        commit(store, [event("x", a, size=100_000)])
        store.trim(0)
    assert store.room() is None
    assert not path.with_name("hookmq.db.reserve").exists()
    store.close()


async def test_a_mended_store_that_has_failed_says_so(path: Path, small: Small) -> None:
    store = open_sqlite(path, disk=small)
    store._fail(StoreError("gone"))
    with pytest.raises(StoreError, match="gone"):
        store.mend([])
    store.close()


def test_the_reserve_is_made_again_but_seldom(tmp_path: Path) -> None:
    now = 0.0
    store = tmp_path / "hookmq.db"

    def reserve(total: int = 1 << 40) -> ReserveFile:
        return ReserveFile(store, Disk(total, total), clock=lambda: now)

    one = reserve()
    assert (one.size, one.held) == (4 * MIB, False)
    assert one.hold()
    assert not one.hold()
    assert one.path.stat().st_size == 4 * MIB
    assert one.release()
    assert not one.path.exists()
    assert not one.release()
    now = reserve_module.AGAIN_S - 1
    assert not one.hold()
    now = reserve_module.AGAIN_S + 1
    assert one.hold()
    # The next process finds it; one that was cut short is made anew.
    assert reserve().held
    os.truncate(one.path, MIB)
    again = reserve()
    assert not again.held
    assert again.hold()
    assert again.path.stat().st_size == 4 * MIB


def test_a_reserve_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = ReserveFile(tmp_path / "hookmq.db", Disk(1 << 40, 1 << 40))
    write = os.write
    count = 0

    def full(fd: int, data: bytes) -> int:
        nonlocal count
        count += 1
        if count > 3:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    assert not reserve.hold()
    assert list(tmp_path.iterdir()) == []
    assert not ReserveFile(tmp_path / "missing" / "hookmq.db", Disk(1, 1 << 40)).hold()

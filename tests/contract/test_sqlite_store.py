"""What the SQLite store promises beyond the contract: files, locks, failures and syncs."""

# ruff: noqa: ASYNC220, ASYNC221, ASYNC240  (a test's own files and processes may block its loop)

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.journal import checkpoint, sqlite_schema
from bridge.journal import sqlite as sqlite_module
from bridge.journal.batch import Cursor, Dead, Put, Retry, Settle
from bridge.journal.codec import encode_event, encode_holes
from bridge.journal.filesystem import on_tmpfs
from bridge.journal.sqlite import LEAP
from bridge.journal.store import StoreError, lane_space
from tests.contract.store_support import commit, event, make_batch, open_sqlite, read_all, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "hookmq.db"


def refused(path: Path) -> str:
    """The one line that an opening is refused with."""
    with pytest.raises(StoreError) as caught:
        open_sqlite(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    return text


async def test_everything_is_there_after_reopening(path: Path) -> None:
    store = open_sqlite(path)
    a, b = store.lane("a").id, store.lane("b").id
    seqs = commit(store, [event("d1", a, b), event("2", a), event("3", a)])
    changes = [
        Cursor(a, seqs[2], [seqs[1]]),
        Retry(b, seqs[0], 1, 5000, 4000, 900, "c1", "503"),
        Dead(a, seqs[0], 10, 7000, "410"),
        Put("s", "k", b"v"),
    ]
    commit(store, [], changes)
    store.trim(store.next_batch)
    seqs += commit(store, [event("4", a)])
    lanes, retries, dead, identity = store.lanes(), store.retries(b), store.dead(a), store.id
    store.close()
    again = open_sqlite(path)
    assert again.id == identity
    assert again.lanes() == lanes
    assert again.lane("a").holes == [seqs[1]]
    assert again.retries(b) == retries
    assert again.dead(a) == dead
    assert again.fetch(seqs) == {seqs[0]: event("d1", a, b), seqs[3]: event("4", a)}
    assert read_all(again, a, lanes[0].position) == [(seqs[3], event("4", a))]
    assert list(again.load("s")) == [("k", b"v")]
    again.close()


async def test_batch_numbers_leap_at_every_opening(path: Path) -> None:
    store = open_sqlite(path)
    a = store.lane("a").id
    first = store.next_batch
    seqs = commit(store, [event("1", a)])
    commit(store, [], [Put("s", "k", b"v")])
    store.close()
    for opening in (1, 2):
        store = open_sqlite(path)
        assert store.next_batch == first + 2 + opening * LEAP
        assert store.durable == store.next_batch - 1
        store.close()
    # Numbers without a trace in the log (all trimmed, no orderly end) are not given again either.
    store = open_sqlite(path)
    number = store.next_batch + LEAP // 2
    store.commit([make_batch(number, [], [Put("s", "k", b"w")])])
    image = path.with_name("image.db")
    for suffix in ("", "-wal"):
        image.with_name(image.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
    crashed = open_sqlite(image)
    assert crashed.next_batch > number + LEAP // 2
    assert crashed.fetch(seqs) == {seqs[0]: event("1", a)}
    crashed.close()
    store.close()


async def test_files_are_for_their_owner_alone(path: Path) -> None:
    store = open_sqlite(path)
    store.lane("a")
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    names = ["hookmq.db", "hookmq.db-wal", "hookmq.db-shm", "hookmq.db.lock", "hookmq.db.reserve"]
    assert modes == dict.fromkeys(names, 0o600)
    store.close()


async def test_a_second_process_is_refused_and_told_the_first(path: Path) -> None:
    holder = (
        "import asyncio, pathlib, sys\n"
        "from bridge.journal.sqlite import SqliteStore\n"
        "store = SqliteStore.open(pathlib.Path(sys.argv[1]), asyncio.new_event_loop())\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        assert f"in use by process {process.pid}:" in refused(path)
        link = path.parent.parent / "link.db"
        link.symlink_to(path)
        with pytest.raises(StoreError, match=f"process {process.pid}:"):
            open_sqlite(link)
    finally:
        process.kill()
        process.communicate()
    store = open_sqlite(path)  # the lock went with its owner
    assert f"in use by process {os.getpid()}:" in refused(path)
    commit(store, [], [Put("s", "k", b"v")])  # and being asked twice did the first no harm
    store.close()
    open_sqlite(path).close()


async def test_a_newer_schema_is_refused(path: Path) -> None:
    open_sqlite(path).close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value = 99 WHERE key = 'version'")
    database.close()
    text = refused(path)
    assert f"schema version 99, this one knows up to {len(sqlite_schema.MIGRATIONS)}" in text


async def test_an_older_schema_is_migrated_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_sqlite(path)
    a = store.lane("a").id
    seqs = commit(store, [event("1", a)])
    store.close()
    newer = [*sqlite_schema.MIGRATIONS, "CREATE TABLE extra(x); INSERT INTO extra VALUES (1)"]
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", newer)
    for _ in range(2):
        store = open_sqlite(path)
        assert store.fetch(seqs) == {seqs[0]: event("1", a)}
        store.close()
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT x FROM extra").fetchall() == [(1,)]
        version = database.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()[0]
        assert version == len(newer)
    database.close()


async def test_the_first_version_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its dead letters take is counted, and the health of an endpoint keeps with its lane."""
    migrations = sqlite_schema.MIGRATIONS
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", migrations[:1])
    sqlite_schema.prepare_folder(path)
    sqlite_schema.prepare_file(path)
    with contextlib.closing(sqlite_schema.connect(path)) as database:
        sqlite_schema.migrate(database, path)
        for statement, values in (
            ("INSERT INTO lanes VALUES (1, 'a', 0, ?)", (encode_holes([]),)),
            ("INSERT INTO dead VALUES (1, 4096, 2, 70, 'why')", ()),
            ("INSERT INTO dead VALUES (1, 4097, 2, 60, '')", ()),
            ("INSERT INTO pinned VALUES (4096, ?)", (encode_event(event("1", 1, size=5000)),)),
            ("INSERT INTO state VALUES ('endpoint', '1', x'80')", ()),
        ):
            database.execute(statement, values)
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", migrations)
    store = open_sqlite(path)
    assert [(lane.name, lane.dead) for lane in store.lanes()] == [("a", 2)]
    assert [(old.at, old.seq) for old in store.oldest_dead(1, 9)] == [(60, 4097), (70, 4096)]
    totals = store.dead_totals(1)
    assert totals.bytes == sum(old.size for old in store.oldest_dead(1, 9))
    assert 5000 < totals.bytes < 6000
    assert list(store.load("endpoint")) == []
    assert list(store.load(lane_space("endpoint", 1))) == [("health", b"\x80")]
    commit(store, [], [Settle(1, 4096)])
    assert (store.dead_totals(1).letters, store.fetch([4096])) == (1, {})


async def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_sqlite(path).close()
    newer = [*sqlite_schema.MIGRATIONS, "CREATE TABLE extra(x); INSERT INTO nowhere VALUES (1)"]
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", newer)
    assert "no such table: nowhere" in refused(path)
    monkeypatch.undo()
    open_sqlite(path).close()
    with sqlite3.connect(path) as database:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
    database.close()
    assert "extra" not in tables


async def test_a_file_that_is_no_store_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    garbage = b"this is not a database, but somebody's notes\n" * 200
    path.write_bytes(garbage)
    assert "file is not a database: not a HookMQ store: move it away" in refused(path)
    assert path.read_bytes() == garbage
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE somebody(x)")
    database.close()
    assert "a database of another program: move it away" in refused(path)


async def test_a_damaged_file_is_refused_or_reported(path: Path) -> None:
    store = open_sqlite(path)
    a = store.lane("a").id
    seqs = commit(store, [event(str(i), a, size=1000) for i in range(200)])
    store.close()
    whole = path.read_bytes()
    # The tables' own pages: found at the opening.
    path.write_bytes(whole[:4096] + b"\xff" * 8192 + whole[3 * 4096 :])
    assert "the file is damaged: restore a copy" in refused(path)
    # Half of the file is gone.
    path.write_bytes(whole[: 2 * 4096])
    assert "the file is damaged" in refused(path)
    # A body: found when it is read.
    place = whole.rindex(b"plant/199")
    path.write_bytes(whole[: place - 4096] + b"\xc1" * 8192 + whole[place + 4096 :])
    store = open_sqlite(path)
    for read in (lambda: store.read(a, 0, 1), lambda: store.fetch(seqs)):
        with pytest.raises(StoreError, match=r"hookmq\.db: .*: the file is damaged") as caught:
            read()
        assert "\n" not in str(caught.value)
    store.close()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert f"{tmp_path}/file is a file, not a folder" in refused(tmp_path / "file" / "hookmq.db")
    assert "a folder: name a file in it" in refused(tmp_path)
    inside = tmp_path / "locked" / "hookmq.db"
    inside.parent.mkdir(mode=0o500)
    tmp_path.chmod(0o755)
    script = (
        "import asyncio, pathlib, sys\n"
        "from bridge.journal.sqlite import SqliteStore, sqlite3\n"
        "from bridge.journal.store import StoreError\n"
        "import os\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "try: SqliteStore.open(pathlib.Path(sys.argv[1]), asyncio.new_event_loop())\n"
        "except StoreError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, inside], capture_output=True, text=True, check=True)
    assert "Permission denied" in done.stdout
    assert "give this user the right to write there" in done.stdout
    assert done.stdout.count("\n") == 1


async def test_a_full_disk_refuses_a_commit_whole(path: Path) -> None:
    store = open_sqlite(path)
    a = store.lane("a").id
    seqs = commit(store, [event("1", a)])
    number = store.next_batch
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages + 20}")
    batches = [
        make_batch(number, [event("small", a)], [Put("s", "k", b"v"), Cursor(a, store.head, [])]),
        make_batch(number + 1, [event("big", a, size=200_000)]),
    ]
    for _ in range(2):
        with pytest.raises(StoreError, match=r"database or disk is full: free some space") as caught:
            store.commit(batches)
        assert str(path) in str(caught.value)
        assert store.next_batch == number
        assert [seq for seq, _ in read_all(store, a, 0)] == seqs
        assert list(store.load("s")) == []
        assert store.lane("a").position < store.head
    single = make_batch(number, [event("big", a, size=200_000)])
    with pytest.raises(StoreError, match="full"):
        store.commit([single])
    commit(store, [event("2", a)])  # what fits is taken
    store._db.execute("PRAGMA max_page_count=1000000")
    for batch in batches:
        batch.number += 1
    store.commit(batches)
    store.sync()
    found = [e.payload[:5] for _, e in read_all(store, a, 0)]
    assert found == [b"1", b"2", b"small", b"big.."]
    assert list(store.load("s")) == [("k", b"v")]
    store.close()


async def test_a_change_that_cannot_be_written_undoes_its_batch(path: Path) -> None:
    store = open_sqlite(path)
    a = store.lane("a").id
    number = store.next_batch
    bad = make_batch(number, [event("1", a)], [Put("s", "k", b"v"), Retry(a, 1, None, 0, 0, 0, "", "")])  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="NOT NULL"):
        store.commit([bad])
    assert read_all(store, a, 0) == []
    assert list(store.load("s")) == []
    assert commit(store, [event("2", a)]) == [number << 12]
    store.close()


@pytest.mark.parametrize("delay", [0.0, 0.01])
async def test_a_sync_that_fails_is_told_and_ends_it(path: Path, delay: float) -> None:
    store = open_sqlite(path, sync_delay=delay)
    store._syncer.pace.threaded = delay > 0
    errors: list[StoreError] = []
    told: list[int] = []
    store.on_error, store.on_durable = errors.append, told.append
    commit(store, [], [Put("s", "k", b"v")])
    durable = store.durable
    os.close(store._wal.fd)  # from here on every sync of it is refused by the system
    store.sync()
    await until(lambda: errors)
    assert "cannot be synced (Bad file descriptor)" in str(errors[0])
    with pytest.raises(StoreError, match="cannot be synced"):
        commit(store, [], [Put("s", "k", b"w")])
    store._wal.fd = os.open(store._wal.path, os.O_RDWR)  # it answers again, which proves nothing
    store.sync()
    await asyncio.sleep(3 * delay)
    store.close()
    assert (told, store.durable, len(errors)) == ([], durable, 1)


async def test_a_failing_sync_that_nobody_listens_to_is_logged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_sqlite(path)
    commit(store, [], [Put("s", "k", b"v")])
    os.close(store._wal.fd)
    store.sync()
    await until(lambda: caplog.records)
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert "cannot be synced" in caplog.text
    with pytest.raises(StoreError, match="cannot be synced"):
        commit(store, [], [Put("s", "k", b"w")])
    store._wal.fd = os.open(store._wal.path, os.O_RDWR)
    store.close()


@pytest.mark.parametrize("which", ["", "-wal"])
async def test_a_file_taken_away_is_noticed(path: Path, which: str) -> None:
    store = open_sqlite(path)
    errors: list[StoreError] = []
    store.on_error = errors.append
    store.trim(0)
    assert errors == []
    path.with_name(path.name + which).unlink()
    store.trim(0)
    assert "removed or replaced while in use" in str(errors[0])
    with pytest.raises(StoreError, match="removed or replaced"):
        commit(store, [], [Put("s", "k", b"v")])
    store.close()
    assert len(errors) == 1


async def test_a_slow_disk_holds_up_acknowledgements_and_nothing_else(path: Path) -> None:
    store = open_sqlite(path, sync_delay=0.05)
    a = store.lane("a").id
    clock = asyncio.get_running_loop().time
    told: list[int] = []
    watermarks: list[int] = []
    waits: list[float] = []
    written: dict[int, float] = {}

    def durable(number: int) -> None:
        told.append(number)
        watermarks.append(store.durable)
        waits.append(clock() - written[number])

    store.on_durable = durable
    first = store.next_batch
    start = clock()
    while clock() - start < 0.4:
        written[store.next_batch] = clock()
        commit(store, [event("1", a)])
        store.sync()
        await asyncio.sleep(0.001)
    committed = store.next_batch - 1
    assert 1 <= len(told) <= (clock() - start) / 0.05  # one sync at a time
    assert committed - first > 3 * len(told)  # which many batches shared
    assert store.durable < committed  # and the last of them waits still
    await until(lambda: store.durable == committed)
    assert told == watermarks == sorted(set(told))
    assert told[-1] == committed
    assert min(waits) >= 0.05  # the sync that covers a batch began after its commit
    store.close()


async def test_a_sync_does_not_cover_what_came_after_it_began(path: Path) -> None:
    store = open_sqlite(path, sync_delay=0.05)
    told: list[int] = []
    store.on_durable = told.append
    commit(store, [], [Put("s", "1", b"v")])
    first = store.next_batch - 1
    store.sync()
    commit(store, [], [Put("s", "2", b"v")])
    await until(lambda: told)
    assert told == [first]
    await asyncio.sleep(0.12)
    assert told == [first]  # nobody asked for the second
    store.sync()
    await until(lambda: len(told) == 2)
    assert told == [first, first + 1]
    store.close()


async def test_closing_while_a_slow_sync_is_under_way(path: Path) -> None:
    store = open_sqlite(path, sync_delay=0.05)
    told: list[int] = []
    store.on_durable = told.append
    commit(store, [], [Put("s", "1", b"v")])
    store.sync()
    commit(store, [], [Put("s", "2", b"v")])
    store.close()
    assert told == [store.next_batch - 1]
    await asyncio.sleep(0.1)
    assert len(told) == 1
    store = open_sqlite(path)
    assert [key for key, _ in store.load("s")] == ["1", "2"]
    store.close()


@pytest.mark.parametrize("delay", [0.0, 0.002])
async def test_the_log_stays_short_under_load(
    path: Path, delay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard, stop = 1 << 20, 4 << 20, 8 << 20
    monkeypatch.setattr(checkpoint, "SOFT_BYTES", soft)
    monkeypatch.setattr(checkpoint, "HARD_BYTES", hard)
    monkeypatch.setattr(checkpoint, "STOP_BYTES", stop)
    monkeypatch.setattr(checkpoint, "_LOOK_BYTES", soft // 8)
    store = open_sqlite(path, sync_delay=delay)
    a = store.lane("a").id
    written = longest = batches = 0
    while written < 60 << 20:
        events = [event(str(i), a, size=500) for i in range(40)]
        commit(store, events)
        batches += 1
        written += 40 * 500
        store.sync()
        if batches % 16 == 0:
            store.trim(store.next_batch - 64)
            longest = max(longest, store.checkpointer.length())
            await asyncio.sleep(0)
    assert longest < stop + 2 * soft  # looked at once in a while, not at every commit
    assert store.size() < 2 * stop + 4 * soft
    assert [e for _, e in read_all(store, a, 0)][-40:] == events
    await until(lambda: store.durable == store.next_batch - 1)
    store.close()
    assert not path.with_name(path.name + "-wal").exists()


async def test_a_program_that_reads_the_file_holds_nobody_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SOFT_BYTES", 1 << 20)
    monkeypatch.setattr(checkpoint, "HARD_BYTES", 2 << 20)
    monkeypatch.setattr(checkpoint, "STOP_BYTES", 4 << 20)
    monkeypatch.setattr(checkpoint, "_LOOK_BYTES", 1 << 17)
    store = open_sqlite(path)
    a = store.lane("a").id
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM log").fetchall()
    for _ in range(100):
        commit(store, [event("x", a, size=100_000)])
        await asyncio.sleep(0.001)
    assert store.checkpointer.length() > 8 << 20
    reader.execute("COMMIT")
    reader.close()
    # Once it has gone, the log becomes short again by itself.
    async with asyncio.timeout(20):
        while store.checkpointer.length() > 4 << 20 or store._wal.size() > 8 << 20:
            commit(store, [event("x", a, size=100_000)])
            await asyncio.sleep(0.001)
    store.close()


async def test_the_file_does_not_stay_at_its_peak(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "_KEEP_PAGES", 64)
    store = open_sqlite(path)
    a = store.lane("a").id
    commit(store, [event("old", a)])
    for _ in range(40):
        commit(store, [event("x", a, size=500_000)])
    last = commit(store, [event("last", a)])
    await until(lambda: store.checkpointer._running is None)
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    peak = store.size()
    assert peak > 20_000_000
    assert 1 <= store.trim(last[0] >> 12) < 20  # a step is bounded in bytes too
    while store.trim(last[0] >> 12):
        pass
    for _ in range(100):
        store.trim(0)
    await until(lambda: store.checkpointer._running is None)
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert store.size() < 1 << 20
    assert read_all(store, a, 0) == [(last[0], event("last", a))]
    assert store._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()


async def test_the_log_is_measured_exactly(path: Path) -> None:
    store = open_sqlite(path)
    a = store.lane("a").id
    for i in range(60):
        commit(store, [event("x", a, size=1000 * (60 - i))])
        if i % 7 == 0:
            # NOOP does not exist in every version; a passive one tells the length and copies.
            frames = store._wal.frames()
            assert frames == store._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert store._wal.frames() == 0
    store.close()


@pytest.mark.skipif(sys.platform != "linux", reason="known on Linux alone")
def test_a_store_in_memory_is_told_from_one_on_disk(tmp_path: Path) -> None:
    def kind(path: Path) -> str:
        return subprocess.check_output(["stat", "-f", "-c", "%T", path], text=True).strip()

    for path in (Path("/dev/shm"), Path("/proc"), Path("/"), tmp_path):
        if path.exists():
            assert on_tmpfs(path / "not-yet" / "hookmq.db") == (kind(path) in ("tmpfs", "ramfs")), path

"""Disks that are full or read-only, and store files damaged in their tail: what is said, and what is lost.

The rule: an acknowledged event whose sync lies before the damage arrives, or the start says what to do.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import RawIOBase
from pathlib import Path

import pytest

from bridge.commands.link import ask
from bridge.journal.wal import WalFile
from tests.integration.load import Publisher, Sink
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook

WAITS = "the store refuses to write, publishers wait: "
FULL = "database or disk is full: free some space there"
AGAIN = "the store writes again"


GIVEN_UP = "the disk is full and the store's reserve is given up: free some space there"
LESS = "less is kept for `hookmq replay` than sqlite.retention allows: free some space there"
PATIENT = "cancel_timeout = 60000"


def block(sink: Sink, extra: str = "") -> str:
    return webhook(sink.url, "on_message_publish", extra=extra)


# --- a disk of a few megabytes ------------------------------------------------------------------------------


class Disk:
    """A file system of its own at `path`."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._ballast = path / "ballast"
        path.mkdir(parents=True, exist_ok=True)
        if sys.platform != "linux":
            pytest.skip("needs a tmpfs of its own, which Linux has")
        made = _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
        if made.returncode:
            pytest.skip(f"may not mount a file system here: {made.stderr.strip()}")

    def fill(self) -> None:
        """Leave no byte free."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                while _fits(file, size):
                    pass

    def free(self) -> None:
        """Give back what `fill` took."""
        self._ballast.unlink()

    def read_only(self) -> None:
        """Let nobody write any more, root neither."""
        done = _mount("-o", "remount,ro", str(self.path))
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        """Unmount."""
        if subprocess.run(["umount", str(self.path)], capture_output=True, check=False).returncode:
            subprocess.run(["umount", "-l", str(self.path)], check=True)


def _fits(file: RawIOBase, size: int) -> bool:
    """Write so many bytes; False where there was no room for all."""
    try:
        return file.write(bytes(size)) == size
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False


def _mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("mount is not installed here")


@contextmanager
def disk(path: Path, size: int = 4 << 20) -> Iterator[Disk]:
    """`Disk`, unmounted at the end whatever happens."""
    made = Disk(path, size)
    try:
        yield made
    finally:
        made.close()


async def stall(hookmq: HookMQ, full: Disk, publisher: Publisher) -> None:
    """Fill the disk under load, and see the publisher wait. The receiver has to hold its answers: the store
    would live on the room of what was delivered."""
    await until(lambda: publisher.acked > 50, "the publisher is served")
    full.fill()
    await hookmq.said(WAITS)
    await until(lambda: time.monotonic() - publisher.latest > 1.2, "the publisher waits")
    assert not publisher.closed
    assert publisher.acked < publisher.sent
    [line] = [line for line in hookmq.log.splitlines() if WAITS in line]
    assert f"ERROR   {WAITS}{hookmq.data}/hookmq.db: {FULL}" in line


def payloads(sink: Sink) -> list[str]:
    return [post.json["payload"].rstrip() for post in sink.posts]


async def arrived(sink: Sink, publisher: Publisher) -> None:
    """All that was acknowledged has come."""
    wanted = publisher.payloads()
    await sink.wait_for(lambda: wanted <= set(payloads(sink)), "every acknowledged message", 30)


async def test_publishers_wait_while_the_disk_is_full(tmp_path: Path) -> None:
    with disk(tmp_path / "data") as full:
        async with Sink() as sink, HookMQ(tmp_path, block(sink, PATIENT)) as hookmq:
            sink.holding = True
            publisher = await Publisher.start(hookmq.port, "p", 8, size=500)
            await stall(hookmq, full, publisher)
            found = (await asyncio.to_thread(ask, hookmq.data / "hookmq.db", "status")).result
            assert found["store"]["stalled"] is True
            full.free()
            await hookmq.said(AGAIN)
            before = publisher.acked
            await until(lambda: publisher.acked > before + 50, "it goes on")
            sink.release()
            await publisher.stop()
            await arrived(sink, publisher)
            assert await hookmq.stop() == 0
            # Nothing was lost, nothing came twice, and it was said once.
            assert sorted(payloads(sink)) == sorted(publisher.payloads())
            assert (hookmq.log.count(WAITS), hookmq.log.count(AGAIN)) == (1, 1)
            assert "Traceback" not in hookmq.log


async def test_killed_while_the_disk_is_full(tmp_path: Path) -> None:
    with disk(tmp_path / "data") as full:
        async with Sink() as sink, HookMQ(tmp_path, block(sink, PATIENT)) as hookmq:
            sink.holding = True
            publisher = await Publisher.start(hookmq.port, "p", 8, size=500)
            await stall(hookmq, full, publisher)
            hookmq.kill()
            # While it is full it either starts and says that it cannot write, or says what to do and ends.
            hookmq.spawn()
            await until(lambda: "ready" in hookmq.log or not hookmq.running, "it starts or ends", 20)
            if hookmq.running:
                hookmq.kill()
            else:
                assert (hookmq.code, hookmq.stdout) == (1, "")
                assert hookmq.log.count("\n") == 1
                assert "free some space there" in hookmq.log
            full.free()
            sink.release()
            await hookmq.start()
            await arrived(sink, publisher)
            assert await hookmq.stop() == 0


async def test_stopped_while_the_disk_is_full(tmp_path: Path) -> None:
    with disk(tmp_path / "data") as full:
        async with Sink() as sink, HookMQ(tmp_path, block(sink, PATIENT)) as hookmq:
            sink.holding = True
            publisher = await Publisher.start(hookmq.port, "p", 8, size=500)
            await stall(hookmq, full, publisher)
            begin = time.monotonic()
            code = await hookmq.stop()
            assert time.monotonic() - begin < 10
            assert "Traceback" not in hookmq.log
            assert (code, hookmq.log.splitlines()[-1][-7:]) == (0, "stopped"), hookmq.log
            assert "the store still refuses to write: " in hookmq.log
            full.free()
            sink.release()
            await hookmq.start()
            await arrived(sink, publisher)
            assert await hookmq.stop() == 0


async def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    with disk(tmp_path / "data", 1 << 20) as full:
        async with Sink() as sink:
            full.fill()
            hookmq = HookMQ(tmp_path, block(sink))
            code, out, errors = await hookmq.run()
            assert (code, out, errors.count("\n")) == (1, "", 1), errors
            assert "free some space there" in errors
            full.free()
            async with hookmq:
                assert await hookmq.stop() == 0


async def test_what_is_kept_for_a_replay_does_not_fill_a_small_disk(tmp_path: Path) -> None:
    """40 MB over a disk of 24: nobody waits, all of it arrives, and what fits is kept."""
    with disk(tmp_path / "data", 24 << 20):
        async with Sink() as sink, HookMQ(tmp_path, block(sink)) as hookmq:
            publisher = await Publisher.start(hookmq.port, "p", 16, size=4000)
            await until(lambda: publisher.acked > 10_000, "40 MB are acknowledged", 60)
            await publisher.stop()
            await arrived(sink, publisher)
            assert WAITS not in hookmq.log
            assert publisher.slowest < 2
            assert hookmq.log.count(LESS) == 1
            assert await hookmq.stop() == 0
            assert sorted(payloads(sink)) == sorted(publisher.payloads())
            assert GIVEN_UP not in hookmq.log
            assert "Traceback" not in hookmq.log
        with closing(sqlite3.connect(tmp_path / "data" / "hookmq.db")) as database:
            kept = database.execute("SELECT coalesce(sum(bytes), 0) FROM log").fetchone()[0]
        assert 8_000_000 < kept < 20_000_000


async def test_a_store_lives_on_what_was_delivered_while_the_disk_is_full(tmp_path: Path) -> None:
    """Others have filled the disk: what is kept for a replay gives its room to new events."""
    with disk(tmp_path / "data", 8 << 20) as full:
        async with Sink() as sink, HookMQ(tmp_path, block(sink)) as hookmq:
            publisher = await Publisher.start(hookmq.port, "p", 8, size=2000)
            await until(lambda: publisher.acked > 500, "a megabyte is acknowledged")
            full.fill()
            before = publisher.acked
            await until(lambda: publisher.acked > before + 5000, "more than the disk holds is taken", 60)
            await publisher.stop()
            await arrived(sink, publisher)
            assert f"WARNING {hookmq.data}/hookmq.db.reserve: {GIVEN_UP}" in hookmq.log
            assert (hookmq.log.count(GIVEN_UP), hookmq.log.count(LESS)) == (1, 1)
            assert publisher.slowest < 3
            assert await hookmq.stop() == 0
            assert sorted(payloads(sink)) == sorted(publisher.payloads())


async def test_a_backlog_that_fills_the_disk_drains_when_the_receiver_is_back(tmp_path: Path) -> None:
    """Publishers wait for room, which comes with the first events that are delivered."""
    with disk(tmp_path / "data", 8 << 20):
        async with Sink() as sink, HookMQ(tmp_path, block(sink, PATIENT)) as hookmq:
            sink.holding = True
            publisher = await Publisher.start(hookmq.port, "p", 8, size=2000)
            await hookmq.said(WAITS, 30)
            await until(lambda: time.monotonic() - publisher.latest > 1.2, "the publisher waits")
            full = publisher.acked
            assert full > 1000
            sink.release()
            await hookmq.said(AGAIN)
            await until(lambda: publisher.acked > 2 * full, "it goes on", 30)
            await publisher.stop()
            await arrived(sink, publisher)
            assert await hookmq.stop() == 0
            assert sorted(payloads(sink)) == sorted(publisher.payloads())
            assert "Traceback" not in hookmq.log


async def test_a_webhook_is_mended_while_its_backlog_fills_the_disk(tmp_path: Path) -> None:
    """A reload is taken up though no event can be stored: what waits goes the new way, and makes room."""
    with disk(tmp_path / "data", 8 << 20):
        async with Sink() as broken, Sink() as sink, HookMQ(tmp_path, block(broken, PATIENT)) as hookmq:
            broken.holding = True
            publisher = await Publisher.start(hookmq.port, "p", 8, size=2000)
            await hookmq.said(WAITS, 30)
            await until(lambda: time.monotonic() - publisher.latest > 1.2, "the publisher waits")
            full = publisher.acked
            hookmq.configure(block(sink, PATIENT))
            hookmq.send_signal(signal.SIGHUP)
            await hookmq.said("reloaded: webhook: changed", 20)
            await until(lambda: publisher.acked > 2 * full, "it goes on", 30)
            await publisher.stop()
            await arrived(sink, publisher)
            assert "Traceback" not in hookmq.log


async def test_a_store_that_starts_on_a_full_disk(tmp_path: Path) -> None:
    """Its reserve is enough to open it and to mend it; what waited arrives, and publishers are served."""
    with disk(tmp_path / "data", 8 << 20) as full:
        async with Sink() as sink, HookMQ(tmp_path, block(sink, PATIENT)) as hookmq:
            sink.holding = True
            first = await Publisher.start(hookmq.port, "first", 8, size=2000)
            await until(lambda: first.acked > 500, "a megabyte is acknowledged")
            await first.stop()
            hookmq.send_signal(signal.SIGTERM)
            await hookmq.said("stopping")
            sink.release()
            assert await hookmq.ended() == 0
            full.fill()
            await hookmq.start()
            await arrived(sink, first)
            second = await Publisher.start(hookmq.port, "second", 8, size=2000)
            await until(lambda: second.acked > 5000, "more than the disk holds is taken", 60)
            await second.stop()
            await arrived(sink, second)
            assert hookmq.log.count(GIVEN_UP) == 1
            assert await hookmq.stop() == 0


# --- a disk that may only be read ---------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["a store from before", "a store after a kill", "no store"])
async def test_a_read_only_disk(before: str, tmp_path: Path) -> None:
    with disk(tmp_path / "data") as readonly:
        async with Sink() as sink:
            hookmq = HookMQ(tmp_path, block(sink))
            if before != "no store":
                async with hookmq:
                    if before == "a store from before":
                        assert await hookmq.stop() == 0
            readonly.read_only()
            code, out, errors = await hookmq.run()
            assert (code, out, errors.count("\n")) == (1, "", 1), errors
            assert errors.startswith(f"hookmq: {hookmq.data}/hookmq.db")
            assert "(Read-only file system): " in errors
            assert errors.rstrip().endswith(
                "mount it for writing, or set sqlite.mounted_file_path to another place"
            )


# --- a store file that is damaged in its tail ---------------------------------------------------------------

PAGE = 4096
WAL_HEADER = 32
FRAME = 24 + PAGE
MALFORMED = (
    "database disk image is malformed: the file is damaged: restore a copy, or move it away and a new "
)


def wal(store: Path) -> Path:
    return store.with_name(store.name + "-wal")


def wal_length(store: Path) -> int:
    """The bytes of the write-ahead log that hold what was committed."""
    file = WalFile(store, PAGE)
    try:
        return WAL_HEADER + file.frames() * file.frame_size
    finally:
        file.close()


def garbage(path: Path, start: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(random.Random(start).randbytes(length))


def waiting(store: Path) -> int:
    """How many events are not settled."""
    [endpoint] = ask(store, "status").result["endpoints"]
    return int(endpoint["queued"] + endpoint["in_flight"])


class Killed:
    """A store whose process was killed: `safe` events had been acknowledged, then `late` ones were.

    `synced` is the length of the write-ahead log in between, `end` at the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.safe: set[str] = set()
        self.late: set[str] = set()
        self.synced = self.end = 0

    async def make(self, *, checkpointed: bool) -> Killed:
        """Make it; `checkpointed`: the safe events are in the database and no more in the log."""
        async with Sink() as sink:
            sink.holding = True
            async with HookMQ(self.folder, block(sink, "cancel_timeout = 60000, pool_size = 2")) as hookmq:
                self.safe = await self._publish(hookmq, "safe", 120)
                if checkpointed:
                    hookmq.send_signal(signal.SIGTERM)
                    await hookmq.said("stopping")
                    sink.release()
                    assert await hookmq.ended() == 0
                    self.safe -= set(payloads(sink))
                    sink.holding = True
                    await hookmq.start()
                store = hookmq.data / "hookmq.db"
                self.synced = wal_length(store)
                self.late = await self._publish(hookmq, "late", 40)
                hookmq.kill()
                self.end = wal_length(store)
                assert self.end > self.synced + 40 * FRAME
        return self

    @staticmethod
    async def _publish(hookmq: HookMQ, name: str, count: int) -> set[str]:
        texts = [f"{name}:{number}" for number in range(count)]
        client = await Client.connect(hookmq.port, name)
        for text in texts:
            await client.publish("a", text.encode().ljust(700), qos=1)
        await client.disconnect()
        return set(texts)

    async def start(self, name: str, damage: Callable[[Path], object]) -> set[str] | None:
        """Start on a copy with this damage: what arrives; None if the start was refused, plainly."""
        async with Sink() as sink:
            folder = self.folder / name
            hookmq = HookMQ(folder, block(sink))
            kept = shutil.ignore_patterns("*.sock", "*-shm", "*attempts*")
            shutil.copytree(self.folder / "data", hookmq.data, ignore=kept)
            damage(hookmq.data / "hookmq.db")
            hookmq.spawn()
            try:
                await until(lambda: "ready" in hookmq.log or not hookmq.running, "it starts or ends", 30)
                if hookmq.running:
                    await sink.wait_for(lambda: self.safe <= set(payloads(sink)), f"{name}: all safe events")
                    while await asyncio.to_thread(waiting, hookmq.data / "hookmq.db"):  # noqa: ASYNC110  it happens in another process
                        await asyncio.sleep(0.05)  # the later ones, as far as they are there
                    assert await hookmq.stop() == 0
                    return set(payloads(sink))
                assert (hookmq.code, hookmq.stdout) == (1, ""), hookmq.log
                assert hookmq.log == f"hookmq: {hookmq.data}/hookmq.db: {MALFORMED}store is made\n"
                return None
            finally:
                hookmq.kill()


@pytest.mark.parametrize("checkpointed", [False, True], ids=["in the log", "in the database"])
async def test_damage_behind_the_last_sync_loses_nothing_that_was_acknowledged_before(
    checkpointed: bool, tmp_path: Path
) -> None:
    """What a power cut can leave: the write-ahead log ends anywhere behind what was synced."""
    store = await Killed(tmp_path / "store").make(checkpointed=checkpointed)
    synced, end = store.synced, store.end

    async def start(name: str, damage: Callable[[Path], object]) -> set[str]:
        found = await store.start(name, damage)
        assert found is not None, name
        return found

    whole, torn, *shorter = await asyncio.gather(
        start("whole", lambda path: None),
        start("torn", lambda path: os.truncate(wal(path), end - FRAME // 2)),
        start("garbled", lambda path: garbage(wal(path), end - FRAME // 2, FRAME // 2)),
        start("header", lambda path: os.truncate(wal(path), synced + 10)),
        start("cut", lambda path: os.truncate(wal(path), synced)),
        start("garbage", lambda path: garbage(wal(path), synced, end - synced)),
        start("more", lambda path: garbage(wal(path), end, 3 * FRAME + 5)),
    )
    assert whole == store.safe | store.late
    # The last commit is progress of the lane or an event: at most that one is gone.
    assert len(whole - torn) <= 1
    garbled, header, gone, trash, more = shorter
    assert len(whole - garbled) <= 1
    assert header == gone == trash == store.safe
    assert more == whole


async def test_a_database_that_is_damaged_in_its_tail_is_refused_or_whole(tmp_path: Path) -> None:
    """Never a start that goes on without what was acknowledged."""
    store = await Killed(tmp_path / "store").make(checkpointed=True)
    size = (store.folder / "data" / "hookmq.db").stat().st_size
    assert size > 25 * PAGE

    def without_log(damage: Callable[[Path], object]) -> Callable[[Path], object]:
        def both(path: Path) -> None:
            damage(path)
            os.truncate(wal(path), 0)

        return both

    damages: dict[str, Callable[[Path], object]] = {
        "cut by a page": lambda path: os.truncate(path, size - PAGE),
        "torn in a page": lambda path: os.truncate(path, size - PAGE - 100),
        "cut in half": lambda path: os.truncate(path, size // 2),
        "garbage in a page": lambda path: garbage(path, size - PAGE, PAGE),
        "garbage in many": lambda path: garbage(path, size - 20 * PAGE, 20 * PAGE),
    }
    for name in ("cut in half", "garbage in a page"):
        damages[f"{name}, no log"] = without_log(damages[name])
    found = await asyncio.gather(*(store.start(name, damage) for name, damage in damages.items()))
    # `start` has seen to it that what does start delivers all.
    assert [result is None for result in found].count(True) >= 4


# --- the attempt log ----------------------------------------------------------------------------------------


async def serves(hookmq: HookMQ, sink: Sink, name: str) -> None:
    """Deliver twenty messages."""
    client = await Client.connect(hookmq.port, name)
    for number in range(20):
        await client.publish("a", f"{name}:{number}".encode(), qos=1)
    await client.disconnect()
    wanted = {f"{name}:{number}" for number in range(20)}
    await sink.wait_for(lambda: wanted <= set(payloads(sink)), "all messages")


async def test_an_attempt_log_on_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    with disk(tmp_path / "small", 1 << 20) as full:
        async with Sink() as sink:
            hookmq = HookMQ(tmp_path, block(sink))
            hookmq.data.mkdir()
            (hookmq.data / "hookmq-attempts.db").symlink_to(full.path / "attempts.db")
            async with hookmq:
                await serves(hookmq, sink, "before")
                full.fill()
                await serves(hookmq, sink, "meanwhile")
                await hookmq.said("WARNING the attempt log is not written: ")
                assert "hookmq-attempts.db: database or disk is full" in hookmq.log
                found = (await asyncio.to_thread(ask, hookmq.data / "hookmq.db", "status")).result
                assert (found["attempts_lost"] > 0, found["store"]["stalled"]) == (True, False)
                full.free()
                await serves(hookmq, sink, "after")
                answer = await asyncio.to_thread(ask, hookmq.data / "hookmq.db", "log", limit=20)
                assert len(answer.rows) == 20
                full.fill()
                assert await hookmq.stop() == 0
                await hookmq.start()
                await serves(hookmq, sink, "full from the start")
                assert await hookmq.stop() == 0
                assert "Traceback" not in hookmq.log


async def test_an_attempt_log_that_may_only_be_read_stops_nothing(tmp_path: Path) -> None:
    with disk(tmp_path / "small", 1 << 20) as readonly:
        async with Sink() as sink:
            hookmq = HookMQ(tmp_path, block(sink))
            hookmq.data.mkdir()
            (hookmq.data / "hookmq-attempts.db").symlink_to(readonly.path / "attempts.db")
            async with hookmq:
                await serves(hookmq, sink, "before")
                assert await hookmq.stop() == 0
                readonly.read_only()
                await hookmq.start()
                assert "WARNING no attempts are logged: " in hookmq.log
                assert "Read-only file system" in hookmq.log
                await serves(hookmq, sink, "after")
                assert await hookmq.stop() == 0


@pytest.mark.parametrize("where", ["cut", "garbage", "log"])
async def test_an_attempt_log_that_is_damaged_stops_nothing(where: str, tmp_path: Path) -> None:
    async with Sink() as sink, HookMQ(tmp_path, block(sink)) as hookmq:
        await serves(hookmq, sink, "before")
        path = hookmq.data / "hookmq-attempts.db"
        assert await hookmq.stop() == 0
        size = path.stat().st_size
        if where == "cut":
            os.truncate(path, size - PAGE - 7)
        elif where == "garbage":
            garbage(path, PAGE, size - PAGE)
        else:
            wal(path).write_bytes(random.Random(1).randbytes(50_000))
        await hookmq.start()
        await serves(hookmq, sink, "after")
        answer = await asyncio.to_thread(ask, hookmq.data / "hookmq.db", "log", limit=100)
        assert len(answer.rows) >= 20
        assert await hookmq.stop() == 0
        assert "Traceback" not in hookmq.log

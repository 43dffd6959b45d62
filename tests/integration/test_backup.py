"""`hookmq backup` beside a busy process, and `hookmq restore`: nothing that was acknowledged is missing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.journal import backup as work
from bridge.journal.store import StoreError
from bridge.mqtt.packets import Puback, Publish
from tests.integration.commands import command, given
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook
from tests.integration.receiver import Receiver

PAYLOAD = b"x" * 8192


class Publisher:
    """Publishes QoS 1 messages `0`, `1`, … as fast as they are acknowledged."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.sent = 0
        self.acked = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            count = 20
            ids = []
            for _ in range(count):
                ids.append(self.client.next_id())
                payload = b"%d " % self.sent + PAYLOAD
                self.client.send(Publish(f"t/{self.sent}", payload, 1, packet_id=ids[-1]))
                self.sent += 1
            for packet_id in ids:
                assert await self.client.expect(Puback) == Puback(packet_id)
            self.acked += count


async def test_a_backup_under_load(tmp_path: Path) -> None:
    """All that was acknowledged before it is delivered from the restored copy, with the same ids."""
    async with Receiver(status=503) as down, Receiver() as receiver:
        hookmq = HookMQ(tmp_path / "a", webhook(down.url(), "on_message_publish", pool_size=2))
        copy = tmp_path / "backup.db"
        async with hookmq:
            publisher = Publisher(await Client.connect(hookmq.port, "c"))
            stop = asyncio.Event()
            task = asyncio.ensure_future(publisher.run(stop))
            await until(lambda: publisher.acked >= 1000 or task.done(), "a store of some size", 30)
            before = publisher.acked
            done = await command("backup", str(copy), "--store", str(hookmq.data))
            during = publisher.acked - before
            assert (done.returncode, done.stderr) == (0, ""), done
            assert done.stdout.endswith(" MB, complete and checked\n")
            await until(lambda: publisher.acked >= before + during + 40 or task.done(), "it goes on")
            stop.set()
            await task
            assert during > 0  # nobody waited for it
            down_ids = {r.json["topic"]: r.id for r in down.requests}
            hookmq.kill()
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert copy.stat().st_size > before * len(PAYLOAD)
        assert [name for name in os.listdir(tmp_path) if name.startswith("backup")] == ["backup.db"]

        other = HookMQ(tmp_path / "b", webhook(receiver.url(), "on_message_publish", retry="{schedule=[0s]}"))
        done = await command("restore", str(copy), "--store", str(other.data), "--json")
        assert done.returncode == 0, done
        assert json.loads(done.stdout)["path"] == str(other.data / "hookmq.db")
        async with other:
            wanted = {f"t/{number}" for number in range(before)}  # those with a retry come when it is due
            await receiver.wait_for(lambda rs: wanted <= {r.json["topic"] for r in rs}, 60)
            found = {r.json["topic"]: r.id for r in receiver.requests}
            assert all(found[topic] == id for topic, id in down_ids.items() if topic in found)
            # New events have ids that the old process gave to none.
            client = await Client.connect(other.port, "d")
            await client.publish("new", b"x", qos=1)
            await receiver.wait_for(lambda rs: rs[-1].json["topic"] == "new")
            assert receiver.requests[-1].id > max(found.values())


async def test_back_to_an_older_state(tmp_path: Path) -> None:
    """The store that was there is kept; ids that it gave away after the copy are given to no other event."""
    async with Receiver() as receiver:
        hookmq = HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish"))
        copy = tmp_path / "copy"
        async with hookmq:
            client = await Client.connect(hookmq.port, "c")
            await client.publish("a", b"1", qos=1)
            await receiver.wait_count(1)
            assert (await given("backup", str(copy), "--store", str(hookmq.data))).returncode == 0
            refused = await given("restore", str(copy), "--store", str(hookmq.data))
            assert refused.returncode == 1
            assert f"in use by process {hookmq.pid}" in refused.stderr
            await client.publish("b", b"2", qos=1)
            await receiver.wait_count(2)
            hookmq.kill()  # a write-ahead log is left, which belongs to the old store alone
        assert (hookmq.data / "hookmq.db-wal").exists()
        done = await given("restore", str(copy), "--store", str(hookmq.data))
        assert done.returncode == 0, done
        (aside,) = hookmq.data.glob("hookmq-before-restore-*.db")
        assert done.stdout.endswith(f"the store that was there is {aside}\n")
        assert not (hookmq.data / "hookmq.db-wal").exists()
        old = sqlite3.connect(aside)
        assert old.execute("PRAGMA quick_check").fetchone() == ("ok",)
        old.close()
        async with hookmq:
            client = await Client.connect(hookmq.port, "c")
            await client.publish("c", b"3", qos=1)
            await receiver.wait_for(lambda rs: rs[-1].json["topic"] == "c")
        ids = {r.json["topic"]: r.id for r in receiver.requests}
        assert ids["c"] > ids["b"] > ids["a"]


async def test_without_a_process(tmp_path: Path) -> None:
    """A store that nobody runs on is copied too, and is not changed by it."""
    hookmq = HookMQ(tmp_path)
    async with hookmq:
        assert await hookmq.stop() == 0
    store = hookmq.data / "hookmq.db"
    before = store.read_bytes()
    copy = tmp_path / "copy.db"
    done = await given("backup", str(copy), "--conf", str(hookmq.conf), "--json")
    assert json.loads(done.stdout)["bytes"] == copy.stat().st_size
    assert store.read_bytes() == before
    again = await given("backup", str(copy), "--conf", str(hookmq.conf))
    assert (again.returncode, again.stderr) == (
        1,
        f"hookmq: {copy}: is there already: name another file, or say --force\n",
    )
    assert (await given("backup", str(copy), "--conf", str(hookmq.conf), "--force")).returncode == 0


# --- what cannot be ---------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """A store with nothing in it."""
    from bridge.journal.sqlite import SqliteStore

    loop = asyncio.new_event_loop()
    path = tmp_path / "s" / "hookmq.db"
    SqliteStore.open(path, loop).close()
    yield path
    loop.close()


def test_what_is_no_store(tmp_path: Path, store: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database, but long enough to be looked at as one" * 100)
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE t(x)")
    database.close()
    newer = tmp_path / "newer.db"
    shutil.copy(store, newer)
    with sqlite3.connect(newer) as database:
        database.execute("UPDATE meta SET value = 999 WHERE key = 'version'")
    database.close()
    for path, said in (
        (tmp_path / "nothing", "there is no"),
        (text, "not a HookMQ store"),
        (foreign, "not a HookMQ store"),
        (newer, "written by a newer HookMQ"),
    ):
        with pytest.raises(StoreError, match=said):
            work.backup(path, tmp_path / "out")
        with pytest.raises(StoreError, match=said):
            work.restore(path, store)
    with pytest.raises(StoreError, match="is the store itself"):
        work.backup(store, store, replace=True)
    with pytest.raises(StoreError, match="is the store itself"):
        work.restore(store, store)
    assert {found.name for found in store.parent.iterdir()} <= {
        *("hookmq.db", "hookmq.db.lock", "hookmq.db.reserve"),
    }
    assert not (tmp_path / "out").exists()


def test_a_damaged_copy_is_not_restored(tmp_path: Path, store: Path) -> None:
    copy = tmp_path / "copy"
    with sqlite3.connect(store) as database:
        database.execute("CREATE TABLE filler(x)")
        database.executemany("INSERT INTO filler VALUES (?)", [(os.urandom(3000),) for _ in range(200)])
    database.close()
    work.backup(store, copy)
    with copy.open("r+b") as file:
        for page in range(30, 120, 3):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)
    before = store.read_bytes()
    with pytest.raises(StoreError, match="damaged"):
        work.restore(copy, store)
    assert store.read_bytes() == before
    assert not list(store.parent.glob("*.partial"))


def test_no_room(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1))  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match=r"needs \d+ MB, and 0 MB are free there"):
        work.backup(store, tmp_path / "out")
    monkeypatch.undo()
    with pytest.raises(StoreError, match="cannot be written"):
        work.backup(store, tmp_path / "no" / "folder")

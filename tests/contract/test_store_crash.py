"""A process that is killed loses nothing that it was told is durable."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.contract.store_support import open_sqlite, read_all

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("sync_delay", [0.0, 0.005])
async def test_what_was_told_durable_survives_a_kill(tmp_path: Path, sync_delay: float) -> None:
    path = tmp_path / "hookmq.db"
    source = random.Random(42)
    lane, position, before = 0, 0, 0
    for _ in range(4):
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "tests.contract.store_writer", str(path), str(sync_delay)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, process.communicate()[1].decode()
        time.sleep(source.uniform(0.02, 0.25))  # noqa: ASYNC251
        process.kill()
        rest, errors = process.communicate()
        assert errors == b""
        lines = (first + rest).decode().splitlines()
        if not (first + rest).endswith(b"\n"):
            lines.pop()  # killed while it printed
        numbers = [int(line.split()[0]) for line in lines]
        assert numbers == sorted(set(numbers))
        acknowledged = int(lines[-1].split()[1])

        store = open_sqlite(path)
        assert store.next_batch > numbers[-1] + (1 << 19)
        lane = store.lane("a").id
        found = read_all(store, lane, position, 1 << 20)
        payloads = [int(event.payload.rstrip(b".")) for _, event in found]
        assert payloads == list(range(len(payloads)))  # in order, no gap, none twice
        assert len(payloads) >= acknowledged
        # Events and the changes of their batch are there together or not at all.
        assert [int(value) for _, value in store.load("s")] == [len(payloads)]
        starts = {seq >> 12: seq for seq, _ in reversed(found)}
        retried = [row.seq for row in store.retries(lane) if row.seq >= position]
        assert retried == [seq for number, seq in sorted(starts.items()) if number % 3 == 0]
        assert set(store.fetch(retried)) == set(retried)
        assert store._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        position = store.head
        before += len(payloads)
        store.close()
    assert before > 100

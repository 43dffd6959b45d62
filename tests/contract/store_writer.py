"""A process to be killed: commits batch after batch and prints what is durable, as `<batch number> <count>`.

Usage: python -m tests.contract.store_writer FILE SYNC_DELAY. Event number i (from 0, over all batches) has
the payload `<i>`; every third batch also retries its first event, and state row `last` holds the highest
number.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bridge.journal.batch import INDEX_BITS, Put, Retry
from bridge.journal.sqlite import SqliteStore
from tests.contract.store_support import event, make_batch


async def main(path: Path, sync_delay: float) -> None:
    store = SqliteStore.open(path, asyncio.get_running_loop(), sync_delay=sync_delay)
    lane = store.lane("a").id
    counts: dict[int, int] = {}
    store.on_durable = lambda number: print(number, counts[number], flush=True)
    written = 0
    while True:
        number = store.next_batch
        events = [event(str(written + i), lane, size=50) for i in range(1 + number % 7)]
        written += len(events)
        batch = make_batch(number, events, [Put("s", "last", b"%d" % written)])
        if number % 3 == 0:
            batch.changes.append(Retry(lane, number << INDEX_BITS, 1, 0, 0, 0, "", "503"))
        counts[number] = written
        store.commit([batch])
        store.sync()
        await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))

"""What the store tests share: events, batches, and the two ways to make a store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bridge.events.event import Event, EventType
from bridge.journal.batch import INDEX_BITS, Batch, Change
from bridge.journal.codec import event_size
from bridge.journal.memory import MemoryStore
from bridge.journal.sqlite import SqliteStore

AnyStore = SqliteStore | MemoryStore


def event(text: str, *targets: int, size: int = 0) -> Event:
    """A message for these lanes; `size` pads the payload to that many bytes."""
    return Event(
        EventType.MESSAGE_PUBLISH,
        1706703724960,
        f"client-{text}",
        "user" if len(text) % 2 else None,
        "127.0.0.1:50000",
        tuple(sorted(targets)),
        f"plant/{text}",
        text.encode().ljust(size, b"."),
        qos=1,
        data={"reason": text} if text.startswith("d") else None,
    )


def commit(
    store: AnyStore, events: Sequence[Event] = (), changes: Sequence[Change] = (), at: int = 1000
) -> list[int]:
    """Commit one batch and return its events' sequences."""
    batch = make_batch(store.next_batch, events, changes, at)
    store.commit([batch])
    return [batch.number << INDEX_BITS | index for index in range(len(events))]


def make_batch(
    number: int, events: Sequence[Event] = (), changes: Sequence[Change] = (), at: int = 1000
) -> Batch:
    batch = Batch(number, at)
    batch.events.extend(events)
    batch.changes.extend(changes)
    batch.size = sum(map(event_size, events))
    return batch


def read_all(store: AnyStore, lane: int, position: int, max_bytes: int = 1) -> list[tuple[int, Event]]:
    """Everything a lane finds from a position on, by as many calls as it takes."""
    found: list[tuple[int, Event]] = []
    while True:
        part, after = store.read(lane, position, max_bytes)
        assert after >= position
        found += part
        if not part and (after == position or after >= store.head):
            return found
        position = after


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait in the loop, which the stores' threads report to."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (the store calls nobody back for what is waited for)
            await asyncio.sleep(0.002)


def open_sqlite(path: Path, **options: Any) -> SqliteStore:
    return SqliteStore.open(path, asyncio.get_running_loop(), **options)

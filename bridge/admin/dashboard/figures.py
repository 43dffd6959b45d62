"""The figures of the process as a whole, read in slices: a thousand endpoints never hold the loop up.

An endpoint without anything under way costs nothing but its share of two sums.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple, TypeVar

from bridge.admin.routes import Plant
from bridge.delivery.lane import Lane
from bridge.journal.store import StoreError

SLICE_S = 0.003
"""How long the loop is kept at a time."""
_STEP = 16
"""Endpoints between two looks at the clock."""

T = TypeVar("T")


async def slowly(items: Sequence[T]) -> AsyncIterator[T]:
    """The items, with the loop free in between."""
    until = time.perf_counter() + SLICE_S
    for number, item in enumerate(items):
        if not number % _STEP and time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + SLICE_S
        yield item


class Totals(NamedTuple):
    """What has been counted since the start. `at` is loop time in seconds."""

    at: float
    messages: int  # that the broker has accepted
    events: int  # of business systems
    delivered: int
    failed: int  # attempts


class Gauges(NamedTuple):
    """How it is now."""

    at: int  # Unix ms
    clients: int
    sessions: int
    backlog: int  # events that wait, for their first attempt or for a retry
    backlog_bytes: int  # of those that wait for their first attempt
    oldest_ms: int | None  # the age of the oldest event that waits for its first attempt, or is in flight
    dead: int
    store_bytes: int
    store_bound: int | None  # what the store could grow to, with what its disk has free


def totals(plant: Plant) -> Totals:
    """The counters now."""
    lanes = plant.webhooks.lanes
    return Totals(
        asyncio.get_running_loop().time(),
        plant.broker.stats.received,
        plant.intake.taken,
        sum([lane.delivered for lane in lanes]),
        sum([lane.failed for lane in lanes]),
    )


def per_second(now: Totals, before: Totals) -> tuple[float, float, float, float]:
    """Messages, events, deliveries and failed attempts a second. An endpoint that has gone takes its counts
    along: no rate is negative for that."""
    seconds = now.at - before.at
    if seconds <= 0:
        return 0.0, 0.0, 0.0, 0.0
    messages, events, delivered, failed = (
        round(max(one - other, 0) / seconds, 2) for one, other in zip(now[1:], before[1:], strict=True)
    )
    return messages, events, delivered, failed


async def gauges(plant: Plant) -> Gauges:
    """What there is now; nothing waits at endpoints that have nothing under way."""
    now = int(time.time() * 1000)
    backlog = size = 0
    oldest: list[int] = []
    async for lane in slowly(list(plant.webhooks.progress.active.values())):
        backlog += lane.backlog_events + lane.retrying
        size += lane.backlog_bytes
        ts = waiting_since(lane)
        if ts is not None:
            oldest.append(ts)
    parked = plant.webhooks.parked
    backlog += sum([one.waiting + one.retrying for one in parked])
    dead = _sum([lane.dead for lane in plant.webhooks.lanes], [one.dead for one in parked])
    broker = plant.broker
    store = plant.journal.store
    stored, bound = 0, None
    with contextlib.suppress(StoreError):
        stored = store.size()
        room = store.room()
        bound = None if room is None else stored + room.free
    return Gauges(
        now,
        len(broker.sessions) - len(broker.away),
        len(broker.sessions),
        backlog,
        size,
        max(now - min(oldest), 0) if oldest else None,
        dead,
        stored,
        bound,
    )


def waiting_since(lane: Lane) -> int | None:
    """Unix ms of the oldest event of a lane in flight or waiting for its first attempt, read from the log
    only where memory has none."""
    found = lane.oldest_ts
    if found is None and lane.backlog_events:
        with contextlib.suppress(StoreError):
            found = lane.oldest_waiting()
    return found


def _sum(*parts: Iterable[int]) -> int:
    return sum([sum(part) for part in parts])

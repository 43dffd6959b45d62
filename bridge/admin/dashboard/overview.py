"""The overview: what happens now, what is wrong, and the last hour.

* Once in `EVERY_S` a point joins the ring of the last hour: a few sums, whoever watches.
* All else is made when somebody asks, at most once in `FRESH_S` for all who do; for those who watch, once a
  second, and once for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from bridge import __version__
from bridge.admin.dashboard import troubles
from bridge.admin.dashboard.expiry import Expiry
from bridge.admin.dashboard.figures import (
    Gauges,
    Totals,
    gauges,
    per_second,
    slowly,
    totals,
    waiting_since,
)
from bridge.admin.routes import Plant
from bridge.config.settings import PUBLISHERS, Endpoint
from bridge.delivery.lane import Lane
from bridge.events.cloudevents import timestamp
from bridge.journal.filesystem import on_tmpfs
from bridge.journal.store import StoreError

log = logging.getLogger(__name__)

EVERY_S = 5.0
POINTS = 720
"""An hour of them."""
SAMPLE_S = 1.0
FRESH_S = 0.9
RATE_S = 1.9
"""What a rate is measured over, at least, where it can be."""
SHOWN = 50
"""Endpoints that are shown one by one: those in trouble, then the busiest."""
OF_CLIENTS = ("clients", "sessions", "messages_in_per_s")
"""What only those are told who may see clients."""

_encode = msgspec.json.encode


class Made(NamedTuple):
    """An overview as JSON, for those who may see clients and for the others."""

    whole: bytes
    reduced: bytes

    def of(self, *, clients: bool) -> bytes:
        """That of one caller."""
        return self.whole if clients else self.reduced


class Overview:
    """Of one process. For the loop's thread only."""

    def __init__(self, plant: Plant, loop: asyncio.AbstractEventLoop) -> None:
        self._plant = plant
        self._loop = loop
        self._started = loop.time()
        self._points: deque[dict[str, Any]] = deque(maxlen=POINTS)
        self._recent: deque[Totals] = deque(maxlen=16)
        self._last_point: Totals | None = None
        self._pointer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._made: Made | None = None
        self._made_at = float("-inf")
        self._making = asyncio.Lock()
        self._given_up = troubles.GivenUp()
        self._expiry = Expiry()
        self._in_memory = on_tmpfs(plant.settings.store_path)
        self._watchers: set[Callable[[Made], None]] = set()
        self._sampler: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the ring of the last hour."""
        self._point()

    def close(self) -> None:
        """Look no more."""
        if self._pointer is not None:
            self._pointer.cancel()
        for task in (self._task, self._sampler):
            if task is not None:
                task.cancel()
        self._expiry.close()

    # -- the last hour ---------------------------------------------------------------------------------

    def _point(self) -> None:
        self._pointer = self._loop.call_later(EVERY_S, self._point)
        if self._task is None:
            self._task = self._loop.create_task(self._add_point())
            self._task.add_done_callback(self._added)

    def _added(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the dashboard's figures: %r", error)

    async def _add_point(self) -> None:
        now = await gauges(self._plant)
        counted = totals(self._plant)
        before, self._last_point = self._last_point, counted
        self._recent.append(counted)
        if before is not None:
            self._points.append({"at": timestamp(now.at), **_figures(now, counted, before)})

    def history(self, *, clients: bool) -> dict[str, Any]:
        """The last hour, the oldest point first."""
        points = list(self._points)
        if not clients:
            points = [_reduced(point) for point in points]
        return {"every_s": EVERY_S, "points": points}

    # -- now -------------------------------------------------------------------------------------------

    async def now(self) -> Made:
        """How it is now, or was a moment ago."""
        async with self._making:
            if self._made is None or self._loop.time() - self._made_at >= FRESH_S:
                self._made = await self._make()
                self._made_at = self._loop.time()
            return self._made

    async def _make(self) -> Made:
        plant = self._plant
        now = await gauges(plant)
        counted = totals(plant)
        before = next((one for one in reversed(self._recent) if counted.at - one.at >= RATE_S), None)
        if before is None:
            before = self._recent[0] if self._recent else Totals(self._started, 0, 0, 0, 0)
        if not self._recent or counted.at - self._recent[-1].at >= FRESH_S:
            self._recent.append(counted)
        lanes = list(plant.webhooks.lanes)
        found: list[troubles.Trouble] = []
        rows: list[tuple[int, float, str, Lane, float, float]] = []
        states: Counter[str] = Counter()
        async for lane in slowly(lanes):
            delivered, failed = plant.rates.of(lane)
            share = _share(delivered, failed)
            state = lane.state
            states[state] += 1
            wrong = list(troubles.of_lane(lane, failed, share, self._given_up))
            found += wrong
            worst = min([troubles.RANK[one.severity] for one in wrong], default=3)
            rows.append((worst, -delivered - failed, lane.name, lane, delivered, failed))
        for parked in plant.webhooks.parked:
            found += troubles.of_parked(parked)
        with contextlib.suppress(StoreError):
            found += troubles.of_all(plant, self._expiry.found, in_memory=self._in_memory)
        self._expiry.look(
            plant.settings, [lane.endpoint for lane in lanes if isinstance(lane.endpoint, Endpoint)]
        )
        document = {
            "at": timestamp(now.at),
            "version": __version__,
            "uptime_s": round(self._loop.time() - self._started, 1),
            **_figures(now, counted, before),
            "backlog_bytes": now.backlog_bytes,
            "store_bound_bytes": now.store_bound,
            "problems": _told(found),
            "endpoints": [_row(*row[3:], now.at) for row in heapq.nsmallest(SHOWN, rows)],
            "endpoints_total": len(lanes),
            "endpoint_states": states,
        }
        return Made(_encode(document), _encode(_reduced(document)))

    # -- those who watch -------------------------------------------------------------------------------

    def watch(self, call: Callable[[Made], None]) -> None:
        """Have `call` called with an overview every second, the first time at once."""
        self._watchers.add(call)
        if self._made is not None and self._loop.time() - self._made_at < SAMPLE_S:
            call(self._made)
        if self._sampler is None:
            self._sampler = self._loop.create_task(self._sample())
            self._sampler.add_done_callback(self._sampled)

    def leave(self, call: Callable[[Made], None]) -> None:
        """No more; when the last one has left nothing is looked at any more."""
        self._watchers.discard(call)

    async def _sample(self) -> None:
        due = self._loop.time()
        while self._watchers:
            made = await self.now()
            for call in list(self._watchers):
                call(made)
            due = max(due + SAMPLE_S, self._loop.time() + SAMPLE_S / 2)
            await asyncio.sleep(due - self._loop.time())

    def _sampled(self, task: asyncio.Task[None]) -> None:
        self._sampler = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the dashboard's figures: %r", error)


def _figures(now: Gauges, counted: Totals, before: Totals) -> dict[str, Any]:
    """What both a point and the overview have."""
    messages, events, delivered, failed = per_second(counted, before)
    return {
        "clients": now.clients,
        "sessions": now.sessions,
        "messages_in_per_s": messages,
        "events_in_per_s": events,
        "deliveries_per_s": delivered,
        "failures_per_s": failed,
        "backlog": now.backlog,
        "oldest_waiting_s": None if now.oldest_ms is None else round(now.oldest_ms / 1000, 3),
        "dead": now.dead,
        "store_bytes": now.store_bytes,
    }


def _reduced(document: Mapping[str, Any]) -> dict[str, Any]:
    """For those who may not see clients."""
    return {**document, **dict.fromkeys(OF_CLIENTS)}


def _share(delivered: float, failed: float) -> float | None:
    """The share of attempts that were successes; None where there were none."""
    return delivered / (delivered + failed) if delivered + failed > 0 else None


def _row(lane: Lane, delivered: float, failed: float, now: int) -> dict[str, Any]:
    since = waiting_since(lane)
    share = _share(delivered, failed)
    publisher = lane.name.startswith(PUBLISHERS)
    return {
        "id": lane.name.removeprefix(PUBLISHERS),
        "kind": "publisher" if publisher else "endpoint",
        "description": lane.endpoint.note,
        "state": lane.state,
        "reason": lane.reason,
        "deliveries_per_s": round(delivered, 2),
        "failures_per_s": round(failed, 2),
        "success_share": None if share is None else round(share, 4),
        "backlog": lane.backlog_events + lane.retrying,
        "oldest_waiting_s": None if since is None else round(max(now - since, 0) / 1000, 3),
        "dead": lane.dead,
    }


def _told(found: list[troubles.Trouble]) -> list[dict[str, Any]]:
    """The worst ones, and how many more there are."""
    found.sort(key=lambda one: troubles.RANK[one.severity])
    shown = [one.shown() for one in found[: troubles.MAX_TOLD]]
    more = found[troubles.MAX_TOLD :]
    if more:
        shown.append(troubles.Trouble(more[0].severity, f"And {len(more):,} more", "#/endpoints").shown())
    return shown

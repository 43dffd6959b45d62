"""All events whose last attempt has failed and is among those that match, sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from aiohttp import web

from bridge.admin.dead_letters import begun
from bridge.admin.deliveries import lane_name, recorder, wanted_attempts
from bridge.admin.named import only_members
from bridge.admin.pages import invalid
from bridge.admin.routes import Call, Plant, decode_object
from bridge.delivery.again import Counts
from bridge.delivery.attempts import AttemptRecorder
from bridge.delivery.lane import Lane
from bridge.delivery.replay import Replay, letter
from bridge.delivery.rows import GROUP
from bridge.journal.attempt_search import Filter, Place
from bridge.journal.attempt_store import PAGE_ROWS

MAX_EVENTS = 10_000
"""Attempts that one call looks at."""
_FILTERS = ("endpoint", "type", "status", "client", "topic", "since", "until")


async def retry_logs(call: Call) -> web.Response:
    """See the module."""
    call.must_be_able_to_store()
    body = decode_object(call.body, empty=True)
    only_members(body, *_FILTERS)
    query: dict[str, str] = {}
    for key, value in body.items():
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise invalid(key, "expected a text")
        query[key] = value
    endpoint = query.get("endpoint")
    name = None if endpoint is None else lane_name(call.plant, endpoint)
    wanted = wanted_attempts(call, query, name, latest=True)
    plant, attempts = call.plant, recorder(call)
    plant.journal.commit()

    async def work(counts: Counts) -> AsyncIterator[None]:
        if wanted.ok:
            return  # they have succeeded
        retry = _Retry(plant, attempts, counts)
        async for _ in retry.run(msgspec.structs.replace(wanted, ok=False)):
            yield

    return await begun(call, "retry", name or "", work, "retried")


class _Retry:
    """One of them. What waits for its next attempt waits no longer; all else is handed to its lane."""

    def __init__(self, plant: Plant, attempts: AttemptRecorder, counts: Counts) -> None:
        self._plant = plant
        self._attempts = attempts
        self._counts = counts

    async def run(self, wanted: Filter) -> AsyncIterator[None]:
        """Yields now and then. Raises StoreError."""
        counts = self._counts
        await self._attempts.flush()
        below: Place | None = None
        while True:
            rows, below = await self._attempts.search(wanted, PAGE_ROWS, below=below, seconds=1.0)
            by_endpoint: dict[str, list[dict[str, Any]]] = {}
            for row in rows:
                by_endpoint.setdefault(row["endpoint"], []).append(row)
            for endpoint, some in by_endpoint.items():
                lane = self._plant.webhooks.find(endpoint)
                if isinstance(lane, Lane) and not lane.health.off:
                    async for _ in self._again(lane, some):
                        yield
                else:
                    counts.skipped += sum(row["events"] for row in some)
            counts.done += len(rows)
            yield
            if below is None:
                return
            if counts.done >= MAX_EVENTS:
                counts.more = True
                return

    async def _again(self, lane: Lane, rows: Sequence[dict[str, Any]]) -> AsyncIterator[None]:
        counts = self._counts
        store = self._plant.journal.store
        numbers = [row["seq"] for row in rows if row["seq"] & GROUP]
        members = await self._attempts.members(numbers) if numbers else {}
        single = {row["seq"] for row in rows if not row["seq"] & GROUP}
        grouped = {seq for some in members.values() for seq in some}
        hurried = lane.hurry_some(single | set(numbers) | grouped)
        counts.affected += len(hurried)
        # An event that was in a group, or is to be, may have come with another one since: only what is a dead
        # letter has failed.
        unsure = grouped | (single if lane.endpoint.batch is not None else set())
        left = [seq for seq in unsure - hurried if letter(store, lane.id, seq) is not None]
        rest = sorted({*(single - unsure - hurried), *left})
        if not rest:
            return
        replay = Replay(lane, self._plant.journal, self._plant.webhooks.served)
        before = counts.affected
        try:
            async for _ in replay.parts([rest], len(rest), dead=False):
                yield
        finally:  # also where it is stopped
            counts.affected = before + replay.progress.taken
            counts.skipped += replay.progress.under_way + replay.progress.gone

"""Which of what is made over the API, and of the file, a list shows: searched and paged here, so that a list
of thousands costs its caller a page. It is looked through in slices; the loop is never held up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from bridge.admin.endpoint_schemas import STATES
from bridge.admin.managed import ManagedSettings, NotThere
from bridge.admin.pages import invalid, page_of, read_cursor, write_cursor
from bridge.admin.routes import Plant
from bridge.delivery.account import counters
from bridge.delivery.lane import Lane

SLICE_S = 0.004
"""How long the loop is kept at a time."""
STEP = 16
"""Entries between two looks at the clock."""
MAX_SEARCH = 256
"""Characters."""
SOURCES = ("api", "file")


class Wanted(NamedTuple):
    """What is asked for; empty texts are no condition."""

    text: str
    state: str
    source: str

    @property
    def all(self) -> bool:
        """Whether everything fits."""
        return self == Wanted("", "", "")


def read_wanted(query: Mapping[str, str]) -> Wanted:
    """Raises Problem (422)."""
    text, state, source = (query.get(name) or "" for name in ("q", "state", "source"))
    if len(text) > MAX_SEARCH:
        raise invalid("q", f"found {len(text)} characters, expected at most {MAX_SEARCH}")
    if state and state not in STATES:
        raise invalid("state", f"found {state[:40]!r}, expected one of {', '.join(STATES)}")
    if source and source not in SOURCES:
        raise invalid("source", f"found {source[:40]!r}, expected one of {', '.join(SOURCES)}")
    return Wanted(text.casefold(), state, source)


async def listed(plant: Plant, managed: ManagedSettings[Any], query: Mapping[str, str]) -> dict[str, Any]:
    """A page: `data`, `next` and `total`. Raises Problem (422)."""
    limit, cursor = page_of(query)
    wanted = read_wanted(query)
    with_figures = query.get("figures") == "true"
    lanes = {lane.name: lane for lane in plant.webhooks.lanes}
    ids = managed.ids()
    if not wanted.all:
        ids = await _fitting(managed, ids, wanted, lanes)
    begin = 0
    if cursor is not None:
        (last,) = read_cursor(cursor, str)
        begin = ids.index(last) + 1 if last in ids else len(ids)
    chosen = ids[begin : begin + limit]
    data = []
    for one in chosen:
        try:
            shown = managed.show(one, lanes)
        except NotThere:  # deleted meanwhile
            continue
        if with_figures:
            shown["figures"] = figures(plant, lanes.get(managed.lane_of(one)))
        data.append(shown)
    more = begin + limit < len(ids)
    return {"data": data, "next": write_cursor(chosen[-1]) if more else None, "total": len(ids)}


async def _fitting(
    managed: ManagedSettings[Any], ids: list[str], wanted: Wanted, lanes: Mapping[str, Lane]
) -> list[str]:
    found = []
    until = time.perf_counter() + SLICE_S
    for number, one in enumerate(ids):
        if not number % STEP and time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + SLICE_S
        try:
            source, state, text = managed.gist(one, lanes)
        except NotThere:
            continue
        if (
            (not wanted.source or source == wanted.source)
            and (not wanted.state or state == wanted.state)
            and (not wanted.text or wanted.text in text.casefold())
        ):
            found.append(one)
    return found


def figures(plant: Plant, lane: Lane | None) -> dict[str, Any] | None:
    """What an endpoint does now; null for one that is not served."""
    if lane is None:
        return None
    delivered, failed = plant.rates.of(lane)
    counts = counters(lane)
    return {
        **{name: counts[name] for name in ("delivered", "failed", "queued", "in_flight", "dead")},
        "delivered_per_s": round(delivered, 2),
        "failed_per_s": round(failed, 2),
        "success_share": success_share(delivered, failed, lane),
    }


def success_share(delivered: float, failed: float, lane: Lane) -> float | None:
    """The share of attempts that succeed, 0 to 1: of the last minute, or since the start where none was made
    in it; null where none was made at all."""
    if not delivered and not failed:
        delivered, failed = lane.delivered, lane.failed
    made = delivered + failed
    return round(delivered / made, 4) if made else None

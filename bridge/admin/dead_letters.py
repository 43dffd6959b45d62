"""Dead letters over HTTP: grouped by endpoint and cause, listed, sent again, purged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from aiohttp import web

from bridge.admin.crud import trust
from bridge.admin.deliveries import lane_name
from bridge.admin.named import as_problem, only_members
from bridge.admin.pages import invalid, page_of, read_cursor, write_cursor
from bridge.admin.problems import Problem, answer
from bridge.admin.routes import Call, Plant, decode_object
from bridge.delivery import dead_letters
from bridge.delivery.account import event_name
from bridge.delivery.again import Counts, Job, Kind, Work
from bridge.delivery.errors import Refused
from bridge.delivery.lane import Lane
from bridge.delivery.lookup import identifier
from bridge.delivery.parked import Parked
from bridge.delivery.replay import SLICE, Replay
from bridge.events.cloudevents import timestamp
from bridge.events.event import Event, EventType
from bridge.journal.store import DeadCause, DeadLetter

GROUPS_S = 20.0
"""How long the causes of an endpoint's dead letters are taken for known while their number and size stay the
same."""
SEARCH_S = 0.3
"""After which a page ends with what it has, and says where to go on."""
TEXT_CHARACTERS = 1024


class _Known(NamedTuple):
    totals: tuple[int, int]
    at: float
    causes: dict[str, DeadCause]


_known: WeakKeyDictionary[Lane | Parked, _Known] = WeakKeyDictionary()
"""What was found of each endpoint; it goes with the lane."""


def _all(plant: Plant, name: str | None) -> list[Lane | Parked]:
    """Those that have dead letters: of one name or all."""
    every: list[Lane | Parked] = [*plant.webhooks.lanes, *plant.webhooks.parked]
    return [one for one in every if one.dead and name in (None, one.name)]


async def _causes(plant: Plant, lane: Lane | Parked) -> dict[str, DeadCause]:
    found = plant.journal.store.dead_totals(lane.id)
    totals = (found.letters, found.bytes)
    known = _known.get(lane)
    now = time.monotonic()
    if known is None or known.totals != totals or now - known.at > GROUPS_S:
        known = _known[lane] = _Known(totals, now, await dead_letters.causes(plant.journal.store, lane.id))
    return known.causes


def _asked_name(call: Call) -> str | None:
    endpoint = call.query.get("endpoint") or None
    return None if endpoint is None else lane_name(call.plant, endpoint)


# -- seeing --------------------------------------------------------------------------------------------------


async def list_groups(call: Call) -> web.Response:
    """Dead letters by endpoint and cause, the largest groups first."""
    limit, cursor = page_of(call.query)
    begin = 0 if cursor is None else int(read_cursor(cursor, int)[0])
    call.plant.journal.commit()  # so that the store knows all of them
    groups: list[tuple[int, str, DeadCause]] = []
    for number, lane in enumerate(_all(call.plant, _asked_name(call))):
        if not number % 16:
            await asyncio.sleep(0)
        groups += [(-one.letters, lane.name, one) for one in (await _causes(call.plant, lane)).values()]
    groups.sort(key=lambda group: (group[0], group[1], group[2].cause))
    shown = [
        {
            "endpoint": name,
            "cause": one.cause,
            "count": one.letters,
            "first": timestamp(one.first),
            "last": timestamp(one.last),
        }
        for _, name, one in groups[begin : begin + limit]
    ]
    following = begin + limit if begin + limit < len(groups) else None
    return answer(
        {
            "data": shown,
            "next": None if following is None else write_cursor(following),
            "total": len(groups),
            "letters": sum(one.letters for _, _, one in groups),
        }
    )


async def list_letters(call: Call) -> web.Response:
    """Dead letters of an endpoint and a cause, or of all, by endpoint and the oldest event first."""
    limit, cursor = page_of(call.query)
    cause = call.query.get("cause")
    name = _asked_name(call)
    plant = call.plant
    plant.journal.commit()
    after_lane, after = (0, -1) if cursor is None else read_cursor(cursor, int, int)
    lanes = sorted(_all(plant, name), key=lambda lane: lane.id)
    total = 0
    for lane in lanes:
        if cause is None:
            total += lane.dead
        else:
            known = (await _causes(plant, lane)).get(cause)
            total += 0 if known is None else known.letters
    found: list[tuple[Lane | Parked, DeadLetter]] = []
    following: str | None = None
    end = time.monotonic() + SEARCH_S
    for lane in [lane for lane in lanes if lane.id >= after_lane]:
        place: int | None = after if lane.id == after_lane else -1
        while place is not None and len(found) <= limit and following is None:
            letters, place = _window(plant, lane, cause, place)
            found += [(lane, one) for one in letters[: limit + 1 - len(found)]]
            if place is not None and time.monotonic() > end:
                following = write_cursor(lane.id, place)
            await asyncio.sleep(0)
    if len(found) > limit:
        del found[limit:]
        following = write_cursor(found[-1][0].id, found[-1][1].seq)
    store = plant.journal.store
    events = store.fetch([one.seq for _, one in found]) if found else {}
    rows = [_row(store.id, lane, one, events.get(one.seq)) for lane, one in found]
    return answer({"data": rows, "next": following, "total": total})


def _window(
    plant: Plant, lane: Lane | Parked, cause: str | None, after: int
) -> tuple[Sequence[DeadLetter], int | None]:
    store = plant.journal.store
    if cause is not None:
        return store.dead_of(lane.id, cause, after, dead_letters.WINDOW)
    letters = store.dead(lane.id, after, SLICE)
    return letters, letters[-1].seq if len(letters) == SLICE else None


def _row(store_id: str, lane: Lane | Parked, one: DeadLetter, event: Event | None) -> dict[str, Any]:
    scrub = lane.target.scrub if isinstance(lane, Lane) else str
    domain = event is not None and event.type == EventType.DOMAIN
    return {
        "id": identifier(one.seq, store_id),
        "endpoint": lane.name,
        "cause": one.error.partition(": ")[0],
        "error": scrub(one.error),
        "at": timestamp(one.at),
        "attempts": one.attempt,
        "type": "" if event is None else event_name(event.type, event.topic)[:TEXT_CHARACTERS],
        "topic": "" if event is None or domain else event.topic[:TEXT_CHARACTERS],
        "clientid": "" if event is None else event.clientid[:TEXT_CHARACTERS],
    }


# -- sending again, giving up --------------------------------------------------------------------------------


class _Chosen(NamedTuple):
    """Which dead letters a call is about. `seqs` None: those of the cause, None: all."""

    lane: Lane | Parked
    cause: str | None
    seqs: list[int] | None
    total: int


async def _chosen(call: Call) -> _Chosen:
    """Raises Problem (404, 409, 422)."""
    body = decode_object(call.body)
    only_members(body, "endpoint", "cause", "ids")
    endpoint, cause, ids = body.get("endpoint"), body.get("cause"), body.get("ids")
    if not isinstance(endpoint, str):
        raise invalid("endpoint", "expected a text, the id of an endpoint")
    if cause is not None and not isinstance(cause, str):
        raise invalid("cause", "expected a text, as the groups have it")
    if cause is not None and ids is not None:
        raise invalid("ids", "expected either ids or a cause")
    if ids is not None and not (isinstance(ids, list) and ids and all(isinstance(one, str) for one in ids)):
        raise invalid("ids", "expected the ids of dead letters")
    plant = call.plant
    plant.journal.commit()
    lane = plant.webhooks.find(lane_name(plant, endpoint))
    if lane is None:
        raise Problem(409, "this endpoint is not served, and nothing is kept for it")
    if ids is not None:
        try:
            ((_, seqs),) = dead_letters.find(plant.journal.store, [lane], ids)
        except Refused as error:
            raise as_problem(error, name="ids") from None
        return _Chosen(lane, None, seqs, len(seqs))
    if cause is None:
        return _Chosen(lane, None, None, lane.dead)
    known = (await _causes(plant, lane)).get(cause)
    return _Chosen(lane, cause, None, 0 if known is None else known.letters)


def _parts(plant: Plant, chosen: _Chosen) -> Any:
    if chosen.seqs is not None:
        return (chosen.seqs[i : i + SLICE] for i in range(0, len(chosen.seqs), SLICE))
    return dead_letters.of_cause(plant.journal.store, chosen.lane.id, chosen.cause)


async def replay_letters(call: Call) -> web.Response:
    """Send dead letters again."""
    call.must_be_able_to_store()
    chosen = await _chosen(call)
    lane = chosen.lane
    if isinstance(lane, Parked):
        raise Problem(409, f"this endpoint is not served: {lane.reason or 'it is not active'}")
    if lane.health.off:
        raise Problem(409, f"this endpoint is switched off ({lane.health.off}): enable it first")
    plant = call.plant
    replay = Replay(lane, plant.journal, plant.webhooks.served)

    async def work(counts: Counts) -> AsyncIterator[None]:
        counts.total = chosen.total
        progress = replay.progress

        def tell() -> None:
            counts.done, counts.affected = progress.done, progress.taken
            counts.skipped = progress.under_way + progress.gone

        try:
            async for _ in replay.parts(_parts(plant, chosen), chosen.total):
                tell()
                yield
        finally:  # also where it is stopped
            tell()

    return await begun(call, "replay", lane.name, work, "replayed")


async def purge_letters(call: Call) -> web.Response:
    """Give dead letters up for good."""
    call.must_be_able_to_store()
    chosen = await _chosen(call)
    lane, plant = chosen.lane, call.plant
    owner = plant.webhooks.trust(lane.name)
    if trust(call) == "tenant" and owner == "operator":
        raise Problem(403, "this endpoint was made with all rights, and needs the scope admin")

    async def work(counts: Counts) -> AsyncIterator[None]:
        counts.total = chosen.total
        parts = _parts(plant, chosen)
        async for gone in dead_letters.purge_parts(plant.journal, lane, parts, plant.webhooks.known):
            counts.affected += gone
            counts.done = counts.affected
            yield

    return await begun(call, "purge", lane.name, work, "purged")


async def begun(call: Call, kind: Kind, endpoint: str, work: Work, name: str) -> web.Response:
    """Start a job, and answer when it is done, or after a while; `name` is the count's in the answer."""
    try:
        job = call.plant.jobs.begin(kind, endpoint, work)
    except Refused as error:
        raise Problem(409, str(error)) from None
    done = await job.wait()
    await call.stored()
    if job.error:
        raise Problem(503, job.error, headers={"Retry-After": "5"})
    return answer({**job.shown(), name: job.counts.affected}, 200 if done else 202)


# -- jobs ----------------------------------------------------------------------------------------------------


def _job(call: Call) -> Job:
    found = call.plant.jobs.of(call.path["job"])
    if found is None:
        raise Problem(404, "no job has this id, or it is long over")
    return found


async def get_job(call: Call) -> web.Response:
    """How far a job has come."""
    return answer(_job(call).shown())


async def stop_job(call: Call) -> web.Response:
    """End a job; what it has done stays done."""
    job = _job(call)
    await call.plant.jobs.stop(job.id)
    await call.stored()
    return answer(job.shown())

"""What became of events: attempts, deliveries, and single events sent again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from bridge.admin.crud import Crud, told
from bridge.admin.named import as_problem, found_one, only_members, ready_one
from bridge.admin.pages import invalid, moment, page_of, read_cursor, write_cursor
from bridge.admin.problems import Problem, answer
from bridge.admin.routes import Call, Plant, decode_object
from bridge.config.settings import PUBLISHERS
from bridge.delivery import lookup
from bridge.delivery.account import attempt
from bridge.delivery.attempts import AttemptRecorder
from bridge.delivery.errors import Refused
from bridge.delivery.lane import Lane
from bridge.delivery.parked import Parked
from bridge.delivery.replay import letter
from bridge.events.cloudevents import timestamp
from bridge.events.event import EventType
from bridge.journal.attempt_search import Filter, Place
from bridge.journal.attempt_store import PAGE_ROWS
from bridge.journal.store import StoreError
from bridge.mqtt.topics import valid_topic_filter

MAX_SHOWN = 256 << 10
"""Characters of a payload that are shown."""
FLUSH_ROWS = 500
"""Attempts that are written before the log is searched: some hundredths of a second."""
SEARCH_S = 0.5
"""After which a search ends with what it has, and says where to go on."""


# -- attempts ------------------------------------------------------------------------------------------------


async def list_logs(call: Call) -> web.Response:
    """Attempts of all, or of one, the latest first."""
    endpoint = call.query.get("endpoint") or None
    return await _logs(call, None if endpoint is None else lane_name(call.plant, endpoint))


async def list_logs_of(call: Call, crud: Crud) -> web.Response:
    """Attempts of the receiver of the path, the latest first."""
    with told():
        name = crud.of(call.plant).name(call.path["id"])
    return await _logs(call, name)


async def _logs(call: Call, name: str | None) -> web.Response:
    limit, cursor = page_of(call.query)
    wanted = wanted_attempts(call, call.query, name)
    rows, more = await _rows(call, wanted, limit, cursor, full=call.query.get("full") == "true")
    return answer(_page(call, rows, more))


def lane_name(plant: Plant, text: str) -> str:
    """The name of a lane, by the id of a webhook, or by that name itself: a publisher's is no webhook's id.
    Raises Problem (404)."""
    with told():
        if text.startswith(PUBLISHERS):
            return plant.publishers.name(plant.publishers.id_of(text))
        return plant.endpoints.name(text)


def wanted_attempts(
    call: Call, query: Mapping[str, str], endpoint: str | None, *, latest: bool = False
) -> Filter:
    """Which attempts are asked for. Raises Problem (422)."""
    since, until = moment("since", query.get("since")), moment("until", query.get("until"))
    topic = query.get("topic") or None
    if topic is not None and not valid_topic_filter(topic):
        raise invalid("topic", f"found {topic[:80]!r}, expected a topic filter such as line/+/temp or line/#")
    try:
        return lookup.attempts(
            call.plant.journal.store.id,
            endpoint=endpoint,
            event=query.get("type") or None,
            status=query.get("status") or None,
            since=since,
            until=until,
            client=query.get("client") or None,
            topic=topic,
            latest=latest,
        )
    except Refused as error:
        raise as_problem(error) from None


def recorder(call: Call) -> AttemptRecorder:
    """The attempt log. Raises Problem (503)."""
    attempts = call.plant.attempts
    if attempts is None:
        raise Problem(503, "no attempts are logged: HookMQ's own log says why", headers={"Retry-After": "60"})
    return attempts


async def _rows(
    call: Call, wanted: Filter, limit: int, cursor: str | None, *, full: bool = False
) -> tuple[list[dict[str, Any]], Place | None]:
    """The rows, and where to go on, if there are more."""
    attempts = recorder(call)
    below: tuple[int, int] | None = None
    if cursor is not None:
        at, number = read_cursor(cursor, int, int)
        below = at, number
    await attempts.flush(FLUSH_ROWS)
    try:
        return await attempts.search(wanted, min(limit, PAGE_ROWS), below=below, full=full, seconds=SEARCH_S)
    except StoreError as error:
        raise Problem(503, f"the attempt log cannot be read: {error}", headers={"Retry-After": "5"}) from None


def _page(call: Call, rows: list[dict[str, Any]], more: Place | None) -> dict[str, Any]:
    store_id = call.plant.journal.store.id
    following = None if more is None else write_cursor(*more)
    return {"data": [_attempt(row, store_id) for row in rows], "next": following}


def _attempt(row: dict[str, Any], store_id: str) -> dict[str, Any]:
    shown = attempt(row, store_id)
    made: dict[str, Any] = {
        "delivery": shown["id"],
        "endpoint": shown["endpoint"],
        "type": shown["event"],
        "at": timestamp(shown["at"]),
        "attempt": shown["attempt"],
        "ok": shown["ok"],
        "status": shown["status"],
        "error": shown["error"],
        "took_ms": shown["took_ms"],
        "address": shown["address"],
        "events": shown["events"],
        "topic": "" if row["event"] == EventType.DOMAIN else shown["topic"],
        "clientid": shown["clientid"],
    }
    if "request" in shown:
        made["request"] = shown["request"]
        made["response"] = {"head": shown["response"], "body": shown["body"]}
    return made


# -- deliveries ----------------------------------------------------------------------------------------------


async def list_deliveries(call: Call, crud: Crud) -> web.Response:
    """Events that were sent to an endpoint, the latest first, each with its last attempt."""
    limit, cursor = page_of(call.query)
    call.plant.journal.commit()  # so that the store knows all dead letters; in what follows too
    lane = found_one(call, crud)
    wanted = wanted_attempts(call, call.query, lane.name, latest=True)
    rows, more = await _rows(call, wanted, limit, cursor)
    page = _page(call, rows, more)
    busy = lane.under_way([row["seq"] for row in rows])
    for row, shown in zip(rows, page["data"], strict=True):
        shown["id"] = shown.pop("delivery")
        shown["state"] = _state(call, lane, row["seq"], ok=bool(row["ok"]), busy=busy)
    return answer(page)


def _state(call: Call, lane: Lane | Parked, seq: int, *, ok: bool, busy: set[int]) -> str:
    if seq in busy:
        return "waiting"
    if ok:
        return "delivered"
    return "dead" if letter(call.plant.journal.store, lane.id, seq) is not None else "failed"


async def get_delivery(call: Call, crud: Crud) -> web.Response:
    """One event: its payload, as far as it is still there, and every attempt."""
    call.plant.journal.commit()
    lane = found_one(call, crud)
    store = call.plant.journal.store
    seq = _sequence(call, call.path["delivery"])
    wanted = Filter(endpoint=lane.name, seq=seq)
    rows, _ = await _rows(call, wanted, PAGE_ROWS, None, full=True)
    event = store.fetch([seq]).get(seq)
    if event is not None and lane.id not in event.targets:
        event = None
    if event is None and not rows:
        raise Problem(404, "this event was never for this endpoint, or nothing is known of it any more")
    dead = letter(store, lane.id, seq)
    busy = lane.under_way([seq]) if event is not None or rows else set()
    shown: dict[str, Any] = {
        "id": lookup.identifier(seq, store.id),
        "endpoint": lane.name,
        "state": _state(call, lane, seq, ok=bool(rows and rows[0]["ok"]), busy=busy),
        "payload": None,
        "attempts": [_attempt(row, store.id) for row in rows],
        "next_attempts": [],
    }
    if isinstance(lane, Lane):
        shown["next_attempts"] = [
            {"attempt": number, "at": timestamp(at)} for number, at in lane.attempts_to_come(seq)
        ]
    if dead is not None:
        shown["dead_since"] = timestamp(dead.at)
    if event is not None and isinstance(lane, Lane) and lane.target.has_body:
        try:
            shown["payload"] = lane.body(seq, event)[:MAX_SHOWN].decode("utf-8", "replace")
        except Exception as error:
            shown["payload_error"] = str(error)[:500]
    return answer(shown)


def _sequence(call: Call, text: str) -> int:
    try:
        return lookup.sequence(text, call.plant.journal.store.id)
    except Refused as error:
        raise Problem(404, str(error)) from None


async def retry_delivery(call: Call, crud: Crud) -> web.Response:
    """Send one event again."""
    call.must_be_able_to_store()
    only_members(decode_object(call.body, empty=True))
    seq = _sequence(call, call.path["delivery"])
    call.plant.journal.commit()
    lane = ready_one(call, crud)
    _retry(call, lane, seq)
    await call.stored()
    return answer({"id": lookup.identifier(seq, call.plant.journal.store.id), "endpoints": [lane.name]}, 202)


async def retry_anywhere(call: Call) -> web.Response:
    """Send one event again to `?endpoint=`, or to all that have it as a dead letter or are to retry it."""
    call.must_be_able_to_store()
    only_members(decode_object(call.body, empty=True))
    seq = _sequence(call, call.path["delivery"])
    plant = call.plant
    plant.journal.commit()
    name = call.query.get("endpoint")
    if name is not None:
        name = lane_name(plant, name)
    event = plant.journal.store.fetch([seq]).get(seq)
    targets = () if event is None else event.targets
    lanes = [lane for lane in plant.webhooks.lanes if lane.id in targets and name in (None, lane.name)]
    if name is None:
        lanes = [lane for lane in lanes if not lane.health.off and _unsettled(call, lane, seq)]
    if not lanes:
        raise Problem(404, "no endpoint has to be sent this event again, or nothing is known of it any more")
    for lane in lanes:
        if lane.health.off:
            raise Problem(409, f"this endpoint is switched off ({lane.health.off}): enable it first")
        _retry(call, lane, seq)
    await call.stored()
    names = [lane.name for lane in lanes]
    return answer({"id": lookup.identifier(seq, plant.journal.store.id), "endpoints": names}, 202)


def _unsettled(call: Call, lane: Lane, seq: int) -> bool:
    dead = letter(call.plant.journal.store, lane.id, seq) is not None
    return dead or bool(lane.waits_for_retry(seq))


def _retry(call: Call, lane: Lane, seq: int) -> None:
    """Raises Problem: 404 it is gone, 409 it is under way, 503 there is no room."""
    store = call.plant.journal.store
    if lane.waits_for_retry(seq):
        lane.hurry_one(seq)
        return
    event = store.fetch([seq]).get(seq)
    if event is None or lane.id not in event.targets:
        raise Problem(404, "this event was never for this endpoint, or the store has it no more")
    if lane.under_way([seq]):
        raise Problem(409, "this event is being sent, or waits for its first attempt")
    if lane.room <= 0:
        raise Problem(503, "too many events of this endpoint wait already", headers={"Retry-After": "10"})
    dead = letter(store, lane.id, seq) is not None
    taken = lane.replay([(seq, event)])
    if dead:
        lane.dead -= len(taken)
    lane.pump()

"""What became of events: deliveries and logs, tests, retries, replays and figures of an endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from bridge.admin.endpoint_routes import ID_PARAMETER, ONE, told
from bridge.admin.pages import PAGE_PARAMETERS, invalid, moment, page_of, read_cursor, write_cursor
from bridge.admin.problems import Problem, answer
from bridge.admin.routes import (
    JSON_TYPES,
    Call,
    Handler,
    Route,
    decode_object,
    json_content,
    problem_response,
)
from bridge.delivery import lookup
from bridge.delivery.account import attempt, counters
from bridge.delivery.errors import Refused
from bridge.delivery.lane import Lane
from bridge.delivery.parked import Parked
from bridge.delivery.replay import letter
from bridge.delivery.sample import send_test
from bridge.events.cloudevents import timestamp
from bridge.events.event import EventType
from bridge.journal.attempt_store import PAGE_ROWS, Filter
from bridge.journal.store import StoreError

MAX_TESTS = 8
"""Test requests under way at the same time."""
TEST_S = 30.0
"""The longest that one may take."""
MAX_SHOWN = 256 << 10
"""Characters of a payload that are shown."""
DEFAULT_TYPE = "on_message_publish"
_tests = 0


# -- which endpoint ------------------------------------------------------------------------------------------


def _found(call: Call) -> Lane | Parked:
    """The endpoint of the path. Raises Problem (404, 409)."""
    with told():
        name = call.plant.endpoints.name(call.path["id"])
    found = call.plant.webhooks.find(name)
    if found is None:
        raise Problem(409, "this endpoint is not served, and nothing is kept for it")
    return found


def _served(call: Call) -> Lane:
    """The same, and it is served. Raises Problem (404, 409)."""
    found = _found(call)
    if isinstance(found, Parked):
        why = found.reason or "it is not active"
        raise Problem(409, f"this endpoint is not served: {why}")
    return found


def _ready(call: Call) -> Lane:
    lane = _served(call)
    if lane.health.off:
        raise Problem(409, f"this endpoint is switched off ({lane.health.off}): enable it first")
    return lane


def _refused(error: Refused, status: int = 422, name: str = "") -> Problem:
    return Problem(status, str(error), errors=[{"path": f"/{name}" if name else "", "message": str(error)}])


# -- test ----------------------------------------------------------------------------------------------------


async def test_endpoint(call: Call) -> web.Response:
    """Send a made-up event, and show request and response."""
    global _tests  # noqa: PLW0603
    body = decode_object(call.body, empty=True)
    _only(body, "type")
    lane = _served(call)
    wanted = body.get("type")
    if wanted is not None and not isinstance(wanted, str):
        raise invalid("type", "expected a text, the name of a type of event")
    plant = call.plant
    text = wanted if wanted is not None else _usual_type(lane, list(plant.intake.catalogue or ()))
    try:
        what = lookup.sample(text, plant.settings.events.catalogue, lane.id, int(time.time() * 1000))
    except Refused as error:
        raise _refused(error, name="type") from None
    if _tests >= MAX_TESTS:
        raise Problem(503, f"{MAX_TESTS} test requests are under way already", headers={"Retry-After": "2"})
    _tests += 1
    try:
        async with asyncio.timeout(TEST_S):
            trial = await send_test(lane, what)
    except TimeoutError:
        raise Problem(504, f"the endpoint has not answered within {TEST_S:.0f} s") from None
    except Exception as error:  # a body that cannot be made of it
        raise Problem(422, f"no request can be made of this event: {error}") from None
    finally:
        _tests -= 1
    return answer(
        {
            "type": text,
            "ok": trial.ok,
            "id": f"msg_{plant.journal.store.id}_{trial.id}",
            "took_ms": trial.took_ms,
            "address": trial.address,
            "request": {"head": trial.request, "body": trial.body},
            "response": {"status": trial.status, "head": trial.response, "body": trial.response_body},
            "error": trial.error,
        }
    )


def _usual_type(lane: Lane, known: Sequence[str]) -> str:
    """The first event that the endpoint wants: what it will be sent."""
    for pattern in lane.endpoint.types:
        found = next((name for name in known if lookup.fits(name, pattern)), None)
        if found is not None:
            return found
    for rule in lane.endpoint.events:
        return "on_" + rule.event.action
    return DEFAULT_TYPE


def _only(body: Mapping[str, Any], *names: str) -> None:
    for name in body:
        if name not in names:
            raise invalid(name[:64], f"unknown member, expected {' and '.join(names)}")


# -- switching -----------------------------------------------------------------------------------------------


async def enable_endpoint(call: Call) -> web.Response:
    """Send again."""
    call.must_be_able_to_store()
    lane = _served(call)
    lane.switch_on()
    await call.stored()
    with told():
        return answer(call.plant.endpoints.show(lane.name))


async def disable_endpoint(call: Call) -> web.Response:
    """Send nothing any more."""
    call.must_be_able_to_store()
    lane = _served(call)
    lane.switch_off("by hand (the API)")
    await call.stored()
    with told():
        return answer(call.plant.endpoints.show(lane.name))


# -- attempts ------------------------------------------------------------------------------------------------


async def list_logs(call: Call) -> web.Response:
    """Attempts, the latest first."""
    query = call.query
    limit, cursor = page_of(query)
    endpoint = query.get("endpoint") or None
    if endpoint is not None:
        with told():
            endpoint = call.plant.endpoints.name(endpoint)
    wanted = _filter(call, endpoint)
    rows = await _rows(call, wanted, limit, cursor, full=query.get("full") == "true")
    return answer(_page(call, rows, limit))


def _filter(call: Call, endpoint: str | None, *, latest: bool = False) -> Filter:
    query = call.query
    since, until = moment("since", query.get("since")), moment("until", query.get("until"))
    try:
        return lookup.attempts(
            call.plant.journal.store.id,
            endpoint=endpoint,
            event=query.get("type") or None,
            status=query.get("status") or None,
            since=since,
            until=until,
            latest=latest,
        )
    except Refused as error:
        raise _refused(error) from None


async def _rows(
    call: Call, wanted: Filter, limit: int, cursor: str | None, *, full: bool = False
) -> list[dict[str, Any]]:
    attempts = call.plant.attempts
    if attempts is None:
        raise Problem(503, "no attempts are logged: HookMQ's own log says why", headers={"Retry-After": "60"})
    below: tuple[int, int] | None = None
    if cursor is not None:
        at, number = read_cursor(cursor, int, int)
        below = at, number
    await attempts.flush()
    try:
        return await attempts.query(wanted, min(limit, PAGE_ROWS), below=below, full=full)
    except StoreError as error:
        raise Problem(503, f"the attempt log cannot be read: {error}", headers={"Retry-After": "5"}) from None


def _page(call: Call, rows: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    store_id = call.plant.journal.store.id
    more = write_cursor(rows[-1]["at"], rows[-1]["id"]) if len(rows) == limit else None
    return {"data": [_attempt(row, store_id) for row in rows], "next": more}


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


async def list_deliveries(call: Call) -> web.Response:
    """Events that were sent to an endpoint, the latest first, each with its last attempt."""
    limit, cursor = page_of(call.query)
    call.plant.journal.commit()  # so that the store knows all dead letters; in what follows too
    lane = _found(call)
    rows = await _rows(call, _filter(call, lane.name, latest=True), limit, cursor)
    page = _page(call, rows, limit)
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


async def get_delivery(call: Call) -> web.Response:
    """One event: its payload, as far as it is still there, and every attempt."""
    call.plant.journal.commit()
    lane = _found(call)
    store = call.plant.journal.store
    seq = _sequence(call, call.path["delivery"])
    wanted = Filter(endpoint=lane.name, seq=seq)
    rows = await _rows(call, wanted, PAGE_ROWS, None, full=True)
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
    }
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


async def retry_delivery(call: Call) -> web.Response:
    """Send one event again."""
    call.must_be_able_to_store()
    _only(decode_object(call.body, empty=True))
    seq = _sequence(call, call.path["delivery"])
    call.plant.journal.commit()
    lane = _ready(call)
    _retry(call, lane, seq)
    await call.stored()
    return answer({"id": lookup.identifier(seq, call.plant.journal.store.id), "endpoints": [lane.name]}, 202)


async def retry_anywhere(call: Call) -> web.Response:
    """Send one event again to `?endpoint=`, or to all that have it as a dead letter or are to retry it."""
    call.must_be_able_to_store()
    _only(decode_object(call.body, empty=True))
    seq = _sequence(call, call.path["delivery"])
    plant = call.plant
    plant.journal.commit()
    name = call.query.get("endpoint")
    if name is not None:
        with told():
            plant.endpoints.name(name)
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


# -- figures -------------------------------------------------------------------------------------------------


async def get_stats(call: Call) -> web.Response:
    """What an endpoint was sent, and what waits."""
    found = _found(call)
    plant = call.plant
    now = int(time.time() * 1000)
    made: dict[str, Any] = {"id": found.name}
    if isinstance(found, Lane):
        delivered, failed = plant.rates.of(found)
        oldest = found.oldest_waiting()
        made |= {
            "state": found.state,
            "reason": found.reason,
            **counters(found),
            "retrying": found.retrying,
            "expired": found.expired,
            "backlog_bytes": found.backlog_bytes,
            "delivered_per_s": round(delivered, 2),
            "failed_per_s": round(failed, 2),
        }
    else:
        oldest = found.oldest_ts()
        made |= {
            "state": "off" if found.reason else "inactive",
            "reason": found.reason,
            "queued": found.waiting + found.retrying,
            "retrying": found.retrying,
            "dead": found.dead,
        }
    made["oldest_ms"] = None if oldest is None else max(now - oldest, 0)
    made["dead_bytes"] = plant.journal.store.dead_totals(found.id).bytes
    made["dead_given_up"] = plant.webhooks.dead_bounds.given_up(found.id)
    job = plant.replays.of(found.name)
    made["replay"] = None if job is None else job.shown()
    return answer(made)


# -- replay --------------------------------------------------------------------------------------------------


async def replay_endpoint(call: Call) -> web.Response:
    """Send the events of a time again; answered when all are handed over, or after a while."""
    call.must_be_able_to_store()
    body = decode_object(call.body)
    _only(body, "since", "until")
    since, until = moment("since", body.get("since")), moment("until", body.get("until"))
    if since is None:
        raise invalid("since", "missing, expected a time of RFC 3339 such as 2026-03-01T09:30:00Z")
    if until is not None and until <= since:
        raise invalid("until", "found a time that is not behind since")
    lane = _ready(call)
    try:
        job = call.plant.replays.begin(lane, since, until)
    except Refused as error:
        raise Problem(409, str(error)) from None
    done = await job.wait()
    await call.stored()
    if job.error:
        raise Problem(503, job.error, headers={"Retry-After": "5"})
    return answer(job.shown(), 200 if done else 202)


async def stop_replay(call: Call) -> web.Response:
    """Hand over no more."""
    found = _found(call)
    await call.plant.replays.stop(found.name)
    await call.stored()
    return web.Response(status=204)


# -- routes --------------------------------------------------------------------------------------------------

_DELIVERY_PARAMETER: Mapping[str, Any] = {
    "name": "delivery",
    "in": "path",
    "required": True,
    "description": "The `webhook-id` of the event.",
    "schema": {"type": "string", "minLength": 1},
}
_TYPE = {
    "name": "type",
    "in": "query",
    "description": "`work_order.created`, a pattern such as `work_order.*`, or `on_message_publish`.",
    "schema": {"type": "string"},
}
_STATUS = {
    "name": "status",
    "in": "query",
    "description": "`503`, `5xx`, `ok`, `failed`, or a kind of error such as `timeout`.",
    "schema": {"type": "string"},
}
_SINCE = {"name": "since", "in": "query", "schema": {"type": "string", "format": "date-time"}}
_UNTIL = {"name": "until", "in": "query", "schema": {"type": "string", "format": "date-time"}}
_404 = problem_response("No endpoint has this id, or nothing is known of this event.")
_409 = problem_response("The endpoint is not served, or switched off; or the event is under way.")
_422 = problem_response("Something that cannot be; `errors` has the path of each fault.")


def _route(
    method: str,
    path: str,
    scope: str,
    handler: Handler,
    operation: str,
    summary: str,
    responses: Mapping[str, Any],
    *,
    parameters: Sequence[Mapping[str, Any]] = (),
    body: str = "",
    required: bool = False,
    description: str = "",
) -> Route:
    described: dict[str, Any] = {
        "operationId": operation,
        "summary": summary,
        "tags": ["webhooks"],
        "parameters": list(parameters),
        "responses": dict(responses),
    }
    if description:
        described["description"] = description
    if body:
        described["requestBody"] = {"required": required, "content": json_content(body)}
    return Route(method, path, scope, handler, described, JSON_TYPES if body else frozenset())


def _ok(text: str, schema: str) -> dict[str, Any]:
    return {"description": text, "content": json_content(schema)}


READ, WRITE = "endpoints:read", "endpoints:write"
_TAKEN = _ok("It is sent again.", "Retried")
ROUTES = (
    _route(
        *("POST", ONE + "/test", WRITE, test_endpoint, "testEndpoint"),
        "Send a made-up event to an endpoint.",
        {
            "200": _ok("What was sent, and what was answered.", "Trial"),
            "404": _404,
            "409": _409,
            "422": _422,
            "504": problem_response("The endpoint has not answered."),
        },
        parameters=[ID_PARAMETER],
        body="TestRequest",
        description="An example of the type; without one, of the first type that the endpoint wants. It is "
        "outside its order, its figures and its log.",
    ),
    _route(
        *("POST", ONE + "/enable", WRITE, enable_endpoint, "enableEndpoint"),
        "Switch an endpoint on again that was switched off, by hand or because it failed.",
        {"200": _ok("It.", "Endpoint"), "404": _404, "409": _409},
        parameters=[ID_PARAMETER],
    ),
    _route(
        *("POST", ONE + "/disable", WRITE, disable_endpoint, "disableEndpoint"),
        "Switch an endpoint off: its events wait.",
        {"200": _ok("It.", "Endpoint"), "404": _404, "409": _409},
        parameters=[ID_PARAMETER],
    ),
    _route(
        *("GET", ONE + "/deliveries", READ, list_deliveries, "listDeliveries"),
        "What an endpoint was sent, the latest first: each event with its last attempt.",
        {"200": _ok("A page of them.", "DeliveryPage"), "404": _404, "409": _409, "422": _422},
        parameters=[ID_PARAMETER, _TYPE, _STATUS, _SINCE, _UNTIL, *PAGE_PARAMETERS],
    ),
    _route(
        *("GET", ONE + "/deliveries/{delivery}", READ, get_delivery, "getDelivery"),
        "One event: its payload, as far as it is still there, and its latest attempts with their answers.",
        {"200": _ok("It.", "Delivery"), "404": _404, "409": _409},
        parameters=[ID_PARAMETER, _DELIVERY_PARAMETER],
    ),
    _route(
        *("POST", ONE + "/deliveries/{delivery}/retry", WRITE, retry_delivery, "retryDelivery"),
        "Send one event again: a dead letter, one that waits for a retry, or one that was delivered.",
        {"202": _TAKEN, "404": _404, "409": _409, "422": _422},
        parameters=[ID_PARAMETER, _DELIVERY_PARAMETER],
        body="Nothing",
    ),
    _route(
        *("POST", "/api/v2/webhooks/deliveries/{delivery}/retry", WRITE, retry_anywhere, "retryAnywhere"),
        "Send one event again to one endpoint, or to all that have it as a dead letter or wait to retry it.",
        {"202": _TAKEN, "404": _404, "409": _409, "422": _422},
        parameters=[
            _DELIVERY_PARAMETER,
            {"name": "endpoint", "in": "query", "schema": {"type": "string"}, "description": "Its id."},
        ],
        body="Nothing",
    ),
    _route(
        *("POST", ONE + "/replay", WRITE, replay_endpoint, "replayEndpoint"),
        "Send the events of a time again, with their ids, dead letters included.",
        {
            "200": _ok("All are handed over.", "Replay"),
            "202": _ok("It goes on; the endpoint's `stats` say how far it has come.", "Replay"),
            "404": _404,
            "409": _409,
            "422": _422,
        },
        parameters=[ID_PARAMETER],
        body="ReplayRequest",
        required=True,
        description="Fresh events go on beside it. How far back one can go: `sqlite.retention`.",
    ),
    _route(
        *("DELETE", ONE + "/replay", WRITE, stop_replay, "stopReplay"),
        "Stop a replay: what is handed over is still sent.",
        {"204": {"description": "None is running."}, "404": _404, "409": _409},
        parameters=[ID_PARAMETER],
    ),
    _route(
        *("GET", ONE + "/stats", READ, get_stats, "getEndpointStats"),
        "The figures of an endpoint.",
        {"200": _ok("They.", "EndpointStats"), "404": _404, "409": _409},
        parameters=[ID_PARAMETER],
    ),
    _route(
        *("GET", "/api/v2/webhooks/logs", READ, list_logs, "listLogs"),
        "Attempts of all endpoints or one, the latest first.",
        {"200": _ok("A page of them.", "AttemptPage"), "404": _404, "422": _422},
        parameters=[
            {"name": "endpoint", "in": "query", "schema": {"type": "string"}, "description": "Its id."},
            *(_TYPE, _STATUS, _SINCE, _UNTIL),
            {
                "name": "full",
                "in": "query",
                "schema": {"type": "boolean", "default": False},
                "description": "With headers, and how the responses begin.",
            },
            *PAGE_PARAMETERS,
        ],
    ),
)

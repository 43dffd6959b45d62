"""What is done with a receiver: tested, switched, looked at, and sent the events of a time again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from bridge.admin.crud import Crud, told
from bridge.admin.named import as_problem, found_one, only_members, ready_one, served_one
from bridge.admin.pages import invalid, moment
from bridge.admin.problems import Problem, answer
from bridge.admin.routes import Call, decode_object
from bridge.delivery import lookup
from bridge.delivery.account import counters
from bridge.delivery.errors import Refused
from bridge.delivery.lane import Lane
from bridge.delivery.sample import send_test

MAX_TESTS = 8
"""Test requests under way at the same time."""
TEST_S = 30.0
"""The longest that one may take."""
DEFAULT_TYPE = "on_message_publish"
_tests = 0


# -- test ----------------------------------------------------------------------------------------------------


async def test_one(call: Call, crud: Crud) -> web.Response:
    """Send a made-up event, and show request and response."""
    global _tests  # noqa: PLW0603
    body = decode_object(call.body, empty=True)
    only_members(body, "type")
    lane = served_one(call, crud)
    wanted = body.get("type")
    if wanted is not None and not isinstance(wanted, str):
        raise invalid("type", "expected a text, the name of a type of event")
    plant = call.plant
    text = wanted if wanted is not None else _usual_type(lane, list(plant.intake.catalogue or ()))
    try:
        what = lookup.sample(text, plant.settings.events.catalogue, lane.id, int(time.time() * 1000))
    except Refused as error:
        raise as_problem(error, name="type") from None
    if _tests >= MAX_TESTS:
        raise Problem(503, f"{MAX_TESTS} test requests are under way already", headers={"Retry-After": "2"})
    _tests += 1
    try:
        async with asyncio.timeout(TEST_S):
            trial = await send_test(lane, what)
    except TimeoutError:
        raise Problem(504, f"the {crud.noun} has not answered within {TEST_S:.0f} s") from None
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
    """The first event that the receiver wants: what it will be sent."""
    for pattern in lane.endpoint.types:
        found = next((name for name in known if lookup.fits(name, pattern)), None)
        if found is not None:
            return found
    for rule in lane.endpoint.events:
        return "on_" + rule.event.action
    return DEFAULT_TYPE


# -- switching -----------------------------------------------------------------------------------------------


async def enable_one(call: Call, crud: Crud) -> web.Response:
    """Send again."""
    call.must_be_able_to_store()
    lane = served_one(call, crud)
    lane.switch_on()
    await call.stored()
    with told():
        return answer(crud.of(call.plant).show(call.path["id"]))


async def disable_one(call: Call, crud: Crud) -> web.Response:
    """Send nothing any more."""
    call.must_be_able_to_store()
    lane = served_one(call, crud)
    lane.switch_off("by hand (the API)")
    await call.stored()
    with told():
        return answer(crud.of(call.plant).show(call.path["id"]))


# -- figures -------------------------------------------------------------------------------------------------


async def get_stats(call: Call, crud: Crud) -> web.Response:
    """What it was sent, and what waits."""
    found = found_one(call, crud)
    plant = call.plant
    now = int(time.time() * 1000)
    made: dict[str, Any] = {"id": call.path["id"]}
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


async def replay_one(call: Call, crud: Crud) -> web.Response:
    """Send the events of a time again; answered when all are handed over, or after a while."""
    call.must_be_able_to_store()
    body = decode_object(call.body)
    only_members(body, "since", "until")
    since, until = moment("since", body.get("since")), moment("until", body.get("until"))
    if since is None:
        raise invalid("since", "missing, expected a time of RFC 3339 such as 2026-03-01T09:30:00Z")
    if until is not None and until <= since:
        raise invalid("until", "found a time that is not behind since")
    lane = ready_one(call, crud)
    try:
        job = call.plant.replays.begin(lane, since, until)
    except Refused as error:
        raise Problem(409, str(error)) from None
    done = await job.wait()
    await call.stored()
    if job.error:
        raise Problem(503, job.error, headers={"Retry-After": "5"})
    return answer(job.shown(), 200 if done else 202)


async def stop_replay(call: Call, crud: Crud) -> web.Response:
    """Hand over no more."""
    found = found_one(call, crud)
    await call.plant.replays.stop(found.name)
    await call.stored()
    return web.Response(status=204)

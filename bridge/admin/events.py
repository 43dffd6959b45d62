"""`POST /api/v2/events`, the way in for business events, and the catalogue of their types."""

from __future__ import annotations

import asyncio
import re

from aiohttp import web

from bridge.admin.problems import Problem, answer
from bridge.admin.routes import JSON_TYPES, Call, Route, json_content, problem_response, schema
from bridge.events.js_json import LARGE
from bridge.sources.arrived import MAX_EVENTS, ArrivalError, parse
from bridge.sources.intake import BacklogFull, KeyReused

_KEY = re.compile(r"[\x20-\x7e]{1,255}")


async def post_events(call: Call) -> web.Response:
    """One event or a list: all are taken, or none; answered once they are stored."""
    call.must_be_able_to_store()
    intake = call.plant.intake
    key = call.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise Problem(400, "found an Idempotency-Key that is not 1 to 255 printable ASCII characters")
    try:
        if len(call.body) > LARGE:
            events, _ = await asyncio.to_thread(parse, call.body, intake.check)
        else:
            events, _ = parse(call.body, intake.check)
    except ArrivalError as error:
        if error.malformed:
            raise Problem(400, str(error)) from None
        errors = [fault._asdict() for fault in error.faults]
        raise Problem(422, str(error), errors=errors) from None
    try:
        taken = intake.take(
            events,
            call.principal.name,
            username=call.principal.name,
            peername=call.peername,
            key=key,
            body=call.body,
        )
    except KeyReused:
        raise Problem(422, "this Idempotency-Key came before with another body") from None
    except BacklogFull:
        raise Problem(
            503, "an endpoint's backlog is full: nothing was taken", headers={"Retry-After": "10"}
        ) from None
    await call.stored()
    return answer({"ids": taken.ids, "repeated": taken.repeated}, 202)


async def get_event_types(call: Call) -> web.Response:
    """The catalogue."""
    catalogue = call.plant.intake.catalogue
    types = [
        {
            "type": one.name,
            "description": one.description,
            "sources": list(one.sources),
            "schema": one.schema,
            "example": one.example,
        }
        for one in (catalogue.values() if catalogue is not None else ())
    ]
    return answer({"data": types})


ROUTES = (
    Route(
        "POST",
        "/api/v2/events",
        "events:write",
        post_events,
        {
            "operationId": "postEvents",
            "summary": "Take in business events.",
            "description": "One event, or a list of which all are taken or none. Answered once they are on "
            "disk. An event whose `id` came within a day, or a request whose `Idempotency-Key` did, is not "
            "taken again, and answered as the first time.",
            "tags": ["events"],
            "parameters": [
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "description": "A text of your choice, the same at each repeat of this request.",
                    "schema": {"type": "string", "pattern": "^[ -~]{1,255}$"},
                }
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {
                            "oneOf": [
                                schema("Event"),
                                {
                                    "type": "array",
                                    "items": schema("Event"),
                                    "minItems": 1,
                                    "maxItems": MAX_EVENTS,
                                },
                            ]
                        }
                    }
                },
            },
            "responses": {
                "202": {"description": "Stored.", "content": json_content("EventsTaken")},
                "422": problem_response("Events that cannot be taken; `errors` has the path of each fault."),
            },
        },
        JSON_TYPES,
    ),
    Route(
        "GET",
        "/api/v2/webhooks/event-types",
        "endpoints:read",
        get_event_types,
        {
            "operationId": "getEventTypes",
            "summary": "The catalogue of business events.",
            "tags": ["webhooks"],
            "responses": {
                "200": {"description": "Every type.", "content": json_content("EventTypes")},
            },
        },
    ),
)

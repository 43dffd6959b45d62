"""`/api/v2/webhooks/endpoints`: endpoints as `crud` has them, their secrets, and what becomes of events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from bridge.admin.crud import Crud, fault_members, told, trust
from bridge.admin.delivery_routes import of_each
from bridge.admin.endpoints import MAX_OLD_SECRET_S, Endpoints
from bridge.admin.problems import Problem
from bridge.admin.routes import JSON_TYPES, Call, Route, decode_object, json_content, problem_response
from bridge.config.json_node import Fault
from bridge.config.node import Node, Place
from bridge.config.units import SECONDS, Bad, Range

PATH = "/api/v2/webhooks/endpoints"
ONE = PATH + "/{id}"
CRUD = Crud(PATH, lambda plant: plant.endpoints, "endpoint", "Endpoint", Endpoints.prefix)


async def rotate_secret(call: Call) -> web.Response:
    """Sign with a new secret."""
    call.must_be_able_to_store()
    body = decode_object(call.body, empty=True)
    faults = [
        Fault(f"/{name[:64]}", "unknown member, expected expire_in and secret")
        for name in body
        if name not in ("expire_in", "secret")
    ]
    secret = body.get("secret")
    if secret is not None and not (isinstance(secret, str) and secret):
        faults.append(Fault("/secret", "expected a text that is not empty"))
    expire_in = _expire_in(body, faults)
    if faults:
        raise Problem(422, "; ".join(f"{at}: {text}" for at, text in faults), errors=fault_members(faults))
    with told():
        made = await call.plant.endpoints.rotate(
            call.path["id"], trust(call), secret=secret, expire_in=expire_in
        )
        await call.stored()
        return CRUD.shown(call, made.id, made)


def _expire_in(body: Mapping[str, Any], faults: list[Fault]) -> float | None:
    value = body.get("expire_in")
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise Bad("a number of seconds, or a text such as 24h")
        return float(SECONDS.read(Node(value, "expire_in", Place(Path("body"))), Range(0, MAX_OLD_SECRET_S)))
    except Bad as error:
        faults.append(Fault("/expire_in", f"expected {error}"))
        return None


ROUTES = (
    *CRUD.routes(
        "webhooks",
        {
            "create": "Answered when it is on disk; it is sent events from then on. Where no `secret` is "
            "given one is made, and shown in this answer alone; with `null` requests are not signed.",
            "change": "What waits for it is sent by the new settings. `secret: null` means unsigned.",
        },
    ),
    Route(
        "POST",
        ONE + "/rotate-secret",
        "endpoints:write",
        rotate_secret,
        {
            "operationId": "rotateSecret",
            "summary": "Sign with a new secret, for a while beside the old one.",
            "description": "The answer alone has the new secret. Both sign for `expire_in`, a day unless it "
            "is given, where the signature is Standard Webhooks'; others have room for one: the new one "
            "signs at once.",
            "tags": ["webhooks"],
            "parameters": [CRUD.parameter],
            "requestBody": {"content": json_content("RotateSecret")},
            "responses": {
                "200": CRUD.changed("Rotated."),
                "404": problem_response("No endpoint has this id."),
                "409": problem_response("It is one of the file, or its settings do not work."),
                "422": problem_response("A secret or a time that cannot be."),
            },
        },
        JSON_TYPES,
    ),
    *of_each(CRUD, "webhooks"),
)

"""`/api/v2/webhooks/endpoints`: endpoints listed, made, shown, changed, deleted; their secrets rotated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

from bridge.admin.endpoints import (
    MAX_OLD_SECRET_S,
    Changed,
    Conflict,
    Forbidden,
    Invalid,
    Made,
    NotThere,
)
from bridge.admin.pages import PAGE_PARAMETERS, page_of, read_cursor, write_cursor
from bridge.admin.problems import Problem, answer
from bridge.admin.routes import (
    JSON_TYPES,
    PATCH_TYPES,
    Call,
    Route,
    decode_object,
    json_content,
    problem_response,
    schema,
)
from bridge.config.json_node import Fault
from bridge.config.node import Node, Place
from bridge.config.units import SECONDS, Bad, Range
from bridge.events.cloudevents import timestamp
from bridge.journal.store import StoreError

PATH = "/api/v2/webhooks/endpoints"
ONE = PATH + "/{id}"
_TAG = re.compile(r'\*|(?:W/)?"[^"]*"')


@contextmanager
def _told() -> Any:
    """What goes wrong with endpoints, as problems."""
    try:
        yield
    except NotThere as error:
        raise Problem(404, str(error)) from None
    except Invalid as error:
        raise Problem(422, str(error), errors=_faults(error.faults)) from None
    except Conflict as error:
        raise Problem(409, str(error)) from None
    except Forbidden as error:
        raise Problem(403, str(error)) from None
    except Changed as error:
        raise Problem(412, str(error)) from None
    except StoreError as error:
        raise Problem(
            503, f"the store cannot be used now, nothing was changed: {error}", headers={"Retry-After": "5"}
        ) from None


def told() -> AbstractContextManager[None]:
    """Turns what `Endpoints` raises into problems."""
    found: AbstractContextManager[None] = _told()
    return found


def trust(call: Call) -> Literal["operator", "tenant"]:
    """Whose endpoints the caller makes."""
    return "operator" if call.principal.may("admin") else "tenant"


def _faults(faults: list[Fault]) -> list[dict[str, str]]:
    return [fault._asdict() for fault in faults]


def _versions(call: Call) -> list[str] | None:
    """The entity tags of If-Match (RFC 9110 section 13.1.1); None without it."""
    value = call.headers.get("If-Match")
    return None if value is None else _TAG.findall(value[:4096])


def _shown(call: Call, identifier: str, made: Made | None = None, status: int = 200) -> web.Response:
    endpoints = call.plant.endpoints
    body = endpoints.show(identifier)
    headers = {}
    version = endpoints.version(identifier)
    if version is not None:
        headers["ETag"] = version
    if made is not None:
        if made.secret is not None:
            body["secret"] = made.secret
        if made.expires is not None:
            body["old_secret_expires"] = timestamp(made.expires)
        body["warnings"] = _faults(made.warnings)
    if status == 201:
        headers["Location"] = f"{PATH}/{identifier}"
    return answer(body, status, headers=headers)


async def list_endpoints(call: Call) -> web.Response:
    """A page of them."""
    limit, cursor = page_of(call.query)
    endpoints = call.plant.endpoints
    ids = endpoints.ids()
    begin = 0
    if cursor is not None:
        (last,) = read_cursor(cursor, str)
        begin = ids.index(last) + 1 if last in ids else len(ids)
    chosen = ids[begin : begin + limit]
    lanes = {lane.name: lane for lane in call.plant.webhooks.lanes}
    more = begin + limit < len(ids)
    return answer(
        {
            "data": [endpoints.show(one, lanes) for one in chosen],
            "next": write_cursor(chosen[-1]) if more else None,
            "total": len(ids),
        }
    )


async def create_endpoint(call: Call) -> web.Response:
    """Make one; answered when it is stored, and served by then."""
    call.must_be_able_to_store()
    document = decode_object(call.body)
    with told():
        made = call.plant.endpoints.create(document, trust(call), call.principal.name)
    await call.stored()
    return _shown(call, made.id, made, 201)


async def get_endpoint(call: Call) -> web.Response:
    """Show one."""
    with told():
        return _shown(call, call.path["id"])


async def patch_endpoint(call: Call) -> web.Response:
    """Change one."""
    call.must_be_able_to_store()
    patch = decode_object(call.body)
    with told():
        made = await call.plant.endpoints.change(call.path["id"], patch, trust(call), _versions(call))
        await call.stored()
        return _shown(call, made.id, made)


async def delete_endpoint(call: Call) -> web.Response:
    """Delete one."""
    call.must_be_able_to_store()
    with told():
        await call.plant.endpoints.delete(call.path["id"], trust(call), _versions(call))
    await call.stored()
    return web.Response(status=204)


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
        raise Problem(422, "; ".join(f"{at}: {text}" for at, text in faults), errors=_faults(faults))
    with told():
        made = await call.plant.endpoints.rotate(
            call.path["id"], trust(call), secret=secret, expire_in=expire_in
        )
        await call.stored()
        return _shown(call, made.id, made)


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


ID_PARAMETER: Mapping[str, Any] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "Of one made over the API `ep_…`, of one of the file its name.",
    "schema": {"type": "string", "minLength": 1},
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The `ETag` that it was seen with: it is changed only if it still is at that.",
    "schema": {"type": "string"},
}
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "Of those of the API alone."}}
_404 = problem_response("No endpoint has this id.")
_409 = problem_response("It is one of the file, or there are too many.")
_412 = problem_response("It has changed since.")
_422 = problem_response("Settings that cannot be; `errors` has the path of each fault.")


def _ok(text: str) -> dict[str, Any]:
    return {"description": text, "headers": _ETAG, "content": json_content("EndpointChanged")}


ROUTES = (
    Route(
        "GET",
        PATH,
        "endpoints:read",
        list_endpoints,
        {
            "operationId": "listEndpoints",
            "summary": "All endpoints, those of the file first.",
            "tags": ["webhooks"],
            "parameters": list(PAGE_PARAMETERS),
            "responses": {
                "200": {"description": "A page of them.", "content": json_content("EndpointPage")},
                "422": problem_response("A limit or a cursor that is none."),
            },
        },
    ),
    Route(
        "POST",
        PATH,
        "endpoints:write",
        create_endpoint,
        {
            "operationId": "createEndpoint",
            "summary": "Make an endpoint.",
            "description": "Answered when it is on disk; it is sent events from then on. Where no `secret` "
            "is given one is made, and shown in this answer alone; with `null` requests are not signed.",
            "tags": ["webhooks"],
            "requestBody": {"required": True, "content": json_content("EndpointSettings")},
            "responses": {
                "201": {
                    "description": "Made.",
                    "headers": {**_ETAG, "Location": {"schema": {"type": "string"}}},
                    "content": json_content("EndpointChanged"),
                },
                "409": _409,
                "422": _422,
            },
        },
        JSON_TYPES,
    ),
    Route(
        "GET",
        ONE,
        "endpoints:read",
        get_endpoint,
        {
            "operationId": "getEndpoint",
            "summary": "One endpoint.",
            "tags": ["webhooks"],
            "parameters": [ID_PARAMETER],
            "responses": {
                "200": {"description": "It.", "headers": _ETAG, "content": json_content("Endpoint")},
                "404": _404,
            },
        },
    ),
    Route(
        "PATCH",
        ONE,
        "endpoints:write",
        patch_endpoint,
        {
            "operationId": "changeEndpoint",
            "summary": "Change an endpoint: JSON Merge Patch (RFC 7396), null for the default.",
            "description": "What waits for it is sent by the new settings. `secret: null` means unsigned.",
            "tags": ["webhooks"],
            "parameters": [ID_PARAMETER, _IF_MATCH],
            "requestBody": {
                "required": True,
                "content": {
                    kind: {"schema": schema("EndpointPatch")}
                    for kind in ("application/json", "application/merge-patch+json")
                },
            },
            "responses": {"200": _ok("Changed."), "404": _404, "409": _409, "412": _412, "422": _422},
        },
        PATCH_TYPES,
    ),
    Route(
        "DELETE",
        ONE,
        "endpoints:write",
        delete_endpoint,
        {
            "operationId": "deleteEndpoint",
            "summary": "Delete an endpoint, with what waits for it and its dead letters.",
            "tags": ["webhooks"],
            "parameters": [ID_PARAMETER, _IF_MATCH],
            "responses": {
                "204": {"description": "Deleted."},
                "404": _404,
                "409": _409,
                "412": _412,
            },
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
            "parameters": [ID_PARAMETER],
            "requestBody": {"content": json_content("RotateSecret")},
            "responses": {"200": _ok("Rotated."), "404": _404, "409": _409, "422": _422},
        },
        JSON_TYPES,
    ),
)

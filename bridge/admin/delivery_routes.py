"""The calls on what becomes of events, each with its documentation: those on one receiver, the same for every
kind (`of_each`), and those on all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from bridge.admin.crud import Crud
from bridge.admin.deliveries import (
    get_delivery,
    list_deliveries,
    list_logs,
    list_logs_of,
    retry_anywhere,
    retry_delivery,
)
from bridge.admin.operating import (
    disable_one,
    enable_one,
    get_stats,
    replay_one,
    stop_replay,
    test_one,
)
from bridge.admin.pages import PAGE_PARAMETERS
from bridge.admin.routes import JSON_TYPES, Call, Handler, Route, json_content, problem_response

READ, WRITE = "endpoints:read", "endpoints:write"
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
_CLIENT = {
    "name": "client",
    "in": "query",
    "description": "A client id; of business events the name of their source.",
    "schema": {"type": "string"},
}
_TOPIC = {
    "name": "topic",
    "in": "query",
    "description": "A topic filter such as `line/+/temp`: only events that have a topic.",
    "schema": {"type": "string"},
}
_FULL = {
    "name": "full",
    "in": "query",
    "schema": {"type": "boolean", "default": False},
    "description": "With headers, and how the responses begin.",
}
_404 = problem_response("Nothing has this id, or nothing is known of this event.")
_409 = problem_response("It is not served, or switched off; or the event is under way.")
_422 = problem_response("Something that cannot be; `errors` has the path of each fault.")
_OFTEN = {"404": _404, "409": _409}

HandlerOfOne = Callable[[Call, Crud], Awaitable[web.Response]]


def _route(
    method: str,
    path: str,
    scope: str,
    handler: Handler,
    operation: str,
    summary: str,
    responses: Mapping[str, Any],
    *,
    tag: str = "webhooks",
    parameters: Sequence[Mapping[str, Any]] = (),
    body: str = "",
    required: bool = False,
    description: str = "",
) -> Route:
    described: dict[str, Any] = {
        "operationId": operation,
        "summary": summary,
        "tags": [tag],
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


_TAKEN = _ok("It is sent again.", "Retried")


def of_each(crud: Crud, tag: str, among: str = "") -> tuple[Route, ...]:
    """The calls on one receiver of a kind. `among` stands in the names of those operations that would be the
    same for every kind."""
    name, noun = crud.name, crud.noun
    a_noun = f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"

    def route(
        method: str,
        below: str,
        scope: str,
        handler: HandlerOfOne,
        operation: str,
        summary: str,
        responses: Mapping[str, Any],
        *,
        parameters: Sequence[Mapping[str, Any]] = (),
        body: str = "",
        required: bool = False,
        description: str = "",
    ) -> Route:
        def handle(call: Call) -> Awaitable[web.Response]:
            return handler(call, crud)

        return _route(
            *(method, f"{crud.one}/{below}", scope, handle, operation, summary),
            responses,
            tag=tag,
            parameters=[crud.parameter, *parameters],
            body=body,
            required=required,
            description=description,
        )

    return (
        route(
            *("POST", "test", WRITE, test_one, f"test{name}"),
            f"Send a made-up event to {a_noun}.",
            {
                "200": _ok("What was sent, and what was answered.", "Trial"),
                **_OFTEN,
                "422": _422,
                "504": problem_response("It has not answered."),
            },
            body="TestRequest",
            description="An example of the type; without one, of the first type that it wants. It is outside "
            "its order, its figures and its log.",
        ),
        route(
            *("POST", "enable", WRITE, enable_one, f"enable{name}"),
            f"Switch {a_noun} on again that was switched off, by hand or because it failed.",
            {"200": _ok("It.", name), **_OFTEN},
        ),
        route(
            *("POST", "disable", WRITE, disable_one, f"disable{name}"),
            f"Switch {a_noun} off: its events wait.",
            {"200": _ok("It.", name), **_OFTEN},
        ),
        route(
            *("GET", "deliveries", READ, list_deliveries, f"list{among}Deliveries"),
            f"What {a_noun} was sent, the latest first: each event with its last attempt.",
            {"200": _ok("A page of them.", "DeliveryPage"), **_OFTEN, "422": _422},
            parameters=[_TYPE, _STATUS, _CLIENT, _TOPIC, _SINCE, _UNTIL, *PAGE_PARAMETERS],
        ),
        route(
            *("GET", "deliveries/{delivery}", READ, get_delivery, f"get{among}Delivery"),
            "One event: its payload, as far as it is still there, and its latest attempts with the answers.",
            {"200": _ok("It.", "Delivery"), **_OFTEN},
            parameters=[_DELIVERY_PARAMETER],
        ),
        route(
            *("POST", "deliveries/{delivery}/retry", WRITE, retry_delivery, f"retry{among}Delivery"),
            "Send one event again: a dead letter, one that waits for a retry, or one that was delivered.",
            {"202": _TAKEN, **_OFTEN, "422": _422},
            parameters=[_DELIVERY_PARAMETER],
            body="Nothing",
        ),
        route(
            *("GET", "logs", READ, list_logs_of, f"list{name}Logs"),
            f"Attempts of {a_noun}, the latest first.",
            {"200": _ok("A page of them.", "AttemptPage"), "404": _404, "422": _422},
            parameters=[_TYPE, _STATUS, _CLIENT, _TOPIC, _SINCE, _UNTIL, _FULL, *PAGE_PARAMETERS],
        ),
        route(
            *("POST", "replay", WRITE, replay_one, f"replay{name}"),
            "Send the events of a time again, with their ids, dead letters included.",
            {
                "200": _ok("All are handed over.", "Replay"),
                "202": _ok(f"It goes on; the {noun}'s `stats` say how far it has come.", "Replay"),
                **_OFTEN,
                "422": _422,
            },
            body="ReplayRequest",
            required=True,
            description="Fresh events go on beside it. How far back one can go: `sqlite.retention`.",
        ),
        route(
            *("DELETE", "replay", WRITE, stop_replay, f"stop{among}Replay"),
            "Stop a replay: what is handed over is still sent.",
            {"204": {"description": "None is running."}, **_OFTEN},
        ),
        route(
            *("GET", "stats", READ, get_stats, f"get{name}Stats"),
            f"The figures of {a_noun}.",
            {"200": _ok("They.", "EndpointStats"), **_OFTEN},
        ),
    )


_ENDPOINT = {
    "name": "endpoint",
    "in": "query",
    "schema": {"type": "string"},
    "description": "Its id; of a publisher `mqtt_publishers.` and its id.",
}
ROUTES = (
    _route(
        *("POST", "/api/v2/webhooks/deliveries/{delivery}/retry", WRITE, retry_anywhere, "retryAnywhere"),
        "Send one event again to one endpoint, or to all that have it as a dead letter or wait to retry it.",
        {"202": _TAKEN, "404": _404, "409": _409, "422": _422},
        parameters=[_DELIVERY_PARAMETER, _ENDPOINT],
        body="Nothing",
    ),
    _route(
        *("GET", "/api/v2/webhooks/logs", READ, list_logs, "listLogs"),
        "Attempts of all endpoints and publishers or one, the latest first.",
        {"200": _ok("A page of them.", "AttemptPage"), "404": _404, "422": _422},
        parameters=[_ENDPOINT, _TYPE, _STATUS, _CLIENT, _TOPIC, _SINCE, _UNTIL, _FULL, *PAGE_PARAMETERS],
    ),
)

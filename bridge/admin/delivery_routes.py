"""The calls on what becomes of events, each with its documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.admin.crud import ID_PARAMETER
from bridge.admin.deliveries import get_delivery, list_deliveries, list_logs, retry_anywhere, retry_delivery
from bridge.admin.endpoint_routes import ONE
from bridge.admin.operating import (
    disable_endpoint,
    enable_endpoint,
    get_stats,
    replay_endpoint,
    stop_replay,
    test_endpoint,
)
from bridge.admin.pages import PAGE_PARAMETERS
from bridge.admin.routes import JSON_TYPES, Handler, Route, json_content, problem_response

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

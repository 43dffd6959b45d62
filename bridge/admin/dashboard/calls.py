"""The calls that the dashboard is made of beside the rest of the API, each with its documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from bridge.admin.dashboard.live import OverviewFeed
from bridge.admin.dashboard.stream import TYPE, EventStream, Feed
from bridge.admin.dashboard.tail import Wanted
from bridge.admin.pages import invalid
from bridge.admin.problems import Problem
from bridge.admin.routes import Call, Route, json_content, problem_response, schema
from bridge.delivery import lookup
from bridge.delivery.errors import Refused
from bridge.events.event import TOPIC_EVENTS, EventType
from bridge.events.names import matching
from bridge.mqtt.topics import valid_topic_filter

READ = "endpoints:read"
CLIENTS = "clients:read"
MAX_SECONDS = 86_400
MAX_TYPES = 20
"""Types and patterns that one watches."""
USUAL = (
    EventType.MESSAGE_PUBLISH,
    EventType.CLIENT_CONNECTED,
    EventType.CLIENT_DISCONNECTED,
    EventType.SESSION_SUBSCRIBED,
    EventType.SESSION_UNSUBSCRIBED,
)
"""What is watched of the broker where nothing is said: not what happens once for each subscriber."""
_SECONDS = re.compile(r"[0-9]{1,5}")


async def get_overview(call: Call) -> web.Response:
    """What happens now, what is wrong, and the last hour."""
    overview = call.plant.live.overview
    clients = call.principal.may(CLIENTS)
    body = (await overview.now()).of(clients=clients)
    if _flag(call, "history", default=True):
        # Two encodings put together: the larger one is not made anew for a document that changes each second.
        body = body[:-1] + b',"history":' + msgspec.json.encode(overview.history(clients=clients)) + b"}"
    return web.Response(body=body, content_type="application/json")


async def watch_overview(call: Call) -> web.StreamResponse:
    """The overview, every second."""
    seconds = seconds_of(call)
    must_have_room(call)
    return stream(call, OverviewFeed(call.plant.live.overview, clients=call.principal.may(CLIENTS)), seconds)


async def watch_events(call: Call) -> web.StreamResponse:
    """Events as they come."""
    query = call.query
    seconds = seconds_of(call)
    wanted = _wanted(call)
    seen = query.get("after") or call.headers.get("Last-Event-ID") or ""
    must_have_room(call)
    return stream(call, call.plant.live.tail.watch(call.principal.name, wanted, seen[:64]), seconds)


def _wanted(call: Call) -> Wanted:
    """What is to be watched. Raises Problem (422)."""
    topic = call.query.get("topic") or None
    if topic is not None and not valid_topic_filter(topic):
        raise invalid("topic", f"found {topic[:80]!r}, expected a topic filter such as line/+/temp or line/#")
    text = call.query.get("type") or ""
    words = [word.strip() for word in text.split(",") if word.strip()][: MAX_TYPES + 1]
    if len(words) > MAX_TYPES:
        raise invalid("type", f"more than {MAX_TYPES} types")
    business = call.principal.may(READ) and topic is None
    if not words:
        kinds: dict[EventType, None] = dict.fromkeys(USUAL)
        patterns = ["*"] if business else []
    else:
        kinds = {}
        patterns = []
        for word in words:
            try:
                lookup.type_pattern(word)
            except Refused as error:
                raise invalid("type", str(error)) from None
            found = matching(word)
            kinds.update(dict.fromkeys(found))
            if business and (not found or "*" in word or "?" in word):
                patterns.append(word)
    if topic is not None:
        kinds = {kind: None for kind in kinds if kind in TOPIC_EVENTS}
    if not kinds and not patterns:
        raise invalid("type", "no event that you may see has this type, or has a topic")
    return Wanted(tuple(kinds), topic, tuple(patterns))


def _flag(call: Call, name: str, *, default: bool) -> bool:
    text = call.query.get(name)
    if text is None:
        return default
    if text not in ("true", "false"):
        raise invalid(name, f"found {text[:40]!r}, expected true or false")
    return text == "true"


def seconds_of(call: Call) -> float | None:
    """For how long to go on. Raises Problem (422)."""
    text = call.query.get("seconds")
    if text is None:
        return None
    if not _SECONDS.fullmatch(text) or not 1 <= int(text) <= MAX_SECONDS:
        raise invalid("seconds", f"found {text[:40]!r}, expected a whole number from 1 to {MAX_SECONDS}")
    return float(text)


def must_have_room(call: Call) -> None:
    """Raises Problem (503) where as many watch as may."""
    if call.plant.live.watchers.full():
        raise Problem(503, "too many are watching already", headers={"Retry-After": "5"})


def stream(call: Call, feed: Feed, seconds: float | None) -> EventStream:
    """The answer that goes on."""
    principal, access = call.principal, call.access

    def used() -> None:
        if access is not None and principal.session is not None:
            access.sessions.use(principal.session)

    return EventStream(feed, call.plant.live.watchers, principal.valid, used, seconds)


SECONDS_PARAMETER: Mapping[str, Any] = {
    "name": "seconds",
    "in": "query",
    "description": "End after so many; without it, when the reader goes.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_SECONDS},
}
_422 = problem_response("A parameter that cannot be.")


def events(text: str, **data: str) -> dict[str, Any]:
    """A response of Server-Sent Events; `data` are the schemas of their data by their names. As in OpenAPI
    3.2, the schema is that of one event."""
    kinds = [
        {
            "type": "object",
            "required": ["event", "data"],
            "properties": {
                "event": {"const": name},
                "id": {"type": "string"},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": schema(found),
                },
            },
        }
        for name, found in data.items()
    ]
    return {"description": text, "content": {TYPE: {"schema": {"anyOf": kinds}}}}


ROUTES: tuple[Route, ...] = (
    Route(
        *("GET", "/api/v2/overview", READ, get_overview),
        {
            "operationId": "getOverview",
            "summary": "What happens now, what is wrong, and the last hour.",
            "description": "What concerns clients is null for a caller without the scope `clients:read`.",
            "tags": ["overview"],
            "parameters": [
                {
                    "name": "history",
                    "in": "query",
                    "description": "Whether the last hour comes too.",
                    "schema": {"type": "boolean", "default": True},
                }
            ],
            "responses": {
                "200": {"description": "It.", "content": json_content("Overview")},
                "422": _422,
            },
        },
    ),
    Route(
        *("GET", "/api/v2/live/overview", READ, watch_overview),
        {
            "operationId": "watchOverview",
            "summary": "The overview every second, as Server-Sent Events.",
            "description": "Events named `overview`, whose data is that of `GET /api/v2/overview` without "
            "its history.",
            "tags": ["overview"],
            "parameters": [SECONDS_PARAMETER],
            "responses": {"200": events("They, until the reader goes.", overview="Overview"), "422": _422},
        },
    ),
    Route(
        *("GET", "/api/v2/live/events", CLIENTS, watch_events),
        {
            "operationId": "watchEvents",
            "summary": "Events as they come, as Server-Sent Events.",
            "description": "Named `event`, with an `id`; and named `dropped` with the number of those that "
            "were left out, null where nobody knows: there are at most 200 a second. A reader that comes "
            "back within 10 s with `Last-Event-ID`, and the same filter, goes on where it was. Business "
            "events need the scope `endpoints:read` too.",
            "tags": ["overview"],
            "parameters": [
                {
                    "name": "topic",
                    "in": "query",
                    "description": "A topic filter: only events that have a topic.",
                    "schema": {"type": "string"},
                },
                {
                    "name": "type",
                    "in": "query",
                    "description": "Types or patterns with commas between them: `message.publish`, "
                    "`client.*`, `work_order.*`; without it messages, connections, subscriptions and "
                    "business events.",
                    "schema": {"type": "string"},
                },
                {
                    "name": "after",
                    "in": "query",
                    "description": "The id of the last event that was seen, in place of `Last-Event-ID`.",
                    "schema": {"type": "string", "maxLength": 64},
                },
                SECONDS_PARAMETER,
            ],
            "responses": {
                "200": events("They, until the reader goes.", event="TailEvent", dropped="TailDropped"),
                "422": _422,
            },
        },
    ),
)

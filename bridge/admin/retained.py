"""Retained messages as in EMQX 5: listed without their payloads, shown, deleted."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from typing import Any

from aiohttp import web

from bridge.admin.paging import (
    check_names,
    collect,
    listed,
    page_parameters,
    parameter,
    read_page,
    v5_members,
)
from bridge.admin.problems import Problem, answer
from bridge.admin.routes import Call, Route, json_content, problem_response
from bridge.broker.client import Client, Message
from bridge.broker.routing import make_message, retain
from bridge.mqtt.packets import Publish
from bridge.mqtt.topics import matches, valid_topic_filter, valid_topic_name

LIMIT = 100
"""Rows of a page where none are asked for: EMQX 5's."""
MAX_PAYLOAD = 1 << 20
"""Bytes of a payload that is shown: EMQX's bound."""


def _row(call: Call, message: Message) -> dict[str, Any]:
    return {
        "msgid": call.plant.message_id(message.number),
        "topic": message.topic,
        "qos": message.qos,
        "publish_at": datetime.fromtimestamp(message.ts / 1000).astimezone().isoformat("T", "milliseconds"),
        "from_clientid": message.client.clientid,
        "from_username": message.client.username or "",
    }


async def get_messages(call: Call) -> web.Response:
    """A page of them; `topic` is a filter with or without wildcards."""
    check_names(call.query, ("topic",))
    page = read_page(call.query, LIMIT)
    broker = call.plant.broker
    wanted = call.query.get("topic")
    if wanted is not None and not valid_topic_filter(wanted, broker.settings.max_topic_levels):
        raise Problem(400, "topic: expected a topic filter")

    def row(topic: str) -> dict[str, Any]:
        message = _find(call, topic)
        # It may have gone since the list was made.
        return _row(call, message) if message is not None else {"topic": topic}

    fits = None if wanted is None else lambda topic: matches(wanted, topic)
    return listed(await collect(broker.retained.topics(), page, fits, row), page, code=False)


def _find(call: Call, topic: str) -> Message | None:
    broker = call.plant.broker
    return next(broker.retained.find(topic, broker.loop.time()), None)


def _named(call: Call) -> Message:
    topic = call.path["topic"]
    if not valid_topic_name(topic):
        raise Problem(400, "topic: expected a topic without wildcards")
    message = _find(call, topic)
    if message is None:
        raise Problem(404, "no message is retained on this topic")
    return message


async def get_message(call: Call) -> web.Response:
    """One, with its payload as base64 where that is not too long."""
    message = _named(call)
    row = _row(call, message)
    if len(message.payload) <= MAX_PAYLOAD:
        row["payload"] = b64encode(message.payload).decode("ascii")
    return answer(row)


async def delete_message(call: Call) -> web.Response:
    """Forget one, as an empty retained message would ([MQTT-3.3.1-6]); nobody is told."""
    call.must_be_able_to_store()
    broker = call.plant.broker
    message = _named(call)
    client = Client(clientid="", username=call.principal.name, peername=call.peername)
    packet = Publish(message.topic, b"", 0, True)
    retain(broker, make_message(broker, client, packet, broker.now_ms(), 0))
    await call.stored()
    return web.Response(status=204)


_TOPIC = parameter("topic", "The topic, percent-encoded (`/` is `%2F`).", place="path")
_ERRORS = {
    "400": problem_response("Not a topic."),
    "404": problem_response("No message is retained there."),
}

ROUTES = (
    Route(
        "GET",
        "/api/v5/mqtt/retainer/messages",
        "clients:read",
        get_messages,
        {
            "operationId": "getRetainedMessages",
            "summary": "Retained messages, as in EMQX 5.",
            "tags": ["retained"],
            "parameters": [
                parameter("topic", "Topics that match this filter."),
                *page_parameters(LIMIT, ""),
            ],
            "responses": {
                "200": {"description": "A page.", "content": json_content("RetainedMessages")},
                "400": problem_response("A parameter."),
            },
        },
        members=v5_members,
    ),
    Route(
        "GET",
        "/api/v5/mqtt/retainer/message/{topic}",
        "clients:read",
        get_message,
        {
            "operationId": "getRetainedMessage",
            "summary": "One retained message, with its payload.",
            "tags": ["retained"],
            "parameters": [_TOPIC],
            "responses": {
                "200": {"description": "The message.", "content": json_content("RetainedMessage")},
                **_ERRORS,
            },
        },
        members=v5_members,
    ),
    Route(
        "DELETE",
        "/api/v5/mqtt/retainer/message/{topic}",
        "clients:write",
        delete_message,
        {
            "operationId": "deleteRetainedMessage",
            "summary": "Delete a retained message.",
            "tags": ["retained"],
            "parameters": [_TOPIC],
            "responses": {"204": {"description": "Deleted."}, **_ERRORS},
        },
        members=v5_members,
    ),
)

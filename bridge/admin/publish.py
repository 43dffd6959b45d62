"""MQTT messages published by HTTP, as EMQX (`/api/v5/publish`) and NanoMQ (`/api/v4/mqtt/publish`) have it.

The messages fire the hooks like any other, and are answered once they are stored.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from bridge.admin.problems import Problem, answer
from bridge.admin.routes import (
    JSON_OR_FORM,
    JSON_TYPES,
    Call,
    Route,
    decode_json,
    json_content,
    problem_response,
)
from bridge.broker.client import Client
from bridge.broker.routing import looked_into, publish_from_outside
from bridge.mqtt.packets import Properties, Publish
from bridge.mqtt.reasons import ReasonCode, disconnect_name
from bridge.mqtt.topics import valid_topic_name

CLIENTID = "http_api"
"""The client id of messages whose sender gives none: EMQX's word."""
NO_MATCHING_SUBSCRIBERS = 16
MAX_TOPICS = 1000
MAX_STRING = 65535  # bytes of a string in a packet (section 1.5.4)
MAX_USER_PROPERTIES = 1000

Qos = Annotated[int, msgspec.Meta(ge=0, le=2)]
UserProperties = dict[str, str | int | float | bool]


class PublishProperties(msgspec.Struct, kw_only=True):
    """MQTT 5's properties of a message, as both APIs name them."""

    payload_format_indicator: Annotated[int, msgspec.Meta(ge=0, le=1)] | None = None
    message_expiry_interval: Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)] | None = None
    response_topic: str | None = None
    correlation_data: str | None = None
    content_type: str | None = None
    user_properties: UserProperties | None = None


class PublishEmqx(msgspec.Struct, kw_only=True):
    """A message for `/api/v5/publish`."""

    topic: str
    payload: str
    payload_encoding: Literal["plain", "base64"] = "plain"
    qos: Qos = 0
    retain: bool = False
    clientid: str | None = None
    properties: PublishProperties | None = None


class PublishNanomq(msgspec.Struct, kw_only=True):
    """A message for `/api/v4/mqtt/publish`, to `topic` or to several `topics` with commas between them."""

    topic: str | None = None
    topics: str | None = None
    clientid: str | None = None
    payload: str
    encoding: Literal["plain", "base64"] = "plain"
    qos: Qos = 0
    retain: bool = False
    properties: PublishProperties | None = None


class _Fault(Exception):
    """What cannot be published; one plain sentence."""


def _body(call: Call, kind: type[Any]) -> Any:
    value = decode_json(call.body)
    if not isinstance(value, dict):
        raise Problem(400, "expected a message, an object with topic and payload")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _Fault(str(error)) from None


def _payload(text: str, encoding: str) -> bytes:
    try:
        return b64decode(text, validate=True) if encoding == "base64" else text.encode()
    except UnicodeEncodeError:
        raise _Fault("the payload has half of a surrogate pair, which is no character") from None
    except ValueError:
        raise _Fault("the payload is not base64") from None


def _text(name: str, text: str) -> str:
    """A string that a packet can hold ([MQTT-1.5.4-1], [MQTT-1.5.4-2]). Raises _Fault."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        size = MAX_STRING + 1
    if size > MAX_STRING or "\0" in text:
        raise _Fault(f"{name}: expected at most {MAX_STRING} bytes without U+0000")
    return text


def _properties(call: Call, given: PublishProperties | None) -> Properties | None:
    if given is None:
        return None
    if given.response_topic is not None and not valid_topic_name(given.response_topic):
        raise _Fault("properties.response_topic: expected a topic without wildcards")  # [MQTT-3.3.2-14]
    pairs = [
        (_text("properties.user_properties", name), _text("properties.user_properties", _shown(value)))
        for name, value in (given.user_properties or {}).items()
    ]
    if len(pairs) > MAX_USER_PROPERTIES:
        raise _Fault(f"properties.user_properties: expected at most {MAX_USER_PROPERTIES}")
    content = given.content_type
    correlation = given.correlation_data
    made = Properties(
        payload_format_indicator=given.payload_format_indicator,
        message_expiry_interval=given.message_expiry_interval,
        response_topic=given.response_topic,
        correlation_data=None
        if correlation is None
        else _text("properties.correlation_data", correlation).encode(),
        content_type=None if content is None else _text("properties.content_type", content),
        user_property=pairs or None,
    )
    size = sum(len(name.encode()) + len(value.encode()) + 5 for name, value in pairs) + sum(
        len(text.encode()) for text in (content, correlation, given.response_topic) if text is not None
    )
    limit = call.plant.broker.settings.property_size
    if size > limit:
        raise _Fault(f"properties: found about {size} bytes, expected at most {limit} (mqtt.property_size)")
    return made


def _shown(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _packet(
    call: Call, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties | None
) -> Publish:
    settings = call.plant.broker.settings
    if not valid_topic_name(topic, settings.max_topic_levels):
        raise _Fault(
            f"topic: found {topic[:80]!r}, expected a topic without wildcards, of at most {MAX_STRING} bytes"
            f" and {settings.max_topic_levels} levels"
        )
    if len(payload) + len(topic.encode()) + 16 > settings.max_packet_size:
        raise Problem(413, f"the message is larger than mqtt.max_packet_size ({settings.max_packet_size})")
    return Publish(topic, payload, qos, retain, properties=properties)


def _client(call: Call, clientid: str | None, version: int) -> Client:
    plant = call.plant
    clientid = clientid or CLIENTID
    if len(clientid.encode("utf-8", "surrogatepass")) > plant.broker.settings.max_client_id:
        raise _Fault(f"clientid: expected at most {plant.broker.settings.max_client_id} bytes")
    return Client(
        clientid=_text("clientid", clientid),
        username=call.principal.name,
        peername=call.peername,
        proto_ver=version,
    )


async def post_emqx(call: Call) -> web.Response:
    """EMQX: 200 with the message's id, or 202 where nobody has subscribed."""
    call.must_be_able_to_store()
    plant = call.plant
    try:
        body: PublishEmqx = _body(call, PublishEmqx)
        client = _client(call, body.clientid, 5)
        payload = _payload(body.payload, body.payload_encoding)
        properties = _properties(call, body.properties)
        packet = _packet(call, body.topic, payload, body.qos, body.retain, properties)
    except _Fault as error:
        raise Problem(400, str(error)) from None
    async with looked_into(plant.broker, client, packet):
        published = publish_from_outside(plant.broker, client, packet)
    if published.code:
        raise _refused(published.code, reason_code=published.code)
    await call.stored()
    if not published.anyone:
        return answer({"reason_code": NO_MATCHING_SUBSCRIBERS, "message": "no_matching_subscribers"}, 202)
    return answer({"id": plant.message_id(published.number)})


async def post_nanomq(call: Call) -> web.Response:
    """NanoMQ: `{"code": 0}`, for one topic or several."""
    call.must_be_able_to_store()
    try:
        body: PublishNanomq = _body(call, PublishNanomq)
        given = body.topic if body.topic is not None else body.topics
        if given is None:
            raise _Fault("found neither topic nor topics")
        topics = [given] if body.topic is not None else [part for part in given.split(",") if part]
        if not 1 <= len(topics) <= MAX_TOPICS:
            raise _Fault(f"topics: found {len(topics)}, expected 1 to {MAX_TOPICS}")
        client = _client(call, body.clientid, 4 if body.properties is None else 5)
        payload = _payload(body.payload, body.encoding)
        properties = _properties(call, body.properties)
        packets = [_packet(call, topic, payload, body.qos, body.retain, properties) for topic in topics]
    except _Fault as error:
        raise Problem(400, str(error), code=REQ_PARAM_ERROR) from None
    taken = 0
    code = 0
    for packet in packets:
        async with looked_into(call.plant.broker, client, packet):
            published = publish_from_outside(call.plant.broker, client, packet)
        code = code or published.code
        taken += not published.code
    if taken:
        await call.stored()
    if code:
        wrong = {"code": REQ_PARAM_ERROR} if code in _WRONG else {}
        raise _refused(code, published=taken, **wrong)
    return answer({"code": 0})


_WRONG = frozenset({ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, ReasonCode.PAYLOAD_FORMAT_INVALID})
"""Reasons that lie in the message: it carries no event that is taken (`events.lift`)."""


def _refused(code: int, /, **members: Any) -> Problem:
    name = disconnect_name(code)
    if code in _WRONG:
        return Problem(400, f"the message was refused: {name}", **members)
    return Problem(503, f"the message was refused: {name}", headers={"Retry-After": "10"}, **members)


# NanoMQ's result codes.
RPC_ERROR = 101
UNKNOWN_MISTAKE = 102
WRONG_USERNAME_OR_PASSWORD = 103
REQ_PARAM_ERROR = 108
REQ_PARAMS_JSON_FORMAT_ILLEGAL = 109
_NANOMQ = {400: REQ_PARAMS_JSON_FORMAT_ILLEGAL, 401: WRONG_USERNAME_OR_PASSWORD, 503: RPC_ERROR}
_EMQX = {
    400: "BAD_REQUEST",
    401: "BAD_API_KEY_OR_SECRET",
    403: "UNAUTHORIZED_ROLE",
    413: "BAD_REQUEST",
    415: "UNSUPPORTED_MEDIA_TYPE",
    503: "SERVICE_UNAVAILABLE",
}


def _nanomq_members(status: int, detail: str) -> dict[str, Any]:
    return {"code": _NANOMQ.get(status, UNKNOWN_MISTAKE)}


def _emqx_members(status: int, detail: str) -> dict[str, Any]:
    return {"code": _EMQX.get(status, "INTERNAL_ERROR"), "message": detail}


ROUTES = (
    Route(
        "POST",
        "/api/v5/publish",
        "publish",
        post_emqx,
        {
            "operationId": "publishEmqx",
            "summary": "Publish an MQTT message, as in EMQX.",
            "description": "Errors have `code` and `message` as EMQX's too.",
            "tags": ["publish"],
            "requestBody": {"required": True, "content": json_content("PublishEmqx")},
            "responses": {
                "200": {
                    "description": "Stored, and given to subscribers.",
                    "content": json_content("MessageId"),
                },
                "202": {
                    "description": "Stored; nobody has subscribed to the topic.",
                    "content": json_content("ReasonCode"),
                },
                "503": problem_response("Refused, or the store cannot be written at present."),
            },
        },
        JSON_TYPES,
        _emqx_members,
    ),
    Route(
        "POST",
        "/api/v4/mqtt/publish",
        "publish",
        post_nanomq,
        {
            "operationId": "publishNanomq",
            "summary": "Publish an MQTT message, as in NanoMQ.",
            "description": "Errors have NanoMQ's `code` too: 101 not now, 102 unknown, 103 credentials, "
            "108 a parameter, 109 not JSON.",
            "tags": ["publish"],
            "requestBody": {"required": True, "content": json_content("PublishNanomq")},
            "responses": {
                "200": {"description": "Stored.", "content": json_content("ResultCode")},
                "503": problem_response("Refused, or the store cannot be written at present."),
            },
        },
        JSON_OR_FORM,
        _nanomq_members,
    ),
)

"""What an endpoint would send, while its settings are still being written: checked by what checks them, built
by what builds every request. Nothing is stored, and nothing is sent but by `test_draft`."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import web

from bridge.admin.crud import Crud, fault_members, told, trust
from bridge.admin.endpoint_routes import CRUD as ENDPOINTS
from bridge.admin.named import as_problem, only_members
from bridge.admin.operating import tried, usual_type
from bridge.admin.pages import invalid
from bridge.admin.problems import Problem, answer
from bridge.admin.publisher_routes import CRUD as PUBLISHERS
from bridge.admin.routes import JSON_TYPES, Call, Route, decode_object, json_content, problem_response
from bridge.config import mask
from bridge.config.json_node import Fault, text_of
from bridge.delivery import lookup
from bridge.delivery.attempt_text import header_lines
from bridge.delivery.errors import EndpointError, Refused
from bridge.delivery.lane import Lane
from bridge.delivery.sample import business_event, drafted, sample_event
from bridge.events.event import Event, EventType
from bridge.events.js_json import dumps

MAX_BODY = 64 << 10
"""Characters of a body that are shown."""
MAX_PAYLOAD = 64 << 10
MAX_VALUE = 200
"""Characters of a value that a fault shows."""
_TEXTS = ("topic", "payload", "clientid", "username")
_SAMPLE = (*_TEXTS, "payload_encoding", "qos", "retain", "data")


class Draft(NamedTuple):
    """Settings that are still being written, and the event that they are tried with. `lane` is None where the
    settings have faults."""

    document: Mapping[str, Any]
    settings: Any
    lane: Lane | None
    faults: list[Fault]
    warnings: list[Fault]
    kind: str | None
    sample: Mapping[str, Any]


def _draft(call: Call, crud: Crud) -> Draft:
    """What the body has. Raises Problem (404, 409, 422)."""
    body = decode_object(call.body)
    only_members(body, "endpoint", "id", "type", "sample")
    document, identifier, kind = body.get("endpoint", {}), body.get("id"), body.get("type")
    sample = body.get("sample")
    if not isinstance(document, dict):
        raise invalid("endpoint", "expected an object, the settings")
    for name, value in (("id", identifier), ("type", kind)):
        if value is not None and not isinstance(value, str):
            raise invalid(name, "expected a text")
    if sample is not None and not isinstance(sample, dict):
        raise invalid("sample", "expected an object")
    with told():
        read = crud.of(call.plant).draft(document, trust(call), identifier=identifier, may=call.principal.may)
    faults = read.errors
    lane: Lane | None = None
    if read.settings is not None:
        try:
            lane = call.plant.webhooks.draft(read.settings)
        except EndpointError as error:
            faults = [Fault("/" + error.key.replace(".", "/"), error.cause)]
    return Draft(document, read.settings, lane, faults, read.warnings, kind, sample or {})


async def preview(call: Call, crud: Crud) -> web.Response:
    """See the module."""
    draft = _draft(call, crud)
    lane = draft.lane
    warnings = _faults(draft.warnings, draft.document)
    if lane is None:
        shown = {"valid": False, "faults": _faults(draft.faults, draft.document), "warnings": warnings}
        return answer({**shown, "type": draft.kind, "wanted": None, "request": None, "error": ""})
    found = draft.kind or usual_type(lane, list(call.plant.intake.catalogue or ()))
    event = _event(call, found, lane, draft.sample)
    request, why = _request(lane, event)
    return answer(
        {
            "valid": True,
            "faults": [],
            "warnings": warnings,
            "type": found,
            "wanted": call.plant.webhooks.wanted(draft.settings, event),
            "request": request,
            "error": why,
        }
    )


async def test_draft(call: Call, crud: Crud) -> web.Response:
    """Send one request with settings that are not stored, and show what was answered."""
    draft = _draft(call, crud)
    lane = draft.lane
    if lane is None:
        text = "; ".join(text_of(fault) for fault in draft.faults)
        raise Problem(422, text, errors=fault_members(draft.faults))
    found = draft.kind or usual_type(lane, list(call.plant.intake.catalogue or ()))
    event = _event(call, found, lane, draft.sample)
    lane.begin_draft()
    try:
        return await tried(call, crud, lane, event, found)
    finally:
        lane.end_draft()


def _faults(faults: list[Fault], document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each with what stands at its place in the document, unless that is secret."""
    return [
        {
            "path": fault.path,
            "message": fault.message,
            "value": _value(fault.path, document),
            "expected": fault.message.partition("expected ")[2],
        }
        for fault in faults
    ]


def _value(path: str, document: Any) -> Any:
    for name in path.split("/")[1:]:
        key = name.replace("~1", "/").replace("~0", "~")
        if mask.is_secret(key) or key in ("headers", "url", "proxy"):
            return None
        if isinstance(document, dict):
            document = document.get(key)
        elif isinstance(document, list) and key.isdecimal() and int(key) < len(document):
            document = document[int(key)]
        else:
            return None
    if isinstance(document, str):
        return document[:MAX_VALUE]
    return document if isinstance(document, bool | int | float) else None


def _event(call: Call, kind: str, lane: Lane, sample: Mapping[str, Any]) -> Event:
    """The made-up event of a type, with what the caller says of it. Raises Problem (422)."""
    for name in sample:
        if name not in _SAMPLE:
            raise invalid("sample", f"unknown member {name[:64]!r}, expected {', '.join(_SAMPLE)}")
    now = int(time.time() * 1000)
    try:
        found = lookup.sample(kind, call.plant.settings.events.catalogue, lane.id, now)
    except Refused as error:
        if sample.get("data") is None or not _is_type(kind):
            raise as_problem(error, name="type") from None
        found = business_event(kind, b"{}", lane.id, now)  # one of a type that nobody knows, as it may come
    event = found if isinstance(found, Event) else sample_event(found, lane.id, now)
    data = sample.get("data")
    if data is not None:
        if event.type != EventType.DOMAIN or not isinstance(data, dict):
            raise invalid("sample/data", "expected an object, and a type of business events")
        try:
            event.payload = dumps(data)
        except ValueError as error:
            raise invalid("sample/data", str(error)) from None
    for name in _TEXTS:
        value = sample.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or len(value) > MAX_PAYLOAD:
            raise invalid(f"sample/{name}", f"expected a text of at most {MAX_PAYLOAD} characters")
        if event.type == EventType.DOMAIN:
            raise invalid(f"sample/{name}", "a business event has none, expected data")
        if name == "payload":
            event.payload = _payload(value, sample.get("payload_encoding"))
        else:
            setattr(event, name, value)
    if (qos := sample.get("qos")) is not None:
        if isinstance(qos, bool) or qos not in (0, 1, 2):
            raise invalid("sample/qos", "expected 0, 1 or 2")
        event.qos = qos
    if (retain := sample.get("retain")) is not None:
        if not isinstance(retain, bool):
            raise invalid("sample/retain", "expected true or false")
        event.retain = retain
    return event


def _is_type(kind: str) -> bool:
    return "." in kind and len(kind) <= 128 and not any(sign in kind for sign in "*?[")


def _payload(text: str, encoding: Any) -> bytes:
    if encoding in (None, "plain"):
        return text.encode("utf-8", "surrogatepass")
    if encoding != "base64":
        raise invalid("sample/payload_encoding", "expected plain or base64")
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise invalid("sample/payload", "expected base64") from None


def _request(lane: Lane, event: Event) -> tuple[dict[str, Any] | None, str]:
    """The request, or why there is none."""
    scrub = lane.target.scrub
    try:
        request, body = drafted(lane, event)
    except Exception as error:  # a body that cannot be made of this event
        return None, scrub(str(error) or type(error).__name__)[:500]
    first, headers = header_lines(request, scrub)
    method, _, rest = first.partition(" ")
    target = rest.rpartition(" ")[0]
    if method == "PUBLISH":
        url = target
    else:
        host = next((value for name, value in headers if name.lower() == "host"), "")
        scheme = lane.target.label.partition(":")[0]
        url = mask.url(target if "://" in target else f"{scheme}://{host}{target}")
    text = scrub(body[: 4 * MAX_BODY].decode("utf-8", "replace"))
    return {
        "method": method,
        "url": url,
        "headers": [{"name": name, "value": value} for name, value in headers],
        "body": text[:MAX_BODY],
        "body_bytes": len(body),
    }, ""


def _route(path: str, crud: Crud, tag: str) -> Route:
    async def handle(call: Call) -> web.Response:
        return await preview(call, crud)

    return Route(
        *("POST", path, "endpoints:write", handle),
        {
            "operationId": f"preview{crud.name}",
            "summary": f"What {'an' if crud.noun[0] in 'aeiou' else 'a'} {crud.noun} of these settings would "
            "send; nothing is stored or sent.",
            "description": "`endpoint` are settings as for making one, or with `id` a patch of that one. "
            "The event is the example of `type`, or of the first type that it wants, as `sample` says.",
            "tags": [tag],
            "requestBody": {"required": True, "content": json_content("PreviewRequest")},
            "responses": {
                "200": {"description": "Faults, or the request.", "content": json_content("Preview")},
                "404": problem_response(f"No {crud.noun} has this id."),
                "409": problem_response("It is one of the file, and is changed there."),
                "422": problem_response("No such type of event, or no such sample."),
            },
        },
        JSON_TYPES,
    )


async def _test(call: Call) -> web.Response:
    return await test_draft(call, ENDPOINTS)


ROUTES = (
    _route("/api/v2/webhooks/preview", ENDPOINTS, "webhooks"),
    _route("/api/v2/mqtt/preview", PUBLISHERS, "publishers"),
    Route(
        *("POST", "/api/v2/webhooks/test", "endpoints:write", _test),
        {
            "operationId": "testDraft",
            "summary": "Send a made-up event with settings that are not stored.",
            "description": "The body is that of a preview. One request is sent, to the address that the "
            "settings name, within what `egress` allows.",
            "tags": ["webhooks"],
            "requestBody": {"required": True, "content": json_content("PreviewRequest")},
            "responses": {
                "200": {"description": "What was sent, and answered.", "content": json_content("Trial")},
                "404": problem_response("No endpoint has this id."),
                "409": problem_response("It is one of the file, and is changed there."),
                "422": problem_response("Settings that cannot be, no such type of event, or no such sample."),
                "504": problem_response("The receiver has not answered."),
            },
        },
        JSON_TYPES,
    ),
)

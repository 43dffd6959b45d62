"""Test requests: every type of event, in every format, as a real one would be."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from standardwebhooks import Webhook

from bridge.config.settings import BatchPolicy, CloudEvents, Encoding, Endpoint, Secret, Signature
from bridge.delivery.sample import CLIENT, PAYLOAD, RECEIVER, TOPIC, USER, sample_event, send_test
from bridge.events.event import HOOK_EVENTS, MESSAGE_EVENTS, TOPIC_EVENTS, EventType
from bridge.events.formats import Origin, make_format
from tests.integration.receiver import Receiver
from tests.unit.delivery.rig import Rig

NOW = 1_706_703_724_960
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NO_VALUE = {"mountpoint"}
"""What EMQX itself shows as `undefined` where nothing is configured."""

Start = Callable[..., Rig]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    rigs: list[Rig] = []

    def make(url: str, **settings: Any) -> Rig:
        rigs.append(Rig(url, **settings).start())
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.kill()


@pytest.mark.parametrize("kind", HOOK_EVENTS)
def test_every_field_of_emqx_has_a_true_looking_value(kind: EventType) -> None:
    endpoint = Endpoint(name="erp", url="http://h/", format="emqx", encoding=Encoding.JSON)
    fields = json.loads(
        make_format(endpoint, Origin("hookmq@plant7", "0" * 12)).body(7, sample_event(kind, 1, NOW))
    )
    assert fields["event"] == kind.dotted
    empty = {name for name, value in fields.items() if value in ("", "undefined", None)}
    assert empty - NO_VALUE == set()
    assert all(value > 0 for name, value in fields.items() if type(value) is int and name != "qos")
    assert fields["username"] == USER
    receives = "from_clientid" in fields
    assert fields["clientid"] == (RECEIVER if receives else CLIENT)
    if kind in TOPIC_EVENTS:
        assert fields["topic"] == TOPIC
    if kind in MESSAGE_EVENTS:
        assert fields["payload"] == json.loads(PAYLOAD)
        assert len(fields["id"]) == 32
        assert fields["publish_received_at"] <= fields["timestamp"] == NOW


@pytest.mark.parametrize("form", ["nanomq", "emqx", "cloudevents", "template"])
async def test_every_type_in_every_format(receiver: Receiver, start: Start, form: str) -> None:
    rig = start(receiver.url("/dev/${clientid}"), format=form)
    for kind in HOOK_EVENTS:
        found = await send_test(rig.lane, kind)
        assert found.ok, found.error
        request = receiver.requests[-1]
        to_receiver = sample_event(kind, 1, NOW).data or {}
        assert request.target == f"/dev/{to_receiver.get('to_clientid', CLIENT)}"
        assert found.body == request.body.decode()
        assert isinstance(request.json, dict)
    assert (rig.lane.delivered, rig.lane.matched, rig.lane.failed) == (0, 0, 0)


async def test_it_has_the_endpoints_method_path_and_headers(receiver: Receiver, start: Start) -> None:
    rig = start(
        receiver.url("/dev/${clientid}?t=${payload.temp}"),
        method="PUT",
        headers=(("X-Topic", "${topic}"), ("X-Api-Key", "s3cret-key")),
        signature=(Signature(scheme="standard"),),
        secrets=(Secret(value=SECRET),),  # type: ignore[arg-type]
    )
    found = await send_test(rig.lane, EventType.MESSAGE_PUBLISH)
    (request,) = receiver.requests
    assert found.ok
    assert (request.method, request.target) == ("PUT", f"/dev/{CLIENT}?t=21.5")
    assert request.header("x-topic") == TOPIC
    headers = {name.lower(): value for name, value in request.headers}
    assert Webhook(SECRET).verify(request.body, headers) == request.json
    lines = found.request.split("\n")
    assert lines[0] == f"PUT /dev/{CLIENT}?t=21.5 HTTP/1.1"
    assert {f"X-Topic: {TOPIC}", "X-Api-Key: ***"} < set(lines)
    assert "s3cret" not in str(found)
    assert (found.status, found.response.split("\n")[0]) == (204, "HTTP/1.1 204 No Content")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_method_without_a_body(receiver: Receiver, start: Start, method: str) -> None:
    rig = start(receiver.url(), method=method)
    found = await send_test(rig.lane, EventType.CLIENT_PING)
    assert (found.ok, found.body) == (True, "")
    assert receiver.requests[0].method == method
    assert receiver.requests[0].header("content-type") is None


async def test_binary_cloudevents(receiver: Receiver, start: Start) -> None:
    rig = start(receiver.url(), format="cloudevents", cloudevents=CloudEvents(mode="binary"), node="a@b")
    found = await send_test(rig.lane, EventType.MESSAGE_PUBLISH)
    (request,) = receiver.requests
    assert found.ok
    assert request.body == PAYLOAD
    assert request.header("ce-type") == "hookmq.message.publish"
    assert request.header("ce-subject") == TOPIC
    assert "ce-type: hookmq.message.publish" in found.request


async def test_an_endpoint_with_batches_gets_a_batch_of_one(receiver: Receiver, start: Start) -> None:
    rig = start(receiver.url(), batch=BatchPolicy())
    found = await send_test(rig.lane, EventType.MESSAGE_PUBLISH)
    assert found.ok
    (item,) = receiver.requests[0].json
    assert item["id"] == f"msg_{rig.store.id}_{found.id}"
    assert item["body"]["topic"] == TOPIC

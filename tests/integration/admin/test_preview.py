"""What an endpoint would send while its settings are still being written: the request that is sent then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.admin.calling import Api, problem
from tests.integration.process import webhook
from tests.integration.receiver import Receiver
from tests.integration.receiver import status as answers

PATH = "/api/v2/webhooks/preview"
ENDPOINTS = "/api/v2/webhooks/endpoints"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def preview(api: Api, endpoint: dict[str, Any] | None = None, **more: Any) -> Any:
    keys = {"auth": more.pop("auth")} if "auth" in more else {}
    body = {**({} if endpoint is None else {"endpoint": endpoint}), **more}
    answer = await api.post(PATH, body, **keys)
    assert answer.status == 200, answer
    return answer.json


def headers(found: Any) -> dict[str, str]:
    return {one["name"].lower(): one["value"] for one in found["request"]["headers"]}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"format": "cloudevents"},
        {"format": "mes", "signature": "mes", "secret": "a secret"},
        {"format": "eryxon"},
        {"batch": {"max_events": 10}},
        {"headers": {"X-Plant": "7", "Authorization": "Bearer hidden-token"}},
        {"format": "template", "body": {"template": '{"order": "${id}"}'}},
    ],
    ids=lambda more: json.dumps(more)[:40],
)
async def test_it_is_what_is_sent(tmp_path: Path, more: dict[str, Any]) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        settings = {
            "url": receiver.url("/hook?plant=7"),
            "events": ["work_order.*"],
            "secret": SECRET,
            **more,
        }
        found = await preview(api, settings, type="work_order.created")
        if not found["valid"] and more.get("format") == "template":
            pytest.fail(str(found))
        assert found["valid"], found
        assert (found["faults"], found["wanted"], found["error"]) == ([], True, "")
        made = (await api.post(ENDPOINTS, settings)).json
        tested = (await api.post(f"{ENDPOINTS}/{made['id']}/test", {"type": "work_order.created"})).json
        assert tested["ok"], tested
        (real,) = receiver.requests
        assert found["request"]["method"] == "POST"
        assert found["request"]["url"] == settings["url"]
        sent = {name.lower(): value for name, value in real.headers}
        shown = headers(found)
        assert shown.keys() == sent.keys()
        moving = {"webhook-id", "webhook-timestamp", "webhook-signature", "x-mes-signature", "authorization"}
        moving |= {"x-eryxon-signature", "ce-id", "ce-time", "content-length"}
        for name in shown.keys() - moving:
            assert shown[name] == sent[name], name
        assert "hidden-token" not in str(found)
        assert SECRET not in str(found)
        assert len(found["request"]["body"]) == found["request"]["body_bytes"]
        one, other = json.loads(found["request"]["body"]), json.loads(real.body)
        if isinstance(one, dict):
            assert one.keys() == other.keys()
        else:
            assert [set(each) for each in one] == [set(each) for each in other]


async def test_faults_as_one_types(api: Api) -> None:
    found = await preview(api, {"url": "http://127.0.0.1:9/", "pool_size": 0, "events": ["work_order.*"]})
    assert found["valid"] is False
    assert found["request"] is None
    (fault,) = found["faults"]
    assert fault == {
        "path": "/pool_size",
        "message": "found 0, expected a whole number from 1 to 4096",
        "value": 0,
        "expected": "a whole number from 1 to 4096",
    }
    for endpoint, path in (
        ({}, "/url"),
        ({"url": "ftp://x/"}, "/url"),
        (
            {"url": "http://127.0.0.1:9/", "events": [{"event": "on_message_publish", "topic": "a/#/b"}]},
            "/events/0/topic",
        ),
        ({"url": "http://127.0.0.1:9/", "nonsense": 1}, "/nonsense"),
        ({"url": "http://127.0.0.1:9/", "secret": "whsec_!!"}, "/secret"),
        ({"url": "http://127.0.0.1:9/", "where": "qos >"}, "/where"),
    ):
        found = await preview(api, endpoint)
        assert not found["valid"]
        assert path in [fault["path"] for fault in found["faults"]], found
        assert "whsec_!!" not in str(found)
    assert (await api.get(ENDPOINTS)).json["total"] == 0


async def test_what_the_event_is(api: Api) -> None:
    endpoint = {"url": "http://127.0.0.1:9/", "events": [{"event": "on_message_publish", "topic": "line/#"}]}
    found = await preview(api, endpoint)
    assert (found["type"], found["wanted"]) == (
        "on_message_publish",
        False,
    )  # the example is on another topic
    found = await preview(
        api, endpoint, sample={"topic": "line/1", "payload": "<b>21</b>", "qos": 2, "retain": True}
    )
    assert found["wanted"] is True
    body = json.loads(found["request"]["body"])
    assert (body["topic"], body["payload"], body["qos"], body["retain"]) == ("line/1", "<b>21</b>", 2, True)
    found = await preview(api, {**endpoint, "where": "qos = 0"}, sample={"topic": "line/1", "qos": 1})
    assert found["wanted"] is False
    found = await preview(api, endpoint, sample={"payload": "AP8=", "payload_encoding": "base64"})
    assert json.loads(found["request"]["body"])["payload_encoding"] == "base64"

    mes = {"url": "http://127.0.0.1:9/", "events": ["work_order.*"]}
    data = {"workOrder": {"id": "wo_9", "b": [1, {"z": None}]}}
    found = await preview(api, mes, type="work_order.started", sample={"data": data})
    assert json.loads(found["request"]["body"])["data"] == data
    found = await preview(api, mes, type="quality.ncr_created")
    assert found["wanted"] is False
    found = await preview(api, {**mes, "events": ["press.*"]}, type="press.hot", sample={"data": {"t": 7}})
    assert json.loads(found["request"]["body"])["type"] == "press.hot"
    for more in (
        {"type": "nonsense"},
        {"type": "press.hot"},
        {"sample": {"nonsense": 1}},
        {"sample": {"qos": 3}},
        {"sample": {"qos": True}},
        {"sample": {"retain": 1}},
        {"sample": {"data": {}}, "type": "on_message_publish"},
        {"sample": {"data": {"n": 2**60}}, "type": "work_order.created"},
        {"sample": {"payload": "x"}, "type": "work_order.created"},
        {"sample": {"payload": "!", "payload_encoding": "base64"}, "type": "on_message_publish"},
        {"sample": {"topic": "x" * 70_000}, "type": "on_message_publish"},
        {"sample": []},
        {"endpoint": []},
        {"nonsense": 1},
    ):
        problem(await api.post(PATH, {"endpoint": endpoint, **more}), 422)


async def test_one_that_is_there(tmp_path: Path) -> None:
    async with Receiver() as receiver, Api(tmp_path, webhook(receiver.url(), "on_message_publish")) as api:
        settings = {
            "url": receiver.url(),
            "events": ["work_order.*"],
            "headers": {"Authorization": "Bearer hidden"},
        }
        made = (await api.post(ENDPOINTS, settings)).json
        found = await preview(api, {"headers": {"X-Plant": "7"}}, id=made["id"])
        assert headers(found)["x-plant"] == "7"
        assert headers(found)["authorization"] == "***"
        assert "hidden" not in str(found)
        assert (await api.get(f"{ENDPOINTS}/{made['id']}")).json.get("headers") != {"X-Plant": "7"}
        assert (await preview(api, id="default"))["wanted"] is True
        problem(await api.post(PATH, {"id": "default", "endpoint": {"pool_size": 3}}), 409)
        problem(await api.post(PATH, {"id": "ep_nobody"}), 404)
        # nobody signs with the operator's secrets who is not the operator
        tenant = await api.key("tenant", "endpoints:write")
        for identifier in ("default", made["id"]):
            problem(await api.post(PATH, {"id": identifier}, auth=tenant), 403)
        own = (await api.post(ENDPOINTS, {**settings, "url": "https://hooks.example.com/"}, auth=tenant)).json
        assert (await preview(api, id=own["id"], auth=tenant))["valid"]
        found = await preview(api, {**settings, "secret": {"env": "HOME"}}, auth=tenant)
        assert not found["valid"]
        viewer = await api.key("viewer", "endpoints:read")
        problem(await api.post(PATH, {"endpoint": settings}, auth=viewer), 403)
        assert receiver.requests == []


async def test_a_publisher(api: Api) -> None:
    body = {"endpoint": {"events": ["work_order.*"], "enterprise": "acme"}, "type": "work_order.created"}
    found = (await api.post("/api/v2/mqtt/preview", body)).json
    assert found["valid"], found
    assert found["request"]["method"] == "PUBLISH"
    assert found["request"]["url"].startswith("acme/")
    assert json.loads(found["request"]["body"])["event"] == "work_order.created"


async def test_a_test_of_a_type_shows_request_and_response(tmp_path: Path) -> None:
    async with Receiver(status=201) as receiver, Api(tmp_path) as api:
        settings = {"url": receiver.url(), "events": ["*"], "secret": SECRET, "success": [200]}
        made = (await api.post(ENDPOINTS, settings)).json
        for kind in ("work_order.created", "on_client_connected", "message.publish"):
            shown = (await api.post(f"{ENDPOINTS}/{made['id']}/test", {"type": kind})).json
            assert (shown["type"], shown["ok"], shown["response"]["status"]) == (kind, False, 201)
            assert shown["request"]["head"].startswith("POST ")
            assert shown["response"]["head"].startswith("HTTP/1.1 201")
            assert SECRET not in str(shown)
        assert len(receiver.requests) == 3


async def test_a_draft_is_tested_as_it_stands(tmp_path: Path) -> None:
    """One request with settings that nobody has stored; nothing is left of it."""
    path = "/api/v2/webhooks/test"
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        draft = {"url": receiver.url("/draft"), "events": ["work_order.*"], "headers": {"X-Plant": "7"}}
        answer = await api.post(path, {"endpoint": draft, "type": "work_order.created"})
        assert answer.status == 200, answer
        assert (answer.json["ok"], answer.json["response"]["status"]) == (True, 200)
        (request,) = receiver.requests
        assert (request.target, request.header("x-plant")) == ("/draft", "7")
        assert request.json["type"] == "work_order.created"
        assert (await api.get(ENDPOINTS)).json["total"] == 0

        # A patch of one that is there: its own secrets and headers, at the new place.
        made = (await api.post(ENDPOINTS, {**draft, "secret": SECRET})).json
        changed = {"endpoint": {"url": receiver.url("/changed")}, "id": made["id"]}
        assert (await api.post(path, changed)).json["ok"]
        assert receiver.requests[-1].target == "/changed"
        assert receiver.requests[-1].header("x-plant") == "7"
        assert (await api.get(f"{ENDPOINTS}/{made['id']}")).json["url"] == receiver.url("/draft")

        found = problem(await api.post(path, {"endpoint": {**draft, "pool_size": 0}}), 422)
        assert found["errors"][0]["path"] == "/pool_size"
        refused = (await api.post(path, {"endpoint": {"url": "http://127.0.0.1:1/", "events": ["a.b"]}})).json
        assert (refused["ok"], refused["response"]["status"]) == (False, None)
        assert "refused" in refused["error"]
        # A lesser key's request goes where its endpoints may go, and nowhere else.
        tenant = await api.key("tenant", "endpoints:write")
        before = len(receiver.requests)
        told = await api.post(path, {"endpoint": draft}, auth=tenant)
        assert told.status == 422 or not told.json["ok"], told
        assert len(receiver.requests) == before


async def test_a_draft_with_oauth2_waits_for_its_token(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Receiver(status=200) as tokens, Api(tmp_path) as api:
        token = json.dumps({"access_token": "t0ken", "token_type": "Bearer", "expires_in": 60}).encode()
        tokens.script = answers(200, token, [("Content-Type", "application/json")])
        draft = {
            "url": receiver.url(),
            "events": ["work_order.*"],
            "credentials": {
                "kind": "oauth2",
                "token_url": tokens.url("/token"),
                "client_id": "a",
                "client_secret": "b",
            },
        }
        answer = await api.post("/api/v2/webhooks/test", {"endpoint": draft})
        assert answer.json["ok"], answer
        assert receiver.requests[0].header("authorization") == "Bearer t0ken"
        assert "t0ken" not in answer.text

"""Publishing by HTTP, as EMQX's and NanoMQ's users do it: subscribers, hooks, and what is refused."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from bridge.mqtt.packets import Publish
from tests.integration.admin.calling import ADMIN, Api, problem
from tests.integration.mqtt_client import Client
from tests.integration.process import until, webhook
from tests.integration.receiver import Receiver

EMQX, NANOMQ = "/api/v5/publish", "/api/v4/mqtt/publish"


async def test_emqx_to_a_subscriber_and_to_the_hooks(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        Api(tmp_path, webhook(receiver.url(), "on_message_publish", format="emqx")) as api,
        await Client.connect(api.port, "sub", version=5) as subscriber,
    ):
        await subscriber.subscribe("uns/#", qos=1)
        answer = await api.post(
            EMQX,
            {
                "topic": "uns/acme/laser",
                "payload": '{"on": true}',
                "qos": 1,
                "properties": {
                    "content_type": "application/json",
                    "message_expiry_interval": 60,
                    "response_topic": "r",
                    "correlation_data": "c1",
                    "payload_format_indicator": 1,
                    "user_properties": {"line": "7", "count": 3, "dry": True},
                },
            },
        )
        assert answer.status == 200
        identifier = answer.json["id"]
        assert re.fullmatch(r"[0-9A-F]{32}", identifier)
        message = await subscriber.expect(Publish)
        assert (message.topic, message.payload, message.qos) == ("uns/acme/laser", b'{"on": true}', 1)
        properties = message.properties
        assert properties is not None
        assert properties.content_type == "application/json"
        assert properties.correlation_data == b"c1"
        assert properties.response_topic == "r"
        assert properties.user_property == [("line", "7"), ("count", "3"), ("dry", "true")]
        assert properties.message_expiry_interval in (59, 60)
        event = (await receiver.wait_count(1))[0].json
        assert event["id"] == identifier
        assert event["clientid"] == "http_api"
        assert event["username"] == ADMIN[0]
        assert event["payload"] == '{"on": true}'
        assert event["peerhost"] == "127.0.0.1"
        assert event["pub_props"]["Content-Type"] == "application/json"


async def test_emqx_without_a_subscriber(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        Api(tmp_path, webhook(receiver.url(), "on_message_publish")) as api,
    ):
        answer = await api.post(EMQX, {"topic": "a", "payload": "eA==", "payload_encoding": "base64"})
        assert answer.status == 202
        assert answer.json == {"reason_code": 16, "message": "no_matching_subscribers"}
        assert (await receiver.wait_count(1))[0].json["payload"] == "x"


async def test_nanomq(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        Api(tmp_path, webhook(receiver.url(), "on_message_publish")) as api,
        await Client.connect(api.port, "sub") as subscriber,
    ):
        await subscriber.subscribe("#", qos=2)
        body: dict[str, Any] = {"topics": "a,b/c", "clientid": "erp", "payload": "hello", "qos": 2}
        answer = await api.post(NANOMQ, body)
        assert (answer.status, answer.json) == (200, {"code": 0})
        assert [(await subscriber.expect(Publish)).topic for _ in range(2)] == ["a", "b/c"]
        events = [request.json for request in await receiver.wait_count(2)]
        assert {event["from_client_id"] for event in events} == {"erp"}
        # as its own examples do it: curl -d says that JSON is a form
        answer = await api.post(
            NANOMQ,
            data=b'{"topic": "with,comma", "payload": "AAE=", "encoding": "base64"}',
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert (answer.status, answer.json) == (200, {"code": 0})
        message = await subscriber.expect(Publish)
        assert (message.topic, message.payload) == ("with,comma", b"\x00\x01")


async def test_a_retained_message(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        body = {"topic": "kept", "payload": "state", "retain": True}
        assert (await api.post(EMQX, body)).status == 202
        async with await Client.connect(api.port, "late") as late:
            await late.subscribe("kept")
            message = await late.expect(Publish)
            assert (message.payload, message.retain) == (b"state", True)


NO_MESSAGES: list[tuple[Any, str]] = [
    ({"payload": "x"}, "topic"),
    ({"topic": "a"}, "payload"),
    ({"topic": "a/#", "payload": "x"}, "without wildcards"),
    ({"topic": "", "payload": "x"}, "without wildcards"),
    ({"topic": "a\0", "payload": "x"}, "without wildcards"),
    ({"topic": "a", "payload": {"no": "text"}}, "$.payload"),
    ({"topic": "a", "payload": "x", "qos": 3}, "$.qos"),
    ({"topic": "a", "payload": "x", "qos": True}, "$.qos"),
    ({"topic": "a", "payload": "?", "payload_encoding": "base64"}, "base64"),
    ({"topic": "a", "payload": "x", "payload_encoding": "hex"}, "$.payload_encoding"),
    ({"topic": "a", "payload": "x", "properties": {"response_topic": "+"}}, "response_topic"),
    ({"topic": "a", "payload": "x", "properties": {"content_type": "x" * 65536}}, "content_type"),
    ({"topic": "a", "payload": "x", "properties": {"user_properties": {"a": "\0"}}}, "user_properties"),
    ({"topic": "a", "payload": "x", "properties": {"user_properties": {"a": [1]}}}, "user_properties"),
    ({"topic": "a", "payload": "x", "properties": {"message_expiry_interval": -1}}, "expiry"),
    ({"topic": "a", "payload": "x", "clientid": "x" * 65536}, "clientid"),
    ([], "object"),
    ("text", "object"),
]


async def test_what_is_no_message(api: Api) -> None:
    for body, text in NO_MESSAGES:
        found = problem(await api.post(EMQX, body), 400)
        assert text in found["detail"], (str(body)[:200], found)
        assert found["code"] == "BAD_REQUEST"
        assert found["message"] == found["detail"]
        if isinstance(body, dict) and "payload_encoding" in body:
            body["encoding"] = body["payload_encoding"]
        nanomq = problem(await api.post(NANOMQ, body), 400)
        assert nanomq["code"] == (108 if isinstance(body, dict) else 109)


async def test_what_is_no_json(api: Api) -> None:
    for data in (b"", b"{", b"\xff", b"[" * 100_000, b'{"topic": "\xff"}'):
        json = {"Content-Type": "application/json"}
        assert problem(await api.post(EMQX, data=data, headers=json), 400)["code"] == "BAD_REQUEST"
        assert problem(await api.post(NANOMQ, data=data, headers=json), 400)["code"] == 109
    assert problem(await api.post(NANOMQ, {"topic": "a", "payload": "x"}, auth="hmq_no"), 401)["code"] == 103


async def test_a_message_beyond_the_packet_limit(tmp_path: Path) -> None:
    async with Api(tmp_path, "mqtt { max_packet_size = 1KB }") as api:
        problem(await api.post(EMQX, {"topic": "a", "payload": "x" * 1024}), 413)
        assert (await api.post(EMQX, {"topic": "a", "payload": "x" * 900})).status == 202


async def test_an_endpoint_that_refuses(tmp_path: Path) -> None:
    """`on_full = refuse`: what a client is told by PUBACK 0x97 is 503 here."""
    async with Receiver(status=503) as receiver:
        bound = "backlog { max_bytes = 64KB, on_full = refuse }"
        async with Api(tmp_path, webhook(receiver.url(), "on_message_publish", extra=bound)) as api:
            for _ in range(20):
                answer = await api.post(EMQX, {"topic": "a", "payload": "x" * 16384})
                if answer.status == 503:
                    break
            assert problem(answer, 503)["reason_code"] == 0x97
            assert answer.headers["Retry-After"] == "10"
            body = {"topic": "a", "payload": "x" * 16384}
            assert problem(await api.post(NANOMQ, body), 503)["code"] == 101


async def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        Api(tmp_path, webhook(receiver.url(), "on_message_publish")) as api,
    ):
        for life in range(3):
            answered: list[str] = []

            async def publish(n: int, life: int = life, answered: list[str] = answered) -> None:
                for count in range(1000):
                    payload = f"{life}.{n}.{count}"
                    path, key = (EMQX, 202) if n % 2 else (NANOMQ, 200)
                    answer = await api.post(path, {"topic": "t", "payload": payload})
                    assert answer.status == key
                    answered.append(payload)

            tasks = [asyncio.create_task(publish(n)) for n in range(8)]
            await until(lambda answered=answered: len(answered) >= 100, "messages are answered")
            api.kill()  # at once: whatever was answered is on the disk
            acknowledged = set(answered)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await api.start()
            await receiver.wait_for(
                lambda requests, acknowledged=acknowledged: (
                    acknowledged <= {request.json["payload"] for request in requests}
                ),
                20,
            )

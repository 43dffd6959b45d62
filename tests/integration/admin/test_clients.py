"""Clients, subscriptions, retained messages and the broker itself by HTTP, as in NanoMQ and EMQX."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import jsonschema_rs
import pytest

from bridge.admin import clients as calls
from bridge.admin.schemas import SCHEMAS
from bridge.admin.scopes import ALL, Principal
from bridge.broker.client import Client as BrokerClient
from bridge.broker.session import Session, Subscribed
from bridge.config.settings import Mqtt
from bridge.mqtt.packets import Disconnect, Publish, Subscription, Will
from tests.integration.admin.calling import Answer, Api, problem
from tests.integration.mqtt_client import Client
from tests.integration.process import webhook
from tests.integration.receiver import Receiver

LOCAL = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


def ok(answer: Answer, schema: str) -> Any:
    """The body of an answer, which must be 200 and as the document says."""
    assert answer.status == 200, answer
    whole = {"$ref": f"#/components/schemas/{schema}", "components": {"schemas": SCHEMAS}}
    jsonschema_rs.Draft202012Validator(whole).validate(answer.json)
    return answer.json


@pytest.fixture
async def named(tmp_path: Path) -> AsyncIterator[Api]:
    """An API whose node is called `n@h`."""
    async with Api(tmp_path, 'node.name = "n@h"') as api:
        yield api


async def test_clients(named: Api) -> None:
    api = named
    first = await Client.connect(
        api.port, "c/1", username="bob", password=b"x", keepalive=60, will=Will("will/t", b"gone")
    )
    second = await Client.connect(api.port, "d", version=5, clean=False, session_expiry_interval=600)
    third = await Client.connect(api.port, "e", version=3, clean=False)
    await first.subscribe("a/#", qos=1)
    await first.subscribe("b")
    await second.disconnect()
    await second.wait_closed()

    body = ok(await api.get("/api/v4/clients"), "Clients")
    assert body["meta"] == {"page": 1, "limit": 10_000, "count": 3}
    rows = {row["clientid"]: row for row in body["data"]}
    row = rows["c/1"]
    assert LOCAL.fullmatch(row.pop("connected_at"))
    assert row == {
        **{"clientid": "c/1", "client_id": "c/1", "username": "bob", "node": "n@h"},
        **{"conn_state": "connected", "connected": True},
        **{
            "ip_address": "127.0.0.1",
            "ipv4": "127.0.0.1",
            "port": first.writer.get_extra_info("sockname")[1],
        },
        **{"proto_name": "MQTT", "proto_ver": 4, "keepalive": 60, "clean_start": True, "is_bridge": False},
        **{"expiry_interval": 0, "subscriptions_cnt": 2, "max_subscriptions": 10_000},
        **{"inflight": 0, "max_inflight": 2048, "mqueue_len": 0, "max_mqueue": 2048, "mqueue_dropped": 0},
        **{"awaiting_rel": 0, "max_awaiting_rel": 2048, "will_topic": "will/t"},
    }
    assert rows["d"]["conn_state"] == "disconnected"
    assert LOCAL.fullmatch(rows["d"]["disconnected_at"])
    assert rows["d"]["expiry_interval"] == 600
    assert rows["e"]["proto_name"] == "MQIsdp"

    one = ok(await api.get("/api/v4/clients/" + quote("c/1", safe="")), "Client")
    assert [row["clientid"] for row in one["data"]] == ["c/1"]
    assert ok(await api.get("/api/v4/clients/nobody"), "Client")["data"] == []
    for query, expected in {
        "username=bob": {"c/1"},
        "_like_username=o": {"c/1"},
        "_like_clientid=%2F": {"c/1"},
        "clientid=d": {"d"},
        "conn_state=connected": {"c/1", "e"},
        "conn_state=disconnected": {"d"},
        "proto_ver=5": {"d"},
        "proto_name=MQIsdp": {"e"},
        "clean_start=true": {"c/1"},
        "ip_address=127.0.0.1&conn_state=connected&proto_ver=3": {"e"},
        "ip_address=10.0.0.1": set(),
    }.items():
        found = ok(await api.get(f"/api/v4/clients?{query}"), "Clients")
        assert {row["clientid"] for row in found["data"]} == expected, query
        assert found["meta"]["count"] == len(expected)
    user = ok(await api.get("/api/v4/clients/username/bob"), "Clients")
    assert [row["clientid"] for row in user["data"]] == ["c/1"]
    pages = [ok(await api.get(f"/api/v4/clients?_page={n}&_limit=2"), "Clients") for n in (1, 2, 3)]
    assert [[row["clientid"] for row in page["data"]] for page in pages] == [["c/1", "d"], ["e"], []]
    assert pages[1]["meta"] == {"page": 2, "limit": 2, "count": 3}
    await third.disconnect()


async def test_parameters_that_cannot_be(api: Api) -> None:
    for query in (
        *("_page=0", "_page=-1", "_limit=10001", "limit=x", "_page=%D9%A1"),
        *("conn_state=idle", "proto_ver=6", "client_id=c"),
    ):
        answer = await api.get(f"/api/v4/clients?{query}")
        assert problem(answer, 400)["code"] == 108
        assert query.partition("=")[0] in answer.json["detail"]


async def test_subscriptions(named: Api) -> None:
    api = named
    first = await Client.connect(api.port, "c/1", version=5)
    second = await Client.connect(api.port, "d")
    await first.subscribe("a/#", qos=1, no_local=True, retain_handling=2)
    await first.subscribe("$share/g/a/+", qos=2)
    await second.subscribe("a/b")
    rows = ok(await api.get("/api/v4/subscriptions"), "Subscriptions")
    assert rows["data"][0] == {
        **{"node": "n@h", "clientid": "c/1", "topic": "a/#", "qos": 1, "nl": 1, "rap": 0, "rh": 2}
    }
    assert rows["meta"] == {"page": 1, "limit": 10_000, "count": 3}
    path = "/api/v4/subscriptions/" + quote("c/1", safe="")
    assert [row["topic"] for row in ok(await api.get(path), "Subscriptions")["data"]] == [
        "a/#",
        "$share/g/a/+",
    ]
    assert ok(await api.get("/api/v4/subscriptions/nobody"), "Subscriptions")["data"] == []
    for query, expected in {
        "clientid=d": ["a/b"],
        "qos=2": ["$share/g/a/+"],
        "share=g": ["$share/g/a/+"],
        "topic=a/b": ["a/b"],
        "_match_topic=a/c": ["a/#", "$share/g/a/+"],
        "_match_topic=a/b&_limit=1&_page=3": ["a/b"],
        "_match_topic=b": [],
    }.items():
        found = ok(await api.get(f"/api/v4/subscriptions?{query}"), "Subscriptions")
        assert [row["topic"] for row in found["data"]] == expected, query
    for bad in ("_match_topic=%23", "qos=3", "client=d"):
        problem(await api.get(f"/api/v4/subscriptions?{bad}"), 400)


async def test_a_client_is_kicked(tmp_path: Path) -> None:
    """Its connection and its session end, with EMQX's reason; its will is published; MQTT 5 is told 0x98."""
    async with Receiver() as receiver:
        block = webhook(receiver.url(), "on_client_disconnected", "on_session_terminated")
        async with Api(tmp_path, block) as api:
            watching = await Client.connect(api.port, "w")
            await watching.subscribe("wills/#")
            will = Will("wills/c", b"gone")
            five = await Client.connect(
                api.port, "c", version=5, clean=False, session_expiry_interval=600, will=will
            )
            await five.subscribe("a", qos=1)
            assert ok(await api.call("DELETE", "/api/v4/clients/c"), "ResultCode") == {"code": 0}
            assert (await five.expect(Disconnect)).reason_code == 0x98
            await five.wait_closed()
            assert (await watching.expect(Publish)).payload == b"gone"
            away = await Client.connect(api.port, "away", clean=False)
            await away.disconnect()
            await away.wait_closed()
            assert (await api.call("DELETE", "/api/v4/clients/away")).status == 200
            body = ok(await api.get("/api/v4/clients"), "Clients")
            assert [row["clientid"] for row in body["data"]] == ["w"]
            again = await Client.connect(api.port, "c", version=5, clean=False, session_expiry_interval=600)
            assert again.connack is not None
            assert not again.connack.session_present
            requests = await receiver.wait_count(4)
            told = [(r.json["action"], r.json["clientid"], r.json["reason"]) for r in requests]
            assert told == [
                ("client_disconnected", "c", "kicked"),
                ("session_terminated", "c", "kicked"),
                ("client_disconnected", "away", "normal"),
                ("session_terminated", "away", "kicked"),
            ]
            assert problem(await api.call("DELETE", "/api/v4/clients/nobody"), 404)["code"] == 112


async def test_scopes(named: Api) -> None:
    reader = await named.key("r", "clients:read")
    writer = await named.key("w", "clients:write")
    other = await named.key("o", "publish", "endpoints:write")
    client = await Client.connect(named.port, "c")
    assert (await named.get("/api/v4/clients", auth=reader)).status == 200
    assert problem(await named.call("DELETE", "/api/v4/clients/c", auth=reader), 403)["code"] == 102
    assert (await named.get("/api/v4/clients", auth=writer)).status == 200
    assert (await named.call("DELETE", "/api/v4/clients/c", auth=writer)).status == 200
    await client.wait_closed()
    for path in ("clients", "subscriptions", "brokers", "nodes", "stats", "metrics"):
        problem(await named.get(f"/api/v4/{path}", auth=other), 403)
    problem(await named.get("/api/v5/mqtt/retainer/messages", auth=other), 403)


async def test_retained_messages(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        client = await Client.connect(api.port, "c", username="bob", password=b"x")
        await client.publish("a/1", b"\xff\x00", qos=1, retain=True)
        await client.publish("a/2", b"two", qos=2, retain=True)
        await client.publish("b", b"x" * (1 << 20) + b"y", qos=1, retain=True)
        path = "/api/v5/mqtt/retainer/messages"
        body = ok(await api.get(path), "RetainedMessages")
        assert body["meta"] == {"page": 1, "limit": 100, "count": 3, "hasnext": False}
        row = body["data"][0]
        assert re.fullmatch(r"[0-9A-F]{32}", row["msgid"])
        assert (row["topic"], row["qos"], row["from_clientid"], row["from_username"]) == (
            "a/1",
            1,
            "c",
            "bob",
        )
        assert "payload" not in row
        page = ok(await api.get(f"{path}?page=1&limit=1&topic=a/%2B"), "RetainedMessages")
        assert [row["topic"] for row in page["data"]] == ["a/1"]
        assert page["meta"] == {"page": 1, "limit": 1, "count": 2, "hasnext": True}
        assert problem(await api.get(f"{path}?topic=a%23"), 400)["code"] == "BAD_REQUEST"

        one = "/api/v5/mqtt/retainer/message/"
        shown = ok(await api.get(one + "a%2F1"), "RetainedMessage")
        assert b64decode(shown["payload"]) == b"\xff\x00"
        assert "payload" not in ok(await api.get(one + "b"), "RetainedMessage")  # longer than EMQX shows
        assert problem(await api.get(one + "nothing"), 404)["code"] == "NOT_FOUND"
        problem(await api.get(one + "a%2F%23"), 400)

        answer = await api.call("DELETE", one + "a%2F1")
        assert (answer.status, answer.text) == (204, "")
        problem(await api.call("DELETE", one + "a%2F1"), 404)
        await client.subscribe("a/#")
        assert (await client.expect(Publish)).topic == "a/2"
        await client.silent()

        stored = await Client.connect(api.port, "away", clean=False)
        await stored.disconnect()
        assert (await api.call("DELETE", "/api/v4/clients/away")).status == 200
        api.kill()
        await api.start()
        body = ok(await api.get(path), "RetainedMessages")
        assert {row["topic"] for row in body["data"]} == {"a/2", "b"}
        assert {row["from_clientid"] for row in body["data"]} == {"c"}
        assert ok(await api.get("/api/v4/clients"), "Clients")["data"] == []


async def test_the_broker(named: Api) -> None:
    first = await Client.connect(named.port, "c")
    await first.subscribe("a/#")
    await first.publish("a/b", b"x", qos=1)
    await first.expect(Publish)
    (broker,) = ok(await named.get("/api/v4/brokers"), "Brokers")["data"]
    assert LOCAL.fullmatch(broker["datetime"])
    assert re.fullmatch(r"0 Hours, 0 minutes, \d+ seconds", broker["uptime"])
    assert (broker["node"], broker["sysdescr"]) == ("n@h", "HookMQ")
    (node,) = ok(await named.get("/api/v4/nodes"), "Nodes")["data"]
    assert node["connections"] == 1
    stats = ok(await named.get("/api/v4/stats"), "Stats")["data"][0]["stats"]
    assert stats["connections.count"] == stats["sessions.max"] == stats["subscriptions.count"] == 1
    metrics = ok(await named.get("/api/v4/metrics"), "Metrics")
    assert metrics["data"][0]["metrics"] == {
        **{"client.connected": 1, "messages.received": 1, "messages.sent": 1, "delivery.dropped": 0},
        **{"packets.publish.error": 0, "packets.connack.error": 0},
    }
    assert int(metrics["memory"]) > 1 << 20
    assert re.fullmatch(r"\d+\.\d\d%", metrics["cpuinfo"])


# --- a million of them --------------------------------------------------------------------------------------


def many(sessions: int, each: int) -> Any:
    """What the handlers need of a broker with so many sessions, which only they look at."""
    made: dict[str, Session] = {}
    for number in range(sessions):
        name = f"c{number}"
        session = made[name] = Session(
            name,
            0,
            BrokerClient(clientid=name, username="u", peername="10.0.0.1:1", sockname="10.0.0.2:1883"),
        )
        for index in range(each):
            wanted = Subscription(f"t/{index}")
            session.subscriptions[wanted.topic_filter] = Subscribed(session, wanted, None)
    loop = asyncio.get_running_loop()
    broker = SimpleNamespace(sessions=made, settings=Mqtt(), loop=loop, now_ms=lambda: 0)
    return SimpleNamespace(broker=broker, system=SimpleNamespace(node="n"))


@pytest.mark.parametrize("handler", [calls.get_clients, calls.get_subscriptions])
async def test_a_million_rows_do_not_hold_up_the_loop(handler: Any) -> None:
    """50,000 sessions, 1,000,000 subscriptions: others are served all the time."""
    plant = many(50_000, 20)
    principal = Principal("p", ALL)
    query = {"_page": "1", "_limit": "10000", "_like_clientid": "c1"}
    if handler is calls.get_subscriptions:
        query = {"_page": "3", "_match_topic": "t/1"}
    longest = 0.0
    done = False
    gc.freeze()  # as a HookMQ does with what is there

    async def others() -> None:
        nonlocal longest
        while not done:
            before = time.thread_time()  # what other processes do meanwhile is not ours
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    task = asyncio.ensure_future(others())
    try:
        answer = await handler(calls.Call(plant, principal, "", {}, query, {}, b""))
    finally:
        done = True
        gc.unfreeze()
        await task
    body = answer.body
    assert isinstance(body, bytes)
    assert body.count(b'"clientid"') == 10_000
    assert longest < 0.05, longest

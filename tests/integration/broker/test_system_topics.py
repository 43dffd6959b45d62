"""`$SYS/brokers/…`: what the broker tells of itself, to those who ask, and to nobody else."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bridge.broker.system_topics import SystemTopics
from bridge.config.settings import SysEvents, SysTopics
from bridge.events.event import EventType
from bridge.events.rules import Rules
from bridge.mqtt.packets import Puback, Pubcomp, Publish, Pubrec, Pubrel, Will
from tests.integration.broker.running import EVERY_EVENT, Running, Start
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, webhook
from tests.integration.receiver import Receiver

NODE = "$SYS/brokers/n@h"
QUICK = SysTopics(sys_msg_interval=1.0, sys_heartbeat_interval=1.0)


def system(broker: Running, settings: SysTopics = QUICK, node: str = "n@h") -> SystemTopics:
    """The topics of a broker that runs already."""
    made = SystemTopics(broker.broker, settings, node=node, version="1.2.3")
    listeners = broker.broker.hooks._listeners
    broker.broker.set_hooks([*listeners, made])
    return made


async def received(client: Client, count: int) -> dict[str, Publish]:
    """The next so many messages by topic."""
    packets = [await client.expect(Publish) for _ in range(count)]
    return {packet.topic: packet for packet in packets}


async def test_values_are_answered_to_a_subscription(broker: Running) -> None:
    """As retained messages, made when they are asked for; nothing of it is stored."""
    made = system(broker)
    client = await broker.connect("c1")
    await client.subscribe(f"{NODE}/#", qos=1)
    found = await received(client, 18)
    assert all(packet.retain and packet.qos == 0 for packet in found.values())
    values = {topic.removeprefix(NODE + "/"): packet.payload.decode() for topic, packet in found.items()}
    assert values["version"] == "1.2.3"
    assert values["sysdescr"] == "HookMQ"
    assert 0 <= int(values["uptime"]) < 60_000
    assert datetime.fromisoformat(values["datetime"]).tzinfo is not None
    assert values["stats/connections/count"] == values["stats/sessions/max"] == "1"
    assert values["stats/subscriptions/count"] == "1"
    assert values["stats/retained/count"] == "0"
    assert values["metrics/client/connected"] == "1"
    assert len(broker.broker.retained) == 0
    await client.subscribe("$SYS/brokers")
    assert (await client.expect(Publish)).payload == b"n@h"
    await client.subscribe("#")  # [MQTT-4.7.2-1]
    await client.silent()
    made.stop()


async def test_they_come_again_and_again(broker: Running) -> None:
    made = system(broker)
    client = await broker.connect("c1")
    await client.subscribe(f"{NODE}/uptime")
    assert (await client.expect(Publish)).retain
    await client.subscribe(f"{NODE}/stats/connections/count")
    await client.expect(Publish)
    for _ in range(2):
        found = await received(client, 2)
        assert found.keys() == {f"{NODE}/uptime", f"{NODE}/stats/connections/count"}
        assert not any(packet.retain for packet in found.values())
    made.stop()


async def test_nothing_runs_while_nobody_listens(broker: Running) -> None:
    made = system(broker)
    hooks = broker.broker.hooks

    def works() -> bool:
        listening = made.on_connected in hooks.on_connected
        assert bool(made._timers) is listening
        return listening

    assert not works()
    client = await broker.connect("c1")
    await client.subscribe("a/#")
    await client.subscribe("#")
    assert not works()
    for topic_filter in (f"{NODE}/clients/+/connected", "$share/g/$SYS/#", "$SYS"):
        await client.subscribe(topic_filter)
        assert works()
        await client.subscribe(topic_filter, qos=1)  # the same one, with other options
        assert works()
        await client.unsubscribe(topic_filter)
        assert not works()
    await client.subscribe("$SYS/#")
    assert works()
    await client.disconnect()
    await broker.until(lambda: "c1" not in broker.broker.sessions)
    assert not works()
    other = await broker.connect("c2")
    await other.subscribe("$SYSTEM/a")
    assert not works()


async def test_clients_come_and_go(broker: Running, version: int) -> None:
    """EMQX's bodies and NanoMQ's."""
    made = system(broker)
    watching = await broker.connect("w", version=version)
    await watching.subscribe(f"{NODE}/clients/#")
    await watching.subscribe("$SYS/brokers/connected")
    await watching.subscribe("$SYS/brokers/disconnected")
    client = await broker.connect("c/1", version=4, keepalive=60, username="bob", password=b"x")
    found = await received(watching, 2)
    body = json.loads(found[f"{NODE}/clients/c/1/connected"].payload)
    ts = body.pop("ts")
    assert 0 <= ts - body.pop("connected_at") < 5000
    assert body == {
        **{"username": "bob", "sockport": broker.port, "protocol": "mqtt", "proto_ver": 4},
        **{"proto_name": "MQTT", "keepalive": 60, "ipaddress": "127.0.0.1", "expiry_interval": 0},
        **{"connack": 0, "clientid": "c/1", "clean_start": True},
    }
    nano = json.loads(found["$SYS/brokers/connected"].payload)
    assert nano.pop("ts") == ts
    assert nano == {
        **{"username": "bob", "proto_name": "MQTT", "keepalive": 60, "return_code": "0"},
        **{"proto_ver": 4, "client_id": "c/1", "clean_start": 1, "IPv4": "127.0.0.1"},
    }
    client.abort()
    found = await received(watching, 2)
    body = json.loads(found[f"{NODE}/clients/c/1/disconnected"].payload)
    assert body["reason"] == "tcp_closed"
    assert body["disconnected_at"] >= body["connected_at"]
    assert json.loads(found["$SYS/brokers/disconnected"].payload)["reason_code"] == "80"
    other = await broker.connect("n")
    assert json.loads((await received(watching, 2))[f"{NODE}/clients/n/connected"].payload)["username"] == (
        "undefined"
    )
    await other.disconnect()
    found = await received(watching, 2)
    assert json.loads(found[f"{NODE}/clients/n/disconnected"].payload)["reason"] == "normal"
    assert json.loads(found["$SYS/brokers/disconnected"].payload)["reason_code"] == "0"
    # A client id that no topic may hold: NanoMQ's message alone.
    await broker.connect("a+b")
    assert (await watching.expect(Publish)).topic == "$SYS/brokers/connected"
    await watching.silent()
    made.stop()


async def test_subscriptions_are_told_where_that_is_set(broker: Running) -> None:
    events = SysEvents(
        client_connected=False, client_disconnected=False, client_subscribed=True, client_unsubscribed=True
    )
    made = system(broker, SysTopics(events=events), node="a/b+c")
    watching = await broker.connect("w")
    await watching.subscribe("$SYS/brokers/a_b_c/clients/#")
    await watching.expect(Publish)  # of its own subscription
    client = await broker.connect("c")
    await client.subscribe("x/#", qos=1)
    await client.unsubscribe("x/#")
    found = await received(watching, 2)
    body = json.loads(found["$SYS/brokers/a_b_c/clients/c/subscribed"].payload)
    assert body["topic"] == "x/#"
    assert body["subopts"] == {"sub_props": {}, "rh": 0, "rap": 0, "qos": 1, "nl": 0}
    body = json.loads(found["$SYS/brokers/a_b_c/clients/c/unsubscribed"].payload)
    assert re.fullmatch(r"\d{13}", str(body.pop("ts")))
    assert body == {"username": "undefined", "topic": "x/#", "protocol": "mqtt", "clientid": "c"}
    await client.disconnect()
    await watching.silent()
    made.stop()


@pytest.mark.parametrize("topic", ["$SYS", "$SYS/", "$SYS/brokers/n@h/version"])
async def test_clients_publish_nothing_there(broker: Running, version: int, topic: str) -> None:
    """MQTT 5: 0x87; before it the message is acknowledged and gone ([MQTT-3.3.5-2] of 3.1.1)."""
    watching = await broker.connect("w")
    await watching.subscribe("$SYS/#")
    client = await broker.connect("c", version=version, will=Will(topic, b"will"))
    code = 0x87 if version == 5 else 0
    client.send(Publish(topic, b"x"), Publish(topic, b"x", 1, True, packet_id=1))
    assert await client.expect(Puback) == Puback(1, code)
    client.send(Publish(topic, b"x", 2, packet_id=2))
    assert await client.expect(Pubrec) == Pubrec(2, code)
    if version < 5:
        client.send(Pubrel(2))
        assert await client.expect(Pubcomp) == Pubcomp(2)
    await client.publish("$SYSTEM/x", b"1", qos=1)  # another name, which is anybody's
    client.abort()  # the will has no better right
    await broker.until_away("c")
    await watching.silent()
    assert broker.broker.stats.rejected == 4
    assert broker.broker.stats.received == 1
    assert not len(broker.broker.retained)


async def test_the_refusal_is_an_event(start: Start) -> None:
    broker = await start(rules=EVERY_EVENT)
    client = await broker.connect("c")
    await client.publish("$SYS/x", b"x", qos=1)
    await client.publish("a", b"x", qos=1)
    await client.disconnect()
    await broker.until_away("c")
    found = [
        (event.topic, (event.data or {})["result"])
        for event in broker.events
        if event.type == EventType.CLIENT_CHECK_AUTHZ_COMPLETE
    ]
    assert found == [("$SYS/x", "deny"), ("a", "allow")]
    assert not [e for e in broker.events if e.type == EventType.MESSAGE_PUBLISH and e.topic != "a"]


def test_which_rules_name_them() -> None:
    def named(*rules: tuple[EventType, str | None]) -> bool:
        return Rules([(1, kind, topic) for kind, topic in rules]).system

    published = EventType.MESSAGE_PUBLISH
    assert named((published, "$SYS/#"))
    assert named((published, "a"), (published, "$SYS"))
    assert not named((published, None), (published, "#"), (published, "$SYSTEM/a"), (published, "+/brokers"))
    assert not named((EventType.SESSION_SUBSCRIBED, "$SYS/#"))


async def test_a_webhook_that_names_them(tmp_path: Path) -> None:
    """And only that: neither one for every topic, nor any with EMQX's bodies (INTEROP 2.2)."""
    async with Receiver() as receiver, Receiver() as everything, Receiver() as emqx:
        blocks = (
            webhook(receiver.url(), "on_message_publish $SYS/brokers/+/clients/#", "on_message_publish a"),
            f'webhooks.all {{ url = "{everything.url()}", events = [{{event = on_message_publish}}] }}',
            f'webhooks.emqx {{ url = "{emqx.url()}", format = emqx, topics = ["$SYS/#", "#"] }}',
            'node.name = "n@h"',
        )
        async with HookMQ(tmp_path, *blocks) as hookmq:
            client = await Client.connect(hookmq.port, "c1", username="bob", password=b"x")
            await client.publish("a", b"1", qos=1)
            await client.disconnect()
            requests = await receiver.wait_count(3)
            told: list[Any] = [request.json for request in requests]
            assert [body["topic"] for body in told] == [
                f"{NODE}/clients/c1/connected",
                "a",
                f"{NODE}/clients/c1/disconnected",
            ]
            assert told[0]["from_client_id"] == "hookmq"
            assert told[0]["from_username"] == "undefined"
            assert json.loads(told[0]["payload"])["clientid"] == "c1"
            await everything.wait_count(1)
            await emqx.wait_count(1)
            assert [r.json["topic"] for r in [*everything.requests, *emqx.requests]] == ["a", "a"]


async def test_at_the_front_door(tmp_path: Path) -> None:
    """Settings and version of a real process."""
    async with HookMQ(tmp_path, 'node.name = "n@h"', "sys_topics.sys_heartbeat_interval = 1s") as hookmq:
        client = await Client.connect(hookmq.port, "w", version=5)
        await client.subscribe(f"{NODE}/version")
        assert re.match(rb"\d+\.\d+", (await client.expect(Publish)).payload)
        await client.subscribe(f"{NODE}/datetime", retain_handling=2)
        assert not (await client.expect(Publish)).retain
        await client.disconnect()

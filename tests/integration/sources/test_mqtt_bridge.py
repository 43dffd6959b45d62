"""`bridges.mqtt`: a real mosquitto as a source, through kills of either side."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.mqtt.packets import Properties
from tests.integration.commands import asked
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook
from tests.integration.receiver import Receiver, Request
from tests.integration.sources.mosquitto import Mosquitto, Start


@pytest.fixture
def mosquitto(tmp_path: Path, command: Callable[[str], str]) -> Start:
    program = command("mosquitto")

    def start(**more: str) -> Mosquitto:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return Mosquitto(program, tmp_path / "mosquitto", port, **more)

    return start


def bridge(port: int, *subscriptions: str, **keys: Any) -> str:
    lines = "".join(f"  {key} = {json.dumps(value)}\n" for key, value in keys.items())
    entries = ", ".join(subscriptions or ['{ remote_topic = "plant/#", qos = 2 }'])
    return (
        f'bridges.mqtt.plant {{\n  server = "mqtt-tcp://127.0.0.1:{port}"\n{lines}'
        f"  subscription = [ {entries} ]\n}}\n"
    )


async def connected(hookmq: HookMQ) -> None:
    await hookmq.said("bridges.mqtt.plant: connected")


def payloads(requests: list[Request]) -> list[str]:
    return [request.json["payload"] for request in requests]


@pytest.mark.parametrize("version", [3, 4, 5])
async def test_messages_become_events(version: int, tmp_path: Path, mosquitto: Start) -> None:
    """At each QoS; what a subscriber is not told is undefined."""
    async with mosquitto() as broker, Receiver() as receiver:
        blocks = bridge(broker.port, proto_ver=version), webhook(receiver.url(), "on_message_publish")
        async with HookMQ(tmp_path / "h", *blocks) as hookmq:
            await connected(hookmq)
            async with await Client.connect(broker.port, "sensor", version=5) as sensor:
                for qos in (0, 1, 2):
                    await sensor.publish("plant/t", b"%d" % qos, qos=qos, retain=qos == 1)
                await sensor.publish("elsewhere", b"not wanted", qos=1)
            found = sorted((r.json for r in await receiver.wait_count(3)), key=lambda one: one["qos"])
            for qos, body in enumerate(found):
                retain = "undefined" if version < 5 else qos == 1
                assert body.pop("ts") > 1_700_000_000_000
                assert body == {
                    "topic": "plant/t", "retain": retain, "qos": qos, "action": "message_publish",
                    "from_username": "undefined", "from_client_id": "undefined", "payload": str(qos),
                }  # fmt: skip
            counts = (await asked(hookmq, "status"))["sources"]["bridges.mqtt.plant"]
            assert counts == {"connected": 1, "messages": 3, "events": 3, "held": 0, "connections": 1}


async def test_emqx_s_fields_and_local_topics(tmp_path: Path, mosquitto: Start) -> None:
    """Properties of MQTT 5 come along; `local_topic` is the topic that NanoMQ would publish it on."""
    async with mosquitto() as broker, Receiver() as receiver:
        one = '{ remote_topic = "plant/+/t", local_topic = "temperatures", qos = 1 }'
        blocks = (
            bridge(broker.port, one, '{ remote_topic = "plant/#", qos = 1 }', proto_ver=5),
            webhook(receiver.url(), "on_message_publish temperatures", format="emqx"),
        )
        async with HookMQ(tmp_path / "h", *blocks) as hookmq:
            await connected(hookmq)
            async with await Client.connect(broker.port, "sensor", version=5) as sensor:
                properties = Properties(content_type="text/plain", user_property=[("line", "7")])
                await sensor.publish("plant/7/t", b"21", qos=1, properties=properties)
            shown = (await receiver.wait_count(1))[0].json
            assert shown["topic"] == "temperatures"
            assert shown["pub_props"]["Content-Type"] == "text/plain"
            assert shown["pub_props"]["User-Property"] == {"line": "7"}
            assert "Subscription-Identifier" not in shown["pub_props"]
            assert shown["flags"] == {"retain": False, "dup": "undefined"}
            assert shown["clientid"] == shown["username"] == shown["peername"] == "undefined"


@pytest.mark.parametrize("qos", [1, 2])
async def test_nothing_is_lost(qos: int, tmp_path: Path, mosquitto: Start) -> None:
    """`kill -9` of HookMQ under load, twice, and a restart of mosquitto: whatever mosquitto has acknowledged
    comes; at QoS 2 each message makes one event."""
    async with mosquitto() as broker, Receiver() as receiver:
        blocks = (
            # No more than mosquitto's own max_inflight_messages: what it has open beyond that it forgets over
            # its restart, and sends again under other packet identifiers.
            bridge(broker.port, proto_ver=5, max_inflight_window=50),
            webhook(receiver.url(), "on_message_publish"),
        )
        async with HookMQ(tmp_path / "h", *blocks) as hookmq:
            await connected(hookmq)
            acknowledged: list[str] = []
            pause, ended = asyncio.Event(), asyncio.Event()
            pause.set()

            paused = 0

            async def publish(number: int) -> None:
                nonlocal paused
                client = await Client.connect(broker.port, f"sensor{number}")
                for count in range(100_000):
                    if ended.is_set():
                        break
                    if not pause.is_set():
                        client.abort()
                        paused += 1
                        await pause.wait()
                        client = await Client.connect(broker.port, f"sensor{number}")
                    text = f"{number}.{count}"
                    await client.publish("plant/x", text.encode(), qos=qos)
                    acknowledged.append(text)
                    await asyncio.sleep(0.002)  # so that the receiver keeps up
                client.abort()

            async def more(what: str) -> None:
                before = len(acknowledged)
                await until(lambda: len(acknowledged) >= before + 300, what, 20)

            tasks = [asyncio.create_task(publish(number)) for number in range(4)]
            try:
                await more("messages")
                hookmq.kill()
                await more("messages while HookMQ is away")
                await hookmq.start()
                await connected(hookmq)
                await more("messages again")
                hookmq.kill()
                await hookmq.start()
                await connected(hookmq)
                pause.clear()
                await until(lambda: paused == 4, "the publishers have stopped between two messages")
                await broker.stop()
                await broker.start()
                pause.set()
                await more("messages after the restart of mosquitto")
                await until(lambda: hookmq.log.count("plant: connected") == 2, "the connection again", 20)
            finally:
                ended.set()
                await asyncio.gather(*tasks, return_exceptions=True)

            events: dict[str, str] = {}
            read = 0

            def missing() -> list[str]:
                nonlocal read
                requests = receiver.requests
                for request in requests[read:]:  # to read all of them each time takes longer than they do
                    events[request.id] = request.json["payload"]
                read = len(requests)
                came = set(events.values())
                return [text for text in acknowledged if text not in came]

            end = time.monotonic() + 20
            while (lost := missing()) and time.monotonic() < end:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            assert lost == [], f"{len(lost)} of {len(acknowledged)}"
            if qos == 2:
                times = Counter(events.values())
                assert {text: times[text] for text in acknowledged if times[text] != 1} == {}


async def test_shared_subscriptions(tmp_path: Path, mosquitto: Start) -> None:
    """Two HookMQ share the messages: each comes once, to one of them."""
    async with mosquitto() as broker, Receiver() as receiver:
        one = '{ remote_topic = "$share/hookmq/plant/#", qos = 1 }'
        blocks = bridge(broker.port, one, proto_ver=5)
        first = HookMQ(tmp_path / "a", blocks, webhook(receiver.url("/a"), "on_message_publish"))
        second = HookMQ(tmp_path / "b", blocks, webhook(receiver.url("/b"), "on_message_publish"))
        async with first, second:
            await connected(first)
            await connected(second)
            async with await Client.connect(broker.port, "sensor") as sensor:
                for number in range(100):
                    await sensor.publish("plant/x", b"%d" % number, qos=1)
            requests = await receiver.wait_count(100)
            assert sorted(map(int, payloads(requests))) == list(range(100))
            assert {request.target for request in requests} == {"/a", "/b"}


async def test_a_changed_file(tmp_path: Path, mosquitto: Start) -> None:
    """The session at the broker follows: no message of a filter that is gone, and none twice."""
    async with mosquitto() as broker, Receiver() as receiver:
        hook = webhook(receiver.url(), "on_message_publish")
        a, b = '{ remote_topic = "plant/a" }', '{ remote_topic = "plant/b" }'
        async with HookMQ(tmp_path / "h", bridge(broker.port, a), hook) as hookmq:
            await connected(hookmq)
            hookmq.configure(bridge(broker.port, b), hook)
            await hookmq.stop()
            async with await Client.connect(broker.port, "sensor") as sensor:
                await sensor.publish("plant/a", b"kept", qos=1)
                await hookmq.start()
                await connected(hookmq)
                await sensor.publish("plant/a", b"gone", qos=1)
                await sensor.publish("plant/b", b"new", qos=1)
            assert sorted(payloads(await receiver.wait_count(2))) == ["kept", "new"]


async def test_a_full_endpoint_leaves_them_at_the_broker(tmp_path: Path, mosquitto: Start) -> None:
    """`on_full = refuse`: nothing is acknowledged that is not stored, and it goes on by itself."""
    async with mosquitto() as broker, Receiver(status=503) as receiver:
        bound = "backlog { max_bytes = 64KB, on_full = refuse }\nbreaker.probe_interval = 100ms"
        hook = webhook(receiver.url(), "on_message_publish", extra=bound)
        async with HookMQ(tmp_path / "h", bridge(broker.port), hook) as hookmq:
            await connected(hookmq)
            async with await Client.connect(broker.port, "sensor") as sensor:
                sent = 0
                # The bound is looked at turn by turn: a burst fits in before it is known to be full.
                while "messages wait at the broker" not in hookmq.log and sent < 900:
                    await sensor.publish("plant/x", b"%03d" % sent + b"x" * 8000, qos=1)
                    sent += 1
            await hookmq.said(
                "bridges.mqtt.plant: messages wait at the broker: an endpoint that wants it is full"
            )
            counts = (await asked(hookmq, "status"))["sources"]["bridges.mqtt.plant"]
            assert counts["messages"] < sent
            receiver.status = 200
            await receiver.wait_for(
                lambda rs: {text[:3] for text in payloads(rs)} == {f"{n:03d}" for n in range(sent)}, 30
            )


async def test_a_broker_that_refuses(tmp_path: Path, mosquitto: Start) -> None:
    """Told once, with no secret; and one that is not there."""
    async with mosquitto(anonymous="false") as broker:
        keys = {"username": "u", "password": "s3cret"}
        async with HookMQ(tmp_path / "h", bridge(broker.port, **keys)) as hookmq:
            await hookmq.said("no connection to mqtt://127.0.0.1:")
            assert "CONNACK unauthorized_client" in hookmq.log
            assert "s3cret" not in hookmq.log
            await broker.kill()
            await hookmq.said("refused", 20)


async def test_a_broker_that_sends_no_mqtt(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(4))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, HookMQ(tmp_path, bridge(port)) as hookmq:
        await hookmq.said("it sends what is no MQTT")

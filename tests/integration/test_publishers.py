"""Publishers at the broker of the process: topics, subscribers, webhooks beside them, loops, and kill -9."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from bridge.mqtt.packets import Puback, Publish
from tests.integration.admin.calling import SERVER, Api
from tests.integration.commands import asked, said
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook
from tests.integration.receiver import Receiver

COMPLETED = {
    "type": "operation.completed",
    "timestamp": "2024-01-15T10:30:00Z",
    "data": {"operation_id": "op-1", "operation_name": "Laser Cutting", "cell_name": "Laser Cutting"},
}
ACME = "enterprise = acme, site = chicago, area = Fabrication"
TOPIC = "acme/chicago/fabrication/laser_cutting/operation/completed"


def publisher(name: str, *lines: str) -> str:
    """A block `mqtt_publishers.<name>`."""
    return f"mqtt_publishers.{name} {{\n" + "\n".join(lines) + "\n}"


async def received(client: Client, count: int) -> list[Publish]:
    """The next messages, acknowledged."""
    found = []
    for _ in range(count):
        message = await client.expect(Publish)
        if message.qos:
            assert message.packet_id is not None
            client.send(Puback(message.packet_id))
        found.append(message)
    return found


def body(n: int) -> dict[str, Any]:
    return {"type": "job.created", "data": {"job_id": "j", "job_number": f"J-{n}"}}


async def test_a_subscriber_and_a_webhook_see_it(tmp_path: Path) -> None:
    """The seed's example, as a subscriber of MQTT 5 and of 3.1.1 has it, and a webhook on the message."""
    async with Receiver() as receiver:
        hook = webhook(receiver.url(), "on_message_publish acme/#")
        async with Api(tmp_path, hook, publisher("uns", ACME)) as api:
            assert "  publisher  uns: embedded {enterprise}/{site}/{area}/{cell}/{event}\n" in api.stdout
            five = await Client.connect(api.port, "five", version=5)
            four = await Client.connect(api.port, "four")
            await five.subscribe("#", 1)
            await four.subscribe("acme/+/+/+/operation/#", 2)
            assert (await api.post("/api/v2/events", COMPLETED)).status == 202
            (message,) = await received(five, 1)
            assert (message.topic, message.qos, message.retain) == (TOPIC, 1, False)
            expected = {
                "event": "operation.completed",
                "timestamp": COMPLETED["timestamp"],
                "data": COMPLETED["data"],
            }
            assert json.loads(message.payload) == expected
            assert list(json.loads(message.payload)) == ["event", "timestamp", "data"]
            properties = message.properties
            assert properties is not None
            assert properties.content_type == "application/json"
            ((name, identifier),) = properties.user_property or ()
            assert name == "webhook-id"
            (message,) = await received(four, 1)
            assert message.topic == TOPIC
            (request,) = await receiver.wait_for(lambda requests: len(requests) == 1)
            assert request.json["topic"] == TOPIC
            assert json.loads(request.json["payload"]) == expected
            (one,) = [e for e in (await asked(api, "status"))["endpoints"] if "." in e["name"]]
            assert (one["name"], one["delivered"], one["failed"]) == ("mqtt_publishers.uns", 1, 0)
            (row,) = await asked(api, "log", "--endpoint", "mqtt_publishers.uns", "--full")
            assert row["id"] == identifier
            assert row["ok"]
            assert row["request"].splitlines()[0] == f"PUBLISH {TOPIC} MQTT/5.0"
            assert "operation.completed" in await said(api, "log", "--endpoint", "mqtt_publishers.uns")


async def test_what_is_published_and_where(tmp_path: Path) -> None:
    """Several publishers, each with its events, format, QoS and retain; a message's events too."""
    blocks = [
        publisher("jobs", 'topic_pattern = "a/{job_number}/{event}"', 'events = ["job.*"]', "qos = 0"),
        publisher("kept", 'topic_pattern = "k/{event}"', "format = mes", "retain = true", "qos = 2"),
        publisher(
            "broker",
            'topic_pattern = "b/{line}/{event}"',
            'events = [on_client_connected, { event = on_message_publish, topic = "in/#" }]',
            "format = nanomq",
            "line = L1",
            "where = \"clientid = 'device'\"",
        ),
        publisher("off", 'topic_pattern = "off"', "active = false"),
    ]
    async with Api(tmp_path, *blocks) as api:
        listener = await Client.connect(api.port, "ear", version=5)
        await listener.subscribe("#", 2)
        assert (await api.post("/api/v2/events", body(7))).status == 202
        first, second = sorted(await received(listener, 2), key=lambda m: m.topic)
        assert (first.topic, first.qos) == ("a/j-7/job/created", 0)
        assert (second.topic, second.qos, second.retain) == ("k/job/created", 2, False)
        assert list(json.loads(second.payload)) == ["id", "type", "timestamp", "data"]
        late = await Client.connect(api.port, "late", version=5)
        await late.subscribe("k/#", 0)
        (kept,) = await received(late, 1)
        assert kept.retain
        listener.abort()
        listener = await Client.connect(api.port, "ear2", version=5)
        await listener.subscribe("b/#", 1)
        device = await Client.connect(api.port, "device")
        (message,) = await received(listener, 1)
        assert message.topic == "b/l1/client/connected"
        await device.publish("in/x", b'{"line": "Line 2", "v": 1}', 1)
        (message,) = await received(listener, 1)
        assert message.topic == "b/line_2/message/publish"
        assert json.loads(message.payload)["topic"] == "in/x"


async def test_a_publisher_does_not_publish_for_ever_what_it_publishes(tmp_path: Path) -> None:
    """Two that listen to all messages, one of them in by the listener: a message goes out once by each."""
    events = "events = [on_message_publish, on_message_delivered, on_message_acked, on_message_dropped]"
    blocks = [publisher("one", 'topic_pattern = "one/{event}"', events)]
    async with HookMQ(tmp_path, *blocks) as hookmq:
        port = hookmq.port
        assert await hookmq.stop() == 0
        hookmq.configure(
            *blocks,
            publisher("two", 'topic_pattern = "two/{event}"', events, f'server = "mqtt://127.0.0.1:{port}"'),
            f'listeners.tcp {{ bind = "127.0.0.1:{port}" }}',
        )
        await hookmq.start()
        ear = await Client.connect(hookmq.port, "ear", version=5)
        await ear.subscribe("+/message/#", 0)
        device = await Client.connect(hookmq.port, "device")
        await device.publish("in", b"x", 1)  # published, and dropped: nobody has subscribed
        found = sorted(message.topic for message in await received(ear, 4))
        assert found == [
            f"{name}/message/{kind}" for name in ("one", "two") for kind in ("dropped", "publish")
        ]
        await device.publish("in", b"y", 1)
        again = sorted(message.topic for message in await received(ear, 4))
        assert again == found
        for one in (await asked(hookmq, "status"))["endpoints"]:
            assert one["matched"] == 4, one


async def test_every_event_arrives_over_a_kill(tmp_path: Path) -> None:
    """kill -9 while they go out: each event that was taken comes to a webhook on the messages."""
    async with Receiver() as receiver:
        hook = webhook(receiver.url(), "on_message_publish jobs/#")
        block = publisher("jobs", 'topic_pattern = "jobs/{job_number}"', "max_in_flight = 4")
        async with Api(tmp_path, hook, block) as api:
            taken = 0
            for _ in range(3):
                batch = [body(n) for n in range(taken, taken + 200)]
                assert (await api.post("/api/v2/events", batch)).status == 202
                taken += 200
                await receiver.wait_for(lambda requests, n=taken: len(requests) > n - 190)
                api.kill()
                await api.start()

            def numbers() -> set[int]:
                return {int(request.json["topic"].partition("-")[2]) for request in receiver.requests}

            await until(lambda: len(numbers()) == taken, "every event has come", 15)
            assert numbers() == set(range(taken))


async def test_refused_by_a_full_endpoint(tmp_path: Path) -> None:
    """A webhook that is behind and turns messages away holds the publisher up, and nothing is lost."""
    async with Receiver(delay=0.05) as receiver:
        limits = "  pool_size = 1\n  backlog { max_bytes = 65536, on_full = refuse }"
        hook = webhook(receiver.url(), "on_message_publish jobs/#", extra=limits)
        lines = (
            'topic_pattern = "jobs/{event}"',
            "max_in_flight = 2",
            "retry.schedule = [0, 500ms, 1s, 1s, 1s]",
        )
        async with Api(tmp_path, hook, publisher("jobs", *lines)) as api:
            data = [{"job_id": "j", "job_number": f"{n:05}" + "x" * 3000} for n in range(40)]
            events = [{"type": "job.created", "data": one} for one in data]
            assert (await api.post("/api/v2/events", events)).status == 202
            await api.said("busy: quota_exceeded")

            def numbers() -> set[str]:
                found = [json.loads(request.json["payload"]) for request in receiver.requests]
                return {one["data"]["job_number"][:5] for one in found}

            await until(lambda: len(numbers()) == 40, "all have come", 15)
            await until_idle(api)
            (one,) = [e for e in (await asked(api, "status"))["endpoints"] if "." in e["name"]]
            assert one["delivered"] == 40
            assert one["failed"] > 0
            assert one["dead"] == 0


async def until_idle(hookmq: HookMQ) -> None:
    """Wait until nothing is queued or in flight."""
    for _ in range(200):
        if all(not e["queued"] and not e["in_flight"] for e in (await asked(hookmq, "status"))["endpoints"]):
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


async def test_a_test_message_a_dead_letter_and_a_replay(tmp_path: Path) -> None:
    """`hookmq send-test`, `dead`, `replay`, and a topic that the broker cannot take."""
    block = publisher("deep", 'topic_pattern = "a/b/c/{event}"')
    async with Api(tmp_path, block, "mqtt.max_topic_levels = 4") as api:
        ear = await Client.connect(api.port, "ear", version=5)
        await ear.subscribe("#", 1)
        name = "mqtt_publishers.deep"
        assert (await api.post("/api/v2/events", COMPLETED)).status == 202
        await api.said("gave up event")
        (letter,) = await asked(api, "dead", "list", "--each", "--endpoint", name)
        shown = await asked(api, "dead", "show", letter["id"])
        assert "max_topic_levels" in shown["attempts"][0]["error"]
        assert json.loads(shown["body"])["event"] == "operation.completed"
        api.configure(publisher("deep", 'topic_pattern = "a/b/{event}"'), "mqtt.max_topic_levels = 4")
        assert "changed" in await said(api, "reload")
        await asked(api, "dead", "replay", letter["id"])
        (message,) = await received(ear, 1)
        assert message.topic == "a/b/operation/completed"
        found = await asked(api, "send-test", "--endpoint", name, "--event", "job.created")
        assert found["ok"]
        assert found["request"].startswith("PUBLISH a/b/job/created MQTT/5.0")
        (message,) = await received(ear, 1)
        assert message.topic == "a/b/job/created"
        assert message.payload.decode() == found["body"]
        endpoints = {one["name"]: one for one in await asked(api, "endpoints")}
        assert endpoints[name]["url"] == "embedded a/b/{event}"
        assert (endpoints[name]["method"], endpoints[name]["format"]) == ("PUBLISH", "eryxon")


async def test_what_is_published_is_not_lifted_and_published_again(tmp_path: Path) -> None:
    """The same topics in and out, by two ways: each event goes out once by each."""
    lift = 'events.lift = [{ topic = "acme/{site}/{area}/{cell}/{event}" }]'
    block = publisher("one", "enterprise = acme")
    async with Api(tmp_path, lift, block) as api:
        port = api.port
        assert await api.stop() == 0
        api.configure(
            SERVER,
            lift,
            block,
            publisher("two", f'server = "mqtt://127.0.0.1:{port}"', "enterprise = acme", "proto_ver = 4"),
            f'listeners.tcp {{ bind = "127.0.0.1:{port}" }}',
        )
        await api.start()
        ear = await Client.connect(api.port, "ear", version=5)
        await ear.subscribe("#", 1)
        device = await Client.connect(api.port, "device")
        topic = "acme/chicago/fab/saw_2/job/created"
        for number in (1, 2):
            await device.publish(topic, b'{"job_id": "j", "job_number": "J-%d"}' % number, 1)
            found = await received(ear, 3)
            assert [message.topic for message in found] == [topic] * 3
            assert {json.loads(m.payload).get("event") for m in found} == {None, "job.created"}
            # Lifted from what came in by the listener, but for nobody.
            await until_idle(api)
            assert [e["matched"] for e in (await asked(api, "status"))["endpoints"]] == [number, number]

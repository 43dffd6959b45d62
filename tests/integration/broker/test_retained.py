"""Retained messages (sections 3.3.1.3, 3.8.3.1): kept, replaced, cleared, sent to subscriptions, bounded."""

from __future__ import annotations

import asyncio

import pytest

from bridge.broker.client import Client as BrokerClient
from bridge.broker.client import Message, message_size
from bridge.broker.retained import Retained
from bridge.mqtt.packets import (
    Connect,
    Disconnect,
    Properties,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
)
from tests.integration.broker.running import Running, Start
from tests.integration.mqtt_client import Client


@pytest.mark.mqtt3("3.3.1-5", "3.3.1-6", "3.3.1-8")
@pytest.mark.mqtt5("3.3.1-5")
async def test_a_new_subscription_gets_the_last_retained_message(broker: Running, version: int) -> None:
    publisher = await broker.connect("p", version=version)
    for qos in (0, 1, 2):
        await publisher.publish(f"a/{qos}", b"old", qos, retain=True)
        await publisher.publish(f"a/{qos}", b"new", qos, retain=True)
    await publisher.publish("a/not", b"x")
    client = await broker.connect("s", version=version)
    await client.subscribe("a/+", 1)
    got = [await client.expect(Publish) for _ in range(3)]
    assert sorted((m.topic, m.payload, m.qos, m.retain) for m in got) == [
        ("a/0", b"new", 0, True),
        ("a/1", b"new", 1, True),
        ("a/2", b"new", 1, True),
    ]
    await client.silent()


@pytest.mark.mqtt3("3.3.1-10", "3.3.1-11")
@pytest.mark.mqtt5("3.3.1-6", "3.3.1-7")
async def test_an_empty_payload_clears(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    await client.subscribe("a")
    await client.publish("a", b"x", 1, retain=True)
    assert (await client.expect(Publish)).payload == b"x"
    await client.publish("a", b"", 1, retain=True)  # [MQTT-3.3.1-6]; itself delivered as any other
    assert (await client.expect(Publish)).payload == b""
    await client.subscribe("a")
    await client.silent()
    assert len(broker.broker.retained) == 0
    assert broker.broker.retained.bytes == 0


@pytest.mark.mqtt3("3.3.1-12")
@pytest.mark.mqtt5("3.3.1-8")
async def test_a_message_without_retain_leaves_the_retained_one(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)  # [MQTT-3.3.1-8]
    await client.publish("a", b"kept", retain=True)
    await client.publish("a", b"passing", 1)
    await client.subscribe("a")
    assert (await client.expect(Publish)).payload == b"kept"


@pytest.mark.mqtt3("3.3.1-9")
@pytest.mark.mqtt5("3.3.1-12")
async def test_a_live_message_has_no_retain_flag(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)  # [MQTT-3.3.1-12]
    await client.subscribe("a")
    await client.publish("a", b"x", retain=True)
    assert not (await client.expect(Publish)).retain


@pytest.mark.mqtt5("3.3.1-13")
async def test_retain_as_published(broker: Running) -> None:
    client = await broker.connect("c", version=5)  # [MQTT-3.3.1-13]
    await client.subscribe("a", retain_as_published=True)
    await client.publish("a", b"x", retain=True)
    assert (await client.expect(Publish)).retain
    await client.publish("a", b"y")
    assert not (await client.expect(Publish)).retain


@pytest.mark.mqtt5("3.3.1-9", "3.3.1-10", "3.3.1-11", "3.8.4-4")
async def test_retain_handling(broker: Running) -> None:
    client = await broker.connect("c", version=5)  # [MQTT-3.3.1-9], [-10], [-11]
    await client.publish("a", b"x", retain=True)
    await client.subscribe("a", retain_handling=2)
    await client.silent()
    await client.subscribe("a", retain_handling=1)  # not new
    await client.silent()
    await client.unsubscribe("a")
    await client.subscribe("a", retain_handling=1)
    assert (await client.expect(Publish)).payload == b"x"
    await client.subscribe("a", retain_handling=1)
    await client.silent()
    await client.subscribe("a", retain_handling=0)
    assert (await client.expect(Publish)).payload == b"x"


@pytest.mark.mqtt3("3.8.4-4")
@pytest.mark.mqtt5("3.8.4-5")
async def test_each_filter_of_a_subscribe_gets_its_own(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    await client.publish("a", b"x", retain=True)
    client.send(Subscribe(1, [Subscription("a"), Subscription("#"), Subscription("b")]))
    await client.expect(Suback)
    assert [(await client.expect(Publish)).payload for _ in range(2)] == [b"x", b"x"]
    await client.silent()


async def test_suback_comes_before_retained_messages(broker: Running, version: int) -> None:
    publisher = await broker.connect("p", version=version)
    await publisher.publish("a", b"x", 1, retain=True)
    client = await Client.open(broker.port, version=version)
    client.send(Connect("c", version), Subscribe(1, [Subscription("a", 1)]))
    await client.next()
    assert type(await client.next()) is Suback
    assert type(await client.next()) is Publish


async def test_a_session_that_is_resumed_gets_none(broker: Running, version: int) -> None:
    properties = Properties(session_expiry_interval=100) if version == 5 else None
    client = await broker.connect("c", version=version, clean=False, properties=properties)
    await client.publish("a", b"x", retain=True)
    await client.subscribe("a")
    await client.expect(Publish)
    await client.disconnect()
    client = await broker.connect("c", version=version, clean=False, properties=properties)
    await client.silent()  # a subscription, not a connection, gets retained messages


@pytest.mark.mqtt3("4.7.2-1")
@pytest.mark.mqtt5("4.7.2-1")
async def test_dollar_topics(broker: Running) -> None:
    client = await broker.connect("c")
    await client.publish("$own/a", b"x", retain=True)
    await client.publish("a", b"y", retain=True)
    await client.subscribe("#")  # [MQTT-4.7.2-1]
    assert (await client.expect(Publish)).topic == "a"
    await client.subscribe("+/a")
    await client.silent()
    await client.subscribe("$own/#")
    assert (await client.expect(Publish)).topic == "$own/a"


async def test_subscription_identifiers_and_properties(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    properties = Properties(content_type="t", user_property=[("k", "v")])
    await client.publish("a", b"x", retain=True, properties=properties)
    await client.subscribe("a", identifier=7)
    message = await client.expect(Publish)
    properties.subscription_identifier = [7]
    assert message.properties == properties


@pytest.mark.mqtt5("3.3.2-6")
async def test_expiry(broker: Running) -> None:
    publisher = await broker.connect("p", version=5)
    await publisher.publish("short", b"x", retain=True, message_expiry_interval=1)
    await publisher.publish("long", b"y", retain=True, message_expiry_interval=100)
    await asyncio.sleep(1.1)
    client = await broker.connect("c", version=5)
    await client.subscribe("#")
    message = await client.expect(Publish)
    assert message.topic == "long"
    assert message.properties is not None
    assert message.properties.message_expiry_interval == 99  # [MQTT-3.3.2-6]
    await client.silent()
    assert len(broker.broker.retained) == 1


@pytest.mark.mqtt5("3.3.2-6")
async def test_expiry_is_the_received_one_within_a_second(broker: Running) -> None:
    """It is reduced by the time of waiting, in whole seconds, and never to 0."""
    client = await broker.connect("c", version=5)
    await client.publish("r", b"x", retain=True, message_expiry_interval=1)
    await client.subscribe("#")
    for expected in ("r", "now"):
        message = await client.expect(Publish)
        assert message.topic == expected
        assert message.properties is not None
        assert message.properties.message_expiry_interval == 1
        await client.publish("now", b"y", message_expiry_interval=1)


async def test_the_number_is_bounded(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    broker = await start(max_retained=3)
    client = await broker.connect("c")
    for number in range(6):
        await client.publish(f"t/{number}", b"x", 1, retain=True)
    await client.publish("t/0", b"new", 1, retain=True)  # one that is there may change
    await client.subscribe("#")
    got = {(m.topic, m.payload) for m in [await client.expect(Publish) for _ in range(3)]}
    assert got == {("t/0", b"new"), ("t/1", b"x"), ("t/2", b"x")}
    await client.silent()
    assert caplog.text.count("max_retained") == 1
    await client.publish("t/1", b"", 1, retain=True)
    await client.publish("t/5", b"x", 1, retain=True)
    assert len(broker.broker.retained) == 3


def message(topic: str, size: int, expires: float | None = None) -> Message:
    client = BrokerClient(clientid="c", username=None, peername="")
    payload = b"x" * size
    return Message(topic, payload, 0, True, None, client, 0, expires, message_size(topic, payload, None))


async def test_the_bytes_are_bounded() -> None:
    retained = Retained(100, 10_000)
    assert retained.keep(message("a", 5_000), 0)
    assert not retained.keep(message("b", 5_000), 0)
    assert retained.keep(message("b", 1_000), 0)
    assert retained.keep(message("a", 6_000), 0)
    assert not retained.keep(message("a", 9_000), 0)  # too large; what it replaces is outdated
    assert len(retained) == 1
    assert [m.topic for m in retained.find("#", 0)] == ["b"]
    assert retained.keep(message("b", 0), 0)
    assert retained.bytes == 0
    assert not retained.keep(message("/".join("x" * 60), 10), 0)  # a level costs memory, too


async def test_a_full_store_gives_up_what_is_past_its_expiry() -> None:
    retained = Retained(2, 10_000)
    assert retained.keep(message("a", 1, 5.0), 0)
    assert retained.keep(message("b", 1, 50.0), 0)
    assert not retained.keep(message("c", 1), 4.0)
    assert retained.keep(message("c", 1), 16.0)
    assert sorted(m.topic for m in retained.find("#", 16.0)) == ["b", "c"]


@pytest.mark.parametrize("qos", [0, 1])
async def test_more_retained_messages_than_a_queue_holds(start: Start, version: int, qos: int) -> None:
    """They are sent as the client takes them, and none is lost."""
    broker = await start(max_mqueue_len=10, max_inflight_window=7)
    publisher = await broker.connect("p", version=version)
    count = 1500
    for number in range(count):
        publisher.send(Publish(f"t/{number}", b"x" * 500, qos, True, packet_id=number + 1 if qos else 0))
    await broker.until(lambda: len(broker.broker.retained) == count)
    client = await broker.connect("s", version=version)
    await client.subscribe("#", qos)
    topics = set()
    while len(topics) < count:
        got = await client.expect(Publish)
        assert got.retain
        topics.add(got.topic)
        if qos:
            client.send(Puback(got.packet_id))
    await client.silent()
    assert broker.broker.stats.dropped == 0
    assert broker.broker.sessions["s"].owed is None


async def test_owed_retained_messages_survive_the_connection(start: Start) -> None:
    broker = await start(max_inflight_window=2)
    publisher = await broker.connect("p")
    for number in range(5):
        await publisher.publish(f"t/{number}", b"x", 1, retain=True)
    client = await broker.connect("s", clean=False)
    await client.subscribe("#", 1)
    topics = {(await client.expect(Publish)).topic for _ in range(2)}
    await client.silent()
    client.abort()
    await broker.until_away("s")
    client = await broker.connect("s", clean=False)
    while len(topics) < 5:
        got = await client.expect(Publish)
        topics.add(got.topic)
        client.send(Puback(got.packet_id))


async def test_an_unsubscribe_ends_what_is_owed(start: Start) -> None:
    broker = await start(max_inflight_window=1, max_mqueue_len=1)
    client = await broker.connect("s")
    for number in range(5):
        await client.publish(f"t/{number}", b"x", 1, retain=True)
    await client.subscribe("#", 1)
    await client.unsubscribe("#")
    for _ in range(2):  # in flight, and queued
        client.send(Puback((await client.expect(Publish)).packet_id))
    await client.silent()


async def test_a_reader_of_many_retained_messages_does_not_hold_up_others(start: Start) -> None:
    broker = await start()
    publisher = await broker.connect("p")
    for number in range(3000):
        publisher.send(Publish(f"t/{number}", b"x", 0, True))
    await broker.until(lambda: len(broker.broker.retained) == 3000)
    greedy = await broker.connect("greedy")
    other = await broker.connect("other")
    greedy.send(*(Subscribe(i, [Subscription("#")]) for i in range(1, 50)))
    other.send(Publish("x", b"", 1, packet_id=1))
    await other.expect(Puback)
    assert broker.broker.stats.sent < 3000
    greedy.send(Disconnect())
    await greedy.wait_closed()

"""Topic aliases both ways (sections 3.3.2.3.4, 3.1.2.11.5, 3.2.2.3.8)."""

from __future__ import annotations

import pytest

from bridge.mqtt.packets import Properties, Publish
from tests.integration.broker.running import Running, Start


def alias(number: int) -> Properties:
    return Properties(topic_alias=number)


@pytest.mark.mqtt5("3.3.2-12")
async def test_aliases_of_a_client(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    await client.subscribe("#", 1)
    client.send(
        Publish("a", b"1", properties=alias(1)),
        Publish("", b"2", properties=alias(1)),
        Publish("b", b"3", properties=alias(65535)),
        Publish("", b"4", properties=alias(65535)),
        Publish("c", b"5", properties=alias(1)),  # set anew
        Publish("", b"6", 1, packet_id=9, properties=alias(1)),
    )
    got = {}
    for _ in range(6):
        message = await client.expect(Publish)
        assert message.properties is None  # an alias belongs to one connection
        got[message.payload] = message.topic
    assert got == {b"1": "a", b"2": "a", b"3": "b", b"4": "b", b"5": "c", b"6": "c"}
    assert [call[2] for call in broker.recorder.of("publish")] == ["a", "a", "b", "b", "c", "c"]


@pytest.mark.mqtt5("3.3.2-7")
async def test_aliases_end_with_the_connection(broker: Running) -> None:
    session = Properties(session_expiry_interval=100)
    client = await broker.connect("c", version=5, properties=session)
    await client.publish("a", b"1", 1, topic_alias=1)
    await client.disconnect()
    client = await broker.connect("c", version=5, clean=False, properties=session)
    client.send(Publish("", b"2", properties=alias(1)))
    await client.expect_disconnect(0x82)


@pytest.mark.mqtt5("3.2.2-17", "3.3.2-9")
@pytest.mark.parametrize(
    ("topic", "number", "code"),
    [
        ("", 3, 0x82),  # never set
        ("a", 6, 0x94),  # above our maximum [MQTT-3.3.2-9]
        ("", 6, 0x94),
    ],
)
async def test_aliases_that_a_client_may_not_use(start: Start, topic: str, number: int, code: int) -> None:
    broker = await start(max_topic_alias=5)
    client = await broker.connect("c", version=5)
    client.send(Publish(topic, b"x", properties=alias(number)))
    await client.expect_disconnect(code)
    assert broker.recorder.of("publish") == []


@pytest.mark.mqtt5("3.3.2-8")
async def test_alias_0(broker: Running) -> None:
    client = await broker.connect("c", version=5)  # [MQTT-3.3.2-8]
    client.raw(b"\x30\x07\0\x01a\x03\x23\0\0")
    await client.expect_disconnect(0x94)


async def test_neither_topic_nor_alias(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    client.raw(b"\x30\x03\0\0\0")
    await client.expect_disconnect(0x82)


@pytest.mark.mqtt5("3.2.2-18")
async def test_no_aliases_at_all(start: Start) -> None:
    broker = await start(max_topic_alias=0)
    client = await broker.connect("c", version=5, topic_alias_maximum=10)
    assert client.connack is not None
    assert client.connack.properties is not None
    assert client.connack.properties.topic_alias_maximum is None
    await client.subscribe("a")
    await client.publish("a", b"x")
    assert (await client.expect(Publish)).properties is None
    client.send(Publish("a", b"x", properties=alias(1)))
    await client.expect_disconnect(0x94)


async def test_the_topics_of_aliases_are_bounded_in_bytes(start: Start) -> None:
    broker = await start(max_mqueue_bytes=100_000)
    client = await broker.connect("c", version=5)
    for _ in range(5):  # the same alias again holds no more
        await client.publish("x" * 50_000, b"", 1, topic_alias=1)
    await client.publish("y" * 50_000, b"", 1, topic_alias=2)
    client.send(Publish("z", b"", properties=alias(3)))
    await client.expect_disconnect(0x97)


@pytest.mark.mqtt5("3.1.2-26", "3.3.2-11")
async def test_aliases_towards_a_client(broker: Running) -> None:
    client = await broker.connect("c", version=5, topic_alias_maximum=2)
    await client.subscribe("#", 1)
    got = []
    for topic in ("a", "b", "a", "c", "b", "c"):
        await client.publish(topic, b"x", 1)
        message = await client.expect(Publish)
        got.append((message.topic, message.properties and message.properties.topic_alias))
    assert got == [("a", 1), ("b", 2), ("", 1), ("c", None), ("", 2), ("c", None)]


@pytest.mark.mqtt5("3.3.2-7")
async def test_aliases_towards_a_client_begin_anew(broker: Running) -> None:
    options = {"version": 5, "properties": Properties(session_expiry_interval=100, topic_alias_maximum=5)}
    client = await broker.connect("c", **options)
    await client.subscribe("a", 1)
    for expected in ("a", ""):
        await client.publish("a", b"x", 1)
        assert (await client.expect(Publish)).topic == expected
    client.abort()
    await broker.until_away("c")
    client = await broker.connect("c", clean=False, **options)
    first, second = [await client.expect(Publish) for _ in range(2)]  # sent again
    assert (first.topic, first.dup, second.topic, second.dup) == ("a", True, "", True)
    assert first.properties == second.properties == alias(1)


async def test_an_alias_whose_first_packet_was_too_large_is_not_used(broker: Running) -> None:
    properties = Properties(topic_alias_maximum=5, maximum_packet_size=60)
    client = await broker.connect("c", version=5, properties=properties)
    await client.subscribe("#")
    publisher = await broker.connect("p", version=5)
    await publisher.publish("a", b"x" * 100, 1)
    await publisher.publish("b", b"ok", 1)
    await publisher.publish("a", b"ok", 1)
    await publisher.publish("a", b"ok", 1)
    got = [await client.expect(Publish) for _ in range(3)]
    assert [(m.topic, m.properties and m.properties.topic_alias) for m in got] == [
        ("b", 1),
        ("a", 2),
        ("", 2),
    ]


@pytest.mark.mqtt5("3.1.2-27")
async def test_a_client_that_asks_for_no_alias_gets_none(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    await client.subscribe("a")
    for _ in range(2):
        await client.publish("a", b"x")
        message = await client.expect(Publish)
        assert (message.topic, message.properties) == ("a", None)

"""What a broker may do without and says so: QoS 2, retained messages, control characters (`mqtt.*`)."""

from __future__ import annotations

import pytest

from bridge.mqtt.packets import Connack, Connect, Publish, Subscribe, Subscription, Unsubscribe, Will
from tests.integration.broker.running import Running, Start
from tests.integration.mqtt_client import Client


@pytest.mark.mqtt5("3.2.2-9", "3.2.2-10")
@pytest.mark.parametrize("most", [0, 1])
async def test_a_maximum_qos_is_told_and_kept(start: Start, most: int) -> None:
    broker = await start(max_qos_allowed=most)
    client = await broker.connect("c", version=5)
    assert client.connack.properties is not None
    assert client.connack.properties.maximum_qos == most
    await client.subscribe("a", 2)  # [MQTT-3.2.2-10]: a subscription of any QoS is taken
    await client.publish("a", b"x", most)
    assert (await client.expect(Publish)).qos == most
    client.send(Publish("a", b"y", most + 1, packet_id=7))
    await client.expect_disconnect(0x9B)  # section 3.2.2.3.4
    assert broker.recorder.of("publish") == [("publish", "c", "a", b"x")]


async def test_an_older_client_with_too_high_a_qos_is_not_answered(start: Start, version: int) -> None:
    broker = await start(max_qos_allowed=1)
    client = await broker.connect("c", version=version)
    client.send(Publish("a", b"y", 2, packet_id=7))
    await client.expect_disconnect(0x9B)
    assert broker.recorder.of("publish") == []


async def test_without_bounds_nothing_is_told(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    properties = client.connack.properties
    assert properties is not None
    assert (properties.maximum_qos, properties.retain_available) == (None, None)


@pytest.mark.mqtt5("3.2.2-12")
async def test_a_will_of_too_high_a_qos_is_refused(start: Start) -> None:
    broker = await start(max_qos_allowed=1)
    client = await broker.connect("c", version=5, will=Will("w", b"x", 2), code=0x9B)
    await client.wait_closed()
    await broker.connect("c", version=5, will=Will("w", b"x", 1))


@pytest.mark.mqtt5("3.2.2-13")
async def test_a_retained_will_without_retained_messages_is_refused(start: Start) -> None:
    broker = await start(retain_available=False)
    client = await broker.connect("c", version=5, will=Will("w", b"x", retain=True), code=0x9A)
    await client.wait_closed()
    older = await broker.connect("d", will=Will("w", b"x", retain=True), code=3)
    await older.wait_closed()


async def test_without_retained_messages(start: Start, version: int) -> None:
    broker = await start(retain_available=False)
    client = await broker.connect("c", version=version)
    if version == 5:
        assert client.connack.properties is not None
        assert client.connack.properties.retain_available == 0
    await client.publish("a", b"x", 1)
    client.send(Publish("a", b"x", 1, True, packet_id=9))
    await client.expect_disconnect(0x9A)  # section 3.2.2.3.5
    assert len(broker.broker.retained) == 0


DISCOURAGED = ["\x01", "\x1f", "\x7f", "\x9f", "\ufdd0", "\ufffe", "\U0001ffff"]


@pytest.mark.parametrize("character", DISCOURAGED)
async def test_strict_mode(start: Start, version: int, character: str) -> None:
    """Sections 1.5.3 of MQTT 3.1.1 and 1.5.4 of MQTT 5: a receiver may close the connection for them."""
    broker = await start(strict_mode=True)
    name = f"a{character}b"
    for packet in (
        Publish(name, b"x"),
        Subscribe(1, [Subscription("ok"), Subscription(name)]),
        Unsubscribe(1, [name]),
    ):
        client = await broker.connect("c", version=version)
        client.send(packet)
        await client.expect_disconnect(0x81)
    for connect, code in (
        (Connect(name, version), 0x85),  # [MQTT-3.1.3-8]: an identifier that is not taken
        (Connect("u", version, username=name), 0x81),
        (Connect("w", version, will=Will(name, b"x")), 0x81),
    ):
        client = await Client.open(broker.port, version=version)
        client.send(connect)
        answers = await client.wait_closed()
        assert answers == ([Connack(False, code)] if version == 5 else [])
    assert broker.recorder.of("publish", "subscribe", "unsubscribe") == []


@pytest.mark.parametrize("character", DISCOURAGED)
async def test_without_strict_mode_they_are_characters(broker: Running, version: int, character: str) -> None:
    client = await broker.connect(f"c{character}", version=version)
    await client.subscribe(f"a{character}")
    await client.publish(f"a{character}", b"x")
    assert (await client.expect(Publish)).topic == f"a{character}"


async def test_the_state_of_a_mosquitto_bridge(broker: Running, version: int) -> None:
    """`notifications` of mosquitto's bridges, on by default: a retained message and a will."""
    topic = "$SYS/broker/connection/plant.uplink/state"
    reader = await broker.connect("reader")
    await reader.subscribe("$SYS/broker/connection/#")
    bridge = await broker.connect("bridge", version=version, will=Will(topic, b"0", 1, True))
    await bridge.publish(topic, b"1", 1, retain=True)
    assert (await reader.expect(Publish)).payload == b"1"
    bridge.abort()
    assert (await reader.expect(Publish)).payload == b"0"


@pytest.mark.parametrize(
    "topic",
    [
        "$SYS/broker/connection/state",
        "$SYS/broker/connection/a/b/state",
        "$SYS/broker/connection/a/states",
        "$SYS/brokers/connection/a/state",
        "$share/group/a",
    ],
)
async def test_nothing_else_below_sys_and_nothing_to_share(broker: Running, topic: str) -> None:
    client = await broker.connect("c", version=5)
    assert await client.publish(topic, b"1", 1) == 0x87

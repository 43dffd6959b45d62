"""What subscribers get: each QoS, redelivery, Receive Maximum, queues (sections 3.3.4, 4.3, 4.4, 4.6)."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.broker.client import Client as BrokerClient
from bridge.broker.client import Message, message_size
from bridge.broker.session import Delivery, Session
from bridge.mqtt.packets import (
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Subscription,
    Unsubscribe,
)
from tests.integration.broker.running import Running, Start


def persistent(version: int, **more: Any) -> dict[str, Any]:
    """The options of `connect` for a session that stays."""
    properties = Properties(session_expiry_interval=1000, **more) if version == 5 else None
    return {"version": version, "clean": False, "properties": properties}


@pytest.mark.mqtt3("3.8.4-6", "4.3.2-1")
@pytest.mark.mqtt5("3.8.4-8", "4.3.2-2", "4.3.3-2")
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("subscribed", [0, 1, 2])
async def test_the_lower_qos_counts(broker: Running, version: int, published: int, subscribed: int) -> None:
    publisher = await broker.connect("p", version=version)
    subscriber = await broker.connect("s", version=version)
    assert await subscriber.subscribe("a", subscribed) == subscribed
    await publisher.publish("a", b"x", published)
    message = await subscriber.expect(Publish)
    assert (message.topic, message.payload, message.qos) == ("a", b"x", min(published, subscribed))
    assert not message.dup
    assert not message.retain


@pytest.mark.mqtt3("4.3.2-1")
@pytest.mark.mqtt5("4.3.2-3")
async def test_qos1_whole(broker: Running, version: int) -> None:
    client = await broker.connect("s", version=version)
    await client.subscribe("a", 1)
    await client.publish("a", b"x", 1)
    message = await client.expect(Publish)
    assert broker.recorder.of("acked") == []
    client.send(Puback(message.packet_id))
    await client.silent()
    assert broker.recorder.of("delivered", "acked") == [
        ("delivered", "s", "a", b"x"),
        ("acked", "s", "a", b"x"),
    ]
    assert not broker.broker.sessions["s"].inflight
    assert broker.broker.sessions["s"].inflight_bytes == 0


@pytest.mark.mqtt3("2.3.1-6", "4.3.3-1")
@pytest.mark.mqtt5("2.2.1-5", "4.3.3-4")
async def test_qos2_whole(broker: Running, version: int) -> None:
    publisher = await broker.connect("p", version=version)
    client = await broker.connect("s", version=version)
    await client.subscribe("a", 2)
    await publisher.publish("a", b"x", 2)
    message = await client.expect(Publish)
    for _ in range(2):  # a PUBREC that comes again is answered again, and counted once
        client.send(Pubrec(message.packet_id))
        assert await client.next() == Pubrel(message.packet_id)
    client.send(Pubcomp(message.packet_id))
    await client.silent()
    assert broker.recorder.of("acked") == [("acked", "s", "a", b"x")]
    assert not broker.broker.sessions["s"].inflight


@pytest.mark.mqtt5("3.6.2-1")
async def test_acknowledgements_of_unknown_ids_change_nothing(broker: Running, version: int) -> None:
    client = await broker.connect("s", version=version)
    client.send(Puback(7), Pubcomp(7))
    await client.silent()
    client.send(Pubrec(7))
    assert await client.next() == Pubrel(7)


@pytest.mark.mqtt3("4.8.0-1")
@pytest.mark.mqtt5("4.13.1-1")
@pytest.mark.parametrize(("qos", "answer"), [(1, Pubrec), (1, Pubcomp), (2, Puback), (2, Pubcomp)])
async def test_an_acknowledgement_of_another_qos_ends_the_connection(
    broker: Running, version: int, qos: int, answer: type[Puback]
) -> None:
    """The client takes the message for another one; it is sent again when the client is back."""
    session = Properties(session_expiry_interval=100) if version == 5 else None
    client = await broker.connect("s", version=version, clean=False, properties=session)
    publisher = await broker.connect("p")
    await client.subscribe("a", qos)
    await publisher.publish("a", b"x", qos)
    message = await client.expect(Publish)
    client.send(answer(message.packet_id))
    await client.expect_disconnect(0x82)
    again = await broker.connect("s", version=version, clean=False, properties=session)
    repeated = await again.expect(Publish)
    assert (repeated.packet_id, repeated.dup, repeated.payload) == (message.packet_id, True, b"x")


async def test_a_puback_after_pubrec_ends_the_connection(broker: Running, version: int) -> None:
    client = await broker.connect("s", version=version)
    await client.subscribe("a", 2)
    publisher = await broker.connect("p")
    await publisher.publish("a", b"x", 2)
    message = await client.expect(Publish)
    client.send(Pubrec(message.packet_id))
    assert await client.next() == Pubrel(message.packet_id)
    client.send(Puback(message.packet_id))
    await client.expect_disconnect(0x82)


@pytest.mark.mqtt5("4.3.3-4")
async def test_a_pubrec_with_a_failure_ends_the_exchange(broker: Running) -> None:
    client = await broker.connect("s", version=5)  # [MQTT-4.3.3-4]
    await client.subscribe("a", 2)
    client.send(Publish("a", b"x", 2, packet_id=1))
    message = await client.expect(Publish)
    client.inbox.clear()
    client.send(Pubrec(message.packet_id, 0x83), Pubrec(message.packet_id, 0x83))
    await client.silent()
    assert not broker.broker.sessions["s"].inflight
    assert broker.recorder.of("acked") == []


@pytest.mark.mqtt5("4.4.0-2")
async def test_a_puback_with_a_failure_is_not_acked(broker: Running) -> None:
    client = await broker.connect("s", version=5)
    await client.subscribe("a", 1)
    await client.publish("a", b"x", 1)
    client.send(Puback((await client.expect(Publish)).packet_id, 0x80))
    await client.silent()
    assert not broker.broker.sessions["s"].inflight
    assert broker.recorder.of("acked") == []


@pytest.mark.mqtt3("2.3.1-4", "3.3.1-1", "4.1.0-1", "4.3.3-1", "4.4.0-1", "4.6.0-1")
@pytest.mark.mqtt5("3.3.1-1", "4.3.3-3", "4.3.3-5", "4.3.3-6", "4.4.0-1", "4.6.0-1")
async def test_redelivery_after_a_reconnect(broker: Running, version: int) -> None:
    publisher = await broker.connect("p", version=version)
    client = await broker.connect("s", **persistent(version))
    await client.subscribe("#", 2)
    for qos in (1, 2, 2):
        await publisher.publish("a", b"%d" % qos, qos)
    first, second, third = [await client.expect(Publish) for _ in range(3)]
    assert not any(message.dup for message in (first, second, third))
    client.send(Pubrec(third.packet_id))
    assert await client.next() == Pubrel(third.packet_id)
    client.abort()
    await broker.until_away("s")

    client = await broker.connect("s", **persistent(version))
    assert client.connack is not None
    assert client.connack.session_present == (version > 3)
    again = [await client.next() for _ in range(3)]  # [MQTT-4.4.0-1]: the same ids, in their order
    assert [(m.packet_id, m.qos, m.dup) for m in again[:2]] == [
        (first.packet_id, 1, True),
        (second.packet_id, 2, True),
    ]
    assert again[2] == Pubrel(third.packet_id)
    client.send(Puback(first.packet_id), Pubrec(second.packet_id), Pubcomp(third.packet_id))
    assert await client.next() == Pubrel(second.packet_id)
    client.send(Pubcomp(second.packet_id))
    await client.silent()
    assert not broker.broker.sessions["s"].inflight


@pytest.mark.mqtt5("4.4.0-1")
async def test_nothing_is_sent_again_on_a_live_connection(broker: Running, version: int) -> None:
    client = await broker.connect("s", version=version)
    await client.subscribe("a", 1)
    await client.publish("a", b"1", 1)
    await client.publish("a", b"2", 1)
    assert [(await client.expect(Publish)).payload for _ in range(2)] == [b"1", b"2"]
    await client.silent()


@pytest.mark.mqtt3("3.1.2-5", "4.5.0-1")
@pytest.mark.mqtt5("3.1.2-23", "4.5.0-1")
async def test_messages_wait_for_a_persistent_session(broker: Running, version: int) -> None:
    publisher = await broker.connect("p", version=version)
    client = await broker.connect("s", **persistent(version))
    await client.subscribe("a", 2)
    await client.disconnect()
    for number in range(9):
        await publisher.publish("a", b"%d" % number, number % 3)
    client = await broker.connect("s", **persistent(version))
    got = [await client.expect(Publish) for _ in range(6)]
    # QoS 0 messages do not wait (section 4.1 leaves it to us); the others come in their order.
    assert [(m.payload, m.qos, m.dup) for m in got] == [
        (b"%d" % number, number % 3, False) for number in range(9) if number % 3
    ]
    for message in got:
        client.send(Puback(message.packet_id) if message.qos == 1 else Pubrec(message.packet_id))
    await client.ping()
    assert all(type(packet) is Pubrel for packet in client.inbox)


@pytest.mark.mqtt5("3.3.4-9", "4.9.0-1", "4.9.0-2")
async def test_the_clients_receive_maximum(broker: Running) -> None:
    client = await broker.connect("s", version=5, receive_maximum=2)  # [MQTT-3.3.4-9]
    publisher = await broker.connect("p", version=5)
    await client.subscribe("a", 2)
    for number in range(5):
        await publisher.publish("a", b"%d" % number, 1 + number % 2)
    one, two = [await client.expect(Publish) for _ in range(2)]
    await client.silent()
    await publisher.publish("a", b"unbounded", 0)  # waits its turn behind what is queued
    client.send(Puback(one.packet_id))
    three = await client.expect(Publish)
    await client.silent()
    client.send(Pubrec(two.packet_id))
    await client.expect(Pubrel)
    await client.silent()  # a QoS 2 message counts until its PUBCOMP
    client.send(Pubcomp(two.packet_id))
    four = await client.expect(Publish)
    client.send(Puback(three.packet_id), Pubrec(four.packet_id), Pubcomp(four.packet_id))
    five = await client.expect(Publish)
    assert [m.payload for m in (one, two, three, four, five)] == [b"0", b"1", b"2", b"3", b"4"]
    assert (await client.expect(Publish)).payload == b"unbounded"


async def test_qos0_is_not_held_up_by_the_receive_maximum(broker: Running) -> None:
    client = await broker.connect("s", version=5, receive_maximum=1)
    await client.subscribe("a", 1)
    await client.publish("a", b"1", 1)
    await client.expect(Publish)
    await client.publish("a", b"0", 0)
    assert (await client.expect(Publish)).payload == b"0"


@pytest.mark.mqtt5("3.3.4-9")
async def test_a_lower_receive_maximum_after_a_reconnect(broker: Running) -> None:
    publisher = await broker.connect("p", version=5)
    client = await broker.connect("s", **persistent(5))
    await client.subscribe("a", 1)
    for number in range(6):
        await publisher.publish("a", b"%d" % number, 1)
    sent = [await client.expect(Publish) for _ in range(6)]
    client.abort()
    await broker.until_away("s")
    await publisher.publish("a", b"6", 1)
    client = await broker.connect("s", **persistent(5, receive_maximum=2))
    unacked = 0
    for number in range(7):
        got = await client.expect(Publish)
        assert got.payload == b"%d" % number
        if number < 6:
            assert (got.packet_id, got.dup) == (sent[number].packet_id, True)
        if number:
            await client.silent()
            client.send(Puback(unacked))
        unacked = got.packet_id
    assert len(broker.broker.sessions["s"].inflight) <= 2
    assert not broker.broker.sessions["s"].queue


@pytest.mark.mqtt3("4.6.0-5", "4.6.0-6")
@pytest.mark.mqtt5("4.6.0-5", "4.6.0-6")
async def test_order_per_topic_and_qos(broker: Running, version: int) -> None:
    publisher = await broker.connect("p", version=version)  # [MQTT-4.6.0-6]
    client = await broker.connect("s", version=version)
    await client.subscribe("#", 1)
    publisher.send(
        *(
            Publish("ab"[i % 2], b"%d" % i, i % 4 // 2, packet_id=i + 1 if i % 4 > 1 else 0)
            for i in range(400)
        )
    )
    got = [await client.expect(Publish) for _ in range(400)]
    for topic in "ab":
        for qos in (0, 1):
            numbers = [int(m.payload) for m in got if (m.topic, m.qos) == (topic, qos)]
            assert len(numbers) == 100
            assert numbers == sorted(numbers)


async def test_the_queue_of_an_absent_session_is_bounded(start: Start, version: int) -> None:
    broker = await start(max_mqueue_len=5)
    publisher = await broker.connect("p", version=version)
    client = await broker.connect("s", **persistent(version))
    await client.subscribe("a", 1)
    await client.disconnect()
    for number in range(12):
        await publisher.publish("a", b"%d" % number, 1)
    assert broker.broker.stats.dropped == 7
    client = await broker.connect("s", **persistent(version))
    assert [(await client.expect(Publish)).payload for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
    await client.silent()


async def test_the_queue_is_bounded_in_bytes(start: Start) -> None:
    broker = await start(max_mqueue_bytes=10_000)
    publisher = await broker.connect("p", version=5)
    client = await broker.connect("s", **persistent(5))
    await client.subscribe("a", 1)
    await client.disconnect()
    for _ in range(10):
        await publisher.publish("a", b"x" * 2000, 1)
    session = broker.broker.sessions["s"]
    assert len(session.queue) == 4
    assert session.queue_bytes <= 10_000
    for _ in range(10):  # properties count, too
        await publisher.publish("a", b"", 1, user_property=[("k" * 30, "v" * 30)] * 100)
    assert len(session.queue) == 4


async def test_a_full_queue_gives_up_its_oldest_message_if_that_is_qos0() -> None:
    client = BrokerClient(clientid="s", username=None, peername="")
    session = Session("s", 0, client)

    def put(qos: int, payload: bytes) -> int:
        size = message_size("a", payload, None)
        message = Message("a", payload, qos, False, None, client, 0, None, size)
        return len(session.enqueue(Delivery(message, qos, False, None), 4, 10_000))

    def queued() -> list[bytes]:
        return [delivery.message.payload for delivery in session.queue]

    assert [put(0, b"0"), put(1, b"1"), put(0, b"2"), put(0, b"3")] == [0, 0, 0, 0]
    assert put(1, b"4") == 1
    assert queued() == [b"1", b"2", b"3", b"4"]
    assert put(1, b"5") == 1  # the oldest is QoS 1 now
    assert put(0, b"6") == 1
    assert queued() == [b"1", b"2", b"3", b"4"]
    session.take()
    assert put(1, b"x" * 9_900) == 1  # fits into no queue: nothing is given up for it
    assert queued() == [b"2", b"3", b"4"]
    assert put(1, b"y" * 9_700) == 2  # takes the room of two
    assert queued() == [b"4", b"y" * 9_700]
    assert session.queue_bytes == sum(delivery.message.size for delivery in session.queue)
    assert session.dropped == 6


async def test_messages_in_flight_are_bounded_in_bytes(start: Start) -> None:
    """A client that reads and never acknowledges: its window is 2,048, but not of any size."""
    broker = await start(max_mqueue_bytes=100_000)
    publisher = await broker.connect("p")
    client = await broker.connect("s")
    await client.subscribe("a", 1)
    for _ in range(20):
        await publisher.publish("a", b"x" * 20_000, 1)
    session = broker.broker.sessions["s"]
    got = [await client.expect(Publish) for _ in range(5)]
    await client.silent()
    assert len(session.inflight) == 5
    assert len(session.queue) == 4
    assert broker.broker.stats.dropped == 11
    for message in got:
        client.send(Puback(message.packet_id))
    assert len([await client.expect(Publish) for _ in range(4)]) == 4


@pytest.mark.mqtt3("2.3.1-4")
@pytest.mark.mqtt5("2.2.1-4", "4.3.2-1", "4.3.3-1")
async def test_packet_ids_are_not_reused_while_in_flight(start: Start) -> None:
    broker = await start(max_inflight_window=65535, max_mqueue_len=65535)
    client = await broker.connect("s")
    await client.subscribe("a", 1)
    broker.broker.sessions["s"].next_id = 65533
    await client.publish("a", b"", 1)
    await client.publish("a", b"", 1)
    kept, wrapped = [await client.expect(Publish) for _ in range(2)]
    assert (kept.packet_id, wrapped.packet_id) == (65534, 65535)
    broker.broker.sessions["s"].next_id = 65533
    await client.publish("a", b"", 1)
    assert (await client.expect(Publish)).packet_id == 1  # [MQTT-2.2.1-3]


@pytest.mark.mqtt5("3.1.2-24", "3.1.2-25")
async def test_a_message_above_the_clients_maximum_packet_size(broker: Running) -> None:
    client = await broker.connect("s", version=5, maximum_packet_size=100)  # [MQTT-3.1.2-25]
    await client.subscribe("a", 2)
    publisher = await broker.connect("p", version=5)
    for qos in (0, 1, 2):
        await publisher.publish("a", b"x" * 200, qos)
        await publisher.publish("a", b"ok", qos)
        assert (await client.expect(Publish)).payload == b"ok"
    assert len(broker.broker.sessions["s"].inflight) == 2
    assert broker.broker.stats.dropped == 3


async def test_a_suback_above_the_clients_maximum_packet_size_is_left_out(broker: Running) -> None:
    client = await broker.connect("s", version=5, maximum_packet_size=40)
    client.send(
        Subscribe(1, [Subscription(f"t/{i}") for i in range(100)]),
        Unsubscribe(2, [f"t/{i}" for i in range(100)]),
    )
    await client.silent()

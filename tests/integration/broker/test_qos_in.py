"""What clients publish: QoS 0, 1 and 2, and when it is acknowledged (sections 3.3 to 3.7, 4.3, 4.6)."""

from __future__ import annotations

import pytest

from bridge.broker.client import Client as BrokerClient
from bridge.broker.hooks import Hooks
from bridge.journal.batch import Batch
from bridge.journal.memory import MemoryStore
from bridge.mqtt.packets import Connack, Connect, Puback, Pubcomp, Publish, Pubrec, Pubrel
from tests.integration.broker.running import Running, Start
from tests.integration.mqtt_client import Client


def unheard(version: int, packet_id: int) -> Puback:
    """The PUBACK of a message that nobody has subscribed to (section 3.4.2.1)."""
    return Puback(packet_id, 0x10 if version == 5 else 0)


class SlowStore(MemoryStore):
    """A store whose sync ends when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = False

    def sync(self) -> None:
        if not self.slow:
            super().sync()


@pytest.mark.mqtt3("3.3.4-1")
@pytest.mark.mqtt5("3.3.4-1")
async def test_each_qos_is_published_once(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    for qos in (0, 1, 2):
        await client.publish("a", b"%d" % qos, qos)
    await client.silent()
    assert broker.recorder.of("publish") == [("publish", "c", "a", b"%d" % qos) for qos in (0, 1, 2)]
    assert broker.broker.stats.received == 3


@pytest.mark.mqtt5("4.3.2-4", "4.3.3-8")
@pytest.mark.parametrize("qos", [1, 2])
async def test_acknowledgements_wait_for_the_sync(start: Start, version: int, qos: int) -> None:
    store = SlowStore()
    broker = await start(store=store)
    client = await broker.connect("c", version=version)
    subscriber = await broker.connect("s", version=version)
    await subscriber.subscribe("a", qos)
    store.slow = True
    client.send(Publish("a", b"x", qos, packet_id=7))
    await broker.until(lambda: any(event.topic == "a" and event.payload for event in broker.events))
    assert broker.recorder.of("publish") == [("publish", "c", "a", b"x")]
    assert broker.recorder.of("delivered") == []
    store.slow = False
    store.sync()
    assert await client.next() == (Puback(7) if qos == 1 else Pubrec(7))
    assert (await subscriber.expect(Publish)).payload == b"x"


async def test_a_half_closed_connection_waits_for_its_acknowledgements(start: Start, version: int) -> None:
    store = SlowStore()
    broker = await start(store=store)
    client = await broker.connect("c", version=version)
    store.slow = True
    client.send(Publish("a", b"x", 1, packet_id=7))
    client.writer.write_eof()
    await broker.until(lambda: broker.recorder.of("disconnected"))
    store.slow = False
    store.sync()
    assert await client.next() == unheard(version, 7)
    assert await client.wait_closed() == []


@pytest.mark.mqtt3("2.3.1-6", "4.6.0-2", "4.6.0-3")
@pytest.mark.mqtt5("2.2.1-5", "4.3.3-11", "4.6.0-2", "4.6.0-3")
async def test_acknowledgements_are_in_order(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)  # [MQTT-4.6.0-2], [MQTT-4.6.0-3]
    ids = [5, 3, 9, 1, 65535]
    client.send(*(Publish("a", b"", 1, packet_id=i) for i in ids))
    assert [await client.next() for _ in ids] == [unheard(version, i) for i in ids]
    client.send(*(Publish("a", b"", 2, packet_id=i) for i in ids))
    assert [await client.next() for _ in ids] == [Pubrec(i) for i in ids]
    client.send(*(Pubrel(i) for i in ids))
    assert [await client.next() for _ in ids] == [Pubcomp(i) for i in ids]


@pytest.mark.mqtt3("4.3.3-2")
@pytest.mark.mqtt5("4.3.3-10", "4.3.3-12")
async def test_a_qos2_message_that_comes_again_is_published_once(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)  # [MQTT-4.3.3-10]
    for dup in (False, True, False):
        client.send(Publish("a", b"x", 2, dup=dup, packet_id=7))
        assert await client.next() == Pubrec(7)
    client.send(Pubrel(7))
    assert await client.next() == Pubcomp(7)
    assert len(broker.recorder.of("publish")) == 1
    client.send(Publish("a", b"x", 2, dup=True, packet_id=7))  # released: a new message
    assert await client.next() == Pubrec(7)
    assert len(broker.recorder.of("publish")) == 2


@pytest.mark.mqtt3("4.3.2-2")
@pytest.mark.mqtt5("4.3.2-5")
async def test_a_qos1_message_that_comes_again_is_a_new_one(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)  # [MQTT-4.3.2-5]
    for _ in range(2):
        client.send(Publish("a", b"x", 1, dup=True, packet_id=7))
        assert await client.next() == unheard(version, 7)
    assert len(broker.recorder.of("publish")) == 2


@pytest.mark.mqtt5("3.7.2-1")
async def test_a_pubrel_for_an_unknown_id(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    client.send(Pubrel(9))  # it may have been released before, and PUBCOMP was lost
    assert await client.next() == Pubcomp(9)


async def test_a_pubrel_that_comes_again(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    await client.publish("a", b"x", 2)
    client.send(Pubrel(1))
    assert await client.next() == Pubcomp(1)


async def test_an_open_qos2_id_survives_the_connection(broker: Running, version: int) -> None:
    options = {"properties": None, "clean": False, "version": version}
    if version == 5:
        options |= {"session_expiry_interval": 100}
    client = await broker.connect("c", **options)
    client.send(Publish("a", b"x", 2, packet_id=7))
    await client.expect(Pubrec)
    client.abort()
    await broker.until_away("c")
    client = await broker.connect("c", **options)
    client.send(Publish("a", b"x", 2, dup=True, packet_id=7))
    assert await client.next() == Pubrec(7)
    client.send(Pubrel(7))
    assert await client.next() == Pubcomp(7)
    assert len(broker.recorder.of("publish")) == 1


async def test_open_qos2_ids_end_with_a_clean_session(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    client.send(Publish("a", b"x", 2, packet_id=7))
    await client.expect(Pubrec)
    client.abort()
    await broker.until_away("c")
    client = await broker.connect("c", version=version)
    client.send(Publish("a", b"x", 2, dup=True, packet_id=7))
    assert await client.next() == Pubrec(7)
    assert len(broker.recorder.of("publish")) == 2


@pytest.mark.mqtt5("3.3.4-7")
async def test_more_open_qos2_messages_than_our_receive_maximum(start: Start, version: int) -> None:
    broker = await start(max_inflight_window=3)  # section 3.3.4
    client = await broker.connect("c", version=version)
    client.send(*(Publish("a", b"", 2, packet_id=i) for i in (1, 2, 3)))
    for i in (1, 2, 3):
        assert await client.next() == Pubrec(i)
    client.send(Pubrel(2))
    assert await client.next() == Pubcomp(2)
    client.send(Publish("a", b"", 2, packet_id=4))
    assert await client.next() == Pubrec(4)
    client.send(Publish("a", b"", 2, packet_id=5))
    await client.expect_disconnect(0x93)
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "receive_maximum_exceeded")]
    assert len(broker.recorder.of("publish")) == 4


async def test_qos1_messages_above_our_receive_maximum_wait(start: Start, version: int) -> None:
    """What waits for our disk is no fault of the client's; it is read no further meanwhile."""
    store = SlowStore()
    broker = await start(store=store, max_inflight_window=10, turn_bytes=4096)
    client = await broker.connect("c", version=version)
    store.slow = True
    payload = b"x" * 4000
    for i in range(1, 501):
        client.send(Publish("a", payload, 1, packet_id=i))
    connection = await broker.until(lambda: _throttled(broker, "c"))
    seen = len(broker.recorder.of("publish"))
    assert 10 < seen < 200
    store.slow = False
    store.sync()
    for i in range(1, 501):
        assert await client.next() == unheard(version, i)
    assert not connection.throttled
    assert connection.unacked == 0
    await client.silent()


def _throttled(broker: Running, clientid: str) -> object:
    session = broker.broker.sessions.get(clientid)
    connection = session.connection if session is not None else None
    return connection if connection is not None and connection.throttled else None


async def test_packet_ids_that_look_like_acknowledgements(start: Start) -> None:
    broker = await start(max_inflight_window=10)
    client = await broker.connect("c")
    for _ in range(5):
        client.send(*(Publish("a", b"", 1, packet_id=0x4002) for _ in range(50)))
        for _ in range(50):
            assert await client.next() == Puback(0x4002)
    connection = broker.broker.sessions["c"].connection
    assert connection is not None
    assert connection.unacked == 0
    assert not connection.throttled
    await client.silent()


class Refusing(Hooks):
    def on_publish(self, client: BrokerClient, publish: Publish) -> int:
        return 0x97 if publish.topic == "full" else 0


@pytest.mark.mqtt3("3.3.5-2")
@pytest.mark.mqtt5("3.4.2-1", "3.5.2-1")
async def test_a_refused_publish(start: Start, version: int) -> None:
    broker = await start(hooks=(Refusing(),))
    client = await broker.connect("c", version=version)
    await client.publish("full", b"x", 0)
    await client.silent()
    for qos in (1, 2):
        if version == 5:
            assert await client.publish("full", b"x", qos) == 0x97
            assert await client.publish("free", b"x", qos) == (0x10 if qos == 1 else 0)
        else:  # no acknowledgement may be left out, so the connection ends
            client.send(Publish("full", b"x", qos, packet_id=9))
            assert await client.wait_closed() == []
            client = await broker.connect("c", version=version)
    assert [call[2] for call in broker.recorder.of("publish")] == ["free"] * (2 if version == 5 else 0)
    assert broker.broker.stats.rejected == 3


@pytest.mark.mqtt5("4.3.3-9")
async def test_a_refused_qos2_id_is_free_again(start: Start) -> None:
    broker = await start(hooks=(Refusing(),))
    client = await broker.connect("c", version=5)
    client.send(Publish("full", b"x", 2, packet_id=1), Publish("free", b"x", 2, packet_id=1))
    assert await client.next() == Pubrec(1, 0x97)
    assert await client.next() == Pubrec(1)


@pytest.mark.mqtt3("3.3.2-2", "4.7.1-1")
@pytest.mark.mqtt5("3.3.2-2", "4.7.0-1")
@pytest.mark.parametrize("topic", ["a/+", "#", "a/#"])
async def test_a_topic_with_a_wildcard(broker: Running, version: int, topic: str) -> None:
    client = await broker.connect("c", version=version)  # [MQTT-3.3.2-2]
    client.send(Publish("before", b"", 1, packet_id=1))
    client.raw(bytes((0x30, 2 + len(topic), 0, len(topic))) + topic.encode())
    if version == 5:
        client.raw(b"\0")
    assert await client.next() == unheard(version, 1)
    if version == 5:
        client.raw(b"\0")
    await client.expect_disconnect(0x81)


async def test_a_publish_that_fills_several_batches(broker: Running) -> None:
    """More events in one turn than a batch takes: all acknowledged, in order."""
    client = await Client.open(broker.port)
    count = 5000
    client.send(Connect("c"), *(Publish("t", b"", 1, packet_id=i) for i in range(1, count + 1)))
    assert isinstance(await client.next(), Connack)
    for i in range(1, count + 1):
        assert await client.next() == Puback(i)
    assert len([event for event in broker.events if event.topic == "t"]) == count


async def test_events_are_stored_before_they_are_acknowledged(start: Start) -> None:
    class Watching(MemoryStore):
        committed = 0

        def commit(self, batches: list[Batch]) -> None:  # type: ignore[override]
            super().commit(batches)
            self.committed += sum(len(batch.events) for batch in batches)

    store = Watching()
    broker = await start(store=store)
    client = await broker.connect("c")
    before = store.committed
    for i in range(1, 50):
        client.send(Publish("t", b"", 1, packet_id=i))
        await client.expect(Puback)
        assert store.committed == before + i

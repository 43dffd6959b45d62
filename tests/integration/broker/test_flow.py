"""Who may be slow, and who must not suffer from it: bounds, fairness, a store that stalls."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest

from bridge.broker.connection import Connection
from bridge.journal.batch import Batch
from bridge.journal.memory import MemoryStore
from bridge.journal.store import StoreError
from bridge.mqtt import encoder
from bridge.mqtt.packets import (
    Connack,
    Connect,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Subscription,
    Will,
)
from tests.integration.broker.running import Running, Start
from tests.integration.mqtt_client import Client


class Deaf:
    """A client that sends and does not read: a bare socket with small buffers."""

    def __init__(
        self, port: int, client_id: str, *packets: object, version: int = 4, keepalive: int = 0
    ) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        connect = Connect(client_id, version, keepalive=keepalive)
        self.socket.sendall(b"".join(encoder.encode(packet, version) for packet in (connect, *packets)))
        self.socket.setblocking(False)

    async def __aenter__(self) -> Deaf:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> int:
        """Send what the kernel takes now; how many bytes that was."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0


async def test_a_subscriber_that_does_not_read(start: Start, version: int) -> None:
    broker = await start(max_mqueue_len=50)
    publisher = await broker.connect("p", version=version)
    good = await broker.connect("good", version=version)
    await good.subscribe("a", 1)
    async with Deaf(broker.port, "deaf", Subscribe(1, [Subscription("a", 1)]), version=version):
        await broker.until(lambda: len(broker.broker.subscriptions) == 2)
        session = broker.broker.sessions["deaf"]
        payload = b"x" * 100_000
        for _ in range(150):
            await publisher.publish("a", payload, 1)
            message = await good.expect(Publish)
            good.send(Puback(message.packet_id))
        assert len(session.queue) == 50
        connection = session.connection
        assert connection is not None
        assert not connection.writable
        assert connection.transport.get_write_buffer_size() < 256 * 1024 + 2 * len(payload)
        assert session.dropped == broker.broker.stats.dropped > 50


async def test_a_subscriber_that_reads_again_gets_what_is_queued(start: Start) -> None:
    broker = await start()
    publisher = await broker.connect("p")
    async with Deaf(broker.port, "deaf", Subscribe(1, [Subscription("a")])) as deaf:
        await broker.until(lambda: len(broker.broker.subscriptions) == 1)
        session = broker.broker.sessions["deaf"]
        count = 0
        while len(session.queue) < 20:
            await publisher.publish("a", b"%06d" % count + b"x" * 50_000, 1)
            count += 1
        reader, writer = await asyncio.open_connection(sock=deaf.socket)
        client = Client(reader, writer)
        numbers = [int((await client.expect(Publish)).payload[:6]) for _ in range(count)]
        assert numbers == list(range(count))
        assert not session.queue
        assert session.queue_bytes == 0
        writer.close()


def small_send_buffer(connection: Connection) -> None:
    """Let the kernel hold little of what we send, so that a test need not send megabytes."""
    sock = connection.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


@pytest.mark.parametrize(
    ("packet", "answer"),
    [
        (Pingreq(), Pingresp()),
        (Pubrec(9), Pubrel(9)),
        (Pubrel(9), Pubcomp(9)),
        (Publish("a", b"", 1, packet_id=9), Puback(9)),
    ],
    ids=lambda packet: type(packet).__name__,
)
async def test_a_client_that_does_not_read_its_acknowledgements(
    start: Start, packet: object, answer: object
) -> None:
    """They may not fill our memory: the client is read no further, and goes on when it reads."""
    broker = await start(turn_bytes=4096)
    wire, back = encoder.encode(packet, 4), encoder.encode(answer, 4)
    async with Deaf(broker.port, "deaf") as deaf:
        connection = (await broker.until(lambda: broker.broker.sessions.get("deaf"))).connection
        small_send_buffer(connection)
        size = len(wire)
        wires = wire * 1000
        sent = 0
        while connection.writable or not connection.throttled:
            sent += deaf.send(wires[sent % size :])
            await asyncio.sleep(0)
        for _ in range(500):
            sent += deaf.send(wires[sent % size :])
            await asyncio.sleep(0)
        assert connection.throttled
        assert connection.transport.get_write_buffer_size() < 2 * 256 * 1024
        assert sent > 256 * 1024
        other = await broker.connect("other")
        await other.silent()
        # It reads: all is answered.
        reader, writer = await asyncio.open_connection(sock=deaf.socket)
        if sent % size:
            writer.write(wire[sent % size :])
        count = -(-sent // size)
        answers = await asyncio.wait_for(reader.readexactly(4 + len(back) * count), 40)
        assert answers == encoder.encode_connack(4, False, 0) + back * count
        assert not connection.throttled
        await Client(reader, writer).silent()
        writer.close()


async def test_a_throttled_client_that_reads_nothing_runs_into_its_keepalive(start: Start) -> None:
    broker = await start(keepalive_multiplier=1.0)
    async with Deaf(broker.port, "deaf", keepalive=1) as deaf:
        connection = (await broker.until(lambda: broker.broker.sessions.get("deaf"))).connection
        small_send_buffer(connection)
        pings = encoder.encode(Pingreq(), 4) * 1000
        while "deaf" in broker.broker.sessions:
            deaf.send(pings)
            await asyncio.sleep(0 if not connection.throttled else 0.01)
        assert connection.throttled
        assert broker.recorder.of("disconnected") == [("disconnected", "deaf", "keepalive_timeout")]


async def test_who_does_not_read_its_goodbye_is_cut(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.broker.server.LINGER_S", 0.3)
    broker = await start()
    publisher = await broker.connect("p")
    async with Deaf(broker.port, "deaf", Subscribe(1, [Subscription("a")])) as deaf:
        await broker.until(lambda: len(broker.broker.subscriptions) == 1)
        session = broker.broker.sessions["deaf"]
        while not session.queue:
            await publisher.publish("a", b"x" * 100_000, 1)
        deaf.send(b"\x00\x00")
        await broker.until(lambda: "deaf" not in broker.broker.sessions)
        await broker.until(lambda: len(broker.broker.connections) == 1)
        await publisher.silent()


async def test_a_flood_leaves_the_others_their_share(start: Start) -> None:
    """One turn reads a bounded number of bytes, however much has come."""
    broker = await start(turn_bytes=4096)
    flooding = [await broker.connect(f"f{number}") for number in range(4)]
    other = await broker.connect("other")
    packets = [Publish("a", b"x" * 100, 1, packet_id=i) for i in range(1, 4001)]
    for client in flooding:
        client.send(*packets)
    other.send(Pingreq())
    await other.expect(Pingresp)
    assert len(broker.recorder.of("publish")) < 8000
    for client in flooding:
        for packet in packets:
            assert await client.next() == Puback(packet.packet_id)


async def test_small_turns_lose_nothing_at_the_end(start: Start, version: int) -> None:
    broker = await start(turn_bytes=4096)
    client = await Client.open(broker.port, version=version)
    packets = [Publish("a", b"%d" % i + b"x" * 500, 0) for i in range(2000)]
    client.send(Connect("c", version, will=Will("w", b"")), *packets)
    await client.expect(
        Connack
    )  # a close with something unread would be a reset, which loses what is under way
    client.writer.close()
    await broker.until(lambda: broker.recorder.of("disconnected"))
    published = broker.recorder.of("publish")
    assert [call[3] for call in published[:-1]] == [p.payload for p in packets]
    assert published[-1][2] == "w"


async def test_publishers_wait_while_something_holds(broker: Running) -> None:
    client = await broker.connect("c", keepalive=1)
    broker.broker.turn.hold("lag", True)
    broker.broker.turn.hold("store", True)
    client.send(*(Publish("a", b"x", 1, packet_id=i) for i in range(1, 101)))
    newcomer = await Client.open(broker.port)
    newcomer.send(Connect("new"))
    await asyncio.sleep(2.2)  # longer than the keepalive: it is we who do not read
    broker.broker.turn.hold("store", False)
    assert broker.recorder.of("publish", "disconnected") == []
    broker.broker.turn.hold("lag", False)
    for i in range(1, 101):
        assert await client.next() == Puback(i)
    await newcomer.expect(Connack)


async def test_a_connect_that_we_do_not_read_has_no_time_limit(start: Start) -> None:
    broker = await start(connect_timeout=0.1)
    broker.broker.turn.hold("store", True)
    client = await Client.open(broker.port)
    client.send(Connect("c"))
    await asyncio.sleep(1.2)
    broker.broker.turn.hold("store", False)
    await client.expect(Connack)


class Failing(MemoryStore):
    """A store that refuses to write while `full`."""

    full = False

    def commit(self, batches: Sequence[Batch]) -> None:
        if self.full:
            raise StoreError("test.db: disk full")
        super().commit(batches)


async def test_a_store_that_refuses_for_a_while(
    start: Start, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing()
    broker = await start(store=store)
    client = await broker.connect("c", version=version)
    other = await broker.connect("o", version=version)
    await other.subscribe("a", 1)
    store.full = True
    client.send(Publish("a", b"1", 1, packet_id=1))
    await broker.until(lambda: broker.journal.stalled)
    client.send(Publish("a", b"2", 1, packet_id=2))
    newcomer = await Client.open(broker.port, version=version)
    newcomer.send(Connect("n", version))
    await asyncio.sleep(0.3)
    assert client.inbox == other.inbox == []
    store.full = False
    assert [await client.next() for _ in range(2)] == [Puback(1), Puback(2)]
    assert [(await other.expect(Publish)).payload for _ in range(2)] == [b"1", b"2"]
    await newcomer.expect(Connack)
    stored = [event.payload for event in broker.events if event.type == 10]
    assert stored == [b"1", b"2"]
    assert caplog.text.count("the store refuses") == 1


async def test_a_client_that_leaves_while_the_store_refuses(start: Start) -> None:
    store = Failing()
    broker = await start(store=store)
    client = await broker.connect("c", will=Will("w", b"gone"))
    store.full = True
    client.send(Publish("a", b"1", 1, packet_id=1))
    await broker.until(lambda: broker.journal.stalled)
    client.abort()
    await broker.until(lambda: broker.recorder.of("disconnected"))
    store.full = False
    await broker.until(lambda: not broker.journal.stalled)
    assert [event.topic for event in broker.events if event.type == 10] == ["a", "w"]


async def test_a_large_message_each_way(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    await client.subscribe("a", 1)
    payload = bytes(range(256)) * 20_000
    for qos in (0, 1):
        await client.publish("a", payload, qos)
        assert (await client.expect(Publish)).payload == payload


@pytest.mark.mqtt5("3.2.2-15")
async def test_a_packet_above_our_maximum(start: Start, version: int) -> None:
    broker = await start(max_packet_size=1000)
    client = await broker.connect("c", version=version)
    head = len(encoder.encode_publish(version, "a", b"x" * 900)) - 900
    client.send(Publish("a", b"x" * (1000 - head)))
    await client.silent()
    client.raw(encoder.encode_publish(version, "a", b"x" * (1001 - head))[:20])  # told by its length alone
    await client.expect_disconnect(0x95)
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "packet_too_large")]
    assert len(broker.recorder.of("publish")) == 1


async def test_properties_above_our_bound(start: Start) -> None:
    broker = await start(property_size=100)
    client = await broker.connect("c", version=5)
    client.send(Publish("a", b"", properties=Properties(user_property=[("k", "v" * 100)])))
    await client.expect_disconnect(0x97)


async def test_connections_without_connect_do_no_harm(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    broker = await start(connect_timeout=0.5)
    idle = [await Client.open(broker.port) for _ in range(300)]
    client = await broker.connect("c")
    for _ in range(10):
        await client.publish("a", b"x", 1)
    for one in idle:
        assert await one.wait_closed() == []
    await client.silent()
    assert len(broker.broker.connections) == 1
    assert caplog.text == ""

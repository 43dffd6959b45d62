"""Clients that make much work of few bytes: each is bounded, and a turn of the loop stays short."""

from __future__ import annotations

import asyncio
import gc
import itertools
import socket
import ssl
import struct
import time
from typing import Any

import pytest

from bridge.broker.connection import Connection
from bridge.broker.frames import Frames
from bridge.broker.layer import Layer
from bridge.broker.session import Session
from bridge.config.settings import Listener
from bridge.mqtt import encoder
from bridge.mqtt.decoder import Decoder
from bridge.mqtt.packets import (
    Connect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)
from tests.integration import websocket_client
from tests.integration.broker.running import Running, Start
from tests.integration.broker.test_tls import authority, listener
from tests.integration.certificates import Authority

__all__ = ["authority"]


def worst_turn(broker: Running) -> list[float]:
    """From now on: processor seconds between the beginnings of two turns, the longest last."""
    worst = [0.0]
    turn = broker.broker.turn
    last = time.thread_time()

    def beat() -> None:
        nonlocal last
        now = time.thread_time()
        worst.append(max(worst[-1], now - last))
        last = now
        if broker.broker.turn is turn:
            broker.loop.call_soon(beat)

    broker.loop.call_soon(beat)
    return worst


def deep(number: int, levels: int = 100) -> list[str]:
    """So many different filters that all match `a/a/a…`."""
    heads = itertools.islice(itertools.product("+a", repeat=12), number)
    return ["/".join((*head, *("+a" * (levels // 2 - 6)))) for head in heads]


async def test_publishes_that_meet_a_thousand_deep_filters(start: Start) -> None:
    """Those after the first few wait for later turns; somebody else's ping does not."""
    broker = await start()
    subscriber = await broker.connect("s", version=5)
    filters = deep(1000)
    for at in range(0, 1000, 250):
        wanted = [Subscription(name) for name in filters[at : at + 250]]
        subscriber.send(Subscribe(at + 1, wanted))
        assert set((await subscriber.expect(Suback)).reason_codes) == {0}
    publisher, other = await broker.connect("p"), await broker.connect("o")
    topic = "/".join("a" * 100)
    # Longer than what the cache takes, so that each is matched anew.
    long_topic = topic.replace("a", "aaa", 1)
    publisher.send(*[Publish(topic, b"x"), *[Publish(f"{long_topic}{n}", b"") for n in range(300)]])
    other.send(Pingreq())
    await other.expect(Pingresp)
    assert len(broker.recorder.of("publish")) < 301
    await subscriber.expect(Publish)
    await broker.until(lambda: len(broker.recorder.of("publish")) == 301)


async def test_subscriptions_of_all_sessions_are_bounded(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await start(max_subscriptions_total_bytes=100_000)
    got: list[int] = []
    for number in range(3):
        client = await broker.connect(f"c{number}", version=5)
        client.send(Subscribe(1, [Subscription(f"t/{n}") for n in range(80)]))
        got += (await client.expect(Suback)).reason_codes
    assert 150 < got.count(0) < 200
    assert got.count(0x97) == 240 - got.count(0)
    assert "mqtt.max_subscriptions_total_bytes" in caplog.text
    client.send(Unsubscribe(2, ["t/0"]))
    first = broker.clients[0]
    await first.unsubscribe("t/0")
    assert await client.subscribe("t/500") == 0
    for client in broker.clients:
        await client.disconnect()
    assert broker.broker.subscriptions.bytes == 0


async def test_a_filter_that_finds_nothing_among_many_retained(start: Start) -> None:
    """The search goes on step by step, and others are served meanwhile."""
    broker = await start()
    publisher = await broker.connect("p")
    for number in range(100):
        publisher.send(*[Publish(f"{number}/{n}/a/b/c", b"x", 0, True) for n in range(100)])
        await publisher.ping()
    assert len(broker.broker.retained) == 10_000
    searcher = await broker.connect("s")
    await asyncio.sleep(0)
    worst = worst_turn(broker)
    searcher.send(Subscribe(1, [Subscription(f"+/+/+/+/none{n}") for n in range(50)]))
    await searcher.expect(Suback)
    await publisher.ping()
    session = broker.broker.sessions["s"]
    assert session.owed  # it is not done
    await broker.until(lambda: not session.owed, within=30)
    assert worst[-1] < 0.1, worst[-1]
    await searcher.silent()


def many(number: int, head: str = "") -> list[Subscription]:
    return [Subscription(f"{head}{n}/+") for n in range(number)]


async def test_one_packet_of_many_filters_takes_many_turns(start: Start) -> None:
    """What the client sends meanwhile keeps its order, and nobody else waits."""
    broker = await start()
    client, other = await broker.connect("c", version=5), await broker.connect("o")
    client.send(Subscribe(1, many(16_384)), Unsubscribe(2, ["0/+"]), Publish("1/x", b"1", 1, packet_id=3))
    client.send(Unsubscribe(4, [f"{n}/+" for n in range(16_384)]), Publish("2/x", b"2"), Pingreq())
    session = broker.broker.sessions["c"]
    await broker.until(lambda: session.subscriptions)
    assert len(session.subscriptions) < 5000  # it is not done
    await other.ping()
    assert 0 < len(session.subscriptions) < 10_000
    suback = await client.expect(Suback)
    assert [int(code) for code in suback.reason_codes] == [0] * 10_000 + [0x97] * 6384
    assert (await client.expect(Unsuback)).reason_codes == [0]
    assert (await client.expect(Puback)).packet_id == 3
    assert (await client.expect(Unsuback)).reason_codes == [0x11] + [0] * 9999 + [0x11] * 6384
    await client.expect(Pingresp)
    assert [packet.payload for packet in client.inbox if isinstance(packet, Publish)] == [b"1"]
    assert len(broker.broker.subscriptions) == 0


async def test_a_malformed_filter_at_the_end_of_many_undoes_all(start: Start) -> None:
    broker = await start()
    client = await broker.connect("c", version=5)
    client.send(Subscribe(1, [*many(1000), Subscription("a/#/b")]))
    await client.expect_disconnect(0x81)
    assert broker.broker.subscriptions.most == 0


async def test_who_goes_while_many_filters_are_taken(start: Start) -> None:
    broker = await start()
    client = await broker.connect("c", version=5)
    client.send(Subscribe(1, many(10_000)))
    client.writer.close()
    await broker.until(lambda: broker.recorder.of("terminated"), within=20)
    await broker.until(lambda: len(broker.broker.subscriptions) == 0)
    assert broker.broker.subscriptions.bytes == 0


@pytest.mark.parametrize("expiry", [0, 100])
async def test_a_session_of_many_subscriptions_ends_in_steps(start: Start, expiry: int) -> None:
    """It gets nothing from the first of them on, and another session of the same client does."""
    broker = await start()
    client = await broker.connect("c", version=5, session_expiry_interval=expiry)
    client.send(Subscribe(1, [*many(9000), *(Subscription(f"$share/g/{n}/+", 1) for n in range(1000))]))
    await client.expect(Suback)
    subscriptions = broker.broker.subscriptions
    await asyncio.sleep(0)
    worst = worst_turn(broker)
    again = await broker.connect("c", version=5, session_expiry_interval=expiry)
    left = len(subscriptions)
    assert left > 1000 or expiry  # stored rows are gone before those of the new session come
    assert not subscriptions.match("5/x").anyone
    assert await again.subscribe("7/+", 1) == 1
    await again.publish("7/x", b"1", 1)
    await again.publish("8/x", b"2", 1)
    await broker.until(lambda: len(subscriptions) == 1)
    await again.publish("7/x", b"3", 1)
    got = [(await again.expect(Publish)).payload for _ in range(2)]
    assert got == [b"1", b"3"]
    assert worst[-1] < 0.1, worst[-1]
    found = list(broker.store.load("subscription"))
    assert [key for key, _ in found] == (["c\0007/+"] if expiry else [])


@pytest.mark.parametrize("kind", ["ssl", "wss"])
async def test_who_speaks_no_tls_is_forgotten(start: Start, authority: Authority, kind: str) -> None:
    files = authority.issue("server")
    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, about: errors.append(about))
    one: Listener = listener(files, kind)
    broker = await start(listeners=(one,), max_connections=2)
    for _ in range(4):
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(b"\x10\x0c\0\4MQTT\4\2\0\0\0\0")
        await reader.read(100)
        writer.close()
        await broker.until_idle()
    assert not errors


async def test_handshakes_of_tls_share_turns(start: Start, authority: Authority) -> None:
    """A hundred at the same time all come in, and a client that is in is served between them."""
    broker = await start(listeners=(listener(authority.issue("server")),))
    own = ssl.create_default_context(cafile=str(authority.file))
    inside = await broker.connect("in", tls=own)
    await asyncio.gather(*[broker.connect(f"c{n}", tls=own) for n in range(100)])
    await inside.ping()
    assert len(broker.broker.sessions) == 101


@pytest.mark.parametrize("size", [10, 8192])
async def test_what_waits_for_its_turn_counts_after_a_reset(start: Start, size: int) -> None:
    """And not before its turn, however many send and are gone at once."""
    broker = await start()
    clients = [await broker.connect(f"c{n}") for n in range(20)]
    broker.broker.turn.hold("test", True)
    for client in clients:
        client.send(Publish("a", b"x" * size, 1, packet_id=1))
    connections = [broker.broker.sessions[f"c{n}"].connection for n in range(20)]
    await broker.until(lambda: all(one is not None and one.stash for one in connections))
    for client in clients:
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()  # what is read already is not lost with the reset
    await asyncio.sleep(0.05)
    assert not broker.recorder.of("publish", "disconnected")
    assert len(broker.broker.connections) == 20  # `shut_down` would end them
    broker.broker.turn.hold("test", False)
    await broker.until(lambda: len(broker.recorder.of("disconnected")) == 20)
    for number in range(20):
        assert [call[0] for call in broker.recorder.by(f"c{number}")][-3:] == [
            "publish",
            "disconnected",
            "terminated",
        ]
    await broker.until(lambda: not broker.broker.connections)


async def test_one_that_sends_little_is_paused_when_it_sends_more(start: Start) -> None:
    broker = await start()
    client = await broker.connect("c")
    connection = broker.broker.sessions["c"].connection
    assert connection is not None
    broker.broker.turn.hold("test", True)
    ping = b"\xc0\0"
    client.raw(ping)
    await broker.until(lambda: connection.stash)
    assert connection.transport.is_reading()
    client.raw(ping)
    await broker.until(lambda: connection.stash and len(connection.stash) == 2)
    assert not connection.transport.is_reading()
    broker.broker.turn.hold("test", False)
    await client.expect(Pingresp)
    await client.expect(Pingresp)
    assert connection.transport.is_reading()


@pytest.mark.parametrize("kind", ["tcp", "ssl", "ws", "wss"])
async def test_what_has_ended_needs_no_garbage_collector(
    start: Start, authority: Authority, kind: str
) -> None:
    """It may be frozen (`bridge.garbage`): connections, their layers and sessions end by reference counts."""
    secure = kind in ("ssl", "wss")
    own = ssl.create_default_context(cafile=str(authority.file)) if secure else None
    plain = Listener(kind=kind, host="127.0.0.1", port=0, path="/mqtt")  # type: ignore[arg-type]
    broker = await start(listeners=(listener(authority.issue("server"), kind) if secure else plain,))
    connect = wire_of(Connect("c", clean_start=False)) + wire_of(Subscribe(1, [Subscription("a", 1)]))
    connect += wire_of(Publish("a", b"x", 1, packet_id=2)) + wire_of(Pingreq())

    def living() -> int:
        kinds = (Connection, Layer, Session, Frames, Decoder)
        return sum(isinstance(one, kinds) for one in gc.get_objects())

    async def visit(packets: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port, ssl=own)
        if kind in ("ws", "wss"):
            writer.write(websocket_client.request())
            packets = websocket_client.frame(packets)
        writer.write(packets)
        got = b""
        while b"\xd0\0" not in got:
            data = await reader.read(1000)
            assert data, got
            got += data
        writer.transport.abort()
        await broker.until_idle()

    await visit(connect)
    gc.collect()
    gc.disable()
    try:
        before = living()
        for packets in (connect, connect, connect + b"\xf0\0", connect + b"\xe0\0"):
            await visit(packets)
        await asyncio.sleep(0.01)
        assert living() <= before
    finally:
        gc.enable()


def wire_of(packet: Packet) -> bytes:
    return encoder.encode(packet, 4)


async def test_what_is_in_flight_to_those_that_do_not_acknowledge_is_bounded(start: Start) -> None:
    broker = await start(max_mqueue_total_bytes=3_000_000)
    waiting = broker.broker.waiting
    clients = [await broker.connect(f"c{n}") for n in range(4)]
    for number, client in enumerate(clients):
        await client.subscribe(f"{number}/#", 1)
    publisher = await broker.connect("p")
    for _ in range(100):
        publisher.send(
            *[Publish(f"{number}/x", bytes(30_000), 1, packet_id=number + 1) for number in range(4)]
        )
        await publisher.ping()
    held = [broker.broker.sessions[f"c{n}"].inflight_bytes for n in range(4)]
    assert 2_900_000 < waiting.bytes <= 3_000_000
    assert sum(held) < 3_000_000 + 4 * 1_100_000
    for number, client in enumerate(clients[:2]):
        session = broker.broker.sessions[f"c{number}"]
        for _ in range(len(session.inflight) + len(session.queue)):
            client.send(Puback((await client.expect(Publish)).packet_id))
    await broker.until(lambda: not any(broker.broker.sessions[f"c{n}"].inflight for n in range(2)))
    for client in clients[2:]:
        client.abort()
    await broker.until(lambda: waiting.bytes == 0)


async def test_what_waits_for_those_that_do_not_read_is_bounded(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """All together, also where each has messages of its own; and what goes, or ends, makes room again."""
    broker = await start(max_mqueue_total_bytes=3_000_000)
    waiting = broker.broker.waiting
    silent = []
    for number in range(6):
        clean = number != 5
        client = await broker.connect(f"c{number}", clean=clean)
        await client.subscribe(f"{number}/#", number % 2)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        silent.append(client)
    publisher = await broker.connect("p")
    for _ in range(200):
        publisher.send(*[Publish(f"{number}/x", bytes(50_000)) for number in range(6)])
        await publisher.ping()
    assert 2_000_000 < waiting.bytes <= 3_000_000
    assert "mqtt.max_mqueue_total_bytes" in caplog.text
    assert all(broker.broker.sessions[f"c{n}"].queue_bytes < 3_000_000 for n in range(6))
    silent[0].writer.transport.resume_reading()  # type: ignore[attr-defined]
    before = waiting.bytes
    await broker.until(lambda: waiting.bytes < before)
    for client in silent[1:]:
        client.abort()
    await broker.until(lambda: len(broker.broker.connections) == 2)
    again = await broker.connect("c5", clean=True)  # its queue ends with its session
    await again.ping()
    await broker.until(lambda: not broker.broker.sessions["c0"].queue)
    await silent[0].ping()
    await broker.until(lambda: waiting.bytes == 0)

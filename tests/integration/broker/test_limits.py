"""Limits of connections and of publishing: who is refused, with which reason, and who has to wait."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from bridge.broker.limits import REFUSALS, _network
from bridge.broker.tokens import TokenBucket
from bridge.config.settings import Listener
from bridge.mqtt import encoder
from bridge.mqtt.packets import Connack, Connect, Disconnect, Puback, Publish
from tests.integration import websocket_client
from tests.integration.broker.running import Running, Start
from tests.integration.mqtt_client import Client
from tests.integration.websocket_client import Socket

TCP = Listener(kind="tcp", host="127.0.0.1", port=0)
WS = Listener(kind="ws", host="127.0.0.1", port=0)


def only(listener: Listener, **more: object) -> tuple[Listener, ...]:
    return (listener.model_copy(update=more),)


async def refused(broker: Running, code: int, version: int) -> None:
    """A CONNECT is refused with this reason, without an event."""
    before = len(broker.recorder.calls)
    client = await Client.connect(broker.port, "late", version=version, code=code if version == 5 else 3)
    assert await client.wait_closed() == []
    assert len(broker.recorder.calls) == before


# -- connections ---------------------------------------------------------------------------------------------


async def test_as_many_as_the_broker_takes(start: Start, version: int) -> None:
    broker = await start(max_connections=1)
    first = await broker.connect("1")
    await refused(broker, 0x89, version)
    await first.disconnect()
    await broker.until_idle()
    await broker.connect("2")
    assert broker.broker.stats.turned_away == 1


async def test_as_many_as_a_listener_takes(start: Start, version: int) -> None:
    broker = await start(listeners=only(TCP, max_connections=1))
    await broker.connect("1")
    await refused(broker, 0x89, version)


async def test_as_many_as_an_address_may_have(
    start: Start, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await start(max_connections_per_address=2)
    first = await broker.connect("1")
    await broker.connect("2")
    for _ in range(3):
        await refused(broker, 0x97, version)
    # another address of this machine
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port, local_addr=("127.0.0.2", 0))
    other = Client(reader, writer, 5)
    other.send(Connect("other", 5))
    assert (await other.expect(Connack)).reason_code == 0
    await first.disconnect()
    await broker.until(lambda: len(broker.broker.connections) == 2)
    await broker.connect("3")
    assert caplog.text.count("mqtt.max_connections_per_address: 127.0.0.1 has 2") == 1
    other.abort()


@pytest.mark.parametrize(
    ("peername", "network"),
    [
        ("127.0.0.1:5", "127.0.0.1"),
        ("[2001:db8:1:2:3:4:5:6]:5", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:ffff::6]:5", "2001:db8:1:2::/64"),
        ("[2001:db8::1]:5", "2001:db8:0:0::/64"),
        ("[::1]:5", "0:0:0:0::/64"),
        ("[fe80::1%eth0]:5", "fe80:0:0:0::/64"),
    ],
)
def test_what_counts_as_one_address(peername: str, network: str) -> None:
    assert _network(peername) == network


async def test_new_connections_a_second(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    broker = await start(listeners=only(TCP, max_conn_rate=20.0))
    begin = time.monotonic()
    clients = await asyncio.gather(
        *[Client.connect(broker.port, str(n), version=5, code=None) for n in range(45)]
    )
    spent = time.monotonic() - begin
    codes = [client.connack.reason_code for client in clients if client.connack is not None]
    assert set(codes) == {0, 0x9F}
    assert 20 <= codes.count(0) <= 20 + 20 * spent + 1
    assert caplog.text.count("listeners.tcp.max_conn_rate: more than 20 a second") == 1
    await asyncio.sleep(0.1)  # two more are due
    await broker.connect("later")
    for client in clients:
        client.abort()


async def test_few_wait_for_a_refusal(start: Start) -> None:
    """Who connects and says nothing cannot have us keep more than a few beyond the limit."""
    broker = await start(listeners=only(TCP, max_connections=1))
    await broker.connect("1")
    silent = [await Client.open(broker.port) for _ in range(REFUSALS + 20)]
    await broker.until(lambda: broker.broker.stats.turned_away == REFUSALS + 20)
    assert len(broker.broker.connections) == 1 + REFUSALS
    for client in silent[REFUSALS:]:
        assert await client.wait_closed() == []
    for client in silent[:REFUSALS]:  # and those for two seconds, whatever mqtt.connect_timeout is
        assert await client.wait_closed() == []
    await broker.until(lambda: len(broker.broker.connections) == 1)
    await refused(broker, 0x89, 5)


async def test_over_websocket(start: Start) -> None:
    broker = await start(listeners=only(WS, max_connections=1))
    first = await websocket_client.connect(broker.port, "1")
    second = await websocket_client.connect(broker.port, "2", version=5, code=0x89)
    assert await second.wait_closed() == []
    await first.disconnect()


async def test_handshakes_count(start: Start, certificate: tuple[Path, Path]) -> None:
    """A socket that says nothing takes a place, of TLS and of WebSocket; what is too many over TLS is
    closed before its handshake.
    """
    cert, key = certificate
    tls = Listener(kind="ssl", host="127.0.0.1", port=0, certfile=cert, keyfile=key, max_connections=2)
    broker = await start(listeners=(tls, *only(WS, max_connections=2)), connect_timeout=0.5)
    context = ssl.create_default_context(cafile=str(cert))
    silent = [await Client.open(port) for port in broker.ports for _ in range(2)]
    await broker.until(lambda: len(broker.broker.connections) == 4)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await Client.open(broker.ports[0], tls=context)
    web = await Socket.open(broker.ports[1])
    web.send(encoder.encode(Connect("c", 5), 5))
    assert (await web.receive())[1][:4] == b"\x20\x03\x00\x89"
    # their time is up, and their places are free again
    for client in silent:
        assert await client.wait_closed() == []
    await broker.until_idle()
    assert broker.broker.stats.connect_timeouts == 4
    good = await Client.connect(broker.ports[0], "c", tls=context)
    good.abort()


# -- publishing ----------------------------------------------------------------------------------------------


async def test_a_fast_publisher_waits(start: Start, version: int) -> None:
    """All its messages come, none faster than allowed, and its connection outlives its keepalive."""
    broker = await start(max_publish_rate=50.0, keepalive_multiplier=1.0)
    client = await broker.connect("c", version=version, keepalive=1)
    begin = time.monotonic()
    client.send(*[Publish("t", b"%d" % n, 1, packet_id=n + 1) for n in range(110)])
    for n in range(110):
        assert (await client.expect(Puback)).packet_id == n + 1
    spent = time.monotonic() - begin
    assert spent >= (110 - 50) / 50 - 0.05
    assert [call[3] for call in broker.recorder.of("publish")] == [b"%d" % n for n in range(110)]
    assert broker.broker.stats.paced
    await client.ping()
    await client.disconnect()


async def test_bytes_a_second(start: Start) -> None:
    broker = await start(max_publish_bytes=10_000.0)
    client = await broker.connect("c")
    begin = time.monotonic()
    # One message may be more than a second's worth; the next one waits for it.
    client.send(*[Publish("t", b"x" * 12_000, 1, packet_id=n) for n in (1, 2)])
    await client.expect(Puback)
    assert time.monotonic() - begin < 0.9
    await client.expect(Puback)
    assert time.monotonic() - begin >= 1.15


async def test_a_listeners_own_rate(start: Start) -> None:
    broker = await start(
        listeners=(TCP, *only(TCP, name="slow", messages_rate=5.0)), max_publish_rate=1_000_000.0
    )
    fast, slow = [await Client.connect(port, str(port), version=5) for port in broker.ports]
    for client in (fast, slow):
        client.send(*[Publish("t", b"", 1, packet_id=n) for n in range(1, 12)])
    for _ in range(11):
        await fast.expect(Puback)
    assert len([call for call in broker.recorder.of("publish") if call[1] == str(broker.ports[1])]) <= 8
    for client in (fast, slow):
        client.abort()


async def test_what_was_sent_before_the_end_counts(start: Start) -> None:
    """A publisher that has to wait and leaves: its messages were received, and so are published."""
    broker = await start(max_publish_rate=6.0)
    client = await broker.connect("c")
    client.send(*[Publish("t", b"%d" % n, 0) for n in range(10)])
    await broker.until(lambda: broker.broker.stats.paced)
    client.writer.close()
    # The end is seen only once we read on: at the next message's time.
    await broker.until(lambda: broker.recorder.of("disconnected"))
    assert [call[3] for call in broker.recorder.of("publish")] == [b"%d" % n for n in range(10)]


async def test_others_are_not_held_up(start: Start) -> None:
    broker = await start(max_publish_rate=5.0)
    fast, other = await broker.connect("fast"), await broker.connect("other")
    fast.send(*[Publish("t", b"", 1, packet_id=n) for n in range(1, 500)])
    await broker.until(lambda: broker.broker.stats.paced)
    for _ in range(20):
        await other.ping()
    # and it may be taken over while it waits
    again = await broker.connect("fast")
    await again.ping()
    assert [call[2] for call in broker.recorder.of("disconnected")] == ["discarded"]


async def test_disconnect_where_it_is_wanted(start: Start, version: int) -> None:
    broker = await start(max_publish_rate=5.0, on_publish_rate="disconnect")
    client = await broker.connect("c", version=version)
    client.send(*[Publish("t", b"", 0) for _ in range(20)])
    packets = await client.wait_closed()
    if version == 5:
        assert isinstance(packets[-1], Disconnect)
        assert packets[-1].reason_code == 0x96
    await broker.until(lambda: broker.recorder.of("disconnected"))
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "message_rate_too_high")]
    assert len(broker.recorder.of("publish")) == 5


async def test_nonsense_behind_messages_that_wait(start: Start) -> None:
    """The messages before it come first, then the end."""
    broker = await start(max_publish_rate=20.0)
    client = await broker.connect("c", version=5)
    client.send(*[Publish("t", b"", 1, packet_id=n) for n in range(1, 31)])
    client.raw(b"\xff\xff\xff\xff\xff\xff")
    packets = await client.wait_closed()
    assert [type(packet) for packet in packets] == [Puback] * 30 + [Disconnect]


def test_the_token_bucket() -> None:
    bucket = TokenBucket(10.0, 0.0)
    assert [bucket.take(0.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert bucket.wait(0.0) == pytest.approx(0.1)
    assert bucket.take(0.1)
    assert not bucket.take(0.1)
    assert [bucket.take(100.0) for _ in range(12)] == [True] * 10 + [False] * 2
    slow = TokenBucket(0.5, 0.0)
    assert (slow.take(0.0), slow.take(1.0), slow.take(2.0)) == (True, False, True)

"""What each kind of attack costs HookMQ, and a client that behaves: docs/hostile-input.md."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import resource
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.mqtt import encoder
from bridge.mqtt.packets import (
    Connect,
    Packet,
    Pingreq,
    Properties,
    Publish,
    Pubrel,
    Subscribe,
    Subscription,
    Unsubscribe,
)
from tests.integration.process import HookMQ
from tests.integration.websocket_client import frame, request
from tests.long.healthy import assert_served, healthy, told
from tests.long.test_hostile_clients import MB, listeners, ports, spent

pytestmark = pytest.mark.long
SECONDS = float(os.environ.get("COST_SECONDS", "4"))
HALF_OPEN = 10_000

Attack = Callable[[int], Iterator[Packet]]


def pings(_: int) -> Iterator[Packet]:
    return itertools.repeat(Pingreq(), 20_000)


def deep_filters(who: int) -> Iterator[Packet]:
    for n, head in enumerate(itertools.islice(itertools.product("+a", repeat=12), 1000)):
        yield Subscribe(n + 1, [Subscription("/".join((*head, *("+a" * 50))))])


def matched_by_deep_filters(who: int) -> Iterator[Packet]:
    yield from deep_filters(who)
    topic = "/".join("a" * 112)
    for n in range(200):
        yield Publish(topic.replace("a", f"{'a' * 40}{n}", 1), b"")


def changing_subscriptions(_: int) -> Iterator[Packet]:
    for n in range(5000):
        yield Subscribe(1, [Subscription(f"{n}/+/#")])
        yield Unsubscribe(2, [f"{n}/+/#"])


def level_trees(who: int) -> Iterator[Packet]:
    for n in range(2000):
        yield Publish(f"{who}/{n}/" + "x/" * 90, b"x", 0, True)
    yield Subscribe(1, [Subscription("+/" * 91 + "y")])


def retained(who: int) -> Iterator[Packet]:
    for n in range(10_000):
        yield Publish(f"r/{who}/{n}", b"x" * 100, 0, True)


def user_properties(_: int) -> Iterator[Packet]:
    many = Properties(user_property=[("", "")] * 13_000)
    for _n in range(50):
        yield Publish("a", b"", 0, False, False, 0, many)


def quality_2(_: int) -> Iterator[Packet]:
    for n in range(1, 2048):
        yield Publish("a", b"", 2, packet_id=n)
    for n in range(20_000):
        yield Pubrel(3000 + n % 60_000)


def empty_publishes(_: int) -> Iterator[Packet]:
    return itertools.repeat(Publish("a", b""), 20_000)


ATTACKS: list[tuple[Attack, str]] = [
    (pings, "tcp"),
    (pings, "wss"),
    (empty_publishes, "tcp"),
    (deep_filters, "tcp"),
    (matched_by_deep_filters, "tcp"),
    (changing_subscriptions, "tcp"),
    (level_trees, "tcp"),
    (retained, "tcp"),
    (user_properties, "tcp"),
    (quality_2, "tcp"),
]


async def send(kind: str, port: int, data: bytes) -> None:
    """One session, whose answers are read and forgotten."""
    context = None
    if kind in ("ssl", "wss"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)

    async def read() -> None:
        while await reader.read(1 << 20):
            pass

    reading = asyncio.create_task(read())
    if kind in ("ws", "wss"):
        writer.write(request())
        data = frame(data)
    with contextlib.suppress(OSError):
        for at in range(0, len(data), 1 << 16):
            writer.write(data[at : at + (1 << 16)])
            await writer.drain()
        writer.write_eof() if writer.can_write_eof() else None
        await asyncio.wait([reading], timeout=30)
    reading.cancel()
    writer.transport.abort()


@pytest.mark.parametrize(("attack", "kind"), ATTACKS, ids=[f"{a.__name__}-{k}" for a, k in ATTACKS])
@pytest.mark.timeout(120)
async def test_floods(tmp_path: Path, attack: Attack, kind: str) -> None:
    async with HookMQ(tmp_path, listeners(tmp_path)) as hookmq:
        streams = []
        for who in range(4):
            head = encoder.encode(Connect(f"hostile{who}", 5), 5)
            packets = [encoder.encode(packet, 5) for packet in attack(who)]
            streams.append((head + b"".join(packets) + encoder.encode(Pingreq(), 5), len(packets)))
        before = hookmq.rss()
        worked = spent(hookmq)
        packets_sent = 0
        async with healthy(hookmq) as times:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                await asyncio.gather(*(send(kind, ports(hookmq)[kind], data) for data, _ in streams))
                packets_sent += sum(count for _, count in streams)
        worked = spent(hookmq) - worked
        grown = hookmq.rss() - before
        assert await hookmq.stop() == 0
        assert "Traceback" not in hookmq.log
    each = worked / packets_sent * 1e6
    name = attack.__name__
    print(f"\n{name} {kind}: {each:.1f} us each of {packets_sent:,}, {grown / MB:.0f} MB")
    print(told(times))
    assert_served(times)
    assert grown < 300 * MB


@pytest.mark.parametrize("kind", ["ssl", "ws", "wss"])
@pytest.mark.timeout(180)
async def test_half_open(tmp_path: Path, kind: str) -> None:
    """Handshakes that are begun and never ended: cheap, and closed at `mqtt.connect_timeout`."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    hello = outgoing.read() if kind != "ws" else request()[:-4]
    sockets: list[socket.socket] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < HALF_OPEN + 500:
        pytest.skip(f"at most {hard} open files are allowed here, this needs {HALF_OPEN + 500}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        async with HookMQ(tmp_path, listeners(tmp_path), "mqtt.connect_timeout = 30s") as hookmq:
            async with healthy(hookmq) as times:
                before, worked = hookmq.rss(), spent(hookmq)
                loop = asyncio.get_running_loop()
                for _ in range(HALF_OPEN):
                    sock = socket.socket()
                    sock.setblocking(False)
                    sockets.append(sock)
                    await loop.sock_connect(sock, ("127.0.0.1", ports(hookmq)[kind]))
                    await loop.sock_sendall(sock, hello)
                held, worked = hookmq.rss(), spent(hookmq) - worked
                for sock in sockets:
                    async with asyncio.timeout(60):
                        while await loop.sock_recv(sock, 10_000):
                            pass
            assert await hookmq.stop() == 0
    finally:
        for sock in sockets:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    size = (held - before) / HALF_OPEN
    print(f"\n{kind}: {worked / HALF_OPEN * 1e6:.0f} us and {size / 1024:.1f} KiB each; {told(times)}")
    assert_served(times)
    assert size < 128 * 1024

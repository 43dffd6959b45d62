"""What takes many clients or much time, measured: docs/hostile-input.md. A client that behaves is served
meanwhile, and HookMQ tells its longest turn."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import argon2
import pytest

from bridge.mqtt import encoder
from bridge.mqtt.packets import (
    Connect,
    Packet,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    Subscription,
)
from tests.integration.mqtt_client import Client
from tests.long.healthy import assert_served, healthy, prefer, told
from tests.long.test_hostile_clients import MB, Probed, quick_path, spent

__all__ = ["quick_path"]
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

TURN_MS = 100.0
"""The longest turn of the loop that is allowed, in processor time."""


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Figures:
    """What an attack cost."""

    def __init__(self, hookmq: Probed) -> None:
        self.hookmq = hookmq
        self.rss, self.spent, self.begin = hookmq.rss(), spent(hookmq), time.monotonic()
        self.times: list[float] = []
        self.used = self.grown = self.seconds = 0.0

    def stop(self) -> None:
        """The attack is over."""
        self.used = spent(self.hookmq) - self.spent
        self.grown = self.hookmq.rss() - self.rss
        self.seconds = time.monotonic() - self.begin


@asynccontextmanager
async def attacked(hookmq: Probed, what: str) -> AsyncIterator[Figures]:
    """Measures what happens in the block, and asserts that nobody was held up."""
    prefer(hookmq.pid)
    async with healthy(hookmq) as times:
        figures = Figures(hookmq)
        yield figures
        figures.stop()
        # The probe writes twice a second.
        await asyncio.sleep(1)
    probe = hookmq.told()
    print(
        f"\n{what}: {figures.seconds:.1f} s, {figures.used:.2f} s of processor time, "
        f"{figures.grown / MB:+.0f} MB; {told(times)}; "
        f"longest turn {probe['longest']:.0f} ms, {probe['longest_waiting']:.0f} with the disk"
    )
    for stack, count in probe["stacks"]:
        print(f"  {count} times above 50 ms: {stack}")
    assert_served(times)
    assert probe["longest"] < TURN_MS, probe["stacks"]


def wire(*packets: Packet, version: int = 5) -> bytes:
    """So many packets as they are sent."""
    return b"".join([encoder.encode(packet, version) for packet in packets])


async def answered(client: Client) -> None:
    """All that it sent was acted on."""
    client.send(Pingreq())
    await client.expect(Pingresp, within=60)


# -- passwords -------------------------------------------------------------------------------------------


async def guess(port: int, number: int, host: str) -> None:
    """A CONNECT with a wrong password, and its refusal."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))
        writer.write(
            wire(Connect(f"guess{number}", username="known", password=b"wrong%d" % number), version=4)
        )
        await reader.readexactly(4)
        writer.close()


@pytest.mark.parametrize("addresses", [1, 200])
async def test_wrong_passwords(quick_path: Path, addresses: int) -> None:
    """One address, or many, that guess as fast as they can: who knows a password comes in meanwhile."""
    argon = argon2.PasswordHasher()
    users = "".join(
        f'"{user}" = "{argon.hash(user)}"\n' for user in ("known", "new0", "new1", "new2", "new3")
    )
    (quick_path / "users.conf").write_text(users)
    # The healthy clients come in without a name.
    access = 'auth { allow_anonymous = true, password = { include "users.conf" } }'
    async with Probed(quick_path, access) as hookmq:

        async def enter(user: str, host: str) -> float:
            begin = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", hookmq.port, local_addr=(host, 0))
            writer.write(wire(Connect(f"c-{user}", username=user, password=user.encode()), version=4))
            assert await reader.readexactly(4) == b"\x20\x02\0\0"
            writer.close()
            return time.monotonic() - begin

        await enter("known", "127.9.9.9")  # its hash is remembered
        guesses = 0
        end = time.monotonic() + 12

        async def attack(at: int) -> None:
            nonlocal guesses
            host = f"127.1.{at // 200}.{at % addresses + 1}"
            while time.monotonic() < end:
                guesses += 1
                await guess(hookmq.port, guesses, host)

        known, new = [], []
        async with attacked(hookmq, f"wrong passwords from {addresses} addresses") as figures:
            tasks = [asyncio.create_task(attack(at)) for at in range(200)]
            for number in range(4):
                await asyncio.sleep(2)
                known += [await enter("known", "127.9.9.9") for _ in range(5)]
                new.append(await enter(f"new{number}", f"127.8.8.{number + 1}"))
            await asyncio.gather(*tasks)
        print(
            f"  {guesses} guesses, {figures.used / figures.seconds:.2f} cores; in with a password that was "
            f"right before after {max(known) * 1000:.0f} ms at most, with another after "
            f"{', '.join(f'{seconds * 1000:.0f}' for seconds in new)} ms"
        )
        assert max(known) < 0.5
        assert max(new) < 5
        assert await hookmq.stop() == 0


# -- who does not read -----------------------------------------------------------------------------------


async def test_subscribers_that_never_read(quick_path: Path) -> None:
    """Each wants messages of its own, more than it may queue: what is held has a bound for all of them."""
    silent = 30
    async with Probed(quick_path, "mqtt { max_mqueue_total_bytes = 64MB }") as hookmq:
        sockets = []
        for number in range(silent):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", hookmq.port))
            sock.sendall(
                wire(Connect(f"silent{number}"), Subscribe(1, [Subscription(f"s/{number}/#", 1)]), version=4)
            )
            sockets.append(sock)
        publisher = await Client.connect(hookmq.port, "publisher")
        async with attacked(hookmq, f"{silent} subscribers that never read") as figures:
            sent = 0
            for _ in range(120):
                for number in range(silent):
                    publisher.send(Publish(f"s/{number}/a", bytes(200_000), number % 2, packet_id=number + 1))
                    sent += 200_000
                await answered(publisher)
                publisher.inbox.clear()
        each = figures.grown / silent / 1024
        print(f"  {sent / MB:.0f} MB were published; {each:.0f} KiB are held for each")
        assert figures.grown < 64 * MB + silent * MB
        for sock in sockets:
            sock.close()
        assert await hookmq.stop() == 0


# -- sessions --------------------------------------------------------------------------------------------


async def persistent(port: int, numbers: range) -> int:
    """Sessions that outlive their connections; how many were let in."""
    done = 0
    for number in numbers:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(wire(Connect(f"session{number}", 4, clean_start=False), version=4))
        done += (await reader.readexactly(4))[3] == 0
        writer.transport.abort()
    return done


async def test_max_sessions_are_used_up(quick_path: Path) -> None:
    """Who is known goes on, and so does who leaves no session behind."""
    most = 20_000
    async with Probed(quick_path, f"mqtt {{ max_sessions = {most} }}") as hookmq:
        old = await Client.connect(hookmq.port, "old", clean=False)
        async with attacked(hookmq, f"{most:,} sessions") as figures:
            step = most // 20 + 50
            let = sum(
                await asyncio.gather(
                    *[persistent(hookmq.port, range(at * step, (at + 1) * step)) for at in range(20)]
                )
            )
        print(
            f"  {let:,} were let in: {figures.grown / let / 1024:.1f} KiB and "
            f"{figures.used / let * 1e6:.0f} us each"
        )
        await old.publish("a", b"", 1)
        old.abort()
        again = await Client.connect(hookmq.port, "old", clean=False)
        assert again.connack is not None
        assert again.connack.session_present
        for number in range(2):  # those that behave have gone
            await Client.connect(hookmq.port, f"last{number}", clean=False)
        await Client.connect(hookmq.port, "new", clean=False, code=3)
        new = await Client.connect(hookmq.port, "new", clean=True)
        await new.publish("a", b"", 1)
        begin = time.monotonic()
        hookmq.kill()
        await hookmq.start()
        print(f"  a start with them takes {time.monotonic() - begin:.1f} s")
        assert await hookmq.stop() == 0


# -- byte by byte ----------------------------------------------------------------------------------------


async def test_bytes_one_by_one(quick_path: Path) -> None:
    """A thousand clients whose packets come in single bytes."""
    clients = 1000
    data = wire(Publish("a/b", bytes(4000), 1, packet_id=1), version=4)
    async with Probed(quick_path) as hookmq:
        loop = asyncio.get_running_loop()
        sockets = []
        for number in range(clients):
            sock = socket.socket()
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", hookmq.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_sendall(sock, wire(Connect(f"slow{number}"), version=4))
            sockets.append(sock)
        sent = 0
        async with attacked(hookmq, f"{clients} clients, byte by byte") as figures:
            end = time.monotonic() + 10
            at = 0
            while time.monotonic() < end:
                for sock in sockets:
                    sock.send(data[at : at + 1])
                sent += clients
                at = (at + 1) % len(data)
                await asyncio.sleep(0)
        print(f"  {figures.used / sent * 1e6:.1f} us a byte of {sent:,}")
        for sock in sockets:
            sock.close()
        assert await hookmq.stop() == 0


# -- a million levels ------------------------------------------------------------------------------------


async def flood(port: int, name: str, parts: list[bytes]) -> None:
    """Send it all, read and forget the answers, until the last PINGRESP."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(wire(Connect(name, 5)))

    async def read() -> None:
        last = b""
        while data := await reader.read(1 << 20):
            last = (last + data)[-2:]
            if last == b"\xd0\0":
                return

    reading = asyncio.create_task(read())
    for part in parts:
        writer.write(part)
        await writer.drain()
    writer.write(wire(Pingreq()))
    async with asyncio.timeout(120):
        await reading
    flood_writers.append(writer)


flood_writers: list[asyncio.StreamWriter] = []


@pytest.mark.parametrize("what", ["subscriptions", "retained"])
async def test_a_million_levels(quick_path: Path, what: str) -> None:
    """10,000 topic filters, or retained topics, of 100 levels each, no two of which share any."""
    async with Probed(quick_path) as hookmq:
        parts: list[list[bytes]] = []
        for who in range(10):
            names = [
                f"{who}-{n}/" + "/".join(f"{n}+"[:-1] + str(level) for level in range(98))
                for n in range(1000)
            ]
            if what == "retained":
                parts.append([wire(Publish(name, b"x", 0, True)) for name in names])
            else:
                parts.append(
                    [wire(Subscribe(n + 1, [Subscription(f"{name}/+")])) for n, name in enumerate(names)]
                )
        async with attacked(hookmq, f"a million levels of {what}") as figures:
            await asyncio.gather(*[flood(hookmq.port, f"deep{at}", part) for at, part in enumerate(parts)])
        client = await Client.connect(hookmq.port, "publisher")
        costs = []
        for topic in ("none/at/all", "5-500/" + "/".join(f"500{level}" for level in range(98)) + "/x"):
            before = spent(hookmq)
            for _ in range(20):
                client.send(*[Publish(topic, b"", 0) for _ in range(500)])
                await answered(client)
            costs.append((spent(hookmq) - before) / 10_000 * 1e6)
        begin = time.monotonic()
        searcher = await Client.connect(hookmq.port, "searcher")
        await searcher.subscribe("+/" * 98 + "none")
        await answered(searcher)
        print(
            f"  {figures.grown / 10_000:.0f} bytes and {figures.used / 10_000 * 1e6:.0f} us each; then a "
            f"publish takes {costs[0]:.1f} us, to one of them {costs[1]:.1f} us, and a search "
            f"{time.monotonic() - begin:.2f} s"
        )
        assert figures.grown < 400 * MB
        assert await hookmq.stop() == 0
        for writer in flood_writers:
            writer.close()
        flood_writers.clear()


# -- many topic filters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("expiry", [0, 1000])
async def test_many_topic_filters_in_one_packet(quick_path: Path, expiry: int) -> None:
    """As many as a packet may have, and then a session of 10,000 that ends."""
    async with (
        Probed(quick_path) as hookmq,
        attacked(hookmq, "SUBSCRIBE with 16,384 topic filters") as figures,
    ):
        for number in range(5):
            client = await Client.connect(hookmq.port, "many", version=5, session_expiry_interval=expiry)
            client.send(Subscribe(1, [Subscription(f"{number}/{n}/+") for n in range(16_384)]))
            suback = await client.expect(Suback, within=60)
            assert suback.reason_codes.count(0) == 10_000
            assert suback.reason_codes[10_000:] == [0x97] * 6384
            await client.disconnect()
        last = await Client.connect(hookmq.port, "many", version=5)
        await answered(last)
        figures.stop()
        print(f"\n  {figures.used / 5 * 1000:.0f} ms each, with the session's end")

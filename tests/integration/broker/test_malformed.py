"""Whatever a client sends ends its own connection at most, with the right reason, and never anything else."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest

from bridge.mqtt import encoder
from bridge.mqtt.packets import Connack, Connect, Disconnect, Puback, Publish, Suback, Subscribe, Subscription
from tests.integration.broker.running import Running, Start
from tests.integration.mqtt_client import Client
from tests.unit.mqtt.fixtures import BAD, GOOD, Bad

AT_ONCE = 50


@pytest.fixture
async def quick(start: Start) -> Running:
    """A broker that takes no large packets, so that no mutated length makes it wait for megabytes."""
    return await start(max_packet_size=100_000, connect_timeout=30.0)


async def check(broker: Running, case: Bad, number: int) -> str | None:
    """What is wrong with the answer to a malformed packet, if anything."""
    version = case.version
    client = await Client.open(broker.port, version=version or 5)
    try:
        if version:
            client.send(Connect(f"c{number}", version))
            await client.expect(Connack)
        client.raw(case.wire)
        if not version and case.wire[0] >> 4 == 1:
            return await check_connect(client, case)
        packets = await client.wait_closed()
        if version == 5:
            ends = [p.reason_code for p in packets if type(p) is Disconnect]
            return None if ends == [case.reason] else f"{packets}, expected 0x{case.reason:02X}"
        return None if not packets or type(packets[-1]) is not Disconnect else f"{packets}"
    except AssertionError as error:
        return str(error)
    finally:
        client.abort()


async def check_connect(client: Client, case: Bad) -> str | None:
    data = b""
    while piece := await client.reader.read(1000):
        data += piece
    if case.wire.startswith(encoder.encode_connect(Connect("c", 5))[:1]) and b"MQTT\x05" in case.wire[:12]:
        return None if data in (b"", b"\x20\x03\0%c\0" % case.reason) else data.hex(" ")
    return None if data in (b"", b"\x20\x02\0\x01", b"\x20\x03\0\x84\0") else data.hex(" ")


@pytest.mark.mqtt3("4.8.0-1")
@pytest.mark.mqtt5("3.14.2-1", "4.13.1-1", "4.13.2-1")
@pytest.mark.timeout(120)
async def test_every_malformed_packet_of_the_table(quick: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    other = await quick.connect("other")
    cases = [(number, case) for number, case in enumerate(BAD) if case.role == "server"]
    wrong: list[str] = []

    async def work() -> None:
        while cases:
            number, case = cases.pop()
            found = await check(quick, case, number)
            if found is not None:
                wrong.append(f"{case.name}: {found}")

    total = len(cases)
    assert total > 3000
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    assert not wrong, wrong[:10]
    await other.silent()
    # One line for each, and of a bounded length.
    lines = [record for record in caplog.records if record.name.startswith("bridge")]
    assert len(lines) <= total
    assert max(len(record.getMessage()) for record in lines) < 500
    await quick.until(lambda: len(quick.broker.connections) == 1)
    assert set(quick.broker.sessions) == {"other"}


async def test_what_came_before_a_malformed_packet_counts(quick: Running, version: int) -> None:
    client = await quick.connect("c", version=version)
    client.send(Subscribe(1, [Subscription("a")]), Publish("b", b"x", 1, packet_id=2))
    client.raw(b"\x00\x00")
    packets = await client.wait_closed()
    assert [type(p) for p in packets] == [Suback, Puback] + [Disconnect] * (version == 5)
    assert quick.recorder.of("publish") == [("publish", "c", "b", b"x")]


def mutated(rng: random.Random, wires: list[bytes]) -> bytes:
    """A few packets of the table, in one stream, with a few faults."""
    data = bytearray(b"".join(rng.choice(wires) for _ in range(rng.randint(1, 6))))
    for _ in range(rng.randint(0, 3)):
        if not data:
            break
        at = rng.randrange(len(data))
        match rng.randrange(5):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                del data[at : at + rng.randint(1, 4)]
            case 3:
                data[at:at] = rng.randbytes(rng.randint(1, 4))
            case 4:
                del data[at:]
    return bytes(data)


async def fuzz(broker: Running, seconds: float, seed: int) -> int:
    """Feed a live broker with mutated packets; returns how many streams."""
    by_version: dict[int, list[bytes]] = {}
    for case in [*GOOD, *BAD]:
        if len(case.wire) < 2000:
            by_version.setdefault(case.version, []).append(case.wire)
    connects = [
        case.wire for case in GOOD if not case.version and case.role == "server" and len(case.wire) < 2000
    ]
    count = 0
    deadline = broker.loop.time() + seconds

    async def work(number: int) -> None:
        nonlocal count
        rng = random.Random(seed * 1000 + number)
        while broker.loop.time() < deadline:
            count += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
            version = rng.choice((3, 4, 5, 5))
            front = rng.choice(connects) if rng.random() < 0.3 else b""
            if not front and rng.random() < 0.9:
                front = encoder.encode_connect(Connect(f"c{rng.randrange(8)}", version, rng.random() < 0.5))
            data = front + mutated(rng, by_version[version])
            cut = rng.randrange(len(data) + 1)
            try:
                writer.write(data[:cut])
                if rng.random() < 0.5:
                    await asyncio.sleep(0)
                writer.write(data[cut:])
                if rng.random() < 0.5:
                    writer.write_eof()
                    await reader.read()
                elif rng.random() < 0.5:
                    await reader.read(100) if front else None
            except ConnectionError:
                pass
            finally:
                writer.transport.abort()

    await asyncio.gather(*(work(number) for number in range(16)))
    return count


async def test_a_few_seconds_of_mutated_packets(quick: Running, caplog: pytest.LogCaptureFixture) -> None:
    good = await quick.connect("good", version=5)
    await good.subscribe("mine", 1)
    assert await fuzz(quick, 4.0, seed=1) > 200
    await good.publish("mine", b"x", 1)
    assert (await good.expect(Publish)).payload == b"x"
    assert not [r for r in caplog.records if r.exc_info], "an internal error"
    await quick.until(lambda: len(quick.broker.connections) == 1)
    for session in quick.broker.sessions.values():
        assert session.queue_bytes == sum(d.message.size for d in session.queue)
        assert session.inflight_bytes == sum(d.message.size for d in session.inflight.values())
    broker = quick.broker
    assert {c for c, s in broker.sessions.items() if s.connection is None} == set(broker.away)
    assert len(broker.subscriptions) <= sum(len(s.subscriptions) for s in broker.sessions.values())


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(2, 5))
async def test_a_minute_of_mutated_packets(
    quick: Running, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert await fuzz(quick, 60.0, seed) > 3000
    assert not [r for r in caplog.records if r.exc_info]
    await (await quick.connect("good")).silent()

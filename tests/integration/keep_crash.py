"""`kill -9` again and again under load, seen by subscribers with persistent sessions.

Two kinds of them: who is connected now and then and takes some, and who only comes at the end. What was
acknowledged to a publisher has to reach all of them: at QoS 1 in order (repeats aside), at QoS 2 once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from pathlib import Path

from bridge.mqtt.encoder import encode_publish
from bridge.mqtt.packets import (
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Subscription,
)
from tests.integration.load import Publisher
from tests.integration.mqtt_client import Client, Closed
from tests.integration.process import HookMQ, until

WINDOW = 20
LOST_S = 10.0
"""Nothing more comes after so long, on a machine with other work too."""
QUEUES = "mqtt { max_mqueue_len = 1000000, max_mqueue_bytes = 1GB, max_mqueue_total_bytes = 1GB }"


class TwicePublisher(Publisher):
    """The same at QoS 2; `acked` of its messages got their PUBREC."""

    def data_received(self, data: bytes) -> None:
        if not self.connected:
            super().data_received(data)
            return
        data = self._rest + data
        whole = len(data) // 4
        self._rest = data[whole * 4 :]
        recs = 0
        for at in range(0, whole * 4, 4):
            if data[at] == 0x50:
                assert data[at + 2 : at + 4] == (self.acked % 65535 + 1).to_bytes(2, "big")
                self.acked += 1
                recs += 1
                self.transport.write(b"\x62\x02" + data[at + 2 : at + 4])
        self._send(recs)

    def _send(self, number: int) -> None:
        for _ in range(number):
            payload = f"{self.clientid}:{self.sent}".encode()
            self.transport.write(
                encode_publish(4, self._topic, payload, 2, False, False, self.sent % 65535 + 1)
            )
            self.sent += 1


class Subscriber:
    """One persistent session, over connections and crashes: what it got, as a client that keeps its state."""

    def __init__(self, name: str, version: int, qos: int) -> None:
        self.name = name
        self.version = version
        self.qos = qos
        self.got: dict[str, list[int]] = defaultdict(list)  # numbers by publisher; QoS 2: without repeats
        self._open: set[int] = set()  # QoS 2 packet ids that wait for PUBREL
        self.client: Client | None = None

    async def connect(self, port: int) -> None:
        properties = Properties(session_expiry_interval=1000) if self.version == 5 else None
        self.client = await Client.connect(
            port, self.name, version=self.version, clean=False, properties=properties
        )

    async def subscribe(self, port: int) -> None:
        await self.connect(port)
        assert self.client is not None
        self.client.send(Subscribe(1, [Subscription("load/#", self.qos)]))
        await self.client.ping()
        self.client.abort()

    async def take(self, wanted: dict[str, set[int]] | None = None) -> None:
        """Answer all that comes until the connection ends, or until nothing more comes than what is wanted.

        Where something that is wanted does not come, that is after `LOST_S` of silence.
        """
        client = self.client
        assert client is not None
        last = time.monotonic()
        while True:
            while client.inbox:
                self._act(client, client.inbox.pop(0))
                last = time.monotonic()
            if client.closed:
                return
            if wanted is not None and not self._open:
                quiet = time.monotonic() - last
                if quiet > LOST_S or (quiet > 0.5 and not self.missing(wanted)):
                    return
            try:
                async with asyncio.timeout(0.1):
                    await client._more()
            except TimeoutError:
                continue
            except (ConnectionError, Closed):
                return

    def _act(self, client: Client, packet: object) -> None:
        if isinstance(packet, Pubrel):
            self._open.discard(packet.packet_id)
            client.send(Pubcomp(packet.packet_id))
        elif isinstance(packet, Publish):
            text = packet.payload.decode().rstrip()
            who, _, number = text.partition(":")
            if packet.qos == 1:
                self.got[who].append(int(number))
                client.send(Puback(packet.packet_id))
            else:
                if packet.packet_id not in self._open:
                    self._open.add(packet.packet_id)
                    self.got[who].append(int(number))
                client.send(Pubrec(packet.packet_id))

    def missing(self, acked: dict[str, set[int]]) -> bool:
        """Whether something has not come that was acknowledged."""
        return any(not numbers <= set(self.got[who]) for who, numbers in acked.items())

    def check(self, acked: dict[str, set[int]]) -> int:
        """All that was acknowledged came, in order; how many came twice."""
        repeats = 0
        for who, numbers in acked.items():
            own = self.got[who]
            assert numbers <= set(own), (self.name, who, sorted(numbers - set(own))[:5])
            seen = list(dict.fromkeys(own))
            assert seen == sorted(seen), (self.name, who)
            if self.qos == 2 and who.endswith("twice"):
                assert own == seen, (self.name, who)
            repeats += len(own) - len(seen)
        return repeats


async def run(folder: Path, kills: int, seed: int, *blocks: str) -> tuple[int, int]:
    """Messages acknowledged to the publishers, and how many came twice at QoS 1. AssertionError otherwise."""
    chance = random.Random(seed)
    subscribers = [
        Subscriber(f"{kind}-{version}-{qos}", version, qos)
        for kind in ("away", "there")
        for version in (4, 5)
        for qos in (1, 2)
    ]
    there = [s for s in subscribers if s.name.startswith("there")]
    acked: dict[str, set[int]] = defaultdict(set)
    async with HookMQ(folder, QUEUES, *blocks) as hookmq:
        for subscriber in subscribers:
            await subscriber.subscribe(hookmq.port)
        for number in range(kills):
            load = [
                await kind.start(hookmq.port, f"p{number}.{name}", WINDOW, topic=f"load/{name}")
                for name, kind in (("a", Publisher), ("b", Publisher), ("twice", TwicePublisher))
            ]
            taking = []
            for subscriber in there:
                if chance.random() < 0.7:
                    await subscriber.connect(hookmq.port)
                    taking.append(asyncio.create_task(subscriber.take()))
            await asyncio.sleep(chance.uniform(0.1, 0.5))
            hookmq.kill()
            await until(lambda load=load: all(p.closed for p in load), "the publishers are cut off")  # type: ignore[misc]
            await asyncio.gather(*taking)
            for publisher in load:
                for text in publisher.payloads():
                    who, _, count = text.partition(":")
                    acked[who].add(int(count))
            await hookmq.start()
        for subscriber in subscribers:
            await subscriber.connect(hookmq.port)
        await asyncio.gather(*(subscriber.take(acked) for subscriber in subscribers))
        repeats = sum(subscriber.check(acked) for subscriber in subscribers)
        assert await hookmq.stop() == 0
        # Everything was taken: nothing is kept after an ordered end.
        await hookmq.start()
        for subscriber in subscribers:
            await subscriber.connect(hookmq.port)
            assert subscriber.client is not None
            await subscriber.client.silent()
    return sum(map(len, acked.values())), repeats

"""`kill -9` under load, again and again, and what must hold after each (used by both tiers)."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bridge.mqtt.packets import Pubcomp, Publish, Pubrec, Pubrel, Will
from tests.integration.load import Post, Publisher, Sink
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook

PUBLISHERS = 4
WINDOW = 64
POOL = 32


@dataclass
class Figures:
    """What happened, for the report."""

    kills: int = 0
    acknowledged: int = 0
    duplicates: list[int] = field(default_factory=list)  # by kill
    allowed: list[int] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)  # seconds until ready

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.acknowledged:,} acknowledged, 0 lost; duplicates by kill "
            f"{self.duplicates} (allowed {self.allowed}); ready again after at most {max(self.starts):.2f} s"
        )


class Crashes:
    """One store over many lives of the process. Raises AssertionError for what does not hold."""

    def __init__(self, folder: Path, sink: Sink, seed: int, *blocks: str) -> None:
        self.sink = sink
        self.random = random.Random(seed)
        self.figures = Figures()
        self.hookmq = HookMQ(
            folder,
            webhook(sink.url, "on_message_publish", "on_client_disconnected", pool_size=POOL),
            *blocks,
        )
        self.acknowledged: set[str] = set()
        self.connected: Counter[str] = Counter()  # how often each client was cut off
        self._came: set[str] = set()
        self._read = 0

    async def run(self, kills: int) -> Figures:
        """Kill it so many times; the checks of each kill follow at once, those of all at the end."""
        try:
            await self._start()
            for number in range(kills):
                await self._life(number)
            self._check_all()
            assert await self.hookmq.stop() == 0
        except BaseException as error:
            error.add_note(f"{self.figures.kills} kills\n{self.hookmq.stdout}{self.hookmq.log}")
            raise
        finally:
            self.hookmq.kill()
        return self.figures

    async def _start(self) -> None:
        begin = time.monotonic()
        await self.hookmq.start()
        self.figures.starts.append(time.monotonic() - begin)

    async def _life(self, number: int) -> None:
        """Load, an open QoS 2 exchange, a kill at any moment, and the next start."""
        sink, port = self.sink, self.hookmq.port
        seen = len(sink.posts)
        two = await Client.connect(port, "two", clean=False)
        message = Publish("two", b"two:%d" % number, qos=2, packet_id=number + 1)
        two.send(message)
        await two.expect(Pubrec)
        idle = await Client.connect(port, f"idle{number}", will=Will("will", b"will:%d" % number, qos=1))
        load = [
            await Publisher.start(port, f"c{number}.{n}", WINDOW, size=self.random.choice((0, 100, 2000)))
            for n in range(PUBLISHERS)
        ]
        await asyncio.sleep(self.random.uniform(0.05, 0.6))

        before = time.monotonic()
        self.hookmq.kill()
        killed = time.monotonic()
        await until(lambda: all(p.closed for p in load), "the publishers are cut off")
        await asyncio.gather(idle.wait_closed(), two.wait_closed())
        self.acknowledged |= {f"two:{number}", *(text for p in load for text in p.payloads())}
        self.figures.kills += 1
        self.figures.acknowledged += 1 + sum(p.acked for p in load)
        self.connected.update(["two", f"idle{number}", *(p.clientid for p in load)])
        await self._quiet()
        life = len(sink.posts)
        settled = sum(before - 0.1 <= post.at <= killed for post in sink.posts[seen:])

        await self._start()
        assert f"restored   {PUBLISHERS + 2} connections had not ended properly" in self.hookmq.stdout
        two = await Client.connect(self.hookmq.port, "two", clean=False)
        assert two.connack is not None
        assert two.connack.session_present
        message.dup = True
        two.send(message)  # still open: acknowledged, and not published again
        await two.expect(Pubrec)
        two.send(Pubrel(number + 1))
        await two.expect(Pubcomp)
        await two.disconnect()
        self.connected["two"] += 1
        await sink.wait_for(lambda: self.acknowledged <= self._payloads(), "every acknowledged message", 30)
        await self._quiet()

        first = {post.id for post in sink.posts[:life]}
        after = Counter(post.id for post in sink.posts[life:])
        assert set(after.values()) == {1}  # without a crash nothing comes twice
        twice = sum(key in first for key in after)
        self.figures.duplicates.append(twice)
        self.figures.allowed.append(POOL + settled)
        assert twice <= POOL + settled

    async def _quiet(self) -> None:
        """Wait until nothing more comes."""
        while True:
            count = len(self.sink.posts)
            await asyncio.sleep(0.1)
            if len(self.sink.posts) == count:
                return

    def _payloads(self) -> set[str]:
        """The payloads that came; only what is new since the last call is read."""
        posts = self.sink.posts
        for index in range(self._read, len(posts)):
            if b'"payload"' in posts[index].body:
                self._came.add(posts[index].json["payload"].rstrip())
        self._read = len(posts)
        return self._came

    def _check_all(self) -> None:
        """Over all lives: one body for each id, one id for each message, and an end for each connection."""
        bodies: dict[bytes, bytes] = {}
        for post in self.sink.posts:
            assert bodies.setdefault(post.id, post.body) == post.body
        events = [Post(key, 1, body, 0).json for key, body in sorted(bodies.items())]
        payloads = Counter(e["payload"].rstrip() for e in events if e["action"] == "message_publish")
        assert set(payloads.values()) == {1}  # QoS 2 over a crash, and the wills, too
        assert self.acknowledged <= set(payloads)
        assert {f"will:{n}" for n in range(self.figures.kills)} <= set(payloads)
        ends = Counter(e["clientid"] for e in events if e["action"] == "client_disconnected")
        assert ends == self.connected
        reasons = Counter(e["reason"] for e in events if e["action"] == "client_disconnected")
        assert reasons == {
            "internal_error": (PUBLISHERS + 2) * self.figures.kills,
            "normal": self.figures.kills,
        }
        # Each client's messages are stored in the order in which it sent them.
        for clientid in self.connected:
            own = [e["payload"] for e in events if e.get("from_client_id") == clientid]
            numbers = [int(text.partition(":")[2]) for text in own]
            assert numbers == sorted(numbers)

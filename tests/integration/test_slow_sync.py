"""A disk that takes 200 ms for a sync (an SD card takes 5 to 50): acknowledgements wait, and nothing else."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from statistics import median

from bridge.mqtt.packets import Disconnect, Puback, Publish
from tests.integration.load import Publisher, Sink
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook

DELAY_S = 0.2
SLOW = "sqlite.sync_delay = 200ms"


async def test_acknowledgements_wait_and_nothing_else_does(tmp_path: Path) -> None:
    async with Sink() as sink, HookMQ(tmp_path, webhook(sink.url, "on_message_publish"), SLOW) as hookmq:
        single = await Client.connect(hookmq.port, "single")
        begin = time.monotonic()
        for _ in range(2):
            await single.publish("single", b"x", qos=1)
        assert time.monotonic() - begin >= 2 * DELAY_S
        await sink.wait_for(lambda: len(sink.posts) == 2, "the first two")
        # The POST does not wait for the sync: it is there before the acknowledgement.
        begin = time.monotonic()
        single.send(Publish("single", b"x", qos=1, packet_id=99))
        await sink.wait_for(lambda: len(sink.posts) == 3, "the third")
        assert time.monotonic() - begin < DELAY_S

        load = [await Publisher.start(hookmq.port, f"c{n}", 250) for n in range(4)]
        subscriber = await Client.connect(hookmq.port, "subscriber")
        await subscriber.subscribe("quick")
        publisher = await Client.connect(hookmq.port, "publisher")
        pings, quick, posts = [], [], []
        for number in range(15):
            await asyncio.sleep(0.013)  # so that they meet every stage of a sync
            begin = time.monotonic()
            await publisher.ping()
            pings.append(time.monotonic() - begin)
            posted = sink.watch(b'"quick:%d"' % number)
            begin = time.monotonic()
            await publisher.publish("quick", b"quick:%d" % number)
            await subscriber.expect(Publish)
            quick.append(time.monotonic() - begin)
            await sink.wait_for(posted, "the POST")
            posts.append(time.monotonic() - begin)
        await until(lambda: sum(p.acked for p in load) > 2000, "2,000 are acknowledged", 20)
        begin, before = time.monotonic(), sum(p.acked for p in load)
        await asyncio.sleep(1)
        rate = (sum(p.acked for p in load) - before) / (time.monotonic() - begin)
        await asyncio.gather(*(p.stop() for p in load))
        await hookmq.stop()
        for times in (pings, quick, posts):
            assert median(times) < DELAY_S / 2, times  # a few milliseconds where the machine is quiet
        assert rate > 1000  # a client that waits for each gets 5 a second
        payloads = {post.json["payload"] for post in sink.posts}
        for p in load:
            assert p.payloads() <= payloads
        assert max(sink.counts().values()) == 1


async def test_a_stop_waits_for_the_last_sync(tmp_path: Path) -> None:
    """What is under way is acknowledged, then the goodbye comes; nothing is promised that is not kept."""
    count = 50
    async with Sink() as sink:
        slow = "sqlite.sync_delay = 300ms"
        async with HookMQ(tmp_path, webhook(sink.url, "on_message_publish"), slow) as hookmq:
            client = await Client.connect(hookmq.port, "c", version=5)
            client.send(*(Publish("a", b"%d" % n, qos=1, packet_id=n) for n in range(1, count + 1)))
            await sink.wait_for(lambda: len(sink.posts) == count, "all requests")
            hookmq.send_signal(signal.SIGTERM)
            packets = await client.wait_closed()
            assert [p.packet_id for p in packets if isinstance(p, Puback)] == list(range(1, count + 1))
            assert isinstance(packets[-1], Disconnect)
            assert packets[-1].reason_code == 0x8B
            assert await hookmq.ended() == 0

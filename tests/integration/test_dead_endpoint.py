"""A receiver that is down, hangs or fails: MQTT clients notice nothing, memory stays, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median

from tests.integration.load import Publisher, Sink
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook
from tests.integration.receiver import Receiver

MB = 1 << 20
NO_BREAKER = "  breaker.failures = 1000000"
"""What each event does by itself; test_policy.py has the breaker."""


async def latencies(client: Client, count: int = 100) -> list[float]:
    """Seconds from PUBLISH to PUBACK, one at a time, ascending."""
    times = []
    for number in range(count):
        begin = time.monotonic()
        await client.publish("a", b"%d" % number, qos=1)
        times.append(time.monotonic() - begin)
    return sorted(times)


def assert_fast(times: list[float]) -> None:
    """A few milliseconds; the bounds leave room for a busy machine, and none for a request's time limit."""
    assert median(times) < 0.05, times
    assert times[-1] < 1, times


async def test_nobody_listens_there(tmp_path: Path) -> None:
    receiver = Receiver()
    async with receiver:
        pass  # the port is free again
    block = webhook(receiver.url(), "on_message_publish", extra=NO_BREAKER)
    async with HookMQ(tmp_path, block) as hookmq:
        client = await Client.connect(hookmq.port, "c")
        assert_fast(await latencies(client))
        await hookmq.said("Connection refused")
        assert len(hookmq.log.splitlines()) < 10  # not a line for each event
        async with receiver:
            # Those that were tried wait for their retry, the rest comes as soon as somebody listens.
            requests = await receiver.wait_for(lambda rs: any(r.json["payload"] == "99" for r in rs))
            assert_fast(await latencies(client))
            await receiver.wait_for(lambda rs: sum(r.json["payload"] == "99" for r in rs) == 2)
            await until(lambda: not receiver.busy, "all is answered")
            await hookmq.stop()
            assert {r.attempt for r in requests} == {1}
            assert len({r.id for r in requests}) == len(requests)
            waiting = 200 - len(requests)
            assert 0 < waiting < 100
            async with hookmq:
                assert f"  waiting    {waiting} events from before the start" in hookmq.stdout.splitlines()


async def test_it_fails_and_hookmq_is_killed_meanwhile(tmp_path: Path) -> None:
    """Every event fails, its retry outlives the process, and comes when it is due, under the same id."""
    count = 300
    async with Receiver(status=500) as receiver:
        block = webhook(receiver.url(), "on_message_publish", extra=NO_BREAKER)
        async with HookMQ(tmp_path, block) as hookmq:
            client = await Client.connect(hookmq.port, "c")
            assert_fast(await latencies(client, count))
            await receiver.wait_count(count)
            await asyncio.sleep(0.3)  # what failed is stored after the next commit, 40 ms later at most
            hookmq.kill()
            assert len(receiver.requests) == count
            receiver.status = 204
            await hookmq.start()
            assert f"waiting    {count} events" in hookmq.stdout
            client = await Client.connect(hookmq.port, "c")
            await client.publish("a", b"new", qos=1)
            await receiver.wait_for(lambda rs: rs[-1].json["payload"] == "new")  # waits for no retry
            await receiver.wait_count(2 * count + 1, timeout=10)
            await hookmq.stop()
        assert len(receiver.requests) == 2 * count + 1
        assert [r.attempt for r in receiver.requests] == [1] * (count + 1) + [2] * count
        first = {r.id: r for r in receiver.requests[:count]}
        for again in receiver.requests[count + 1 :]:
            before = first.pop(again.id)
            assert again.body == before.body
            # The second step of the schedule is 5 s; jitter adds a tenth at most, and the restart nothing.
            assert 4.999 <= again.at - before.at < 5.5 + 1  # stored in ms
            times = [int(r.header("webhook-timestamp") or 0) for r in (before, again)]
            assert 5 <= times[1] - times[0] <= 7
            assert abs(times[1] - time.time()) < 5
        assert not first


async def test_it_hangs_under_load(tmp_path: Path) -> None:
    """30 MB wait on disk and not in memory; another process could not tell that anything is wrong."""
    async with Sink() as sink:
        sink.holding = True
        block = webhook(sink.url, "on_message_publish", cancel_timeout=60_000)
        async with HookMQ(tmp_path, block) as hookmq:
            first = await Publisher.start(hookmq.port, "first", 100, size=1024)
            await until(lambda: first.acked > 5000, "the first 5,000 are acknowledged", 20)
            await first.stop()
            warm = hookmq.rss()
            load = [await Publisher.start(hookmq.port, f"c{n}", 50, size=1024) for n in range(4)]
            begin = time.monotonic()
            await until(lambda: sum(p.acked for p in load) > 30_000, "30,000 are acknowledged", 30)
            seconds = time.monotonic() - begin
            await asyncio.gather(*(p.stop() for p in load))
            assert sink.held == len(sink.posts) == 32
            # 20,000 events (8 MiB) are kept at hand; the page cache of SQLite is 4 MiB.
            assert hookmq.rss() - warm < 24 * MB, (warm, hookmq.rss())
            assert seconds < 20
            assert_fast(await latencies(await Client.connect(hookmq.port, "single")))

            total = first.acked + sum(p.acked for p in load) + 100
            sink.release()
            await sink.wait_for(lambda: len(sink.posts) >= total, f"{total} requests", 40)
            assert hookmq.rss() - warm < 32 * MB, (warm, hookmq.rss())
            assert await hookmq.stop() == 0
        assert len(sink.counts()) == len(sink.posts) == total  # each once
        ids = [post.id for post in sink.posts]
        displaced = sum(
            abs(at - place) > 64 for place, at in enumerate(sorted(range(total), key=ids.__getitem__))
        )
        assert displaced == 0  # in the order of their sequence, but for the 32 that are under way together

"""The delivery policy on the real process, as its file says it: what a receiver sees, what the log tells."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from pathlib import Path

from tests.integration import receiver as scripts
from tests.integration.load import Publisher, Sink
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook
from tests.integration.receiver import Exchange, Receiver, Request


def block(url: str, policy: str, **keys: object) -> str:
    return webhook(url, "on_message_publish", extra=policy, **keys)


async def publish(hookmq: HookMQ, *texts: str, client: str = "c", topic: str = "a") -> None:
    """Publish and wait for the acknowledgements."""
    peer = await Client.connect(hookmq.port, client)
    for text in texts:
        await peer.publish(topic, text.encode(), qos=1)
    await peer.disconnect()


def payloads(requests: list[Request]) -> list[str]:
    return [request.json["payload"] for request in requests]


async def test_a_schedule_of_ones_own_and_its_dead_letter(tmp_path: Path) -> None:
    policy = "  retry { schedule = [0s, 200ms, 400ms], jitter = 0 }\n  success = [200]"
    async with Receiver(status=204) as receiver, HookMQ(tmp_path, block(receiver.url(), policy)) as hookmq:
        await publish(hookmq, "x")  # 204 is no success here
        await receiver.wait_count(3)
        await hookmq.said("gave up event")
        first, second, third = receiver.requests
        assert 0.19 < second.at - first.at < 0.39
        assert 0.39 < third.at - second.at < 0.9
        assert [request.attempt for request in receiver.requests] == [1, 2, 3]
        assert "failed 3 times" in hookmq.log
        assert "the last time with status 204" in hookmq.log
        receiver.status = 200
        await publish(hookmq, "y")
        await receiver.wait_count(4)
        assert await hookmq.stop() == 0
        await hookmq.start()  # a dead letter does not come again
        await publish(hookmq, "z")
        await receiver.wait_for(lambda rs: payloads(rs)[-1] == "z")
        assert len(receiver.requests) == 5


async def test_a_dead_endpoint_costs_a_request_an_interval_and_comes_back_with_all(tmp_path: Path) -> None:
    policy = (
        "  breaker { failures = 5, probe_interval = 300ms }\n  retry { schedule = [0s, 1h, 1h], jitter = 0 }"
    )
    async with (
        Receiver(status=500) as receiver,
        HookMQ(tmp_path, block(receiver.url(), policy, pool_size=4)) as hookmq,
    ):
        names = [f"{n}" for n in range(200)]
        await publish(hookmq, *names)
        await hookmq.said("failures in a row")
        begun = len(receiver.requests)
        assert begun < 12
        await asyncio.sleep(1.5)
        assert 2 <= len(receiver.requests) - begun <= 6
        hookmq.kill()  # it knows after a crash that the endpoint was dead
        before = len(receiver.requests)
        await hookmq.start()
        await receiver.wait_count(before + 1)
        assert len(receiver.requests) - before <= 2
        receiver.status = 200
        failed = len(receiver.requests)
        # What waited for an hour comes as well.
        await receiver.wait_for(lambda rs: len({r.id for r in rs[failed:]}) == 200)
        assert {*payloads(receiver.requests[failed:])} == {*names}
        await hookmq.said("it answers again")
        assert max(request.attempt for request in receiver.requests) <= 3


async def test_410_switches_off_until_the_settings_change(tmp_path: Path) -> None:
    async with (
        Receiver(status=410) as receiver,
        HookMQ(tmp_path, block(receiver.url(), "", pool_size=1)) as hookmq,
    ):
        await publish(hookmq, "0", "1", "2")
        await hookmq.said("switched off: it answered 410 (gone)")
        receiver.status = 200
        await publish(hookmq, "3")
        assert await hookmq.stop() == 0
        await hookmq.start()
        await hookmq.said("switched off, nothing is sent: it answered 410 (gone)")
        await publish(hookmq, "4")
        assert await hookmq.stop() == 0
        assert len(receiver.requests) == 1
        hookmq.configure(block(receiver.url(), "", pool_size=2))
        await hookmq.start()
        await hookmq.said("its settings have changed, it is switched on again")
        await receiver.wait_count(6)
        assert sorted(payloads(receiver.requests[1:])) == ["0", "1", "2", "3", "4"]
        assert await hookmq.stop() == 0


async def test_retry_after_and_fewer_requests_at_a_time(tmp_path: Path) -> None:
    policy = "  retry { schedule = [0s, 100ms], jitter = 0 }"
    async with Receiver() as receiver:
        receiver.scripts.append(scripts.status(429, headers=[("Retry-After", "1")]))
        async with HookMQ(tmp_path, block(receiver.url(), policy, pool_size=8)) as hookmq:
            await publish(hookmq, "first")
            await until(lambda: "status 429" in hookmq.log, "the failure")
            await publish(hookmq, "second")
            await receiver.wait_count(3)
            assert min(request.at for request in receiver.requests[1:]) - receiver.requests[0].at >= 0.99


async def test_the_order_of_clients_holds_over_failures_and_crashes(tmp_path: Path) -> None:
    policy = (
        "  ordering = client\n  retry { schedule = [0s, 50ms, 50ms, 50ms, 50ms, 50ms, 50ms], jitter = 0 }"
    )
    accepted: dict[str, list[int]] = defaultdict(list)
    flying: set[str] = set()
    together: list[str] = []
    fails = 0

    async def play(exchange: Exchange) -> None:
        nonlocal fails
        client, _, number = exchange.request.json["payload"].strip().partition(":")
        if client in flying:
            together.append(client)
        flying.add(client)
        await asyncio.sleep(0)
        flying.discard(client)
        fails += 1
        if fails % 7 == 3:
            await exchange.respond(500)
        else:
            accepted[client].append(int(number))
            await exchange.respond(200)

    async with (
        Receiver() as receiver,
        HookMQ(tmp_path, block(receiver.url(), policy, pool_size=16)) as hookmq,
    ):
        receiver.script = play
        sent: dict[str, int] = defaultdict(int)
        for round_ in range(2):
            peers = [await Client.connect(hookmq.port, f"c{n}") for n in range(4)]
            for _ in range(40):
                for n, peer in enumerate(peers):
                    await peer.publish("a", f"c{n}:{sent[f'c{n}']}".encode(), qos=1)
                    sent[f"c{n}"] += 1
            if not round_:
                hookmq.kill()
                receiver.close_connections(reset=True)
                await hookmq.start()
        await until(
            lambda: all(set(accepted[client]) == set(range(number)) for client, number in sent.items()),
            "everything is accepted",
            20,
        )
        for client, numbers in accepted.items():
            assert list(dict.fromkeys(numbers)) == list(range(sent[client])), client
        assert together == []
        assert receiver.most_busy <= 4


async def test_groups_keep_their_id_over_a_crash(tmp_path: Path) -> None:
    policy = "  batch { max_events = 50, max_wait = 20ms }"
    async with (
        Receiver() as receiver,
        HookMQ(tmp_path, block(receiver.url(), policy, pool_size=2)) as hookmq,
    ):
        receiver.script = scripts.hang
        names = [f"{n}" for n in range(180)]
        await publish(hookmq, *names)
        await receiver.wait_count(2)
        await asyncio.sleep(0.1)
        hookmq.kill()
        receiver.script = None
        held = list(receiver.requests)
        await hookmq.start()
        await receiver.wait_for(
            lambda rs: {item["body"]["payload"] for r in rs[len(held) :] for item in r.json} == {*names}
        )
        again = {request.id: request for request in receiver.requests[len(held) :]}
        for request in held:
            assert again[request.id].body == request.body
        events = [item["id"] for r in again.values() for item in r.json]
        assert len(events) == len(set(events)) == 180
        assert max(len(r.json) for r in again.values()) <= 50
        assert await hookmq.stop() == 0


async def test_a_rate_limit(tmp_path: Path) -> None:
    policy = "  rate_limit { per_second = 40, burst = 5 }"
    async with Receiver() as receiver, HookMQ(tmp_path, block(receiver.url(), policy)) as hookmq:
        await publish(hookmq, *[f"{n}" for n in range(45)])
        await receiver.wait_count(45)
        times = [request.at for request in receiver.requests]
        assert times[-1] - times[0] >= 39 / 40
        assert times[-1] - times[0] < 2.5


async def test_a_mountain_of_retries_and_fresh_events_do_not_starve_each_other(tmp_path: Path) -> None:
    """Thousands of retries are due at once, and a publisher goes on: both keep coming."""
    policy = "  breaker.failures = 1000000\n  retry { schedule = [0s, 4s, 60s], jitter = 0 }"
    async with (
        Sink() as sink,
        Receiver(status=500) as receiver,
        HookMQ(tmp_path, block(receiver.url(), policy, pool_size=4)) as hookmq,
    ):
        old = await Publisher.start(hookmq.port, "old", 64)
        await until(lambda: old.acked > 3000, "events that fail", 20)
        await old.stop()
        await receiver.wait_count(old.acked, timeout=30)
        await hookmq.stop()
        # The same endpoint at another address: its settings may change, its events stay.
        hookmq.configure(block(sink.url, policy, pool_size=4))
        await asyncio.sleep(max(0, receiver.requests[-1].at + 4 - time.monotonic()))
        sink.holding = True
        await hookmq.start()
        new = await Publisher.start(hookmq.port, "new", 64)
        await until(lambda: new.acked > 3000, "fresh events", 20)
        sink.release()
        await until(lambda: new.acked > 6000, "fresh events", 20)
        await new.stop()
        await sink.wait_for(lambda: len(sink.counts()) >= old.acked + new.acked, "all")
        kinds = [post.json["from_client_id"] for post in sink.posts[4:]]
        # While both wait they take turns.
        assert 0.45 < kinds[:4000].count("new") / 4000 < 0.55

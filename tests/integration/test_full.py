"""An endpoint's backlog at its bound (`webhook.backlog`), and an endpoint that is not served at present."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

from bridge.mqtt.packets import Puback, Publish
from tests.integration.load import Publisher, Sink
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook
from tests.integration.receiver import Receiver, hang

BOUND = 65536
SIZE = 1024  # of a payload; an event counts for about 70 bytes more
FLIGHT = 4


def block(url: str, on_full: str) -> str:
    return webhook(
        url,
        *("on_message_publish", "on_client_connack", "on_client_disconnected"),
        pool_size=FLIGHT,
        cancel_timeout=60_000,
        extra=f"backlog {{ max_bytes = 64KB, on_full = {on_full} }}",
    )


NOBODY = 0x10
"""PUBACK's reason code in MQTT 5: accepted, and no subscriber."""


def numbered(number: int) -> bytes:
    return f"{number:06}".encode().ljust(SIZE)


async def test_expire_gives_up_the_oldest(tmp_path: Path) -> None:
    count = 300
    async with Sink() as sink:
        sink.holding = True
        async with HookMQ(tmp_path, block(sink.url, "expire")) as hookmq:
            client = await Client.connect(hookmq.port, "c", version=5)
            for number in range(count):
                assert await client.publish("a", numbered(number), qos=1) == NOBODY
            await hookmq.said("gave up the oldest")
            came = sink.watch(f'"{count - 1:06}'.encode())
            sink.release()
            # Each connection keeps its order, and the four may be read in any: the last may not be the last.
            await sink.wait_for(came, "the last message")
            await hookmq.stop()  # which lets those in flight beside it end
            messages = [post.json for post in sink.posts if post.json["action"] == "message_publish"]
            got = [int(body["payload"]) for body in messages]
            # What was in flight, then what fitted, without a gap.
            assert sorted(got[: FLIGHT - 1]) == list(range(FLIGHT - 1))
            kept = count - min(got[FLIGHT - 1 :])
            assert sorted(got[FLIGHT - 1 :]) == list(range(count - kept, count))
            assert BOUND * 0.9 < kept * (SIZE + 70) <= BOUND
            found = re.findall(
                r"webhook default: .* gave up the oldest \d+ events .*, (\d+) in all", hookmq.log
            )
            assert found
            assert 0 < int(found[0]) <= count - len(got)


async def test_expire_counts_over_the_log(tmp_path: Path) -> None:
    """What waits on disk from before a restart is held to the bound too."""
    async with Receiver() as receiver:
        receiver.script = hang
        roomy = webhook(receiver.url(), "on_message_publish", pool_size=FLIGHT, cancel_timeout=60_000)
        async with HookMQ(tmp_path, roomy) as hookmq:
            client = await Client.connect(hookmq.port, "c", version=5)
            for number in range(200):
                await client.publish("a", numbered(number), qos=1)
            hookmq.kill()
            hookmq.configure(block(receiver.url(), "expire"))
            await hookmq.start()
            assert "  waiting    200 events" in hookmq.stdout
            await hookmq.said("gave up the oldest")
            hookmq.kill()
            receiver.script = None
            await hookmq.start()
            await receiver.wait_for(lambda rs: any(b'"000199' in r.body for r in rs))
            await hookmq.stop()
            bodies = [r.json for r in receiver.requests]
            got = {int(b["payload"]) for b in bodies if b["action"] == "message_publish"}
            assert len(got) < 3 * FLIGHT + BOUND / SIZE
            assert set(range(200 - 50, 200)) <= got


async def test_refuse_turns_new_publishes_away(tmp_path: Path) -> None:
    """MQTT 5 is told, 3.1.1 is closed, QoS 0 is dropped; lifecycle events pass; what was accepted comes."""
    async with Sink() as sink:
        sink.holding = True
        async with HookMQ(tmp_path, block(sink.url, "refuse")) as hookmq:
            five = await Client.connect(hookmq.port, "five", version=5)
            four = await Client.connect(hookmq.port, "four")
            accepted = []
            for number in range(300):
                code = await five.publish("a", numbered(number), qos=1)
                if code != NOBODY:
                    break
                accepted.append(number)
            assert code == 0x97  # quota exceeded
            assert BOUND * 0.95 < len(accepted) * (SIZE + 70) < BOUND * 1.1
            assert await five.publish("a", numbered(1000), qos=2) == 0x97
            assert await five.publish("a", numbered(1001)) == 0
            four.send(Publish("a", numbered(1002), qos=1, packet_id=7))
            assert not [p for p in await four.wait_closed() if isinstance(p, Puback)]
            quiet = await Client.connect(hookmq.port, "quiet")  # who does not publish is not disturbed
            await quiet.ping()
            await quiet.disconnect()
            assert hookmq.log.count("the backlog is at its bound, new publishes are refused") == 1

            came = sink.watch(b'"002001')
            sink.release()
            await hookmq.said("the backlog has room again")
            assert await five.publish("a", numbered(2000), qos=1) == NOBODY
            four = await Client.connect(hookmq.port, "four")
            assert await four.publish("a", numbered(2001), qos=1) == 0
            expected = [*accepted, 2000, 2001]
            await sink.wait_for(came, "the last message")
            await hookmq.stop()
            bodies = [post.json for post in sink.posts]
            assert sorted(int(b["payload"]) for b in bodies if b["action"] == "message_publish") == expected
            own = [(b["action"], b["clientid"], b.get("reason")) for b in bodies if "clientid" in b]
            assert ("client_disconnected", "four", "quota_exceeded") in own
            assert ("client_connack", "quiet", None) in own
            assert ("client_disconnected", "quiet", "normal") in own


async def test_publishers_wait_when_delivery_lags(tmp_path: Path) -> None:
    """`mqtt.max_lag`: reading pauses, nothing is refused, and who only waits is not disconnected."""
    async with Sink() as sink:
        sink.holding = True
        slow = webhook(sink.url, "on_message_publish", pool_size=FLIGHT, cancel_timeout=60_000)
        async with HookMQ(tmp_path, slow, "mqtt.max_lag = 500ms") as hookmq:
            waiting = await Client.connect(hookmq.port, "waiting", keepalive=1)
            publisher = await Publisher.start(hookmq.port, "p", 10)
            begin = time.monotonic()
            await until(lambda: time.monotonic() - publisher.latest > 0.5, "it has to wait")
            assert 0.5 < publisher.latest - begin < 2
            pinged = asyncio.create_task(waiting.ping())
            await asyncio.sleep(1)
            assert publisher.acked < publisher.sent
            assert not pinged.done()
            sink.release()
            await pinged
            await publisher.stop()
            await sink.wait_for(lambda: len(sink.counts()) == publisher.sent, "all requests")
            await hookmq.stop()
            assert len(sink.posts) == publisher.sent


async def test_a_disabled_endpoint_keeps_what_waits_for_it(tmp_path: Path) -> None:
    """Also one that is gone from the file; new events are not for it."""
    async with Receiver() as receiver:
        receiver.script = hang
        served = webhook(receiver.url(), "on_message_publish", pool_size=FLIGHT, cancel_timeout=60_000)
        async with HookMQ(tmp_path, served) as hookmq:
            client = await Client.connect(hookmq.port, "c")
            for number in range(50):
                await client.publish("a", b"%d" % number, qos=1)
            await receiver.wait_count(FLIGHT)
            hookmq.kill()
            receiver.script = None
            receiver.requests.clear()

            for absent in (served + "webhook.enable = false\n", ""):
                hookmq.configure(absent)
                await hookmq.start()
                assert "  webhook    none: events go nowhere" in hookmq.stdout
                kept = "  kept       50 events for default, which is not served at present"
                assert kept in hookmq.stdout.splitlines()
                client = await Client.connect(hookmq.port, "c")
                await client.publish("a", b"unwanted", qos=1)
                await hookmq.stop()
            assert receiver.requests == []

            hookmq.configure(served)
            await hookmq.start()
            assert "  waiting    50 events from before the start" in hookmq.stdout.splitlines()
            requests = await receiver.wait_count(50)
            assert sorted(int(r.json["payload"]) for r in requests) == list(range(50))
            await until(lambda: receiver.busy == 0, "all is answered")
            await hookmq.stop()
            assert len(receiver.requests) == 50

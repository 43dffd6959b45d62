"""A changed file in a running process: `hookmq reload` and SIGHUP, through the front door."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import signal
from pathlib import Path
from typing import Any

from bridge.mqtt.packets import Puback, Publish
from tests.integration.commands import asked, command
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until
from tests.integration.receiver import Receiver, hang
from tests.integration.receiver import status as answer


def block(name: str, url: str, *, topic: str = "#", extra: str = "") -> str:
    return (
        f'webhooks.{name} {{\n  url = "{url}"\n  triggers = ["message.publish"]\n'
        f'  topics = ["{topic}"]\n{extra}\n}}\n'
    )


async def reload(hookmq: HookMQ, *, ok: bool = True) -> dict[str, Any]:
    """`hookmq reload --json`."""
    done = await command("reload", "--json", "--store", str(hookmq.data))
    assert done.returncode == (0 if ok else 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def bodies(receiver: Receiver) -> list[str]:
    return [request.json["payload"] for request in receiver.requests]


def rewrite(hookmq: HookMQ, old: str, new: str) -> None:
    text = hookmq.conf.read_text()
    assert old in text
    hookmq.conf.write_text(text.replace(old, new))


async def test_new_changed_and_removed(tmp_path: Path) -> None:
    async with Receiver() as one, Receiver() as two, Receiver() as three:
        first = block("one", one.url())
        second = block("two", two.url())
        async with HookMQ(tmp_path, first + second) as hookmq:
            client = await Client.connect(hookmq.port, "c1")
            await client.publish("a/1", b"1", qos=1)
            await one.wait_for(lambda rs: len(rs) == 1)
            await two.wait_for(lambda rs: len(rs) == 1)
            rewrite(hookmq, second, block("three", three.url()))
            rewrite(hookmq, first, block("one", one.url("/new"), topic="b/#"))
            done = await reload(hookmq)
            assert done["applied"]
            assert [line.partition(",")[0] for line in done["changes"]] == [
                "webhooks.three: new",
                "webhooks.one: changed",
                "webhooks.two: removed",
            ]
            await client.publish("a/2", b"2", qos=1)  # the same connection
            await client.publish("b/3", b"3", qos=1)
            await three.wait_for(lambda rs: len(rs) == 2)
            await one.wait_for(lambda rs: len(rs) == 2)
            assert bodies(one) == ["1", "3"]
            assert one.requests[1].target == "/new"
            assert bodies(two) == ["1"]
            assert sorted(bodies(three)) == ["2", "3"]
            assert (await reload(hookmq))["changes"] == ["nothing has changed"]
            await client.disconnect()


async def test_a_file_with_an_error_changes_nothing(tmp_path: Path) -> None:
    async with Receiver() as one:
        first = block("one", one.url())
        async with HookMQ(tmp_path, first) as hookmq:
            before = hookmq.conf.read_text()
            hookmq.conf.write_text(before + block("bad", one.url(), extra="  where = 'payload.temp >> 80'"))
            done = await reload(hookmq, ok=False)
            assert not done["applied"]
            assert len(done["errors"]) == 1
            line = hookmq.conf.read_text().splitlines().index("  where = 'payload.temp >> 80'") + 1
            assert f"{hookmq.conf.name}:{line}: error: webhooks.bad.where" in done["errors"][0]
            client = await Client.connect(hookmq.port, "c1")
            await client.publish("a", b"x", qos=1)
            await one.wait_for(lambda rs: bodies(one) == ["x"])
            await client.disconnect()


async def test_an_empty_file_ends_no_webhook(tmp_path: Path) -> None:
    """A file that is being written is empty for a moment."""
    async with Receiver() as one, HookMQ(tmp_path, block("one", one.url())) as hookmq:
        for text in ("", " \n"):
            hookmq.conf.write_text(text)
            done = await reload(hookmq, ok=False)
            assert done["errors"] == [f"{hookmq.conf}: error: the file is empty"]
        client = await Client.connect(hookmq.port, "c1")
        await client.publish("a", b"x", qos=1)
        await one.wait_for(lambda rs: bodies(one) == ["x"])
        await client.disconnect()


async def test_an_endpoint_that_is_leaving_can_be_disabled_and_come_back(tmp_path: Path) -> None:
    extra = "  ordering = client\n  pool_size = 1\n  cancel_timeout = 60s"
    async with Receiver() as one:
        one.script = hang
        first = block("one", one.url(), extra=extra)
        async with HookMQ(tmp_path, first + "# end") as hookmq:
            client = await Client.connect(hookmq.port, "c1")
            for number in range(5):
                await client.publish("a", b"%d" % number, qos=1)
            await one.wait_for(lambda rs: len(rs) == 1)
            rewrite(hookmq, first, "")
            await reload(hookmq)
            one.script = None
            rewrite(hookmq, "# end", first.replace("{", "{ enable = false,", 1) + "# end")
            await reload(hookmq)  # which waits for the request that is out, and then gives it up
            told = await asked(hookmq, "status")
            assert told["endpoints"] == []
            assert [(p["name"], p["backlog_events"]) for p in told["not_served"]] == [("one", 5)]
            assert len(one.requests) == 1
            rewrite(hookmq, "enable = false,", "")
            await reload(hookmq)
            await client.publish("a", b"5", qos=1)
            await one.wait_for(lambda rs: len(rs) == 7)
            assert bodies(one) == ["0", "0", "1", "2", "3", "4", "5"]
            await client.disconnect()


async def test_a_changed_endpoint_goes_on_from_its_cursor(tmp_path: Path) -> None:
    """What was in flight, what waits for a retry and what waits behind comes by the new settings, once."""
    async with Receiver() as bad, Receiver() as good:
        bad.script = answer(500)
        extra = "  ordering = client\n  retry.schedule = [0s, 1h]\n  breaker.failures = 1000"
        first = block("one", bad.url(), extra=extra)
        async with HookMQ(tmp_path, first) as hookmq:
            client_ids = {await Client.connect(hookmq.port, f"c{n}"): f"c{n}" for n in range(3)}
            clients = list(client_ids)
            for number in range(20):
                for client in clients:
                    await client.publish("a", b"%b-%d" % (client_ids[client].encode(), number), qos=1)
            await bad.wait_for(lambda rs: len(rs) >= 3)
            rewrite(hookmq, first, block("one", good.url(), extra=extra.replace("1h", "0.1s")))
            hookmq.send_signal(signal.SIGHUP)
            await hookmq.said("reloaded: webhooks.one: changed")
            await client.publish("a", b"last", qos=1)
            await good.wait_for(lambda rs: len({r.id for r in rs}) == 61, 20)
            for client in clients:
                name = client_ids[client]
                own = [p for p in bodies(good) if p.startswith(f"{name}-")]
                assert own == [f"{name}-{number}" for number in range(20)]
                await client.disconnect()


async def test_a_removed_endpoint_is_sent_what_waits_for_it(tmp_path: Path) -> None:
    async with Receiver() as one, Receiver() as two:
        one.script = hang
        first = block(
            "one",
            one.url(),
            extra="  pool_size = 2\n  cancel_timeout = 300ms\n  retry.schedule = [0s, 0.1s, 0.1s, 0.1s]",
        )
        async with HookMQ(tmp_path, first + block("two", two.url())) as hookmq:
            client = await Client.connect(hookmq.port, "c1")
            for number in range(10):
                await client.publish("a", b"%d" % number, qos=1)
            await one.wait_for(lambda rs: len(rs) == 2)
            rewrite(hookmq, first, "")
            await reload(hookmq)
            await client.publish("a", b"late", qos=1)
            one.script = None
            await one.wait_for(lambda rs: {r.json["payload"] for r in rs} == {str(n) for n in range(10)})
            await two.wait_for(lambda rs: len(rs) == 11)
            await hookmq.said("webhook one: removed, and no longer served")
            assert "late" not in bodies(one)
            await client.disconnect()


async def test_a_secret_file_that_has_changed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first-secret")
    async with Receiver() as one:
        extra = f'  signature = mes\n  secret {{ file = "{secret}" }}'
        async with HookMQ(tmp_path, block("one", one.url(), extra=extra)) as hookmq:
            client = await Client.connect(hookmq.port, "c1")
            await client.publish("a", b"x", qos=1)
            await one.wait_for(lambda rs: len(rs) == 1)
            secret.write_text("second-secret")
            assert (await reload(hookmq))["changes"] == ["webhooks.one: changed"]
            await client.publish("a", b"x", qos=1)
            await one.wait_for(lambda rs: len(rs) == 2)
            for request, key in zip(one.requests, (b"first-secret", b"second-secret"), strict=True):
                assert (
                    request.header("x-mes-signature")
                    == hmac.new(key, request.body, hashlib.sha256).hexdigest()
                )
            await client.disconnect()


async def test_under_load_nothing_is_lost(tmp_path: Path) -> None:
    """Reloads, one after the other, while QoS 1 publishers run: every acknowledged event arrives."""
    async with Receiver() as one:
        first = block("one", one.url("/path0"))
        async with HookMQ(tmp_path, first) as hookmq:
            client_ids = {await Client.connect(hookmq.port, f"c{n}"): f"c{n}" for n in range(4)}
            clients = list(client_ids)
            acked: list[str] = []
            stop = asyncio.Event()

            async def publish(client: Client) -> None:
                number = 0
                while not stop.is_set():
                    text = f"{client_ids[client]}-{number}"
                    await client.publish("a", text.encode(), qos=1)
                    acked.append(text)
                    number += 1

            tasks = [asyncio.create_task(publish(client)) for client in clients]
            for number in range(1, 6):
                rewrite(hookmq, f"/path{number - 1}", f"/path{number}")
                assert (await reload(hookmq))["changes"] == ["webhooks.one: changed"]
            stop.set()
            await asyncio.gather(*tasks)
            await one.wait_for(lambda rs: len({r.id for r in rs}) >= len(acked))
            assert set(acked) == set(bodies(one))
            assert {r.target for r in one.requests} == {f"/path{n}" for n in range(6)}
            for client in clients:
                await client.disconnect()


def takes_hangups(pid: int) -> bool:
    """Whether SIGHUP (the lowest bit) is ignored or handled by the process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return any(int(mask, 16) & 1 for mask in re.findall(r"^Sig(?:Ign|Cgt):\t(\w+)$", text, re.MULTILINE))


async def test_a_signal_during_the_start_ends_nothing(tmp_path: Path) -> None:
    async with Receiver() as one:
        hookmq = HookMQ(tmp_path, block("one", one.url()))
        hookmq.spawn()
        try:
            await until(lambda: takes_hangups(hookmq.pid), "it has begun")
            sent = 0
            while "ready" not in hookmq.log and hookmq.running:
                hookmq.send_signal(signal.SIGHUP)
                sent += 1
                await asyncio.sleep(0.02)
            assert sent
            await hookmq.said("ready")
            hookmq.send_signal(signal.SIGHUP)
            await hookmq.said("reloaded: nothing has changed")
            assert hookmq.running
        finally:
            hookmq.kill()


async def test_a_replay_goes_on_in_the_changed_endpoint(tmp_path: Path) -> None:
    """What it has handed over by then, and what it hands over later, is sent; the counts add up."""
    count = 800
    async with Receiver() as one:
        one.script = answer(500)
        first = block(
            "one", one.url(), extra="  pool_size = 2\n  retry.schedule = [0s]\n  breaker.failures = 1000000"
        )
        async with HookMQ(tmp_path, first) as hookmq:
            client = await Client.connect(hookmq.port, "c1")
            for number in range(1, count + 1):
                client.send(Publish("a", b"%d" % number, 1, False, False, number))
            for _ in range(count):
                await client.expect(Puback)
            await one.wait_for(lambda rs: len(rs) == count, 20)
            one.script, one.delay = None, 0.03
            words = ("dead", "replay", "--all", "--json", "--store", str(hookmq.data))
            replay = asyncio.create_task(command(*words))
            await one.wait_for(lambda rs: len(rs) > count + 10)
            rewrite(hookmq, "pool_size = 2", "pool_size = 3")
            assert (await reload(hookmq))["changes"] == ["webhooks.one: changed"]
            one.delay = 0
            replayed = await replay
            assert replayed.returncode == 0, replayed.stderr
            assert json.loads(replayed.stdout)["taken"] == count
            await one.wait_for(lambda rs: len({r.id for r in rs[count:]}) == count, 20)
            told = (await asked(hookmq, "status"))["endpoints"][0]
            assert (told["dead"], told["queued"]) == (0, 0)
            await client.disconnect()

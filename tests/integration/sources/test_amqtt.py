"""The plugin in a real amqtt broker, with amqtt's own client."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from amqtt.client import MQTTClient

from tests.integration.commands import given
from tests.integration.mqtt_client import Client
from tests.integration.process import ROOT, until, webhook
from tests.integration.receiver import Receiver, Request

BROKER = """
import asyncio, json, sys
from amqtt.broker import Broker

async def main():
    broker = Broker(json.loads(sys.argv[1]))
    await broker.start()
    print("amqtt runs", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await broker.shutdown()

asyncio.run(main())
"""
RULES = (
    "on_message_publish a/#", "on_client_connected", "on_client_disconnected", "on_session_subscribed",
    "on_session_unsubscribed",
)  # fmt: skip


class Amqtt:
    """amqtt in a process of its own, with the plugin; it ends in order when its standard input does."""

    def __init__(self, folder: Path, *blocks: str) -> None:
        folder.mkdir(exist_ok=True)
        self.data = folder / "data"
        conf = folder / "nanomq.conf"
        conf.write_text(f'sqlite {{ mounted_file_path = "{folder / "data"}" }}\n' + "\n".join(blocks))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
                "bridge.amqtt_plugin.HookMQPlugin": {"conf": str(conf)},
            },
        }
        self.out = folder / "out"
        with self.out.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", BROKER, json.dumps(settings)],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=out, stderr=out,
            )  # fmt: skip

    async def ready(self) -> None:
        await until(
            lambda: "amqtt runs" in self.out.read_text() or self.process.poll() is not None, "amqtt", 20
        )
        assert self.process.poll() is None, self.out.read_text()

    async def stop(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await until(lambda: self.process.poll() is not None, "amqtt ends", 20)
        return self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


async def stored(amqtt: Amqtt) -> int:
    """The events that its store keeps for the receiver: `hookmq status` works beside amqtt."""
    done = await given("status", "--json", "--store", str(amqtt.data))
    (endpoint,) = json.loads(done.stdout)["endpoints"]
    return int(endpoint["matched"])


def bodies(requests: list[Request], action: str) -> list[dict[str, object]]:
    return [request.json for request in requests if request.json["action"] == action]


async def test_events_of_amqtt(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        amqtt = Amqtt(tmp_path, webhook(receiver.url(), *RULES, "on_client_ping"))
        try:
            await amqtt.ready()
            client = MQTTClient(client_id="c1")
            await client.connect(f"mqtt://127.0.0.1:{amqtt.port}/")
            await client.subscribe([("a/#", 1)])
            for qos in (0, 1, 2):
                await client.publish("a/b", b"%d" % qos, qos=qos, retain=qos == 1)
            await client.publish("elsewhere", b"not wanted", qos=1)
            await client.unsubscribe(["a/#"])
            await client.disconnect()
            requests = await receiver.wait_count(7)
            found = sorted(bodies(requests, "message_publish"), key=lambda one: str(one["payload"]))
            for qos, body in enumerate(found):
                del body["ts"]
                assert body == {
                    "topic": "a/b", "retain": qos == 1, "qos": qos, "action": "message_publish",
                    "from_username": "undefined", "from_client_id": "c1", "payload": str(qos),
                }  # fmt: skip
            (connected,) = bodies(requests, "client_connected")
            assert (connected["clientid"], connected["ipaddress"]) == ("c1", "127.0.0.1")
            (gone,) = bodies(requests, "client_disconnected")
            assert (gone["clientid"], gone["reason"]) == ("c1", "undefined")
            assert [one["topic"] for one in bodies(requests, "session_subscribed")] == ["a/#"]
            assert [one["topic"] for one in bodies(requests, "session_unsubscribed")] == ["a/#"]
            assert "amqtt: it does not tell of client.ping" in amqtt.out.read_text()
            assert await amqtt.stop() == 0
        finally:
            amqtt.kill()


async def test_what_was_stored_comes_after_a_kill(tmp_path: Path) -> None:
    """The receiver is away while messages come, and amqtt is killed."""
    async with Receiver(status=503) as receiver:
        rules = webhook(
            receiver.url(),
            *RULES,
            extra="retry.schedule = [0s, 200ms, 200ms, 1s, 1s, 1s, 1s]\nbreaker.failures = 1000",
        )
        amqtt = Amqtt(tmp_path, rules)
        try:
            await amqtt.ready()
            client = await Client.connect(amqtt.port, "c1")
            for number in range(20):
                await client.publish("a/b", b"%d" % number, qos=1)
            end = time.monotonic() + 10
            while (await stored(amqtt)) < 21 and time.monotonic() < end:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            assert await stored(amqtt) == 21  # the client's connection is one of them
            amqtt.kill()
            receiver.status = 200
            tried = len(receiver.requests)
            amqtt = Amqtt(tmp_path, rules)
            await amqtt.ready()
            await receiver.wait_for(
                lambda rs: (
                    {b["payload"] for b in bodies(rs[tried:], "message_publish")}
                    >= {str(n) for n in range(20)}
                ),
                20,
            )
        finally:
            amqtt.kill()


async def test_a_file_that_is_wrong_ends_the_start(tmp_path: Path) -> None:
    amqtt = Amqtt(tmp_path, "webhook { url = 7 }")
    try:
        await until(lambda: amqtt.process.poll() is not None, "the end", 20)
        assert amqtt.process.poll() != 0
    finally:
        amqtt.kill()

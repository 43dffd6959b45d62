"""docs/emqx-exhook.md and docs/sources.md say what the code does: their configurations run."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path

from bridge.events.event import HOOK_EVENTS
from bridge.sources.exhook.happened import HOOKS
from tests.integration.mqtt_client import Client
from tests.integration.process import ROOT, HookMQ
from tests.integration.receiver import Receiver
from tests.integration.sources.emqx import Emqx
from tests.integration.sources.mosquitto import Mosquitto
from tests.integration.sources.test_exhook import port

EXHOOK = (ROOT / "docs" / "emqx-exhook.md").read_text()


def blocks(page: str) -> list[str]:
    return re.findall(r"```hocon\n(.*?)```", page, re.DOTALL)


async def test_exhook_s_configuration(tmp_path: Path) -> None:
    (conf,) = blocks(EXHOOK)
    async with Receiver() as receiver:
        conf = conf.replace("0.0.0.0:9000", "127.0.0.1:0").replace("http://127.0.0.1:8888", receiver.url())
        async with HookMQ(tmp_path, conf) as hookmq, Emqx(port(hookmq)) as emqx:
            assert await emqx.load() == {
                "message.publish": ["line/#"],
                "client.connected": [],
                "client.disconnected": [],
            }
            await emqx.publish("line/7/t", b"21.5")
            assert (await receiver.wait_count(1))[0].json["event"] == "message.publish"


def test_exhook_s_page_names_what_does_not_come() -> None:
    given = {hook.type for hook in HOOKS.values()}
    row = next(line for line in EXHOOK.splitlines() if "the event as a whole" in line)
    assert set(re.findall(r"`([a-z_.]+)`", row)) == {kind.dotted for kind in HOOK_EVENTS if kind not in given}


async def test_a_bridge_s_configuration(
    tmp_path: Path, command: Callable[[str], str], free_port: Callable[[], int]
) -> None:
    plain, shared = blocks((ROOT / "docs" / "sources.md").read_text())
    port = free_port()
    async with Mosquitto(command("mosquitto"), tmp_path / "mosquitto", port), Receiver() as receiver:
        hook = plain.partition("\nwebhook")[2]
        for number, text in enumerate((plain, f"{shared}\nwebhook{hook}")):
            conf = text.replace("10.0.0.7:1883", f"127.0.0.1:{port}")
            conf = conf.replace("http://127.0.0.1:8888", receiver.url())
            async with HookMQ(tmp_path / str(number), conf) as hookmq:
                await hookmq.said("bridges.mqtt.plant: connected")
                async with await Client.connect(port, "sensor") as sensor:
                    await sensor.publish("line/7/t", b"%d" % number, qos=1)
                await receiver.wait_for(lambda rs, n=number: any(r.json["payload"] == str(n) for r in rs))


def test_the_plugin_s_path() -> None:
    page = (ROOT / "docs" / "sources.md").read_text()
    (path,) = re.findall(r"  (bridge\.amqtt_plugin\.\w+):\n    conf:", page)
    module, _, name = path.rpartition(".")
    assert hasattr(importlib.import_module(module), name)

"""docs/moving-from-emqx.md, docs/moving-from-nanomq.md, and what they and docs/install.md say of a reload.

The configurations load and do what the pages say, the settings in the tables exist, the figures are those of
the code. The `mqttx` command of EMQX's page is run by MQTT.js in test_emqx_seed.py; here it is read, and done
by the tests' own client.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.config.foreign import WEBHOOK_KEYS
from bridge.config.load import load
from bridge.config.report import Report
from bridge.config.settings import Endpoint, Mqtt
from bridge.events.event import EMQX_ALL, HOOK_EVENTS
from tests.integration.emqx_seed import SEED
from tests.integration.mqtt_client import Client
from tests.integration.process import ROOT, HookMQ
from tests.integration.receiver import Receiver, Request

DOCS = ROOT / "docs"
EMQX = (DOCS / "moving-from-emqx.md").read_text()
NANOMQ = (DOCS / "moving-from-nanomq.md").read_text()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def block(page: str, language: str) -> str:
    """The page's only code block of a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    return str(found)


def section(page: str, title: str) -> str:
    """What stands below a heading."""
    return re.split(r"^## ", page.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]


def read(text: str, folder: Path) -> Report:
    path = folder / "page.conf"
    path.write_text(text)
    return load(path, {})


async def command(*words: str) -> tuple[int, str]:
    """A `hookmq …` command: exit code, and what it printed."""

    def work() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bridge", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )

    done = await asyncio.to_thread(work)
    return done.returncode, done.stdout


async def reach(receiver: Receiver, kind: str, count: int = 1) -> list[Request]:
    """Wait for so many requests of an event in EMQX's format."""
    await receiver.wait_for(lambda rs: sum(r.json.get("event") == kind for r in rs) >= count)
    return receiver.requests


# -- EMQX ----------------------------------------------------------------------------------------------------


def test_the_configuration_of_emqx_page(tmp_path: Path) -> None:
    report = read(block(EMQX, "hocon"), tmp_path)
    assert report.messages == []
    assert report.settings is not None
    (hook,) = report.settings.webhooks
    assert f"named `{hook.name}`" in EMQX
    assert [rule.event for rule in hook.events] == list(EMQX_ALL)
    assert (hook.url, hook.method, hook.format, hook.ordering) == (
        "http://localhost:5000",
        "POST",
        "emqx",
        "client",
    )


async def test_the_commands_of_emqx_page(tmp_path: Path) -> None:
    """Its configuration and its commands give the requests in the order that it says."""
    lines = block(EMQX, "sh").splitlines()
    assert [line.rpartition(" ")[0] for line in lines[:2]] == ["hookmq check --conf", "hookmq start --conf"]
    mqttx = shlex.split(lines[2])
    assert mqttx[:2] == ["mqttx", "pub"]
    options = dict(zip(mqttx[2::2], mqttx[3::2], strict=True))
    assert set(options) == {"-i", "-t", "-m"}
    told = re.search(r"gets six requests, in this order: (.*)\. Without", EMQX)
    assert told
    wanted = re.findall(r"`([a-z_]+\.[a-z_]+)`", told[1])
    assert wanted == [json.loads(text)["event"] for text in SEED]

    async with Receiver() as receiver:
        text = block(EMQX, "hocon").replace("http://localhost:5000", receiver.url())
        hookmq = HookMQ(tmp_path, text)
        code, said = await command("check", "--conf", str(hookmq.conf))
        assert code == 0, said
        async with hookmq:
            client = await Client.connect(hookmq.port, options["-i"], version=5, keepalive=30)
            await client.publish(options["-t"], options["-m"].encode())
            await client.disconnect()
            requests = await receiver.wait_count(6)
            assert [request.json["event"] for request in requests] == wanted
            assert {request.json["metadata"]["rule_id"] for request in requests} == {"my_webhook_WH_D"}
            assert {request.json["node"] for request in requests} == {"hookmq@127.0.0.1"}
            for shown in re.findall(r"`hookmq ((?:send-test|status|endpoints)[^`]*)`", EMQX):
                code, said = await command(*shlex.split(shown), "--store", str(hookmq.data))
                assert code == 0, said
                assert "my_webhook" in said
            assert len(await reach(receiver, "message.publish", 2)) == 7


def settings_of(page: str) -> list[str]:
    """The complete settings in the page's tables: `pool_size` is none, `triggers = all` is one."""
    tables = "\n".join(line for line in page.splitlines() if line.startswith("| "))
    found = dict.fromkeys(re.findall(r"`([a-z_.]+ = [^`]+)`", tables))
    return [text for text in found if "…" not in text]


@pytest.mark.parametrize("text", settings_of(EMQX))
def test_a_setting_of_emqx_page(text: str, tmp_path: Path) -> None:
    extra = f'secret = "{SECRET}"' if text.startswith("signature") else ""
    more = "" if text.startswith("triggers") else "triggers = all"
    report = read(f'webhooks.w {{\n url = "http://h"\n {text}\n {more}\n {extra}\n}}', tmp_path)
    assert [str(message) for message in report.messages] == []


def test_every_kind_of_setting_is_among_them() -> None:
    keys = {text.partition(" ")[0] for text in settings_of(EMQX)}
    assert keys == {"format", "triggers", "topics", "where", "signature", "ordering", "payload"}


def test_the_figures_of_emqx_page() -> None:
    endpoint = Endpoint(url="http://h")
    assert endpoint.pool_size == 32
    assert "`pool_size` (32, as in NanoMQ; EMQX has 8)" in EMQX
    assert endpoint.cancel_timeout == 5000
    assert "connecting included (5 s)" in EMQX
    assert endpoint.backlog.max_age == 7 * 86400
    assert "how long it may wait (7 days)" in EMQX
    assert endpoint.backlog.max_bytes == 1 << 30
    assert "`backlog.max_bytes` (1 GB)" in EMQX
    assert Mqtt().max_inflight_window == 2048
    assert "`mqtt.max_inflight_window`: 2048" in EMQX
    assert (len(EMQX_ALL), len(HOOK_EVENTS) - len(EMQX_ALL)) == (11, 10)
    assert "are the eleven events" in EMQX
    assert "The other ten," in EMQX


def test_keys_of_emqx_are_warnings(tmp_path: Path) -> None:
    named = set(
        re.findall(r"`([a-z_]+)(?: \{ … \})?`", EMQX.partition("EMQX's own names")[2].partition("\n")[0])
    )
    assert named == {"max_retries", "resource_opts", "connect_timeout"}
    assert all(any(key.partition(".")[0] == name for key in WEBHOOK_KEYS) for name in named)
    keys = "".join(f"  {key} = 1\n" for key in WEBHOOK_KEYS)
    report = read(f'webhooks.w {{\n  url = "http://h"\n  triggers = all\n{keys}}}', tmp_path)
    assert report.errors == []
    for key in WEBHOOK_KEYS:
        assert any(f"webhooks.w.{key}: " in str(message) for message in report.warnings), key


# -- NanoMQ --------------------------------------------------------------------------------------------------


async def test_the_configuration_of_nanomq_page(tmp_path: Path) -> None:
    """It loads, and each receiver gets what the page says; a reload drops no client."""
    text = block(NANOMQ, "hocon")
    assert read(text, tmp_path).messages == []
    lines = [line.partition("#")[0].split() for line in block(NANOMQ, "sh").splitlines()]
    assert lines == [["hookmq", verb, "--conf", "nanomq.conf"] for verb in ("check", "start")]
    async with Receiver() as plain, Receiver() as alarms:
        text = text.replace("http://127.0.0.1:8888", plain.url("/").rstrip("/"))
        text = text.replace("http://127.0.0.1:8889", alarms.url("/").rstrip("/"))
        hookmq = HookMQ(tmp_path / "mq", text)
        code, said = await command("check", "--conf", str(hookmq.conf))
        assert code == 0, said
        async with hookmq:
            client = await Client.connect(hookmq.port, "press-7")
            for celsius in (79, 81.5):
                await client.publish("plant/press-7/temperature", b'{"celsius":%r}' % celsius, 1)
            await client.publish("plant/press-7/force", b"241.7 kN", 1)
            requests = await plain.wait_count(3)
            assert {r.json["payload"] for r in requests} == {'{"celsius":79}', '{"celsius":81.5}', "241.7 kN"}
            assert {r.json["action"] for r in requests} == {"message_publish"}
            (alarm,) = await alarms.wait_count(1)
            assert (alarm.target, alarm.json["payload"]) == ("/alarms", {"celsius": 81.5})
            assert alarm.json["event"] == "message.publish"
            # The command of the unit in conf/hookmq.service.
            hookmq.conf.write_text(hookmq.conf.read_text().replace("> 80", "> 90"))
            code, said = await command(*exec_reload(hookmq.data))
            assert (code, said) == (0, "webhooks.alarms: changed\n")
            await client.publish("plant/press-7/temperature", b'{"celsius":85}', 1)
            await client.publish("plant/press-7/temperature", b'{"celsius":95}', 1)
            await alarms.wait_count(2)
            await plain.wait_count(5)
            assert [r.json["payload"]["celsius"] for r in alarms.requests] == [81.5, 95]


def exec_reload(store: Path) -> list[str]:
    """ExecReload of the systemd unit, for this store."""
    unit = (DOCS.parent / "conf" / "hookmq.service").read_text()
    (line,) = re.findall(r"^ExecReload=(.*)$", unit, re.MULTILINE)
    (folder,) = re.findall(r"^Environment=HOOKMQ_SQLITE__MOUNTED_FILE_PATH=(.*)$", unit, re.MULTILINE)
    program, *words = shlex.split(line)
    (start,) = re.findall(r"^ExecStart=(\S+) ", unit, re.MULTILINE)
    assert program == start
    assert folder in words
    return [str(store) if word == folder else word for word in words]


async def test_a_reload_with_an_error(tmp_path: Path) -> None:
    """As docs/operating.md and docs/install.md have it: nothing changes, and the command fails."""
    async with Receiver() as receiver:
        good = f'webhook {{ url = "{receiver.url()}", events = [ {{ event = "on_message_publish" }} ] }}'
        async with HookMQ(tmp_path, good) as hookmq:
            hookmq.conf.write_text(hookmq.conf.read_text().replace("on_message_publish", "on_mesage"))
            code, said = await command(*exec_reload(hookmq.data))
            assert code == 1
            assert "error: webhook.events[0].event" in said
            client = await Client.connect(hookmq.port, "c1")
            await client.publish("a", b"x", 1)
            await receiver.wait_count(1)


def test_the_table_of_nanomq_page() -> None:
    """Its defaults are NanoMQ's (INTEROP 1.1), its figures those of the code."""
    endpoint = Endpoint(url="http://h")
    assert (endpoint.pool_size, endpoint.cancel_timeout, endpoint.encoding) == (32, 5000, "plain")
    assert "the same keys, the same defaults" in NANOMQ
    assert endpoint.base62_limit == 64 << 10
    assert "up to 64 KiB (`body.base62_limit`)" in NANOMQ
    assert Mqtt().keepalive_multiplier == 1.5
    assert "after 1.5 times" in NANOMQ
    assert len(HOOK_EVENTS) == 12 + 9
    assert "[nine more](events.md)" in NANOMQ


# -- all -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["moving-from-emqx", "moving-from-nanomq", "operating", "install"])
def test_links(name: str) -> None:
    """Files and their headings are there."""
    path = DOCS / f"{name}.md"
    for target in set(re.findall(r"\]\((?!https://)([^)\s]+)", path.read_text())):
        other, _, heading = target.partition("#")
        found = path.parent / other if other else path
        assert found.exists(), target
        if heading:
            titles: list[Any] = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", t).replace(" ", "-").lower() for t in titles], target

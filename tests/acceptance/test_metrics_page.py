"""docs/metrics.md: its configuration loads, its calls work, its run through comes out as it says."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from bridge.config.load import load
from tests.integration.admin.calling import Api
from tests.integration.collector import Collector
from tests.integration.process import ROOT, HookMQ, webhook
from tests.integration.receiver import Receiver

PAGE = (ROOT / "docs" / "metrics.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_its_configuration_loads(tmp_path: Path) -> None:
    found = blocks("hocon")
    assert len(found) == 2
    for text in found:
        path = tmp_path / "nanomq.conf"
        path.write_text(text)
        assert load(path, {}).messages == []


def test_its_yaml_is_yaml() -> None:
    prometheus, probes = map(yaml.safe_load, blocks("yaml"))
    assert prometheus["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:8081"]}]
    assert {probe["httpGet"]["path"] for probe in probes.values()} == {"/healthz", "/readyz"}


async def shell(line: str, **env: str) -> str:
    process = await asyncio.create_subprocess_shell(
        line, env={**os.environ, **env}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, (line, out)
    return out.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_its_calls(tmp_path: Path) -> None:
    create, curl = blocks("sh")[0].splitlines()
    async with Api(tmp_path) as api:
        code, key, err = await api.hookmq(*shlex.split(create)[1:])
        assert code == 0, err
        line = curl.replace("http://127.0.0.1:8081", api.url) + " --fail --noproxy '*'"
        assert "hookmq_ready 1\n" in await shell(line, KEY=key.strip())


@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="mosquitto_pub is not installed")
async def test_its_run_through(tmp_path: Path) -> None:
    line = next(text for text in blocks("sh") if text.startswith("mosquitto_pub")).strip()
    async with Collector() as collector, Receiver() as receiver:
        hooks = webhook(receiver.url(), "on_message_publish")
        async with HookMQ(tmp_path, hooks, collector.block()) as hookmq:
            await shell(line.replace("-p 1883", f"-p {hookmq.port}"))
            (request,) = await receiver.wait_count(1)
            received, posted = await collector.wait_spans(2)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (received.name, received.trace, received.parent) == ("receive", trace, "00f067aa0ba902b7")
    assert (posted.name, posted.trace, posted.parent) == ("POST", trace, received.span)
    assert request.header("traceparent") == f"00-{trace}-{posted.span}-01"
    table = PAGE.partition("| span | from |")[2].partition("\n\n")[0]
    for name in ("hookmq.event", "messaging.message.id", "messaging.destination.name", "messaging.client.id"):
        assert f"`{name}`" in table
        assert name in received.attributes
    for name in ("hookmq.endpoint", "hookmq.attempt", "server.address", "http.response.status_code"):
        assert f"`{name}`" in table
        assert name in posted.attributes

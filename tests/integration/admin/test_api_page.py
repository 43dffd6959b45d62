"""docs/api.md: its calls of curl work as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from bridge.admin.api import all_routes
from bridge.admin.scopes import SCOPES
from tests.integration.admin.calling import Api
from tests.integration.mqtt_client import Client
from tests.integration.process import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text()


def calls(title: str) -> list[str]:
    """The lines of the section's first `sh` block."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1].splitlines()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_clients_and_retained_messages(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        env = {**os.environ, "KEY": await api.key("k", "clients:write")}

        async def curl(line: str) -> str:
            command = line.replace("http://127.0.0.1:8081", api.url) + " --fail --noproxy '*'"
            process = await asyncio.create_subprocess_shell(
                command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            out, _ = await process.communicate()
            assert process.returncode == 0, (line, out)
            return out.decode()

        client = await Client.connect(api.port, "press/7", version=5)
        await client.subscribe("line1/#")
        await client.publish("line1/press", b"9", qos=1, retain=True)
        connected, one, subscriptions, kicked = [await curl(line) for line in calls("Clients")]
        for text in (connected, one, subscriptions):
            assert '"clientid":"press/7"' in text
        assert kicked == '{"code":0}'
        await client.wait_closed()
        listed, shown, deleted = [await curl(line) for line in calls("Retained messages")]
        assert '"topic":"line1/press"' in listed
        assert '"payload":"OQ=="' in shown
        assert deleted == ""


def test_it_names_every_scope_and_every_call_of_the_broker() -> None:
    assert set(re.findall(r"^\| `([a-z]+:[a-z]+|publish|admin)` \|", PAGE, re.MULTILINE)) == set(SCOPES)
    for route in all_routes():
        if (route.scope or "").startswith("clients:"):
            assert "/" + route.path.partition("/{")[0].rpartition("/")[2] in PAGE, route.path

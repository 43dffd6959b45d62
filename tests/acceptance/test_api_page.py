"""docs/api.md: every command on it is run against a real HookMQ, and what it shows is what is answered."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.integration.admin.calling import Api
from tests.integration.receiver import Receiver

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
HERE = "http://127.0.0.1:8081"
PATH = "/api/v2/webhooks/endpoints"
DELETE = "curl -X DELETE"
BROKERS = re.compile(r"/api/v4/(?!mqtt/publish)|/api/v5/mqtt/retainer/")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def section(title: str) -> str:
    """What stands below a heading of the second or third level."""
    found = re.search(rf"(?ms)^(##+) {re.escape(title)}\n(.*?)(?=^#{{2,3}} |\Z)", PAGE)
    assert found, title
    return found[2]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> list[str]:
    """Every curl of the page, each as one shell command, but for those of the broker, which are run in
    tests/integration/admin/test_api_page.py."""
    whole = "".join(blocks(PAGE, "sh"))
    every = [one.strip() for one in re.split(r"(?m)^(?=curl|hookmq)", whole) if one.startswith("curl")]
    return [one for one in every if not BROKERS.search(one)]


class Shell:
    """Runs the page's commands on an API."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.env = {**os.environ}

    async def run(self, command: str) -> str:
        """What a command prints; it has to be answered with success."""
        command = command.replace(HERE, self._api.url).replace("--user admin", "--user 'admin:s3cret pass'")
        process = await asyncio.create_subprocess_shell(
            command.replace("curl ", "curl -sS --fail-with-body --noproxy '*' ", 1),
            env=self.env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, (command, out.decode())
        return out.decode()


async def test_every_command_is_answered(tmp_path: Path) -> None:
    async with Receiver(status=200) as receiver, Api(tmp_path) as api:
        code, out, err = await api.hookmq("api-key", "create", "--name", "mes", "--scope", "admin", "--json")
        assert code == 0, err
        shell = Shell(api)
        shell.env["KEY"] = json.loads(out)["key"]
        ours = await api.post(PATH, {"url": receiver.url(), "events": ["work_order.*"]})
        await api.post(
            "/api/v2/events", {"type": "work_order.created", "data": {"workOrder": {"id": "wo_1"}}}
        )
        shell.env["ENDPOINT"] = ours.json["id"]
        publisher = await api.post("/api/v2/mqtt/publishers", {"events": ["job.*"]})
        shell.env["PUBLISHER"] = publisher.json["id"]
        shell.env["DELIVERY"] = str((await receiver.wait_count(1))[0].id)
        shown = commands()
        assert len(shown) >= 20
        # Both secrets sign for a while where the signature has room for two.
        await api.call("PATCH", f"{PATH}/{ours.json['id']}", {"signature": "standard", "secret": SECRET})
        answers: dict[str, str] = {}
        for command in sorted(shown, key=lambda command: command.startswith(DELETE)):
            answers[command] = await shell.run(command)
        made = next(text for command, text in answers.items() if '"description": "ERP"' in command)
        described = json.loads(blocks(section("Make one"), "json")[0])
        found = json.loads(made)
        assert found.keys() == described.keys()
        for name in ("url", "description", "events", "format", "signature", "retry", "success", "state"):
            assert found[name] == described[name]
        published = json.loads(next(text for command, text in answers.items() if '"plant"' in command))
        described = json.loads(blocks(section("Publishers"), "json")[0])
        assert published.keys() == described.keys()
        assert published["connection"].keys() == described["connection"].keys()
        differ = {name for name in published if published[name] != described[name]}
        assert differ == {"id", "created", "changed", "connection"}
        assert answers[next(command for command in shown if command.startswith(DELETE))] == ""
        changed = next(text for command, text in answers.items() if command.startswith("curl -X PATCH"))
        assert json.loads(changed)["pool_size"] == 4
        rotated = next(text for command, text in answers.items() if "rotate-secret" in command)
        assert json.loads(rotated)["old_secret_expires"]
        tested = next(text for command, text in answers.items() if "/test " in command)
        listed = section("Test one").partition("came back: `{")[2].partition("}`")[0]
        assert set(re.findall(r'"(\w+)"', listed)) - {"head", "body", "status"} == json.loads(tested).keys()


async def test_the_problem_is_as_shown(api: Api) -> None:
    described = json.loads(blocks(section("Make one"), "json")[1])
    body = {"url": "https://erp.example/webhooks/mes", "pool_size": 0}
    assert (await api.post(PATH, body)).json == described


@pytest.fixture
async def api(tmp_path: Path) -> Any:
    async with Api(tmp_path) as api:
        yield api


def test_every_call_of_the_document_is_on_the_page() -> None:
    from bridge.admin.api import all_routes

    shown = PAGE.replace("$ENDPOINT", "{id}").replace("$DELIVERY", "{delivery}")
    shown = shown.replace("$PUBLISHER", "{id}")
    for route in all_routes():
        if BROKERS.search(route.path):
            continue
        below = route.path.partition("{id}")[2]
        assert route.path in shown or f"`{route.method} …{below}`" in shown, route.path

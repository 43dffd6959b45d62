"""docs/operations.md says what the code does: its commands run, it explains every log line and counter."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from bridge.config.load import load
from tests.integration.commands import command as run
from tests.integration.mqtt_client import Client
from tests.integration.process import ROOT, HookMQ, webhook
from tests.integration.receiver import Receiver

PAGE = (ROOT / "docs" / "operations.md").read_text()
LEVELS = {"warning", "error", "critical", "exception", "log"}


def section(title: str) -> str:
    found = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found, title
    return found


def shell(title: str) -> list[str]:
    """The lines of a section's `sh` blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", section(title), re.DOTALL)
    return [line for text in blocks for line in text.splitlines()]


def messages() -> Iterator[tuple[str, str]]:
    """Every warning and error that the code logs, with `…` for what changes; and where it is."""
    for path in sorted((ROOT / "bridge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in ("log", "logger")
                and node.func.attr in LEVELS
            ):
                given = node.args[1 if node.func.attr == "log" else 0]
                text = ast.literal_eval(given)
                assert isinstance(text, str)
                found = re.sub(r"%[-0-9.]*[a-z]", "…", text)
                if found.strip("…"):  # else the message is another module's text
                    yield found, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_every_log_line_is_explained() -> None:
    """A new warning needs a row that says what to do about it."""
    explained = set(re.findall(r"`` (.*?) ``|`((?:[^`]|`hookmq replay`)+?)`(?=[,| ])", section("Log lines")))
    rows = {one or other for one, other in explained}
    missing = [f"{where}: {text}" for text, where in messages() if text.replace("……", "…") not in rows]
    assert missing == []


def test_no_log_line_is_explained_that_is_not_there() -> None:
    there = {text.replace("……", "…") for text, _ in messages()}
    rows = [line for line in section("Log lines").splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    for row in rows:
        first = row.removeprefix("| ").rpartition(" | ")[0]
        assert any(text in first for text in there), row


def names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner)


async def test_every_member_of_status_is_explained(tmp_path: Path) -> None:
    text = section("Status")
    explained = {part for name in re.findall(r"`([a-z_.]+)`", text) for part in name.split(".")}
    async with Receiver() as receiver, HookMQ(tmp_path, webhook(receiver.url(), "on_client_ping")) as hookmq:
        done = await run("status", "--json", "--store", str(hookmq.data))
        assert set(names(json.loads(done.stdout))) - explained == set()


async def test_backup_and_restore(tmp_path: Path) -> None:
    """The commands as they stand there, one beside the running process and one without it."""
    backup, restore = shell("Backup and restore")

    def words(line: str) -> list[str]:
        line = line.replace("/var/backups", str(tmp_path)).replace("/var/lib/hookmq", str(tmp_path / "data"))
        return shlex.split(line)[1:]

    async with HookMQ(tmp_path) as hookmq:
        assert (await run(*words(backup))).returncode == 0
        assert (await run(*words(backup))).returncode == 0
        assert await hookmq.stop() == 0
        assert (await run(*words(restore))).returncode == 0
        await hookmq.start()


def test_secrets() -> None:
    """The example is read; that its files are not there is what is said of it."""
    (text,) = re.findall(r"```hocon\n(.*?)```", section("Secrets"), re.DOTALL)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "nanomq.conf"
        path.write_text(text)
        errors = [str(error) for error in load(path, {}).errors]
    assert len(errors) == 2
    assert all("cannot read /run/credentials/hookmq.service/" in error for error in errors)


async def test_system_topics(tmp_path: Path, command: Callable[[str], str]) -> None:
    """What mosquitto_sub shows is what the table says."""
    program = command("mosquitto_sub")
    (line,) = shell("SYS topics")
    async with HookMQ(tmp_path, 'node.name = "n"') as hookmq:
        client = await Client.connect(hookmq.port, "c")
        words = [program, *shlex.split(line)[1:], "-p", str(hookmq.port)]
        done = await asyncio.to_thread(
            subprocess.run, words, capture_output=True, text=True, timeout=30, check=False
        )
        everything = [program, "-p", str(hookmq.port), "-t", "$SYS/brokers/n/#", "-W", "2", "-v"]
        every = await asyncio.to_thread(
            subprocess.run, everything, capture_output=True, text=True, timeout=30, check=False
        )
        client.abort()
    assert "$SYS/brokers/n/stats/connections/count 2" in done.stdout.splitlines()
    text = section("SYS topics")
    for shown in every.stdout.splitlines():
        parts = shown.partition(" ")[0].split("/")[3:]
        assert parts[0] in text
        assert parts[0] not in ("stats", "metrics") or "/".join(parts[1:]) in text or parts[1] in text, shown


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", PAGE))))
def test_links(link: str) -> None:
    name, _, anchor = link.partition("#")
    text = (ROOT / "docs" / name).read_text() if name else PAGE
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    headings = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
    assert not anchor or anchor in headings

"""docs/receiving.md: its receivers run, and its bodies have the keys that are sent, in their order."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.broker.client import Client as Who
from bridge.config.settings import Endpoint
from bridge.events.event import BY_HOOK_NAME, Event
from bridge.events.formats import make_format
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook

PAGE = (Path(__file__).parents[2] / "docs" / "receiving.md").read_text()


def block(language: str) -> str:
    """The page's only code block of a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


@contextmanager
def receiver(command: list[str], output: Path) -> Iterator[None]:
    """A receiver of the page, in a process of its own."""
    with output.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def _arrives(tmp_path: Path, command: list[str], port: int) -> None:
    output = tmp_path / "receiver.txt"
    with receiver(command, output):
        url = f"http://127.0.0.1:{port}/hook"
        async with HookMQ(tmp_path / "mq", webhook(url, "on_message_publish")) as hookmq:
            end = time.monotonic() + 20
            number = 0
            # The receiver may not listen yet, and the first retry comes after 5 s: publish until one is in.
            while "Hello World!" not in output.read_text() and time.monotonic() < end:
                number += 1
                client = await Client.connect(hookmq.port, f"c{number}")
                await client.publish("nmq/pub", b"Hello World!", qos=1)
                await client.disconnect()
            await until(lambda: "Hello World!" in output.read_text(), "the receiver printed an event")


async def test_python_receiver(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    script = tmp_path / "receiver.py"
    script.write_text(block("python").replace("8888", str(port)))
    await _arrives(tmp_path, [sys.executable, str(script)], port)


async def test_node_receiver(
    tmp_path: Path, free_port: Callable[[], int], command: Callable[[str], str]
) -> None:
    port = free_port()
    script = tmp_path / "receiver.js"
    script.write_text(block("js").replace("8888", str(port)))
    await _arrives(tmp_path, [command("node"), str(script)], port)


def test_bodies_of_the_page() -> None:
    rows = dict(re.findall(r"^\| `(on_\w+)` \| `(\{.*\})` \|$", PAGE, re.MULTILINE))
    assert set(rows) | {"on_message_acked"} == set(BY_HOOK_NAME)
    who = Who(clientid="c", username="u", peername="127.0.0.1:1")
    data = {
        "keepalive": 60,
        "proto_ver": 5,
        "ipaddress": "127.0.0.1",
        "connected_at": 1,
        "conn_ack": "success",
        "reason": "normal",
        "to_clientid": "d",
        "to_username": "w",
    }
    body = make_format(Endpoint(url="http://127.0.0.1/")).body
    for name, shown in rows.items():
        event = Event(
            BY_HOOK_NAME[name], 1, who.clientid, who.username, who.peername, (1,), "t", b"x", data=data
        )
        sent = json.loads(body(1, event))
        told = json.loads(shown.replace("…", "1"))
        assert list(told) == list(sent), name
        assert told["action"] == sent["action"], name

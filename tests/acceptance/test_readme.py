"""README.md is true: its commands run, its configuration loads, its output is what a user sees.

Every line of its `sh` blocks must be known here, so that a new one comes with a test. Only what the machine
decides is changed: ports, the folder of the store, the interpreter. A command of MQTTX runs on the MQTT.js
that MQTTX is built on, with MQTTX's defaults.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.config.load import load
from bridge.events.event import BY_HOOK_NAME
from tests.acceptance.js import Js
from tests.acceptance.scene import run
from tests.integration.process import until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line.partition("  #")[0].strip()
    for language, text in BLOCKS
    if language == "sh"
    for line in text.splitlines()
    if line.strip()
]
STARTED, RECEIVED = [text for language, text in BLOCKS if language == "text"]
CONF = next(text for language, text in BLOCKS if language == "hocon")


def command_with(beginning: str) -> str:
    """The README's only command, written once or more, that begins so."""
    (found,) = {line for line in COMMANDS if line.startswith(beginning)}
    return found


# -- running what it shows -----------------------------------------------------------------------------------


class Program:
    """A running command whose output grows in a file."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def said(self) -> str:
        return self._output.read_text()

    async def says(self, text: str, count: int = 1) -> None:
        def ready() -> bool:
            assert self.process.poll() is None or self.said.count(text) >= count, self.said
            return self.said.count(text) >= count

        await until(ready, f"{count} x {text!r}", 15)

    async def stop(self) -> str:
        """Ctrl-C; all that it said."""
        self.process.send_signal(signal.SIGINT)
        await until(lambda: self.process.poll() is not None, "its end", 15)
        assert self.process.returncode == 0, self.said
        return self.said


@asynccontextmanager
async def running(output: Path, *command: str, **env: str) -> AsyncIterator[Program]:
    with output.open("wb") as out:
        process = subprocess.Popen(  # noqa: ASYNC220  it takes a millisecond
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        )
    try:
        yield Program(process, output)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


class Stage:
    """The two terminals of the first minute, on free ports."""

    def __init__(self, folder: Path, make: str, mqtt_port: int, http_port: int) -> None:
        self.folder = folder
        self.make = make
        self.mqtt_port = mqtt_port
        self.http_port = http_port
        self.env = {
            "HOOKMQ_LISTENERS__TCP__BIND": f"127.0.0.1:{mqtt_port}",
            "HOOKMQ_WEBHOOK__URL": f"http://127.0.0.1:{http_port}",
            "HOOKMQ_SQLITE__MOUNTED_FILE_PATH": str(folder / "data"),
        }

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[Program]:
        """What `make run` runs once .venv is there (tests/integration/test_make.py builds it)."""
        code, plan = await run(self.make, "-n", "-C", str(ROOT), *shlex.split(command_with("make run"))[1:])
        assert code == 0
        (line,) = [line for line in plan.splitlines() if "bridge start" in line]
        command = shlex.split(line.removeprefix("exec ").replace(".venv/bin/python", sys.executable))
        assert command[:1] == [sys.executable]
        async with running(self.folder / "broker.txt", *command, **self.env) as program:
            await program.says("ready")
            yield program

    @asynccontextmanager
    async def listener(self, beginning: str = ".venv/bin/hookmq listen") -> AsyncIterator[Program]:
        """A receiver of the README, the plain one or the one with a status."""
        lines = sorted({line for line in COMMANDS if line.startswith(beginning)}, key=len)
        command = [*hookmq(lines[0]), "--port", str(self.http_port)]
        async with running(self.folder / f"{len(lines[0])}.txt", *command) as program:
            await program.says("Listening")
            yield program

    def client(self, beginning: str) -> list[str]:
        """A client's command, at our port."""
        arguments = shlex.split(command_with(beginning))
        assert arguments[arguments.index("-p") + 1] == "1883"
        arguments[arguments.index("-p") + 1] = str(self.mqtt_port)
        return arguments


def hookmq(line: str) -> list[str]:
    """A `.venv/bin/hookmq …` command, with the interpreter of these tests."""
    program, *arguments = shlex.split(line)
    assert program == ".venv/bin/hookmq"
    return [sys.executable, "-m", "bridge", *arguments]


@pytest.fixture
def stage(tmp_path: Path, command: Callable[[str], str], free_port: Callable[[], int]) -> Stage:
    return Stage(tmp_path, command("make"), free_port(), free_port())


def plain(output: str) -> list[str]:
    """Requests as `hookmq listen` prints them: what differs from run to run made equal, in stored order."""
    first, *rest = re.split(r"^(?=\d\d:\d\d:\d\d )", output, flags=re.MULTILINE)
    rest.sort(key=lambda text: re.findall(r"webhook-id: (\S+)", text))
    text = "".join([first, *rest])
    for pattern, word in (
        (r"^\d\d:\d\d:\d\d ", "TIME "),
        (r"  (<1|\d+) ms$", "  TOOK"),
        (r"msg_[0-9a-f]{12}_[0-9a-f]{16}", "ID"),
        (r"(webhook-timestamp: )\d{10}", r"\1TIME"),
        (r'"ts":\d{13}', '"ts":TIME'),
        (r"127\.0\.0\.1:\d+", "HOST"),
    ):
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text.splitlines()


# -- MQTTX ---------------------------------------------------------------------------------------------------

# Options of MQTTX's command line that the README may use, and the MQTT.js options that they become.
MQTTX_OPTIONS = {
    "-h": "host",
    "-p": "port",
    "-i": "clientId",
    "-k": "keepalive",
    "-u": "username",
    "-P": "password",
    "-t": "topic",
    "-m": "message",
    "-q": "qos",
}


def mqttx(stage: Stage, peer: list[str], arguments: list[str], desktop: bool = False) -> Js:
    """The MQTT.js client that this command of MQTTX makes; `sub` and `conn` stay until told to go."""
    verb, *rest = arguments[1:]
    options: dict[str, Any] = {
        MQTTX_OPTIONS[key]: value for key, value in zip(rest[::2], rest[1::2], strict=True)
    }
    assert (options.pop("host"), int(options.pop("port"))) == ("127.0.0.1", stage.mqtt_port)
    topic, message = options.pop("topic", None), options.pop("message", None)
    qos = int(options.pop("qos", 0))
    options["keepalive"] = int(options.get("keepalive", 60 if desktop else 30))
    pause = {"do": "stdin"}
    actions: dict[str, list[dict[str, Any]]] = {
        "conn": [pause],
        "sub": [{"do": "subscribe", "topic": topic, "options": {"qos": qos}}, pause],
        "pub": [{"do": "publish", "topic": topic, "payload": message, "options": {"qos": qos}}],
    }
    plan = [*actions[verb], {"do": "disconnect"}]
    return Js(peer, "mqtt4", stage.mqtt_port, 5, *plan, clean=True, **options)


# -- the tests -----------------------------------------------------------------------------------------------


def test_every_block_is_tested() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "text", "hocon"}
    known = (
        *(
            "make run",
            "make test",
            "mqttx pub ",
            "mqttx sub ",
            "mqttx conn ",
            "mosquitto_pub ",
            "mosquitto_sub ",
        ),
        *(
            f".venv/bin/hookmq {verb}"
            for verb in ("listen", "check --conf nanomq.conf", "start --conf nanomq.conf")
        ),
    )
    assert [line for line in COMMANDS if not line.startswith(known)] == []
    assert [language for language, _ in BLOCKS].count("text") == 2


def test_links() -> None:
    """Files and their headings are there."""
    targets = set(re.findall(r"\]\((?!https://)([^)\s]+)", README))
    for target in targets:
        path, _, heading = target.partition("#")
        assert (ROOT / path).exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", title).replace(" ", "-").lower() for title in titles]
    picture = ET.parse(ROOT / "docs" / "images" / "hookmq.svg").getroot()
    assert picture.find("{http://www.w3.org/2000/svg}title") is not None


def test_events() -> None:
    assert re.findall(r"^\| `(on_\w+)` \|", README, re.MULTILINE) == list(BY_HOOK_NAME)


def test_configuration(tmp_path: Path) -> None:
    """It loads without a word; so does what the text says about the environment."""
    conf = tmp_path / "nanomq.conf"
    conf.write_text(CONF)
    report = load(conf, {})
    assert report.messages == []
    assert report.settings is not None
    (hook,) = report.settings.webhooks
    assert (hook.encoding, len(hook.events)) == ("base64", 3)
    ((name, value),) = re.findall(r"`(HOOKMQ_\w+)=(\S+)`", README)
    changed = load(conf, {name: value})
    assert changed.messages == []
    assert changed.settings is not None
    assert changed.settings.webhooks[0].url == value


async def test_check_and_start(tmp_path: Path) -> None:
    (tmp_path / "nanomq.conf").write_text(CONF)
    check = hookmq(command_with(".venv/bin/hookmq check"))
    check[check.index("nanomq.conf")] = str(tmp_path / "nanomq.conf")
    code, output = await run(*check)
    assert code == 0, output
    assert "0 errors, 0 warnings" in output
    assert "0123456789" not in output  # a header is a secret

    start = hookmq(command_with(".venv/bin/hookmq start"))
    start[start.index("nanomq.conf")] = str(tmp_path / "nanomq.conf")
    env = {
        "HOOKMQ_LISTENERS__TCP__BIND": "127.0.0.1:0",
        "HOOKMQ_SQLITE__MOUNTED_FILE_PATH": str(tmp_path / "data"),
    }
    async with running(tmp_path / "start.txt", *start, **env) as program:
        await program.says("ready")
        assert "webhook    default: https://hooks.example.com/mqtt\n" in await program.stop()


async def test_make(command: Callable[[str], str]) -> None:
    """The commands that other tests run: `make test`, which runs this one, and `make demo`."""
    for target, part in (("test", "-m pytest"), ("demo", "-m bridge demo")):
        assert f"`make {target}`" in README or f"make {target}" in COMMANDS
        code, plan = await run(command("make"), "-n", "-C", str(ROOT), target)
        assert code == 0
        assert part in plan


@pytest.mark.parametrize("client", ["mosquitto_pub", "mqttx pub", "MQTTX on the desktop"])
async def test_first_minute(
    stage: Stage, client: str, request: pytest.FixtureRequest, command: Callable[[str], str]
) -> None:
    """Both terminals say what the README shows, with each client that it names."""
    async with stage.broker() as broker, stage.listener() as listener:
        head = broker.said.splitlines()[:5]
        head[1] = head[1].replace(f"127.0.0.1:{stage.mqtt_port}", "0.0.0.0:1883")
        head[2] = head[2].replace(str(stage.http_port), "8888")
        head[4] = head[4].replace(str(stage.folder / "data"), "data")
        assert head == STARTED.splitlines()
        if client == "mosquitto_pub":
            arguments = stage.client("mosquitto_pub")
            arguments[0] = command(arguments[0])
            assert await run(*arguments) == (0, "")
        else:
            peer = request.getfixturevalue("peer_js")
            arguments = stage.client("mqttx pub")
            desktop = client != "mqttx pub"
            if desktop:  # the form's defaults, and what the text tells to fill in
                del arguments[arguments.index("-k") : arguments.index("-k") + 2]
                for value in ("press-1", "plant/press-1/force", "241.7 kN"):
                    assert f"`{value}`" in README
                    assert value in arguments
            async with mqttx(stage, peer, arguments, desktop) as js:
                await js.end()
        await listener.says("webhook-attempt: 1", 3)
        await listener.says('"action":"client_disconnected"}')
        assert plain(await listener.stop()) == plain(RECEIVED)
        await broker.stop()


async def test_mqttx_conn_and_sub(stage: Stage, peer_js: list[str]) -> None:
    async with stage.broker() as broker, stage.listener() as listener:
        async with mqttx(stage, peer_js, stage.client("mqttx sub")) as sub:
            await sub.until("ready")
            async with mqttx(stage, peer_js, stage.client("mqttx conn")) as conn:
                await conn.until("ready")
                conn.go()
                await conn.end()
            async with mqttx(stage, peer_js, stage.client("mqttx pub")) as pub:
                await pub.end()
            await sub.until("message")
            sub.go()
            await sub.end()
            (message,) = sub.all("message")
            assert (message["topic"], message["payload"], message["qos"]) == (
                "plant/press-1/force",
                b"241.7 kN",
                1,
            )
        await listener.says('"username":"line7"', 2)
        await broker.stop()


async def test_mosquitto_sub(stage: Stage, command: Callable[[str], str]) -> None:
    async with stage.broker() as broker:
        arguments = stage.client("mosquitto_sub")
        arguments[0] = command(arguments[0])
        pub = stage.client("mosquitto_pub")
        pub[0] = command(pub[0])
        async with running(stage.folder / "sub.txt", *arguments, "-C", "1") as sub:
            for _ in range(100):  # it does not say when it has subscribed
                assert await run(*pub) == (0, "")
                if sub.process.poll() is not None:
                    break
            assert sub.said == "241.7 kN\n"
        await broker.stop()


async def test_break_it(stage: Stage, command: Callable[[str], str]) -> None:
    """A receiver that answers 500, then one that answers: the same id, the next attempt, within seconds."""
    pub = stage.client("mosquitto_pub")
    pub[0] = command(pub[0])
    async with stage.broker() as broker:
        async with stage.listener(".venv/bin/hookmq listen --status") as failing:
            assert await run(*pub) == (0, "")
            # The disconnection waits behind the connack: one client's connection events keep their order.
            await failing.says("webhook-attempt: 1", 2)
            refused = await failing.stop()
        async with stage.listener() as listener:
            await listener.says("webhook-attempt: 2", 2)
            await listener.says('"action":"client_disconnected"}')
            taken = await listener.stop()
        assert re.findall(r"POST /  500", refused)
        attempts = dict(re.findall(r"webhook-id: (\S+)\n.*\n  webhook-attempt: (\d)", taken))
        assert sorted(attempts.values()) == ["1", "2", "2"]
        again = {id_ for id_, attempt in attempts.items() if attempt == "2"}
        assert again == set(re.findall(r"webhook-id: (\S+)", refused))
        await broker.stop()

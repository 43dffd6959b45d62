"""HookMQ as a service: what it tells systemd, the unit that is shipped, the image's health check."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bridge.notify import Notifier
from tests.integration.mqtt_client import Client
from tests.integration.process import ROOT, HookMQ, until, webhook
from tests.integration.receiver import Receiver

UNIT = ROOT / "conf" / "hookmq.service"


class Manager:
    """A service manager's end of NOTIFY_SOCKET: every message with its time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[dict[str, str]] = []
        self.times: list[float] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _read(self) -> None:
        text = self._socket.recv(65536).decode()
        self.messages.append(dict(line.split("=", 1) for line in text.split("\n")))
        self.times.append(time.monotonic())

    def told(self, name: str) -> int:
        """How many messages have it."""
        return sum(name in message for message in self.messages)

    async def wait(self, name: str, count: int = 1) -> None:
        await until(lambda: self.told(name) >= count, f"{name} was told {count} times", 20)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def test_the_life_of_a_service(tmp_path: Path, manager: Manager) -> None:
    """Ready when it can be talked to, signs of life, reloading, stopping."""
    port = free_port()
    env = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
    async with Receiver() as receiver:
        hookmq = HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish"), env=env)
        text = hookmq.conf.read_text()
        hookmq.conf.write_text(text.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        hookmq.spawn()
        try:
            await manager.wait("READY")
            client = await Client.connect(port, "c")  # no later than that
            assert manager.messages[0].keys() == {"READY", "STATUS"}
            await manager.wait("WATCHDOG", 4)
            gaps = [b - a for a, b in zip(manager.times[1:], manager.times[2:], strict=False)]
            assert min(gaps) < 0.2  # half of what is allowed, plus this machine's delays
            await until(lambda: manager.messages[-1].get("STATUS", "").startswith("1 clients"), "the status")

            hookmq.send_signal(signal.SIGSTOP)  # it does not run: no sign of life
            await asyncio.sleep(0.3)
            before = len(manager.messages)
            await asyncio.sleep(0.5)
            assert len(manager.messages) == before
            hookmq.send_signal(signal.SIGCONT)
            await until(lambda: len(manager.messages) > before + 2, "it lives again")

            ready = manager.told("READY")
            hookmq.send_signal(signal.SIGHUP)
            await manager.wait("RELOADING")
            await manager.wait("READY", ready + 1)
            names = [name for message in manager.messages for name in message]
            assert names.index("RELOADING") < len(names) - 1 - names[::-1].index("READY")
            (reloading,) = [message for message in manager.messages if "RELOADING" in message]
            assert 0 <= time.monotonic_ns() // 1000 - int(reloading["MONOTONIC_USEC"]) < 60_000_000

            client.abort()
            assert await hookmq.stop() == 0
            await manager.wait("STOPPING")
            assert manager.messages[-1]["STOPPING"] == "1"  # and nothing after it
        finally:
            hookmq.kill()


async def test_what_cannot_start_is_never_ready(tmp_path: Path, manager: Manager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        hookmq = HookMQ(tmp_path, env={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"})
        text = hookmq.conf.read_text()
        hookmq.conf.write_text(text.replace("127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}"))
        code, _, said = await hookmq.run()
        assert code == 1
        assert "is in use by another program" in said
    assert manager.messages == []


async def test_a_loop_that_stands_still_gives_no_sign_of_life() -> None:
    """The signs come from the loop itself, and from no thread beside it."""
    manager = Manager(f"@hookmq-test-{os.getpid()}")
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "40000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(asyncio.get_running_loop(), lambda: "a line\nof two", environ)
    notifier.ready()
    await manager.wait("WATCHDOG", 3)
    assert manager.messages[0] == {"READY": "1", "STATUS": "a line of two"}
    await asyncio.sleep(0)
    count = len(manager.messages)
    time.sleep(0.3)  # noqa: ASYNC251  which is the point
    waiting = len(manager.messages)
    assert waiting == count
    await asyncio.sleep(0.01)
    assert len(manager.messages) - count <= 3  # what the pause swallowed does not come later
    notifier.stopping()
    await manager.wait("STOPPING")
    await asyncio.sleep(0.1)
    assert "STOPPING" in manager.messages[-1]
    manager.close()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1"},
        {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "1000"},
    ],
)
async def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    notifier = Notifier(asyncio.get_running_loop(), lambda: "x", environ)
    notifier.reloading()
    notifier.ready()
    await asyncio.sleep(0.01)
    notifier.stopping()


async def test_another_process_s_watchdog_is_not_ours() -> None:
    manager = Manager(f"@hookmq-other-{os.getpid()}")
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1"}
    Notifier(asyncio.get_running_loop(), lambda: "x", environ).ready()
    await manager.wait("READY")
    await asyncio.sleep(0.05)
    assert manager.told("WATCHDOG") == 0
    manager.close()


async def test_lines_for_the_journal(tmp_path: Path) -> None:
    """Under systemd each line has its level, and no second time."""
    hookmq = HookMQ(tmp_path)
    error = tmp_path / "hookmq.1.err"
    error.touch()
    found = error.stat()
    hookmq.env["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
    async with hookmq:
        assert hookmq.log.splitlines()[-1] == "<6>ready"


async def test_json_at_the_front_door(tmp_path: Path) -> None:
    block = f'log {{ to = [console, file], formatter = json, dir = "{tmp_path}", level = info }}'
    async with HookMQ(tmp_path, block) as hookmq:
        assert await hookmq.stop() == 0
        for text in (hookmq.log, (tmp_path / "hookmq.log").read_text()):
            assert [json.loads(line)["msg"] for line in text.splitlines()][-1] == "stopped"


# --- the unit -----------------------------------------------------------------------------------------------


def unit(folder: Path) -> Path:
    """The unit, with a program that is there."""
    path = folder / "hookmq.service"
    path.write_text(UNIT.read_text().replace("/opt/hookmq/bin/hookmq", sys.executable))
    return path


def analyze(program: str, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout + done.stderr


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path, command: Callable[[str], str]) -> None:
    program = command("systemd-analyze")
    path = unit(tmp_path)
    assert analyze(program, "verify", "--man=no", str(path)) == ""
    said = analyze(program, "security", "--offline=true", "--no-pager", str(path))
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert float(exposure) <= 1.5  # of 10
    assert f"`systemd-analyze security hookmq`: {exposure}" in (ROOT / "docs" / "install.md").read_text()


def allowed(program: str) -> set[str]:
    """The system calls that the unit's SystemCallFilter lets through."""

    def of(name: str) -> set[str]:
        found: set[str] = set()
        lines = analyze(program, "syscall-filter", "--no-pager", name).splitlines()[1:]
        for word in (line.strip() for line in lines):
            if word.startswith("@"):
                found |= of(word)
            elif word and not word.startswith("#"):
                found.add(word)
        return found

    calls = of("@default")
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        for name in line.removeprefix("~").split():
            calls = calls - of(name) if line.startswith("~") else calls | of(name)
    return calls | of("@default")


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


async def test_its_system_calls_are_those_that_hookmq_makes(
    tmp_path: Path, command: Callable[[str], str]
) -> None:
    """From the start over clients, requests and a reload to the end."""
    calls = allowed(command("systemd-analyze"))
    trace = tmp_path / "trace"
    prefix = (command("strace"), "-f", "-qq", "-c", "-U", "name", "-o", str(trace))
    async with Receiver() as receiver:
        url = receiver.url().replace("127.0.0.1", "localhost")
        block = webhook(url, "on_message_publish")
        log = f'log {{ to = [console, file], dir = "{tmp_path}" }}'
        async with HookMQ(tmp_path, block, log, "http_server { port = 0 }", prefix=prefix) as hookmq:
            hookmq.start_s = 60
            client = await Client.connect(hookmq.port, "c")
            await client.publish("a", b"x", qos=1, retain=True)
            await receiver.wait_count(1, 20)
            child = child_of(hookmq.pid)
            os.kill(child, signal.SIGHUP)
            await hookmq.said("reloaded: nothing has changed")
            os.kill(child, signal.SIGTERM)
            assert await hookmq.ended() == 0
    made = set(re.findall(r"^[a-z0-9_]+$", trace.read_text(), re.MULTILINE)) - {"syscall", "total"}
    assert {"epoll_wait", "fdatasync", "sendto"} & made  # it was traced
    # SQLite makes this one for root alone, whom the unit does not run as.
    assert made - calls <= {"fchown"}


# --- the image ----------------------------------------------------------------------------------------------


async def test_the_health_check_of_the_image(tmp_path: Path) -> None:
    """No container engine is needed for what it runs: 0 while HookMQ answers, 1 when it does not."""
    text = (ROOT / "Dockerfile").read_text()
    (line,) = re.findall(r"HEALTHCHECK (?:.*\\\n\s*)?CMD (\[.*\])", text)
    words = json.loads(line)
    assert words[0] == "hookmq"
    assert "/data" in words

    async def check(folder: Path) -> int:
        command = [str(folder) if word == "/data" else word for word in words[1:]]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", *command), cwd=ROOT, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        return await process.wait()

    async with HookMQ(tmp_path) as hookmq:
        assert await check(hookmq.data) == 0
        hookmq.kill()
        assert await check(hookmq.data) == 1


def test_the_image_s_command_is_one() -> None:
    """ENTRYPOINT and CMD are known to the command line, and it does not run as root."""
    text = (ROOT / "Dockerfile").read_text()
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    (arguments,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    assert json.loads(entry) == ["hookmq"]
    words = json.loads(arguments)
    conf = words[words.index("--conf") + 1]
    assert f"conf/nanomq.conf {conf}" in text
    own = dict(pair.split("=") for pair in re.findall(r"^ENV (\S+)$", text, re.MULTILINE))
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "check", "--conf", str(ROOT / "conf" / "nanomq.conf")],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done
    assert 'mounted_file_path = "/data"' in done.stdout
    (user,) = re.findall(r"^USER (.*)$", text, re.MULTILINE)
    assert user != "root"
    assert text.index("USER ") < text.index("ENTRYPOINT")

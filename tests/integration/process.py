"""A real `hookmq start` in a process of its own.

    async with HookMQ(tmp_path, webhook(receiver.url(), "on_message_publish a/#")) as hookmq:
        client = await Client.connect(hookmq.port, "c1")
        await client.publish("a/b", b"x", qos=1)

The process listens on a port of the system's choice, stores in `<folder>/data`, and is gone after the block,
however that ends. What it prints goes to files of the folder, so that no pipe can hold it up.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import cast

ROOT = Path(__file__).resolve().parents[2]
ALL_EVENTS = (
    "on_client_connect",
    "on_client_connack",
    "on_client_connected",
    "on_client_disconnected",
    "on_client_subscribe",
    "on_client_unsubscribe",
    "on_session_subscribed",
    "on_session_unsubscribed",
    "on_session_terminated",
    "on_message_publish",
    "on_message_delivered",
    "on_message_acked",
)


async def until(condition: Callable[[], object], what: str, timeout: float = 10.0) -> None:  # noqa: ASYNC109
    """Wait until the condition holds; TimeoutError says what was waited for."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout} s: {what}")
        await asyncio.sleep(0.005)


def webhook(url: str, *events: str, extra: str = "", **keys: object) -> str:
    """A webhook block. An event is `on_message_publish` or `on_message_publish a/#`; `extra` is HOCON."""
    rules = []
    for text in events:
        event, _, topic = text.partition(" ")
        rules.append(f"{{event = {event}" + (f", topic = {json.dumps(topic)}}}" if topic else "}"))
    lines = "".join(f"  {key} = {value}\n" for key, value in keys.items())
    return f"webhook {{\n  url = {json.dumps(url)}\n{lines}{extra}\n  events = [{', '.join(rules)}]\n}}\n"


class HookMQ:
    """One HookMQ, started and ended as often as a test wants. `blocks` are HOCON and come after the defaults.

    `prefix` is a command that runs it (strace), `env` what is added to the environment.
    """

    def __init__(
        self, folder: Path, *blocks: str, env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.conf = folder / "nanomq.conf"
        self.data = folder / "data"
        # What the tests themselves are told (HOOKMQ_CI) is no setting.
        clean = {key: value for key, value in os.environ.items() if not key.startswith("HOOKMQ_")}
        self.env = {**clean, "PYTHONUNBUFFERED": "1", **(env or {})}
        self.prefix = tuple(prefix)
        self.port = 0
        self.module = "bridge"
        self.start_s = 20.0  # until it is ready
        self.process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.configure(*blocks)

    def configure(self, *blocks: str) -> None:
        """Write the configuration of the next start."""
        own = f'listeners.tcp {{ bind = "127.0.0.1:0" }}\nsqlite {{ mounted_file_path = "{self.data}" }}\n'
        self.conf.write_text(own + "\n".join(blocks))

    async def __aenter__(self) -> HookMQ:
        try:
            await self.start()
        except BaseException:
            self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if error is not None:
            error.add_note(f"--- hookmq said ---\n{self.stdout}{self.log}")

    # -- life ------------------------------------------------------------------------------------------

    def spawn(self) -> None:
        """Start the process without waiting for it."""
        assert self.process is None or self.process.poll() is not None
        self._starts += 1
        with self._file("out").open("wb") as out, self._file("err").open("wb") as err:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", self.module, "start", "--conf", str(self.conf)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.env,
            )

    async def start(self) -> None:
        """Start and wait until it is ready."""
        self.spawn()
        await until(lambda: "ready" in self.log or not self.running, "the process is ready", self.start_s)
        assert self.running, f"hookmq ended with {self.code}: {self.stdout}{self.log}"
        found = re.search(r"listening  mqtts?://.*:(\d+)$", self.stdout, re.MULTILINE)
        assert found, self.stdout
        self.port = int(found[1])

    async def run(self) -> tuple[int, str, str]:
        """Start, and wait for an end by itself: exit code, standard output, standard error."""
        self.spawn()
        try:
            await until(lambda: not self.running, "the process ends by itself", 20)
        finally:
            self.kill()
        return cast(int, self.code), self.stdout, self.log

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:  # noqa: ASYNC109
        """Ask it to end and wait for that; the exit code."""
        self.send_signal(number)
        return await self.ended(timeout)

    async def ended(self, timeout: float = 20.0) -> int:  # noqa: ASYNC109
        """Wait for the process's end; the exit code."""
        await until(lambda: not self.running, "the process ends", timeout)
        return cast(int, self.code)

    def kill(self) -> None:
        """`kill -9`, and wait."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def code(self) -> int | None:
        return None if self.process is None else self.process.poll()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    # -- what it says and takes ------------------------------------------------------------------------

    def _file(self, name: str) -> Path:
        return self.folder / f"hookmq.{self._starts}.{name}"

    @property
    def stdout(self) -> str:
        """What the latest process printed."""
        return self._file("out").read_text()

    @property
    def log(self) -> str:
        """What the latest process logged (standard error)."""
        return self._file("err").read_text()

    async def said(self, text: str, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Wait until the log holds the text."""
        await until(lambda: text in self.log, f"the log says {text!r}", timeout)

    def rss(self) -> int:
        """Resident bytes."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024

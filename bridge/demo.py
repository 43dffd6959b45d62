"""`hookmq demo`: a broker, a receiver and three simulated devices in one terminal, on free ports.

The broker is the real one, in a process of its own; receiver and devices live here. Everything is gone at
the end: the store lies in a temporary folder.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import msgspec

from bridge.devices import Device, press, robot, scale
from bridge.listen import Printer, Receiver, on_stop_signals, run_loop
from bridge.terminal import Renderer, Request

START_SECONDS = 20.0  # until the broker listens
LAST_EVENTS_SECONDS = 5.0  # after the devices have gone, for the events of their going
STOP_SECONDS = 10.0  # for the broker to end by itself

_LISTENING = re.compile(r"mqtt://127\.0\.0\.1:(\d+)")

_CONF = """\
webhook {{
  url = "http://127.0.0.1:{port}/"
  events = [
    {{ event = on_client_connack }}
    {{ event = on_client_disconnected }}
    {{ event = on_message_publish }}
  ]
}}
listeners.tcp {{ bind = "127.0.0.1:0" }}
sqlite {{ mounted_file_path = {folder} }}
log {{ to = [console], level = warn }}
"""


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


def demo(seconds: float = 0.0, *, stream: TextIO | None = None, color: bool | None = None) -> int:
    """Runs until Ctrl-C, or for `seconds` when that is not 0. Returns the exit code. Raises DemoError."""
    stream = sys.stdout if stream is None else stream
    if color is None:
        color = stream.isatty() and not os.environ.get("NO_COLOR")
    with tempfile.TemporaryDirectory(prefix="hookmq-demo-") as folder:
        return run_loop(_main(Path(folder), seconds, stream, color))


async def _main(folder: Path, seconds: float, stream: TextIO, color: bool) -> int:
    done = asyncio.Event()
    on_stop_signals(done.set)
    printer = Printer(stream, Renderer(color=color, headers=["webhook-id"]), stop=done.set)
    tally = _Tally()

    def seen(request: Request, status: int, elapsed: float) -> None:
        tally.saw(request.body)
        printer.seen(request, status, elapsed)

    receiver = Receiver(seen)
    port = await receiver.start("127.0.0.1", 0)
    broker = _Broker(folder, port)
    try:
        mqtt_port = await broker.start()
        stream.write(
            f"Broker mqtt://127.0.0.1:{mqtt_port}, receiver http://127.0.0.1:{port}/, three devices."
            " Ctrl-C ends.\nEach block is one POST. Connect a client of your own (MQTTX: host 127.0.0.1, port"
            f" {mqtt_port})\nand what it publishes comes here too.\n\n"
        )
        stream.flush()
        devices = [device(mqtt_port) for device in (press, robot, scale)]
        sent = await _run_devices(devices, broker, done, seconds)
        await tally.wait_for({device.client_id for device in devices}, sent)
    finally:
        await broker.stop()
        await receiver.stop()
    with suppress(BrokenPipeError):
        stream.write(f"\nThe devices sent {sent} messages; {printer.seen_requests} requests came in all.\n")
        stream.flush()
    return 0


class _Body(msgspec.Struct):
    """What the demo reads of a body of its own broker."""

    action: str = ""
    clientid: str = ""
    from_client_id: str = ""


class _Tally:
    """What came from the devices, so that the demo ends when their last events have come.

    The broker would keep what is still on its way for its next start, but the demo's store has none.
    """

    def __init__(self) -> None:
        self._messages: Counter[str] = Counter()
        self._open: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def saw(self, body: bytes) -> None:
        with suppress(msgspec.DecodeError):
            event = msgspec.json.decode(body, type=_Body)
            if event.action == "message_publish":
                self._messages[event.from_client_id] += 1
            else:
                self._open[event.clientid] += 1 if event.action == "client_connack" else -1
            self._changed.set()

    async def wait_for(self, clients: set[str], messages: int) -> None:
        """Until so many messages of the clients came and the ends of all their connections."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_EVENTS_SECONDS):
                while any(self._open[client] for client in clients) or (
                    sum(self._messages[client] for client in clients) < messages
                ):
                    self._changed.clear()
                    await self._changed.wait()


async def _run_devices(devices: list[Device], broker: _Broker, done: asyncio.Event, seconds: float) -> int:
    """Runs the devices until `done`, a fault or the end of `seconds`; then disconnects them.

    Returns the number of messages that they sent. Raises DemoError.
    """
    tasks = [asyncio.create_task(device.run()) for device in devices]
    ends = [asyncio.create_task(done.wait()), asyncio.create_task(broker.ended())]
    await asyncio.wait([*tasks, *ends], timeout=seconds or None, return_when=asyncio.FIRST_COMPLETED)
    for task in [*tasks, *ends]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    broken = ends[1].done() and not ends[1].cancelled()
    await asyncio.gather(*ends, return_exceptions=True)
    if broken:
        raise DemoError(f"The broker ended: {broker.last_words()}")
    for device, result in zip(devices, results, strict=True):
        if isinstance(result, Exception):
            raise DemoError(f"The device {device.client_id} failed: {result or type(result).__name__}")
    return sum(device.sent for device in devices)


class _Broker:
    """`hookmq start` in a process of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self._conf = folder / "nanomq.conf"
        self._conf.write_text(
            _CONF.format(port=port, folder=msgspec.json.encode(str(folder / "data")).decode()), "utf-8"
        )
        self._lines: deque[str] = deque(maxlen=20)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._port: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def start(self) -> int:
        """Starts it and returns the port it listens on, once it does. Raises DemoError."""
        # The settings are the demo's own, whatever HOOKMQ_... the user has set; the package is this one,
        # whatever the current folder holds.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOKMQ_")}
        environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "bridge", "start", "--conf", str(self._conf)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the demo, which ends the broker in its turn
        )
        self._reader = asyncio.create_task(self._read())
        try:
            return await asyncio.wait_for(asyncio.shield(self._port), START_SECONDS)
        except TimeoutError:
            raise DemoError(
                f"The broker does not listen after {START_SECONDS:g} s: {self.last_words()}"
            ) from None

    async def _read(self) -> None:
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        async for raw in self._process.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            self._lines.append(line)
            if not self._port.done() and (match := _LISTENING.search(line)):
                self._port.set_result(int(match[1]))
        if not self._port.done():
            self._port.set_exception(DemoError(f"The broker did not start: {self.last_words()}"))

    async def ended(self) -> None:
        """Returns when the process has ended."""
        if self._process is not None:
            await self._process.wait()

    def last_words(self) -> str:
        """What it said last."""
        return "\n".join(self._lines) or "it said nothing."

    async def stop(self) -> None:
        """Ends it as SIGTERM does, or by force after a while."""
        if self._process is None or self._reader is None:
            return
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await self._reader

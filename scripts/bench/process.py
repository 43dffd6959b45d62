"""Processes under measurement: started, talked to, measured from /proc, and always ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Sink:
    """The receiver's process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scripts.bench.sink"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._read())

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, line: str) -> str:
        """Send a line and return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._read()

    def count(self) -> tuple[int, int]:
        """Requests, and distinct webhook-ids among them."""
        requests, distinct = self.say("count").split()
        return int(requests), int(distinct)

    def wait_for(self, distinct: int, seconds: float) -> float:
        """Wait until that many events came; returns the monotonic time, or raises TimeoutError."""
        end = time.monotonic() + seconds
        while self.count()[1] < distinct:
            if time.monotonic() > end:
                raise TimeoutError(f"the sink has {self.count()} of {distinct} events")
            time.sleep(0.02)
        return time.monotonic()

    def latencies(self) -> list[float]:
        """Milliseconds from publish to receipt since the last call, ascending."""
        found: list[float] = json.loads(self.say("latency"))
        return found

    def actions(self) -> dict[str, list[str]]:
        """What each client did, by client id, in the order of the events."""
        found: dict[str, list[str]] = json.loads(self.say("actions"))
        return found

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


class Broker:
    """A real `hookmq start` on a configuration of its own."""

    def __init__(self, folder: Path, webhook: str, *, extra: str = "") -> None:
        """Start it."""
        folder.mkdir(parents=True, exist_ok=True)
        conf = folder / "nanomq.conf"
        conf.write_text(
            f"""
listeners.tcp {{ bind = "127.0.0.1:0" }}
sqlite {{ mounted_file_path = "{folder}" }}
log {{ to = [file], dir = "{folder}", level = warn }}
{webhook}
{extra}
"""
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "start", "--conf", str(conf)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ports: dict[str, int] = {}  # by the kind of listener
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = re.search(r"listening  (\w+)://.*:(\d+)", line)
            if found is not None:
                kind = {"mqtt": "tcp", "mqtts": "ssl"}.get(found[1], found[1])
                self.ports[kind] = int(found[2])
            if "store" in line:
                break
        if "tcp" not in self.ports:
            raise SystemExit(f"hookmq did not start: {conf}")

    @property
    def port(self) -> int:
        """Of the TCP listener."""
        return self.ports["tcp"]

    def memory(self) -> int:
        """Resident bytes."""
        return memory_of(self.process.pid)

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return cpu_of(self.process.pid)

    def close(self) -> None:
        """Stop it and wait for it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def memory_of(pid: int) -> int:
    """Resident bytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no VmRSS in /proc: this measurement needs Linux")


def cpu_of(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def webhook(port: int, **keys: object) -> str:
    """The webhook block for a sink: every message, 32 connections."""
    lines = "\n".join(f"  {key} = {value}" for key, value in keys.items())
    return f"""webhook {{
  url = "http://127.0.0.1:{port}/hook"
  pool_size = 32
{lines}
  events = [ {{ event = on_message_publish, topic = "bench/#" }} ]
}}"""


def publish(port: int, *options: object) -> dict[str, Any]:
    """Run the publishers to their end."""
    return load("publishers", port, *options)


def load(clients: str, port: int, *options: object) -> dict[str, Any]:
    """Run a module of clients to its end; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"scripts.bench.{clients}", str(port), *map(str, options)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found

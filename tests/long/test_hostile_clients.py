"""Clients that do what they should not, by the thousand: they are ended, and all others are served."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.certificates import Authority
from tests.integration.load import Sink
from tests.integration.mqtt_client import Client
from tests.integration.process import ALL_EVENTS, ROOT, HookMQ, webhook
from tests.long.healthy import assert_served, healthy, prefer, told

pytestmark = pytest.mark.long

MB = 1 << 20
FUZZ_S = float(os.environ.get("FUZZ_SECONDS", "120"))
FUZZ_PACKETS = int(os.environ.get("FUZZ_PACKETS", "0"))
"""The fuzzer goes on until both are reached."""
SILENT = 10_000


def listeners(folder: Path) -> str:
    """One of each other kind beside tcp."""
    cert, key = Authority(folder).issue("server")
    files = f'certfile = "{cert}", keyfile = "{key}"'
    return (
        f'listeners.ssl {{ bind = "127.0.0.1:0", {files} }}\nlisteners.ws {{ bind = "127.0.0.1:0/mqtt" }}\n'
        f'listeners.wss {{ bind = "127.0.0.1:0/mqtt", {files} }}'
    )


def ports(hookmq: HookMQ) -> dict[str, int]:
    """The port of each kind of listener."""
    kinds = {"mqtt": "tcp", "mqtts": "ssl", "ws": "ws", "wss": "wss"}
    found = re.findall(r"listening  (\w+)://[^:]*:(\d+)", hookmq.stdout)
    return {kinds[scheme]: int(port) for scheme, port in found}


def spent(hookmq: HookMQ) -> float:
    """Processor seconds so far."""
    fields = Path(f"/proc/{hookmq.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Probed(HookMQ):
    """A HookMQ that tells of its loop (`tests.long.probed`)."""

    def __init__(self, folder: Path, *blocks: str) -> None:
        self._told = folder / "probe.json"
        super().__init__(folder, *blocks, env={"PROBE": str(self._told)})
        self.module = "tests.long.probed"

    def told(self) -> dict[str, Any]:
        """What the probe knows."""
        try:
            found: dict[str, Any] = json.loads(self._told.read_text())
        except FileNotFoundError:
            return {"packets": 0}
        return found


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: then it is the broker that is slow, and not a busy disk."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < 512 * MB:
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="hookmq-", dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.timeout(FUZZ_S + FUZZ_PACKETS / 2000 + 180)
async def test_fuzz_live_listeners(quick_path: Path) -> None:
    """FUZZ_SECONDS or FUZZ_PACKETS say how long, TEST_SEED makes the same sessions again."""
    tmp_path = quick_path
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 100_000))
    print(f"\nTEST_SEED={seed}", flush=True)
    # Small bounds, so that what a client may leave behind reaches them within the run.
    limits = "max_retained = 500, max_sessions = 500, session_expiry_interval = 1s, max_packet_size = 1MB"
    # Nothing is kept of what was delivered: the page cache is not what is measured.
    store = "sqlite.retention { max_bytes = 1MB }"
    sizes = []
    async with receiver() as url:
        hook = webhook(url, *ALL_EVENTS, extra="batch { max_events = 1000 }\nbacklog.max_bytes = 64MB")
        async with Probed(tmp_path, hook, listeners(tmp_path), f"mqtt {{ {limits} }}", store) as hookmq:
            prefer(hookmq.pid)
            async with healthy(hookmq) as times, fuzzers(hookmq, seed) as did:
                begin, worked = time.monotonic(), spent(hookmq)
                while time.monotonic() - begin < FUZZ_S or hookmq.told()["packets"] < FUZZ_PACKETS:
                    await asyncio.sleep(min(2.0, FUZZ_S / 20))
                    assert hookmq.running
                    sizes.append(hookmq.rss())
                seconds, worked = time.monotonic() - begin, spent(hookmq) - worked
            assert await hookmq.stop() == 0
            found = hookmq.told()
            log = hookmq.log
    steps = [size // MB for size in sizes[:: max(1, len(sizes) // 12)]]
    print(
        f"{found['packets']:,} packets, {found['packets'] / seconds:,.0f}/s, "
        f"{worked / found['packets'] * 1e6:.0f} us of processor time each, {did['connections']:,} sessions, "
        f"{did['stalled']} of them left unread; RSS {steps} MB; {told(times)}; "
        f"longest turn {found['longest']:.0f} ms, {found['longest_waiting']:.0f} with the disk"
    )
    for stack, count in found["stacks"]:
        print(f"  {count} times above 50 ms: {stack}")
    assert did["connections"] > 100
    assert did["stalled"] < did["connections"] / 20
    assert len(times) > FUZZ_S * 2
    assert_served(times)
    assert found["longest"] < 100, found["stacks"]
    faults = [line for line in log.splitlines() if "Traceback" in line or "ERROR" in line]
    assert not faults, log[log.index(faults[0]) :][:3000]
    half = len(sizes) // 2
    assert max(sizes[half:]) - max(sizes[:half]) < 16 * MB


@asynccontextmanager
async def receiver() -> AsyncIterator[str]:
    """The URL of a receiver in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.long.sink"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        prefer(process.pid)
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}/hook"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def fuzzers(hookmq: HookMQ, seed: int) -> AsyncIterator[Counter[str]]:
    """A fuzzer for each kind of listener, in processes that give way to all others; what they did."""
    did: Counter[str] = Counter()
    running = []
    try:
        for kind, port in ports(hookmq).items():
            command = ("-m", "tests.long.fuzzer", kind, str(port), str(seed))
            process = await asyncio.create_subprocess_exec(
                *("nice", "-n", "10", sys.executable, *command),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            running.append(process)
        yield did
        for out, _ in await asyncio.gather(*[process.communicate(b"") for process in running]):
            did.update(json.loads(out))
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()


@pytest.mark.timeout(180)
async def test_ten_thousand_that_never_send_connect(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < SILENT + 500:
        pytest.skip(f"at most {hard} open files are allowed here, this needs {SILENT + 500}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sockets: list[socket.socket] = []
    try:
        async with (  # noqa: SIM117
            Sink() as sink,
            HookMQ(tmp_path, webhook(sink.url, *ALL_EVENTS), "mqtt.connect_timeout = 8s") as hookmq,
        ):
            async with healthy(hookmq) as times:
                loop = asyncio.get_running_loop()
                before = hookmq.rss()
                begin = time.monotonic()
                for number in range(SILENT):
                    sock = socket.socket()
                    sock.setblocking(False)
                    sockets.append(sock)
                    await loop.sock_connect(sock, ("127.0.0.1", hookmq.port))
                    if number % 3 == 0:
                        await loop.sock_sendall(sock, b"\x10")  # the first byte of a CONNECT, and no more
                opened = time.monotonic() - begin
                held = hookmq.rss()
                assert opened < 8, "too slow: the first are closed already"
                late = await Client.connect(hookmq.port, "late")  # there is room for one that speaks
                await late.publish("a", b"x", qos=1)
                for sock in sockets:
                    async with asyncio.timeout(30):
                        assert await loop.sock_recv(sock, 10) == b""
                closed = time.monotonic() - begin
                assert await hookmq.stop() == 0
    finally:
        for sock in sockets:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    each = (held - before) / SILENT
    print(f"\n{SILENT} opened in {opened:.1f} s, closed after {closed:.1f} s; {each:.0f} bytes each")
    print(told(times))
    assert closed < opened + 8 + 3
    assert_served(times)
    assert len(hookmq.log.splitlines()) < SILENT
    assert each < 8192

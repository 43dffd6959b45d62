"""Clients that do what they should not, by the thousand: they are ended, and all others are served."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.mqtt.packets import Puback, Publish
from tests.integration.certificates import Authority
from tests.integration.load import Sink
from tests.integration.mqtt_client import Client
from tests.integration.process import ALL_EVENTS, ROOT, HookMQ, webhook

pytestmark = pytest.mark.long

MB = 1 << 20
FUZZ_S = float(os.environ.get("FUZZ_SECONDS", "120"))
FUZZ_PACKETS = int(os.environ.get("FUZZ_PACKETS", "0"))
"""The fuzzer goes on until both are reached."""
SILENT = 10_000


@asynccontextmanager
async def healthy(hookmq: HookMQ) -> AsyncIterator[list[float]]:
    """A publisher and a subscriber that are served all along; the list gets the seconds of each round.

    The time in which HookMQ, or the test itself, could run and had no processor is not counted: the machine
    has other work. HookMQ's own slowness is.
    """
    times: list[float] = []
    port = hookmq.port
    publisher = await Client.connect(port, "healthy-publisher", version=5, keepalive=5)
    subscriber = await Client.connect(port, "healthy-subscriber", keepalive=5)
    await subscriber.subscribe("healthy/topic", 1)

    def now() -> float:
        return time.monotonic() - waited(hookmq.pid) - waited(os.getpid())

    async def beat() -> None:
        number = 0
        while True:
            number += 1
            begin = now()
            assert await publisher.publish("healthy/topic", b"%d" % number, qos=1) == 0
            message = await subscriber.expect(Publish)
            assert message.payload == b"%d" % number
            subscriber.send(Puback(message.packet_id))
            times.append(now() - begin)
            begin = now()
            await subscriber.ping()
            times.append(now() - begin)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(beat())
    try:
        yield times
    finally:
        task.cancel()
        ended = (await asyncio.gather(task, return_exceptions=True))[0]
    if not isinstance(ended, asyncio.CancelledError):
        raise ended  # type: ignore[misc]


def waited(pid: int) -> float:
    """Seconds for which the process's loop could run and had no processor."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def assert_served(times: list[float]) -> None:
    """Within 100 ms; one in a hundred may meet a moment in which other programs had the disk."""
    ordered = sorted(times)
    assert ordered[len(ordered) * 99 // 100] < 0.1, told(times)
    assert ordered[-1] < 1, told(times)


def told(times: list[float]) -> str:
    """For the report: how the healthy clients fared."""
    ordered = [seconds * 1000 for seconds in sorted(times)]
    at = [ordered[len(ordered) * share // 100] for share in (50, 99)]
    return f"healthy: p50 {at[0]:.1f}, p99 {at[1]:.1f}, worst {ordered[-1]:.1f} ms of {len(ordered)}"


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


@pytest.mark.timeout(FUZZ_S * 2 + 180)
async def test_fuzz_live_listeners(tmp_path: Path) -> None:
    """FUZZ_SECONDS or FUZZ_PACKETS say how long, TEST_SEED makes the same sessions again."""
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 100_000))
    print(f"\nTEST_SEED={seed}", flush=True)
    # Small bounds, so that what a client may leave behind reaches them within the run.
    limits = "max_retained = 500, max_sessions = 500, session_expiry_interval = 1s, max_packet_size = 1MB"
    # Nothing is kept of what was delivered: the page cache is not what is measured.
    store = "sqlite.retention { max_bytes = 1MB }"
    total: Counter[str] = Counter()
    sizes = []
    async with (
        Sink() as sink,
        HookMQ(
            tmp_path,
            webhook(sink.url, *ALL_EVENTS, extra="batch { max_events = 1000 }\nbacklog.max_bytes = 64MB"),
            listeners(tmp_path),
            f"mqtt {{ {limits} }}",
            store,
        ) as hookmq,
    ):
        async with healthy(hookmq) as times:
            begin = time.monotonic()
            number = 0
            while time.monotonic() - begin < FUZZ_S or total["packets"] < FUZZ_PACKETS:
                number += 1
                runs = [
                    fuzz(kind, port, FUZZ_S / 6, f"{seed}.{number}") for kind, port in ports(hookmq).items()
                ]
                for did in await asyncio.gather(*runs):
                    total.update(did)
                assert hookmq.running
                sizes.append(hookmq.rss())
                sink.posts.clear()
        spent = time.monotonic() - begin
        assert await hookmq.stop() == 0
        log = hookmq.log
    print(
        f"{total['packets']:,} packets, {total['packets'] / spent:,.0f}/s, {total['connections']:,} sessions;"
        f" RSS {[size // MB for size in sizes]} MB; {told(times)}"
    )
    assert total["connections"] > 100
    assert total["stalled"] < total["connections"] / 20
    assert len(times) > FUZZ_S * 2
    assert_served(times)
    assert "Traceback" not in log
    assert "ERROR" not in log
    half = len(sizes) // 2
    assert max(sizes[half:]) - max(sizes[:half]) < 16 * MB


async def fuzz(kind: str, port: int, seconds: float, seed: str) -> dict[str, int]:
    """Run the fuzzer in a process of its own; what it did."""
    process = await asyncio.create_subprocess_exec(
        *("nice", sys.executable, "-m", "tests.long.fuzzer", kind, str(port), str(seconds), seed),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        out = (await process.communicate())[0]
    finally:
        if process.returncode is None:
            process.kill()
    return json.loads(out)  # type: ignore[no-any-return]


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

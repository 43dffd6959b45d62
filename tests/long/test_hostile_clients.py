"""Clients that do what they should not, by the thousand: they are ended, and all others are served."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.mqtt.packets import Publish
from tests.integration.load import Sink
from tests.integration.mqtt_client import Client
from tests.integration.process import ALL_EVENTS, ROOT, HookMQ, webhook

pytestmark = pytest.mark.long

MB = 1 << 20
FUZZ_S = float(os.environ.get("FUZZ_SECONDS", "30"))
SILENT = 10_000


@asynccontextmanager
async def healthy(port: int) -> AsyncIterator[list[float]]:
    """A publisher and a subscriber that are served all along; the list gets the seconds of each round."""
    times: list[float] = []
    publisher = await Client.connect(port, "healthy-publisher", version=5, keepalive=5)
    subscriber = await Client.connect(port, "healthy-subscriber", keepalive=5)
    await subscriber.subscribe("healthy/topic", 1)

    async def beat() -> None:
        number = 0
        while True:
            number += 1
            begin = time.monotonic()
            assert await publisher.publish("healthy/topic", b"%d" % number, qos=1) == 0
            message = await subscriber.expect(Publish)
            assert message.payload == b"%d" % number
            await subscriber.ping()
            times.append(time.monotonic() - begin)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(beat())
    try:
        yield times
    finally:
        task.cancel()
        ended = (await asyncio.gather(task, return_exceptions=True))[0]
    if not isinstance(ended, asyncio.CancelledError):
        raise ended  # type: ignore[misc]


def starved(hookmq: HookMQ) -> float:
    """How many times longer than its own work the process took, since it had to wait for a processor."""
    ran, waited = map(int, Path(f"/proc/{hookmq.pid}/schedstat").read_text().split()[:2])  # nanoseconds
    return (ran + waited) / ran


def assert_served(times: list[float], starved: float) -> None:
    """Within 100 ms; one in a hundred may meet a moment in which other programs had the processors."""
    ordered = sorted(times)
    assert ordered[len(ordered) * 99 // 100] < 0.1 * starved, (told(times), starved)
    assert ordered[-1] < 1 * starved, (told(times), starved)


def told(times: list[float]) -> str:
    """For the report: how the healthy clients fared."""
    ordered = [seconds * 1000 for seconds in sorted(times)]
    at = [ordered[len(ordered) * share // 100] for share in (50, 99)]
    return f"healthy: p50 {at[0]:.1f}, p99 {at[1]:.1f}, worst {ordered[-1]:.1f} ms of {len(ordered)}"


@pytest.mark.timeout(FUZZ_S + 120)
async def test_fuzz_a_live_listener(tmp_path: Path) -> None:
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 100_000))
    # Small bounds, so that what a client may leave behind reaches them within the run.
    limits = "max_retained = 500, max_sessions = 500, session_expiry_interval = 1s, max_packet_size = 1MB"
    sizes = []
    connections = 0
    async with (
        Sink() as sink,
        HookMQ(tmp_path, webhook(sink.url, *ALL_EVENTS), f"mqtt {{ {limits} }}") as hookmq,
    ):
        async with healthy(hookmq.port) as times:
            for number in range(6):
                connections += await fuzz(hookmq.port, FUZZ_S / 6, seed + number)
                sizes.append(hookmq.rss())
                sink.posts.clear()
        waited = starved(hookmq)
        assert await hookmq.stop() == 0
        log = hookmq.log
    print(
        f"\nseed {seed}: {connections:,} connections; RSS {[size // MB for size in sizes]} MB; {told(times)}"
        f" (x{waited:.1f})"
    )
    assert connections > 100
    assert len(times) > FUZZ_S * 10
    assert_served(times, waited)
    assert "Traceback" not in log
    assert "ERROR" not in log
    assert len(log.splitlines()) <= connections + 10
    assert sizes[-1] - sizes[1] < 16 * MB


async def fuzz(port: int, seconds: float, seed: int) -> int:
    """Run the fuzzer in a process of its own; how many connections it made."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.long.fuzzer", str(port), str(seconds), str(seed)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        out = (await process.communicate())[0]
    finally:
        if process.returncode is None:
            process.kill()
    return int(json.loads(out)["connections"])


@pytest.mark.timeout(180)
async def test_ten_thousand_that_never_send_connect(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < SILENT + 500:
        pytest.skip(f"at most {hard} open files are allowed here, this needs {SILENT + 500}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sockets: list[socket.socket] = []
    try:
        async with (
            Sink() as sink,
            HookMQ(tmp_path, webhook(sink.url, *ALL_EVENTS), "mqtt.connect_timeout = 8s") as hookmq,
        ):
            async with healthy(hookmq.port) as times:
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
            waited = starved(hookmq)
            assert await hookmq.stop() == 0
    finally:
        for sock in sockets:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    each = (held - before) / SILENT
    print(f"\n{SILENT} opened in {opened:.1f} s, closed after {closed:.1f} s; {each:.0f} bytes each")
    print(f"{told(times)} (x{waited:.1f})")
    assert closed < opened + 8 + 3
    assert_served(times, waited)
    assert len(hookmq.log.splitlines()) < SILENT
    assert each < 8192

"""A client that behaves, in a process of its own: `python -m tests.long.healthy PORT PID`.

It publishes, gets what it published, and pings, over and over, until its standard input ends. Then it prints
the seconds of each round as JSON. The time in which HookMQ's process `PID`, or this one, could run and had no
processor is not counted: the machine has other work. HookMQ's own slowness is.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from bridge.mqtt.packets import Puback, Publish
from tests.integration.mqtt_client import Client
from tests.integration.process import ROOT, HookMQ

PAUSE_S = 0.01


def waited(pid: int) -> float:
    """Seconds for which the process's loop could run and had no processor."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


async def beat(port: int, pid: int, times: list[float]) -> None:
    """Round after round. Fails if an answer takes five seconds."""
    publisher = await Client.connect(port, "healthy-publisher", version=5, keepalive=5)
    subscriber = await Client.connect(port, "healthy-subscriber", keepalive=5)
    await subscriber.subscribe("healthy/topic", 1)
    own = os.getpid()

    def now() -> float:
        return time.monotonic() - waited(pid) - waited(own)

    print("ready", flush=True)
    number = 0
    while True:
        number += 1
        begin = now()
        assert await publisher.publish("healthy/topic", b"%d" % number, qos=1) == 0
        message = await subscriber.expect(Publish)
        assert message.payload == b"%d" % number, message
        subscriber.send(Puback(message.packet_id))
        times.append(now() - begin)
        begin = now()
        await subscriber.ping()
        times.append(now() - begin)
        await asyncio.sleep(PAUSE_S)


async def main(port: int, pid: int) -> None:
    """Go on until standard input ends."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    times: list[float] = []
    beating = asyncio.create_task(beat(port, pid, times))
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait([beating, waiting], return_when=asyncio.FIRST_COMPLETED)
    if beating.done():
        await beating
    beating.cancel()
    print(json.dumps(times))


@asynccontextmanager
async def healthy(hookmq: HookMQ) -> AsyncIterator[list[float]]:
    """A publisher and a subscriber that are served all along; at the end the list has the seconds of each
    round. They go before others where the machine is busy, since they are not what is measured."""
    times: list[float] = []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.long.healthy", str(hookmq.port), str(hookmq.pid)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 26,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        prefer(process.pid)
        assert await process.stdout.readline() == b"ready\n"
        yield times
        process.stdin.close()
        told = await process.stdout.readline()
        assert await process.wait() == 0, "the healthy client was not served"
        times += json.loads(told)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def prefer(pid: int) -> None:
    """Let a process go before others, where that is allowed."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, -10)


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


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))

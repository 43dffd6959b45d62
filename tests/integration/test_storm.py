"""Many clients that lose their connections and come back all at once: all get in, and each one's events keep
their order."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, cast

import argon2
import pytest

from bridge.mqtt.encoder import encode_connect, encode_publish
from bridge.mqtt.packets import Connect
from tests.integration.load import Sink
from tests.integration.process import HookMQ, webhook

LIVES = 3
_CONNACK = b"\x20\x02\0\0"
_PUBACK = b"\x40\x02\0\1"


class Device(asyncio.Protocol):
    """One life of a client: it connects with its own password and publishes the number of this life."""

    def __init__(self, number: int, life: int) -> None:
        self.number = number
        self.life = life
        self.got = b""
        self.served: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        name = f"d{self.number}"
        connect = Connect(client_id=name, username=name, password=f"secret-{name}".encode())
        message = encode_publish(4, "life", b"%d" % self.life, qos=1, packet_id=1)
        self.transport.write(encode_connect(connect) + message)

    def data_received(self, data: bytes) -> None:
        self.got += data
        if self.got == _CONNACK + _PUBACK:
            self.served.set_result(None)
        elif not (_CONNACK + _PUBACK).startswith(self.got) and not self.served.done():
            self.served.set_exception(AssertionError(self.got))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.served.done():
            self.served.set_exception(AssertionError(f"d{self.number}: closed in life {self.life}"))


async def _all_in(port: int, devices: list[Device]) -> float:
    """Seconds until all that connect at once are served."""
    loop = asyncio.get_running_loop()
    begin = time.monotonic()
    await asyncio.gather(*[loop.create_connection(lambda d=d: d, "127.0.0.1", port) for d in devices])  # type: ignore[misc]
    await asyncio.gather(*[device.served for device in devices])
    return time.monotonic() - begin


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.long)])
@pytest.mark.timeout(120)
async def test_all_come_back_at_once(tmp_path: Path, count: int) -> None:
    """Every second one while the broker still holds its old connection, which is taken over."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    users = "".join(f'"d{at}" = "{hasher.hash(f"secret-d{at}")}"\n' for at in range(count))
    (tmp_path / "users.conf").write_text(users)
    access = 'auth { allow_anonymous = false, password = { include "users.conf" } }'
    events = ("on_client_connected", "on_client_disconnected", "on_message_publish")
    old: list[Device] = []
    times = []
    try:
        async with Sink() as sink, HookMQ(tmp_path, webhook(sink.url, *events), access) as hookmq:
            for life in range(LIVES):
                for device in old[::2]:
                    device.transport.abort()
                new = [Device(number, life) for number in range(count)]
                times.append(await _all_in(hookmq.port, new))
                old = new
            for device in old:
                device.transport.abort()
            await sink.wait_for(lambda: len(sink.posts) >= 3 * LIVES * count, "all events", 60)
            assert await hookmq.stop() == 0
            found = {post.id: post.json for post in sink.posts}
    finally:
        for device in old:
            device.transport.abort()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(f"\n{count} clients: in after {', '.join(f'{seconds:.2f}' for seconds in times)} s")
    did: dict[str, list[Any]] = defaultdict(list)
    for _, event in sorted(found.items()):
        if event["action"] == "message_publish":
            did[event["from_client_id"]].append(int(event["payload"]))
        else:
            did[event["clientid"]].append(event["action"])
    expected: list[Any] = []
    for life in range(LIVES):
        expected += ["client_connected", life, "client_disconnected"]
    assert {name: what for name, what in did.items() if what != expected} == {}
    assert len(did) == count

"""An answer that goes on: a reader that does not read is let go, and holds nobody up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from bridge.admin.dashboard import stream as module
from bridge.admin.dashboard.stream import EventStream, Watchers, message


class Flood:
    """A feed that always has something."""

    def __init__(self, data: bytes) -> None:
        self.ended = False
        self.closed = False
        self.taken = 0
        self._data = data

    async def take(self, timeout: float) -> bytes:  # noqa: ASYNC109
        self.taken += 1
        if not self._data:
            await asyncio.sleep(timeout)
        else:
            await asyncio.sleep(0)
        return self._data

    def close(self) -> None:
        self.closed = self.ended = True


class Server:
    """Answers every request with a stream of one feed."""

    def __init__(self) -> None:
        self.watchers = Watchers()
        self.feeds: list[Flood] = []
        self.data = b"x"
        self.valid = True
        self.used = 0
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        feed = Flood(self.data)
        self.feeds.append(feed)
        return EventStream(feed, self.watchers, lambda: self.valid, self._use, None)

    def _use(self) -> None:
        self.used += 1


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    runner = web.ServerRunner(web.Server(made.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    made.watchers.close()
    await runner.cleanup()


async def connect(server: Server) -> socket.socket:
    """A connection that has asked, and reads nothing."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(made, ("127.0.0.1", server.port))
    await loop.sock_sendall(made, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return made


def _rest(connection: socket.socket) -> int:
    """Read until the other end has closed; how many bytes came."""
    connection.settimeout(10)
    total = 0
    try:
        while data := connection.recv(1 << 20):
            total += len(data)
    except ConnectionResetError:
        pass
    return total


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_one_that_reads_nothing_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW_S", 0.2)
    server.data = message("tick", b'"' + b"x" * 65536 + b'"')
    stuck = await connect(server)
    await until(lambda: server.feeds and server.feeds[0].closed)
    taken = server.feeds[0].taken
    assert len(server.watchers._feeds) == 0
    assert taken * 65536 < 16 << 20  # what the system's buffers hold, and no more
    assert await asyncio.to_thread(_rest, stuck) <= taken * 70000
    stuck.close()


async def test_one_that_goes_is_noticed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    server.data = b""
    gone = await connect(server)
    await until(lambda: server.feeds)
    gone.close()
    await until(lambda: server.feeds[0].closed)


async def test_silence_is_broken_and_the_session_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    monkeypatch.setattr(module, "BEAT_S", 0.1)
    server.data = b""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(10):
        await reader.readuntil(b"retry: 2000\n\n")
        await reader.readuntil(b":\n\n")
    await until(lambda: server.used)
    server.valid = False
    async with asyncio.timeout(10):
        await reader.readuntil(b"0\r\n\r\n")
    assert server.feeds[0].closed
    writer.close()

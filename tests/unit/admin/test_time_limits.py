"""The time limits of the HTTP server, each made short: who is slow is let go, and nobody waits for him."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
from aiohttp import web

from bridge.admin import routes as routes_module
from bridge.admin import server as module
from bridge.admin.access import Access
from bridge.admin.api_keys import ApiKeys
from bridge.admin.problems import answer
from bridge.admin.routes import JSON_TYPES, Call, Plant, Route
from bridge.admin.server import AdminServer
from bridge.config.settings import HttpServer
from bridge.journal.journal import Journal
from bridge.journal.memory import MemoryStore

SHORT_S = 0.1
HEAD = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Stalled:
    """A plant whose store never answers, unless `stored` is called."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.release = asyncio.Event()


async def echo(call: Call) -> web.Response:
    return answer({"length": len(call.body)})


async def wait(call: Call) -> web.Response:
    await cast(Any, call.plant).release.wait()
    return answer({})


async def store(call: Call) -> web.Response:
    call.plant.journal.put("space", "key", b"value")
    await call.stored()
    return answer({})


ROUTES = (
    Route("POST", "/echo", None, echo, {}, JSON_TYPES),
    Route("GET", "/wait", None, wait, {}),
    Route("GET", "/store", None, store, {}),
)


@pytest.fixture
async def plant() -> Stalled:
    loop = asyncio.get_running_loop()
    return Stalled(Journal(MemoryStore(), loop))


Open = Callable[..., Awaitable[AdminServer]]


@pytest.fixture
async def opened(plant: Stalled) -> AsyncIterator[Open]:
    servers: list[AdminServer] = []

    async def make(**keys: Any) -> AdminServer:
        settings = HttpServer(port=0, auth_type="no_auth", **keys)
        keys_ = ApiKeys(plant.journal)
        access = Access(settings, keys_, asyncio.get_running_loop().time)
        made = await AdminServer.open(settings, ROUTES, access, cast(Plant, plant))
        await made.serve()
        servers.append(made)
        return made

    yield make
    plant.release.set()
    for server in servers:
        await server.close()


class Connection:
    """A client that sends what it wants, when it wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, server: AdminServer) -> Connection:
        host, _, port = server.address.removeprefix("http://").rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def rest(self) -> bytes:
        """What comes until the server closes, which it has to."""
        async with asyncio.timeout(10):
            try:
                return await self._reader.read()
            finally:
                self._writer.close()

    async def head(self) -> bytes:
        async with asyncio.timeout(10):
            return await self._reader.readuntil(b"\r\n\r\n")

    def close(self) -> None:
        self._writer.close()


async def test_a_connection_without_a_request_is_let_go(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_S", SHORT_S)
    connection = await Connection.to(await opened())
    assert await connection.rest() == b""


async def test_a_head_that_does_not_end(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", SHORT_S)
    connection = await Connection.to(await opened())
    connection.send(HEAD)
    await connection.rest()


async def test_between_two_requests(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", SHORT_S)
    connection = await Connection.to(await opened())
    connection.send(HEAD + b"Content-Length: 2\r\n\r\n{}")
    assert await connection.rest() != b""  # and it was closed


async def test_a_body_that_does_not_end(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_S", SHORT_S)
    for framing in (b"Content-Length: 9\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"):
        connection = await Connection.to(await opened())
        connection.send(HEAD + framing)
        found = await connection.rest()
        assert found.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in found


async def test_a_turn_that_does_not_come(
    opened: Open, plant: Stalled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_S", SHORT_S)
    server = await opened(limit_conn=1)
    first, second = await Connection.to(server), await Connection.to(server)
    first.send(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while not server._turns.locked():  # noqa: ASYNC110
            await asyncio.sleep(0)
    second.send(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
    found = await second.head()
    assert found.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1" in found
    plant.release.set()
    assert (await first.head()).startswith(b"HTTP/1.1 200 ")
    first.close()
    second.close()


async def test_a_store_that_does_not_answer(
    opened: Open, plant: Stalled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes_module, "STORED_S", SHORT_S)
    monkeypatch.setattr(plant.journal.store, "sync", lambda: None)
    connection = await Connection.to(await opened())
    connection.send(b"GET /store HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    found = await connection.rest()
    assert found.startswith(b"HTTP/1.1 503 ")
    assert b"not known" in found


async def test_an_end_waits_for_nobody_for_ever(
    opened: Open, plant: Stalled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_S", SHORT_S)
    server = await opened()
    connection = await Connection.to(server)
    connection.send(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(10):
        while server._turns._value == server._settings.limit_conn:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await server.close()
    connection.close()

"""The control socket: what it accepts and refuses, its bounds, and what a client is told where none is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.control import client as client_module
from bridge.control import server as module
from bridge.control.client import Client, CommandError, NotRunning
from bridge.control.protocol import MAX_ADDRESS, ControlError, socket_path
from bridge.control.server import ControlServer, Refused
from tests.integration.process import until


class Service:
    """Commands of a test."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.running = 0

    async def answer(self, command: str, args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        if command == "echo":
            yield {"progress": {"done": 1}}
            yield {"rows": [1, 2]}
            yield {"result": args}
        elif command == "refuse":
            raise Refused("not today")
        elif command == "break":
            raise ZeroDivisionError("a fault with a s3cret")
        elif command == "flood":
            for _ in range(1000):
                yield {"rows": ["x" * 100_000]}
            yield {"result": None}
        elif command == "huge":
            yield {"result": "x" * (9 << 20)}
        elif command == "wait":
            self.running += 1
            try:
                while True:
                    yield {"progress": {}}
                    await asyncio.sleep(0.01)
            finally:
                self.running -= 1
                self.ended.append(command)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "hookmq.db"


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def server(store: Path, service: Service) -> AsyncIterator[ControlServer]:
    opened = await ControlServer.open(socket_path(store), service.answer)
    yield opened
    opened.close()


async def call(store: Path, command: str, **args: Any) -> list[dict[str, Any]]:
    def work() -> list[dict[str, Any]]:
        with Client(store) as client:
            return list(client.call(command, **args))

    return await asyncio.to_thread(work)


async def raw(store: Path, data: bytes) -> list[Any]:
    """Send bytes; the lines that came until the end."""
    reader, writer = await asyncio.open_unix_connection(str(socket_path(store)), limit=1 << 24)
    writer.write(data)
    lines = [json.loads(line) async for line in reader]
    writer.close()
    return lines


async def test_a_command_and_its_answer(server: ControlServer, store: Path) -> None:
    lines = await call(store, "echo", a=1, b="ü", nothing=None)
    assert lines == [{"progress": {"done": 1}}, {"rows": [1, 2]}, {"result": {"a": 1, "b": "ü"}}]


async def test_nobody_else_may_open_it(server: ControlServer, store: Path) -> None:
    assert socket_path(store).stat().st_mode & 0o777 == 0o600


async def test_a_refusal_is_told(server: ControlServer, store: Path) -> None:
    with pytest.raises(CommandError, match="not today"):
        await call(store, "refuse")


async def test_a_fault_of_our_own_goes_to_the_log_alone(
    server: ControlServer, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CommandError, match="its log has more") as found:
        await call(store, "break")
    assert "s3cret" not in str(found.value)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"hello\n", "not a request"),
        (b"[]\n", "not a request"),
        (b'{"args": {}}\n', "not a request"),
        (b'{"command": "echo", "more": 1}\n', "not a request"),
        (b'{"command": 7}\n', "not a request"),
        (b"\xff\n", "not a request"),
        (b'{"command": "' + b"x" * 100_000 + b'"}\n', "longer than 65536 bytes"),
        (b"x" * 100_000, "longer than 65536 bytes"),
    ],
)
async def test_what_is_no_request(server: ControlServer, store: Path, data: bytes, says: str) -> None:
    [line] = await raw(store, data)
    assert says in line["error"]


async def test_an_answer_has_a_bound(server: ControlServer, store: Path) -> None:
    with pytest.raises(CommandError, match="longer than"):
        await call(store, "huge")


async def test_a_client_that_says_nothing_is_let_go(
    server: ControlServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REQUEST_S", 0.05)
    assert await raw(store, b"") == []


async def test_a_client_that_does_not_read_is_let_go(
    server: ControlServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_S", 0.05)
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(socket_path(store)))
    sock.sendall(b'{"command": "flood"}\n')
    await until(lambda: server._clients.tasks, "the client is there")
    await until(lambda: not server._clients.tasks, "it is let go")
    sock.close()


async def test_a_client_that_goes_ends_its_command(
    server: ControlServer, store: Path, service: Service
) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket_path(store)))
    writer.write(b'{"command": "wait"}\n')
    assert json.loads(await reader.readline()) == {"progress": {}}
    writer.close()
    await until(lambda: service.ended, "the command has ended")
    assert service.running == 0


async def test_a_close_ends_the_commands(store: Path, service: Service) -> None:
    server = await ControlServer.open(socket_path(store), service.answer)
    reader, writer = await asyncio.open_unix_connection(str(socket_path(store)))
    writer.write(b'{"command": "wait"}\n')
    await reader.readline()
    server.close()
    async with asyncio.timeout(10):
        await reader.read()
    assert service.ended
    assert not socket_path(store).exists()
    writer.close()


async def test_too_many_clients(server: ControlServer, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 2)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            reader, writer = await asyncio.open_unix_connection(str(socket_path(store)))
            stack.callback(writer.close)
            writer.write(b'{"command": "wait"}\n')
            await reader.readline()
        with pytest.raises(CommandError, match="2 commands are running already"):
            await call(store, "echo")
    await until(lambda: not server._clients.tasks, "they have gone")
    assert (await call(store, "echo"))[-1] == {"result": {}}


async def test_a_socket_that_a_crash_left_is_replaced(store: Path, service: Service) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(socket_path(store)))
    left.close()
    with pytest.raises(NotRunning, match=f"no HookMQ runs on the store {store}"):
        Client(store)
    server = await ControlServer.open(socket_path(store), service.answer)
    assert (await call(store, "echo"))[-1] == {"result": {}}
    server.close()


async def test_a_file_in_the_way_is_left_alone(store: Path, service: Service) -> None:
    socket_path(store).write_text("mine")
    with pytest.raises(ControlError, match="is not a socket"):
        await ControlServer.open(socket_path(store), service.answer)
    assert socket_path(store).read_text() == "mine"


@pytest.mark.parametrize("extra", [0, 1, 150])
async def test_a_path_longer_than_an_address(tmp_path: Path, service: Service, extra: int) -> None:
    """At the bound, and beyond it by way of the folder."""
    length = MAX_ADDRESS - len(os.fsencode(tmp_path)) - len("//hookmq.sock") + extra
    folder = tmp_path / ("d" * length)
    folder.mkdir()
    store = folder / "hookmq.db"
    assert len(os.fsencode(socket_path(store))) == MAX_ADDRESS + extra
    server = await ControlServer.open(socket_path(store), service.answer)
    assert (await call(store, "echo", a=1))[-1] == {"result": {"a": 1}}
    assert socket_path(store).exists()
    server.close()
    assert not socket_path(store).exists()


async def test_a_path_that_cannot_be_reached_is_said_plainly(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.control.protocol.sys.platform", "darwin")
    store = tmp_path / ("d" * 150) / "hookmq.db"
    store.parent.mkdir()
    for attempt in (ControlServer.open(socket_path(store), service.answer), asyncio.to_thread(Client, store)):
        with pytest.raises(ControlError, match="too long for a socket's address"):
            await attempt


@pytest.mark.parametrize("name", ["hookmq.db", "missing/hookmq.db"])
def test_where_none_runs(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotRunning, match="no HookMQ runs on the store"):
        Client(tmp_path / name)


def test_without_unix_sockets_it_is_said(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ControlError, match="Unix sockets"):
        Client(store)


class Peer:
    """A server that says one thing to one client, and ends."""

    def __init__(self, store: Path, said: bytes, *, hold: bool = False) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(socket_path(store)))
        self.socket.listen()
        self.done = threading.Event()
        self._said, self._hold = said, hold
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        connection, _ = self.socket.accept()
        connection.recv(1000)
        connection.sendall(self._said)
        if self._hold:
            self.done.wait(10)
        connection.close()
        self.socket.close()


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (b"", "ended before it had answered"),
        (b'{"progress": {}}\n', "ended before it had answered"),
        (b'{"progress": {', "ended before it had answered"),
        (b"nonsense\n", "the connection to HookMQ failed"),
    ],
)
def test_a_server_that_ends_in_between(store: Path, said: bytes, says: str) -> None:
    Peer(store, said)
    with Client(store) as client, pytest.raises(ControlError, match=says):
        list(client.call("status"))


def test_a_server_that_says_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SILENCE_S", 0.1)
    peer = Peer(store, b"", hold=True)
    with Client(store) as client, pytest.raises(ControlError, match="has not answered"):
        list(client.call("status"))
    peer.done.set()

"""Fixtures for delivery: both event loops, certificates, and a bare pool that tells its outcomes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from bridge.config.settings import Endpoint
from bridge.delivery.connect import Network
from bridge.delivery.egress import Trust
from bridge.delivery.http import Connection
from bridge.delivery.pool import Pool
from bridge.delivery.retry import Outcome
from bridge.delivery.target import Target
from bridge.events.formats import Format
from tests.integration.receiver import Certificates, Receiver, make_certificates

STORE_ID = "0123456789ab"


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every asynchronous test runs on both loops: their transports differ at the ends of connections."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory, command: Callable[[str], str]) -> Certificates:
    command("openssl")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


class Client:
    """A pool that sends what it is given as connections are free, and keeps the outcomes."""

    def __init__(
        self,
        url: str,
        *,
        size: int = 1,
        timeout: float = 5.0,
        network: Network | None = None,
        trust: Trust = "operator",
        form: Format | None = None,
        **settings: Any,
    ) -> None:
        endpoint = Endpoint(url=url, pool_size=size, **settings)
        loop = asyncio.get_running_loop()
        target = Target(endpoint, STORE_ID, form)
        way = (network or Network(loop)).connector(target, proxy=endpoint.proxy, trust=trust)
        self.pool = Pool(target, size, timeout, loop, connector=way)
        self.pool.on_success = lambda connection: self._done(connection, Outcome(status=200))
        self.pool.on_failure = self._done
        self.pool.on_free = self._pump
        self.waiting: deque[tuple[int, bytes]] = deque()
        self.outcomes: list[tuple[int, Outcome]] = []
        self._changed = asyncio.Event()
        self._next = 0

    def send(self, body: bytes = b"{}", count: int = 1) -> None:
        """Queue requests; their sequences count from 1."""
        for _ in range(count):
            self._next += 1
            self.waiting.append((self._next, body))
        self._pump()

    async def outcome(self, body: bytes = b"{}") -> Outcome:
        """Send one request and wait for its end."""
        self.send(body)
        return (await self.wait(self._next))[-1][1]

    async def wait(self, count: int, within: float = 10.0) -> list[tuple[int, Outcome]]:
        """Wait for that many outcomes in all."""
        async with asyncio.timeout(within):
            while len(self.outcomes) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.outcomes

    def _pump(self) -> None:
        while self.waiting and (connection := self.pool.free()) is not None:
            seq, body = self.waiting.popleft()
            connection.send(seq, 1, body)

    def _done(self, connection: Connection, outcome: Outcome) -> None:
        self.outcomes.append((connection.seq, outcome))
        self._changed.set()
        self.pool.release(connection)
        self._pump()


Connect = Callable[..., Client]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """`connect(url, …)`: a Client, closed at the end."""
    clients: list[Client] = []

    def make(url: str, **settings: Any) -> Client:
        clients.append(Client(url, **settings))
        return clients[-1]

    yield make
    for client in clients:
        client.pool.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """A file that is no certificate."""
    path = tmp_path / "garbage.pem"
    path.write_text("not a certificate")
    return path


async def until(condition: Callable[[], object], within: float = 10.0) -> None:
    """Wait for a condition that nothing announces."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the condition did not come true")
        await asyncio.sleep(0.002)

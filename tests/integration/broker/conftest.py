"""Fixtures: brokers in the test's own loop, protocol versions, a certificate."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.broker.hooks import Hooks
from bridge.config.settings import Listener, Mqtt
from bridge.events.rules import Rules
from bridge.journal.memory import MemoryStore
from bridge.journal.sqlite import SqliteStore
from bridge.journal.store import Store
from tests.integration.broker.running import EVERY_EVENT, NANOMQ_EVENTS, Crash, Running, Start


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the product runs on; HOOKMQ_TEST_LOOP=asyncio: that of the standard library."""
    if os.environ.get("HOOKMQ_TEST_LOOP") != "asyncio":
        with contextlib.suppress(ImportError):
            import uvloop

            return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`await start(max_mqueue_len=5, ...)`: a broker with these `mqtt` settings; several may run.

    `store`: a Store (in memory if not given); `listeners`: default one TCP port; `hooks`: more Hooks;
    `clock`: Unix seconds; `rules`: which events its journal gets.
    """
    running: list[Running] = []
    failures: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))

    async def begin(
        *,
        store: Store | None = None,
        listeners: tuple[Listener, ...] = (),
        hooks: tuple[Hooks, ...] = (),
        clock: Callable[[], float] | None = None,
        rules: Rules = NANOMQ_EVENTS,
        **settings: Any,
    ) -> Running:
        more = {} if clock is None else {"clock": clock}
        store = store if store is not None else MemoryStore()
        one = Running(store, Mqtt(**settings), hooks, rules, **more)
        running.append(one)
        await one.start(*listeners)
        return one

    yield begin
    for one in running:
        await one.stop()
    await asyncio.sleep(0)
    assert not failures, failures  # an exception that nobody caught, whatever the test looked at


@pytest.fixture
async def broker(start: Start) -> Running:
    """A broker with the default settings."""
    return await start()


@pytest.fixture
async def detailed(start: Start) -> Running:
    """A broker that makes every event with all its details."""
    return await start(rules=EVERY_EVENT)


@pytest.fixture(params=[3, 4, 5], ids=["3.1", "3.1.1", "5.0"])
def version(request: pytest.FixtureRequest) -> int:
    """Every protocol version."""
    return int(request.param)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory, command: Callable[[str], str]) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            command("openssl"),
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.fixture
def new_store(tmp_path: Path) -> Callable[[], SqliteStore]:
    return lambda: SqliteStore.open(tmp_path / "1" / "hookmq.db", asyncio.get_running_loop())


@pytest.fixture
def crash(tmp_path: Path) -> Crash:
    """The store as the kill of its process leaves it: a copy of its files while it goes on unknowing."""
    count = 1

    def copy(broker: Running) -> SqliteStore:
        nonlocal count
        count += 1
        assert isinstance(broker.store, SqliteStore)
        path = broker.store.path
        folder = tmp_path / str(count)
        folder.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", folder / f"{path.name}{suffix}")
        return SqliteStore.open(folder / path.name, asyncio.get_running_loop())

    return copy

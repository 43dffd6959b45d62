"""Lanes under a policy, on a loop whose time a test moves on: no test here waits for a schedule."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bridge.journal.memory import MemoryStore
from tests.unit.delivery.policy.warp import Make, WarpLoop, wall
from tests.unit.delivery.rig import Rig


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """These tests are about decisions in time; sockets behave on both loops as the other tests prove."""
    return {"warp": WarpLoop}


@pytest.fixture
async def rig() -> AsyncIterator[Make]:
    """`rig(url, …)`: a started Rig whose clock goes with the loop's, killed at the end."""
    made: list[Rig] = []

    def make(url: str, store: MemoryStore | None = None, **settings: Any) -> Rig:
        made.append(Rig(url, store, **{"clock": wall, **settings}))
        return made[-1].start()

    yield make
    for each in made:
        each.kill()

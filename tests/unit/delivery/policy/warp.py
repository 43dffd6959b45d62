"""A loop whose time a test moves on, and what goes with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.integration.receiver import Request
from tests.unit.delivery.rig import Rig

EPOCH = 1_800_000_000.0


class WarpLoop(asyncio.SelectorEventLoop):
    """A loop whose clock can be moved on: what is due until then is run."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped


async def turns(count: int = 5) -> None:
    """Let the loop run what is ready."""
    for _ in range(count):
        await asyncio.sleep(0)


async def warp(seconds: float) -> None:
    """Move on. Let no request be in flight that must not meet its time limit."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, WarpLoop)
    loop.skipped += seconds
    await turns()


def wall() -> float:
    """A wall clock that goes with the loop's."""
    return EPOCH + asyncio.get_running_loop().time()


def texts(requests: list[Request]) -> list[str]:
    """The payload of each request, or its topic."""
    return [request.json.get("payload") or request.json["topic"] for request in requests]


Make = Callable[..., Rig]

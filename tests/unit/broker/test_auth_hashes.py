"""The order in which hashes are checked, where more are asked for than the threads can do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from bridge.broker import auth_hashes
from bridge.broker.auth_hashes import Busy, HashPool, Remembered


class Desk:
    """A pool of one thread that does one check at a time, when it is told to."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.failed: set[str] = set()
        self.done: list[str] = []
        self._go = threading.Semaphore(0)
        self.pool = HashPool(
            loop,
            Remembered(loop.time),
            self._check,
            threads=1,
            failing=lambda address: address in self.failed,
        )

    def _check(self, stored: str, password: bytes) -> bool:
        self._go.acquire(timeout=10)
        self.done.append(password.decode())
        return password.startswith(b"right")

    def ask(self, address: str, password: str) -> asyncio.Future[bool]:
        return self.pool.ask(address, password.encode(), "hash", password.encode())

    async def check(self, *futures: asyncio.Future[bool]) -> list[bool]:
        for _ in futures:
            self._go.release()
        return await asyncio.gather(*futures)

    def close(self) -> None:
        for _ in range(100):
            self._go.release()
        self.pool.close()


@pytest.fixture
async def desk() -> Iterator[Desk]:  # type: ignore[misc]
    one = Desk()
    yield one
    one.close()


async def test_addresses_take_turns(desk: Desk) -> None:
    asked = [desk.ask("a", f"a{n}") for n in range(4)] + [desk.ask("b", "right")]
    assert await desk.check(*asked) == [False, False, False, False, True]
    assert desk.done == ["a0", "a1", "right", "a2", "a3"]


async def test_who_has_failed_waits_behind_all_others(desk: Desk) -> None:
    asked = [desk.ask(address, f"{address}{n}") for n in range(2) for address in "abcd"]
    desk.failed = {"b", "c"}  # since they asked
    asked += [desk.ask("e", "right"), desk.ask("b", "b2")]
    await desk.check(*asked)
    assert desk.done == ["a0", "d0", "a1", "right", "d1", "b0", "c0", "b1", "c1", "b2"]


async def test_the_latest_comes_first_while_there_are_too_many(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth_hashes, "SOON", 3)
    asked = [desk.ask(f"a{n}", f"a{n}") for n in range(6)]
    await desk.check(*asked)
    assert desk.done == ["a0", "a5", "a4", "a1", "a2", "a3"]


async def test_one_that_waits_too_long_is_told_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_hashes, "MAX_WAIT_S", 0.1)
    first, second = desk.ask("a", "right1"), desk.ask("a", "right2")
    monkeypatch.setattr(auth_hashes, "MAX_WAIT_S", 20.0)
    third = desk.ask("a", "right3")
    await asyncio.sleep(0.2)
    assert await desk.check(first, third) == [True, True]  # the first was at work already
    with pytest.raises(Busy):
        await second
    again = desk.ask("a", "right2")
    assert await desk.check(again) == [True]
    assert desk.done == ["right1", "right3", "right2"]


async def test_many_questions_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_hashes, "MAX_WAITING", 2)
    asked = [desk.ask("a", "1"), desk.ask("a", "2")]
    with pytest.raises(Busy):
        desk.ask("b", "3")
    assert desk.ask("b", "2") is asked[1]  # the same question
    await desk.check(*asked)

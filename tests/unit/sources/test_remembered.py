"""What came before: found again, also by the next process; bounded in number and age."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bridge.journal.journal import Journal
from bridge.journal.memory import MemoryStore
from bridge.sources import remembered as module
from bridge.sources.remembered import MAX_AGE_S, Remembered


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    loop = asyncio.get_running_loop()
    journal = Journal(MemoryStore(), loop)
    yield journal
    journal.close()


async def test_it_is_found_again(journal: Journal) -> None:
    clock = Clock()
    one = Remembered(journal, "s", clock=clock)
    assert one.find("a") is None
    one.add("a", b"value")
    one.add("b")
    assert (one.find("a"), one.find("b"), one.find("c")) == (b"value", b"", None)
    journal.flush()
    again = Remembered(journal, "s", clock=clock)
    assert (again.find("a"), again.find("b"), len(again)) == (b"value", b"", 2)
    assert Remembered(journal, "other", clock=clock).find("a") is None


async def test_the_oldest_go(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 10)
    clock = Clock()
    one = Remembered(journal, "s", clock=clock)
    for number in range(25):
        clock.now += 1
        one.add(str(number))
    assert len(one) == 10
    assert one.find("14") is None
    assert one.find("15") == b""
    journal.flush()
    assert len(list(journal.store.load("s"))) == 10
    again = Remembered(journal, "s", clock=clock)
    again.add("x")  # the oldest of the last process goes first
    assert again.find("15") is None
    assert again.find("16") == b""


async def test_what_is_too_old_is_not_found_and_goes(journal: Journal) -> None:
    clock = Clock()
    one = Remembered(journal, "s", clock=clock)
    for number in range(100):
        one.add(str(number))
    clock.now += MAX_AGE_S + 1
    assert one.find("7") is None
    one.add("x")
    assert len(one) == 101 - 64  # some at a time
    one.add("y")
    assert len(one) == 2
    journal.flush()
    assert len(list(journal.store.load("s"))) == 2


async def test_a_text_that_comes_again_is_young_again(journal: Journal) -> None:
    clock = Clock()
    one = Remembered(journal, "s", clock=clock)
    one.add("a", b"1")
    clock.now += MAX_AGE_S - 1
    one.add("a", b"2")
    clock.now += 10
    assert one.find("a") == b"2"
    assert len(one) == 1

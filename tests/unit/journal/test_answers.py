"""What promises nothing (PINGRESP, PUBREC) goes at once, and never past an acknowledgement that waits."""

from __future__ import annotations

import asyncio

import pytest

from bridge.events.event import Event
from bridge.journal.journal import Journal
from bridge.journal.memory import MemoryStore


class Client:
    """What was written to one connection."""

    def __init__(self) -> None:
        self.got = b""

    def write_acks(self, data: bytearray) -> None:
        self.got += data


class SlowStore(MemoryStore):
    """Syncs when the test says so."""

    def sync(self) -> None:
        pass

    def catch_up(self) -> None:
        super().sync()


@pytest.fixture
async def slow() -> tuple[Journal, SlowStore]:
    store = SlowStore()
    return Journal(store, asyncio.get_running_loop()), store


async def turn(journal: Journal) -> None:
    journal.append(Event(10, 0, "c", None, "", ()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_an_answer_goes_at_once_where_nothing_waits(slow: tuple[Journal, SlowStore]) -> None:
    journal, store = slow
    busy, quiet = Client(), Client()
    journal.ack(busy, b"ack")
    journal.answer(quiet, b"pong")
    assert (busy.got, quiet.got) == (b"", b"pong")
    await turn(journal)
    store.catch_up()
    journal.answer(busy, b"pong")  # and again once it has its acknowledgement
    assert busy.got == b"ackpong"


async def test_an_answer_keeps_behind_all_that_its_client_waits_for(
    slow: tuple[Journal, SlowStore],
) -> None:
    journal, store = slow
    client = Client()
    for number in range(3):  # in three batches that are committed and not yet durable
        journal.ack(client, b"%d" % number)
        await turn(journal)
    journal.answer(client, b"pong")
    store.catch_up()  # the answer's own batch is still open
    assert client.got == b"012"
    journal.answer(client, b"more")
    assert client.got == b"012"
    await turn(journal)
    store.catch_up()
    assert client.got == b"012pongmore"


async def test_what_an_answer_costs_does_not_grow_with_what_waits(slow: tuple[Journal, SlowStore]) -> None:
    journal, _ = slow
    for _ in range(50):
        journal.ack(Client(), b"ack")
        await turn(journal)
    assert len(journal._waiting) == 50
    journal._waiting = None  # type: ignore[assignment]  # it is not looked at
    client = Client()
    journal.answer(client, b"pong")
    assert client.got == b"pong"


async def test_nobody_is_remembered_who_has_all(slow: tuple[Journal, SlowStore]) -> None:
    journal, store = slow
    clients = [Client() for _ in range(20)]
    for _ in range(3):
        for client in clients:
            journal.ack(client, b"ack")
        await turn(journal)
    store.catch_up()
    assert {client.got for client in clients} == {b"ackackack"}
    assert not journal._unacked

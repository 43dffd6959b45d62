"""The live tail: nothing listens while nobody watches, and what is kept for a watcher is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bridge.admin.dashboard import tail as module
from bridge.admin.dashboard.tail import KEEP_EVENTS, PER_TICK, Tail, TailFeed, Wanted
from bridge.admin.dashboard.tail_row import payload
from bridge.broker.hooks import HookChain, Hooks
from bridge.events.event import Event, EventType

MESSAGES = Wanted((EventType.MESSAGE_PUBLISH,), None, ())
BUSINESS = Wanted((), None, ("work_order.*",))


class Listening:
    """What the process is told to listen to."""

    def __init__(self) -> None:
        self.hooks: Hooks | None = None
        self.tap: Callable[[Event], None] | None = None
        self.calls = 0

    def __call__(self, hooks: Hooks | None, tap: Callable[[Event], None] | None) -> None:
        self.hooks, self.tap = hooks, tap
        self.calls += 1

    @property
    def chain(self) -> HookChain:
        return HookChain([] if self.hooks is None else [self.hooks])


def event(topic: str, number: int, size: int = 1, *targets: int) -> Event:
    return Event(10, number, "c", None, "", targets, topic, b"x" * size)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_nothing_listens_while_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.05)
    listening = Listening()
    tail = Tail(asyncio.get_running_loop(), listening)
    assert listening.calls == 0
    messages = tail.watch("admin", MESSAGES)
    assert listening.chain.on_published
    assert not listening.chain.on_delivered  # nor what nobody asked for
    assert not listening.chain.on_connected
    assert listening.tap is None
    business = tail.watch("admin", BUSINESS)
    assert listening.tap is not None
    messages.close()
    await until(lambda: listening.hooks is None)
    assert listening.tap is not None
    business.close()
    await until(lambda: listening.tap is None)
    assert len(tail) == 0
    assert tail._timer is None
    tail.close()


async def test_what_is_kept_is_bounded() -> None:
    tail = Tail(asyncio.get_running_loop(), Listening())
    feed = tail.watch("admin", MESSAGES)
    watch = feed._watch
    for number in range(3 * KEEP_EVENTS):
        watch.room = PER_TICK
        tail.take(event("a", number, 4096, watch.number))
    assert len(watch.rows) <= KEEP_EVENTS
    assert watch.size <= module.KEEP_BYTES
    assert len(watch.rows) + watch.dropped == 3 * KEEP_EVENTS
    read = b""
    while watch.waiting:
        part = watch.read()
        assert len(part) < module.SEND_BYTES + 8192
        read += part
    assert read.count(b"event: event\n") == len(watch.rows)
    tail.close()


async def test_a_full_watcher_makes_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_S", 3600.0)
    listening = Listening()
    tail = Tail(asyncio.get_running_loop(), listening)
    feed = tail.watch("admin", MESSAGES)
    made: list[Event] = []
    taken = tail.take

    def take(one: Event) -> None:
        made.append(one)
        taken(one)

    assert listening.hooks is not None
    listening.hooks._append = take  # type: ignore[attr-defined]
    (published,) = listening.chain.on_published
    from bridge.broker.client import Client
    from bridge.mqtt.packets import Publish

    client = Client.__new__(Client)
    client.clientid, client.username, client.peername = "c", None, ""
    for number in range(500):
        published(client, Publish("a", b"x"), 0, number)
    assert len(made) == PER_TICK
    assert feed._watch.dropped == 500 - PER_TICK
    tail.close()


async def test_detached_ones_are_bounded() -> None:
    tail = Tail(asyncio.get_running_loop(), Listening())
    for _ in range(100):
        tail.watch("admin", MESSAGES).close()
    assert len(tail) <= module.MAX_DETACHED
    tail.close()


async def test_a_second_reader_takes_the_place_of_the_first() -> None:
    tail = Tail(asyncio.get_running_loop(), Listening())
    first = tail.watch("admin", MESSAGES)
    tail.take(event("a", 1, 1, first._watch.number))
    seen = f"{first._watch.token}.0"
    second = tail.watch("admin", MESSAGES, seen)
    assert first.ended
    assert second._watch is first._watch
    assert b"event: event" in await second.take(1)
    first.close()  # and it takes nothing along
    assert second._watch.reader is second
    assert isinstance(second, TailFeed)
    tail.close()


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (b"", "", "plain"),
        ("é".encode() * 3000, "é" * 2048, "plain"),
        (b"a" + "é".encode() * 3000, "a" + "é" * 2047, "plain"),
        ("😀".encode() * 2000, "😀" * 1024, "plain"),
        (b"ab" + "😀".encode() * 2000, "ab" + "😀" * 1023, "plain"),
        (b"\xff", "/w==", "base64"),
        (b"\xff" * 5000, None, "base64"),
    ],
)
def test_a_payload_is_cut_between_characters(data: bytes, text: str | None, encoding: str) -> None:
    found = payload(data)
    assert found["payload_encoding"] == encoding
    assert found["payload_bytes"] == len(data)
    assert text is None or found["payload"] == text

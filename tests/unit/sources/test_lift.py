"""Messages that become events: what is cheap, what is bounded, and what the log is told."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence

import pytest

from bridge.config.settings import Lift
from bridge.events.event import Event
from bridge.events.js_json import LARGE
from bridge.events.rules import Rules
from bridge.journal.journal import Journal
from bridge.journal.memory import MemoryStore
from bridge.sources.intake import Intake
from bridge.sources.lift import CACHE_TOPICS, LOG_EVERY_S, MAX_PAYLOAD, Lifter


class Plant:
    """A lifter on a journal of its own, and a clock that a test moves on."""

    def __init__(self, *rules: Lift) -> None:
        self.now = 100.0
        self.stored: list[Event] = []
        self.journal = Journal(MemoryStore(), asyncio.get_running_loop())
        self.journal.on_commit.append(lambda batch: self.stored.extend(batch.events))
        wanted = Rules(types=[(1, "*")])
        self.intake = Intake(self.journal, lambda: wanted)
        self.lifter = Lifter(rules or (Lift(topic="{site}/{event}"),), self.intake, clock=lambda: self.now)

    def message(self, topic: str, payload: object = None, *, strict: bool = False) -> str:
        body = json.dumps({"data": {}} if payload is None else payload).encode()
        refused = self.lifter.offer(topic, body, "c", None, "", strict=strict)
        if not refused:
            self.lifter.take()
        return refused

    def events(self) -> Sequence[Event]:
        self.journal.flush()
        return self.stored


async def test_variables_and_type() -> None:
    plant = Plant()
    assert plant.message("berlin/a/b", {"data": {"x": 1.0}, "timestamp": 0, "id": 7, "tenant_id": "t"}) == ""
    (event,) = plant.events()
    assert (event.topic, event.payload, event.clientid) == ("a.b", b'{"x":1}', "c")
    assert event.data == {
        "id": "7",
        "timestamp": "1970-01-01T00:00:00.000Z",
        "tenant_id": "t",
        "site": "berlin",
    }


async def test_what_was_offered_and_not_taken_is_forgotten() -> None:
    plant = Plant()
    plant.lifter.offer("berlin/a", b'{"data":{},"id":"x"}', "c", None, "", strict=False)
    assert plant.message("elsewhere/a/b/c") == ""
    assert plant.events() == []
    assert plant.message("berlin/a", {"data": {}, "id": "x"}) == ""  # nothing was remembered of it
    assert len(plant.events()) == 1
    assert plant.lifter.counts == {"events": 1, "repeated": 0, "refused": 0}
    assert plant.message("berlin/a", {"data": {}, "id": "x"}) == ""
    assert plant.lifter.counts == {"events": 1, "repeated": 1, "refused": 0}


async def test_what_is_remembered_of_topics_is_bounded() -> None:
    plant = Plant(Lift(topic="{site}/a/#", type="x.y"))
    for number in range(CACHE_TOPICS + 10):
        plant.lifter.offer(f"s/b/{number}", b"{}", "c", None, "", strict=False)
    plant.lifter.offer("s/a/" + "x" * 1000, b"{}", "c", None, "", strict=False)
    cache = plant.lifter._cache
    assert 0 < len(cache) <= CACHE_TOPICS
    assert max(map(len, cache)) < 300


async def test_large_payloads_are_read_beside_the_loop() -> None:
    plant = Plant(Lift(topic="a/{event}"))
    lifter = plant.lifter
    large = b'{"x": "' + b"x" * LARGE + b'"}'

    def offer(topic: str, payload: bytes) -> None:
        lifter.offer(topic, payload, "c", None, "", strict=False)
        lifter.take()

    assert lifter.looking("b/x.y", large) is None
    assert lifter.looking("a/x.y", b"x" * (MAX_PAYLOAD + 1)) is None
    offer("a/x.y", large)  # not looked into
    assert plant.events() == []
    for topic, payload, count in (("a/x.y", large, 1), ("a/x.y", large[:-1], 1), ("a/x.z", large, 2)):
        looking = lifter.looking(topic, payload)
        assert looking is not None
        async with looking:
            offer(topic, payload)
        assert len(plant.events()) == count
        assert lifter._looked == {}
    # Other rules, taken up while it was read.
    looking = lifter.looking("a/x.y", large)
    assert looking is not None
    async with looking:
        lifter.set_rules([Lift(topic="a/#", type="other.rule")])
        offer("a/x.y", large)
    assert [event.topic for event in plant.events()] == ["x.y", "x.z", "other.rule"]
    assert lifter.counts == {"events": 3, "repeated": 0, "refused": 2}


async def test_the_log_is_told_of_the_first_and_then_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    plant = Plant()
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            plant.message("\x1b[31m" + "s" * 500 + "/a", "no object")
        assert len(caplog.messages) == 1
        plant.now += LOG_EVERY_S - 0.1
        plant.message("s/a", 7)
        assert len(caplog.messages) == 1
        plant.now += 0.1
        plant.message("s/b", {"data": {}, "id": "a b"})
        assert len(caplog.messages) == 2
    first, second = caplog.messages
    assert "\x1b" not in first
    assert len(first) < 600
    assert "expected a JSON object" in first
    assert "'s/b'" in second
    assert "and of 1,000 messages before it" in second
    assert "/id" in second
    assert plant.lifter.counts == {"events": 0, "repeated": 0, "refused": 1002}


async def test_rules_in_their_order() -> None:
    plant = Plant(Lift(topic="a/{b}", type="first.{b}"), Lift(topic="#", type="rest"))
    for topic in ("a/x", "a/y z", "a/x/y", "$SYS/x"):
        plant.message(topic)
    assert [event.topic for event in plant.events()] == ["first.x", "rest"]
    assert plant.lifter.counts["refused"] == 1  # `first.y z` is no type

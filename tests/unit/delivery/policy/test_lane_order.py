"""`ordering`: who waits for whom, what is parked and how much, and what a restart makes of it."""

from __future__ import annotations

import asyncio
import random as randomness
from collections import defaultdict
from typing import Any

import pytest

from bridge.config.settings import BatchPolicy, RetryPolicy
from bridge.delivery import backlog, lane, retries
from bridge.delivery.ordering import key_function
from bridge.events.event import EventType
from tests.integration import receiver as scripts
from tests.integration.receiver import Exchange, Receiver
from tests.unit.delivery.conftest import until
from tests.unit.delivery.policy.warp import Make, texts, turns, warp
from tests.unit.delivery.rig import Rig

RETRY = RetryPolicy(schedule=(0, 10, 10))


async def settled(box: Rig) -> None:
    """Everything was delivered or given up, and the store knows."""
    lane = box.lane
    await until(lambda: not (lane.retrying or lane.backlog_events or lane._unsettled()))
    box.flush()
    state = box.store.lane("default")
    assert (state.holes, state.retries) == ([], 0)
    assert len(box.lane._retries.order) == 0
    assert (box.lane._retries.parked, box.lane._retries.held_bytes, box.lane._retries.bytes) == (0, 0, 0)


def message(box: Rig, client: str, text: str, topic: str = "t") -> int:
    """Append a message with a topic of its own."""
    event = box.event(text=text, client=client)
    event.topic = topic
    return box.journal.append(event)


# -- keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ordering", "message", "delivered", "lifecycle"),
    [
        ("none", "", "", "c"),
        ("client", "c", "receiver", "c"),
        ("topic", "topic:a/b", "topic:a/b", "c"),
        ("endpoint", "*", "*", "*"),
    ],
)
async def test_what_has_which_key(
    ordering: str, message: str, delivered: str, lifecycle: str, receiver: Receiver, rig: Make
) -> None:
    box = rig(receiver.url())
    key = key_function(ordering)
    event = box.event(text="a/b")
    assert key(event) == message
    event = box.event(EventType.MESSAGE_DELIVERED, text="a/b")
    event.data = {"to_clientid": "receiver", "to_username": None}
    assert key(event) == delivered
    assert key(box.event(EventType.CLIENT_CONNECTED)) == lifecycle
    subscribed = box.event(EventType.SESSION_SUBSCRIBED, text="a/b")
    assert key(subscribed) == lifecycle


# -- client ------------------------------------------------------------------------------------------------


async def test_two_events_of_a_client_are_never_in_flight_together(receiver: Receiver, rig: Make) -> None:
    flying: dict[str, int] = defaultdict(int)
    most = 0

    async def play(exchange: Exchange) -> None:
        nonlocal most
        client = exchange.request.json.get("from_client_id") or exchange.request.json["clientid"]
        flying[client] += 1
        most = max(most, flying[client])
        await turns(3)
        flying[client] -= 1
        await exchange.respond(204)

    receiver.script = play
    box = rig(receiver.url(), pool_size=8, ordering="client")
    for n in range(30):
        for client in "abc":
            if n % 5:
                message(box, client, f"{client}{n}")
            else:
                box.life(client, f"{client}{n}")
    await receiver.wait_count(90)
    await settled(box)
    assert most == 1
    assert receiver.most_busy == 3  # others go on
    for client in "abc":
        sent = [text for text in texts(receiver.requests) if text[0] == client]
        assert sent == [f"{client}{n}" for n in range(30)]


async def test_they_keep_their_order_across_retries_and_others_go_on(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=4, ordering="client", retry=RETRY)
    receiver.scripts.append(scripts.status(500))
    for n in range(5):
        message(box, "a", f"a{n}")
    await until(lambda: box.lane.retrying == 5)  # the first waits, four are parked as rows
    for n in range(5):
        message(box, "b", f"b{n}")
    message(box, "a", "a5")
    await receiver.wait_count(6)
    await until(lambda: box.lane.retrying == 6)
    assert texts(receiver.requests) == ["a0", *[f"b{n}" for n in range(5)]]
    await warp(10.1)
    await receiver.wait_count(12)
    await settled(box)
    assert texts(receiver.requests)[6:] == [f"a{n}" for n in range(6)]


async def test_when_the_blocking_event_is_dead_its_successors_go_on(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=4, ordering="client", retry=RetryPolicy(schedule=(0, 10)))
    receiver.scripts.extend([scripts.status(500), scripts.status(500)])
    for n in range(3):
        message(box, "a", f"a{n}")
    await until(lambda: box.lane.retrying == 3)
    await warp(10.1)
    await receiver.wait_count(4)
    await settled(box)
    assert texts(receiver.requests) == ["a0", "a0", "a1", "a2"]
    assert box.lane.dead == 1


async def test_at_the_bound_of_what_is_parked_the_lane_stops(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=4, ordering="client", max_parked=3, retry=RETRY)
    receiver.scripts.append(scripts.status(500))
    for n in range(6):
        message(box, "a", f"a{n}")
    message(box, "b", "b0")
    await until(lambda: box.lane.retrying == 4)
    await turns(20)
    assert texts(receiver.requests) == ["a0"]
    assert box.lane.backlog_events == 3  # two of a, and b behind them: they wait in the log
    await warp(10.1)
    await receiver.wait_count(8)
    await settled(box)
    assert [text for text in texts(receiver.requests)[1:] if text[0] == "a"] == [f"a{n}" for n in range(6)]


async def test_a_stopped_lane_still_sends_its_retries(receiver: Receiver, rig: Make) -> None:
    """The blocked event at the head of what is fresh must not keep the due retry that would free it."""
    box = rig(receiver.url(), pool_size=1, ordering="client", max_parked=1, retry=RETRY)
    receiver.scripts.extend([scripts.status(500)] * 2)
    for n in range(4):
        message(box, "a", f"a{n}")
    await until(lambda: box.lane.retrying == 2 and not box.lane.in_flight)
    await warp(10.1)
    await until(lambda: box.lane.failed == 2)
    await warp(10.1)
    await receiver.wait_count(6)
    await settled(box)
    assert texts(receiver.requests) == ["a0", "a0", "a0", "a1", "a2", "a3"]


async def test_a_hot_key_costs_no_row_and_bounded_memory(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "HELD_BYTES", 40_000)
    box = rig(receiver.url(), pool_size=4, ordering="client")
    changes: list[Any] = []
    change = box.journal.change
    monkeypatch.setattr(box.journal, "change", lambda each: (changes.append(each), change(each)))
    receiver.delay = 0.0005
    for n in range(1000):
        message(box, "hot", f"{n}")
    await until(lambda: box.lane._retries.parked)
    most = 0
    while box.lane.delivered < 1000:
        most = max(most, box.lane._retries.held_bytes)
        await asyncio.sleep(0.001)
    await settled(box)
    assert texts(receiver.requests) == [str(n) for n in range(1000)]
    assert 30_000 < most <= 40_000
    assert changes == []


async def test_many_parked_events_make_the_cursor_no_burden(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "MANY_HOLES", 10)
    box = rig(receiver.url(), pool_size=4, ordering="client")
    for n in range(300):
        message(box, "hot", f"{n}")
    told = 0

    def on_dirty() -> None:
        nonlocal told
        told += 1
        box.lane.cursor()

    await until(lambda: box.lane.delivered)
    box.lane.dirty = False
    box.lane.on_dirty = on_dirty
    await until(lambda: box.lane.delivered > 250)
    assert told < 40
    box.lane.on_dirty = box.journal.touch
    box.lane.dirty = False
    await until(lambda: box.lane.delivered == 300)
    await settled(box)


# -- topic, endpoint ---------------------------------------------------------------------------------------


async def test_order_by_topic(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=4, ordering="topic", retry=RETRY)
    receiver.scripts.append(scripts.status(500))
    for n in range(3):
        message(box, f"client{n}", f"x{n}", "x")
        message(box, f"client{n}", f"y{n}", "y")
    await until(lambda: box.lane.delivered == 3 and box.lane.retrying == 3)
    assert texts(receiver.requests) == ["x0", "y0", "y1", "y2"]
    await warp(10.1)
    await receiver.wait_count(7)
    await settled(box)
    assert texts(receiver.requests)[4:] == ["x0", "x1", "x2"]


async def test_order_of_the_endpoint_waits_in_the_log(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=4, ordering="endpoint", retry=RETRY)
    receiver.scripts.extend([scripts.status(204), scripts.status(500)])
    for n in range(50):
        message(box, f"client{n}", f"{n}", f"topic{n}")
    await until(lambda: box.lane.failed == 1)
    await turns(20)
    assert (box.lane.delivered, box.lane.retrying, box.lane.backlog_events) == (1, 1, 48)
    await warp(10.1)
    await receiver.wait_count(51)
    await settled(box)
    assert texts(receiver.requests) == ["0", "1", *[str(n) for n in range(1, 50)]]
    assert receiver.most_busy == 1


# -- restarts ----------------------------------------------------------------------------------------------


async def test_what_was_parked_keeps_its_order_over_a_restart(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), pool_size=4, ordering="client", retry=RETRY)
    receiver.scripts.append(scripts.status(500))
    for n in range(40):
        message(box, "a", f"a{n}")
    await until(lambda: box.lane.retrying == 40)
    box.flush()
    again = rig(receiver.url(), box.kill(), pool_size=4, ordering="client", retry=RETRY)
    message(again, "a", "a40")
    await warp(10.1)
    await receiver.wait_count(42)
    await settled(again)
    assert texts(receiver.requests)[1:] == [f"a{n}" for n in range(41)]


async def test_rows_from_before_the_order_was_chosen_keep_to_it(receiver: Receiver, rig: Make) -> None:
    receiver.status = 500
    box = rig(receiver.url(), pool_size=1, retry=RETRY)
    for n in range(4):
        message(box, "a", f"a{n}")
    await until(lambda: box.lane.retrying == 4 and not box.lane.in_flight)
    box.flush()
    receiver.status = 204
    again = rig(receiver.url(), box.kill(), pool_size=4, ordering="client", retry=RETRY)
    message(again, "a", "a4")
    await warp(10.1)
    await receiver.wait_count(9)
    await settled(again)
    assert texts(receiver.requests)[4:] == [f"a{n}" for n in range(5)]
    again.flush()
    third = rig(receiver.url(), again.kill(), pool_size=4, ordering="client", retry=RETRY)
    assert not third.lane.health.reordered()


# -- all at once -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("ordering", "batch"),
    [
        ("client", None),
        ("topic", None),
        ("endpoint", None),
        ("client", BatchPolicy(max_events=5, max_wait=0.01)),
        ("none", BatchPolicy(max_events=5, max_wait=0.0)),
    ],
)
async def test_random_failures_and_crashes_keep_every_order(
    receiver: Receiver,
    rig: Make,
    monkeypatch: pytest.MonkeyPatch,
    ordering: str,
    batch: BatchPolicy | None,
    seed: int,
) -> None:
    """Everything arrives, what comes twice has one id and one body, and no key's events swap."""
    monkeypatch.setattr(backlog, "MEMORY_EVENTS", 60)
    monkeypatch.setattr(backlog, "READ_BYTES", 3000)
    monkeypatch.setattr(lane, "MAX_RETRYING", 40)
    monkeypatch.setattr(retries, "MAX_HELD", 8)
    dice = randomness.Random(seed)
    well = [scripts.status(204), scripts.respond_and_close, scripts.respond_with_close]
    ill = [scripts.status(500), scripts.reset, scripts.close, scripts.cut_in_body]
    accepted: dict[str, list[str]] = defaultdict(list)  # by key, as the receiver took them
    bodies: dict[str, bytes] = {}
    flying: set[str] = set()
    together: list[str] = []

    def items(exchange_body: Any) -> list[str]:
        found = exchange_body if isinstance(exchange_body, list) else [{"body": exchange_body}]
        return [item["body"].get("payload") or item["body"]["topic"] for item in found]

    async def play(exchange: Exchange) -> None:
        request = exchange.request
        assert bodies.setdefault(request.id, request.body) == request.body
        names = items(request.json)
        keys = {"*" if ordering == "endpoint" else name.split("-")[0] for name in names}
        if ordering == "none":
            keys = {key for key in keys if key != "m"}
        together.extend(keys & flying)
        flying.update(keys)
        try:
            if dice.random() < 0.5:
                await turns(dice.randrange(6))
            script = dice.choice(well if not ill or dice.random() < 0.6 else ill)
            if script in well:
                for name in names:
                    accepted["*" if ordering == "endpoint" else name.split("-")[0]].append(name)
        finally:
            flying.difference_update(keys)
        await script(exchange)

    receiver.script = play
    settings: dict[str, Any] = {
        "pool_size": 5,
        "ordering": ordering,
        "max_parked": 12,
        "retry": RetryPolicy(schedule=(0, *[0.02] * 60)),
        "batch": batch,
    }
    box = rig(receiver.url(), **settings)
    count: dict[str, int] = defaultdict(int)
    total: list[str] = []
    crashes = 0
    for _ in range(100):
        for _ in range(dice.randrange(8)):
            key = dice.choice("abm")
            name = f"{key}-{count[key]}"
            count[key] += 1
            total.append(name)
            if key != "m" and dice.random() < (1.0 if ordering == "none" else 0.3) and ordering != "topic":
                box.life(key, name)
            else:
                message(box, key, name, topic=key)
        box.journal._commit()
        if dice.random() < 0.05:
            together.clear()
            box = rig(receiver.url(), box.kill(), **settings)
            flying.clear()
            crashes += 1
            receiver.close_connections()
        await warp(dice.random() * 0.01)
        await asyncio.sleep(0.001)
    ill.clear()

    async def finish() -> bool:
        await warp(0.05)
        return not (box.lane.retrying or box.lane.backlog_events or box.lane._unsettled())

    for _ in range(5000):
        if await finish():
            break
        await asyncio.sleep(0.001)
    await settled(box)
    assert box.store.dead(box.lane.id) == []
    assert {name for names in accepted.values() for name in names} == set(total)
    if not crashes:
        assert together == []
    for key, names in accepted.items():
        if key == "m" and ordering == "none":
            continue
        first = list(dict.fromkeys(names))
        expected = total if key == "*" else [f"{key}-{n}" for n in range(count[key])]
        assert first == expected

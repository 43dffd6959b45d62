"""What a webhook counts: matched, delivered, failed, retried, dead, queued, in flight."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bridge.config.settings import BatchPolicy, RetryPolicy
from bridge.delivery.lane import Lane
from tests.integration import receiver as scripts
from tests.integration.receiver import Receiver
from tests.unit.delivery.conftest import until
from tests.unit.delivery.rig import Rig

Start = Callable[..., Rig]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    rigs: list[Rig] = []

    def make(url: str, **settings: Any) -> Rig:
        rigs.append(Rig(url, **settings).start())
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.kill()


def balanced(lane: Lane) -> bool:
    """Every event that was matched is somewhere."""
    return lane.matched == lane.delivered + lane.dead + lane.expired + lane.queued + lane.in_flight


def counts(lane: Lane) -> dict[str, int]:
    names = ("matched", "delivered", "failed", "retried", "dead", "queued", "in_flight")
    return {name: getattr(lane, name) for name in names if getattr(lane, name)}


async def test_only_what_is_for_it_is_matched(receiver: Receiver, start: Start) -> None:
    rig = start(receiver.url("/1"))
    other = rig.add(receiver.url("/2"), "other")
    other.start()
    rig.publish("a")
    rig.publish("b", targets=(rig.lane.id, other.id))
    rig.publish("c", targets=(other.id,))
    await until(lambda: rig.lane.delivered == 2 and other.delivered == 2)
    assert counts(rig.lane) == counts(other) == {"matched": 2, "delivered": 2}


async def test_retries_and_dead_letters(receiver: Receiver, start: Start) -> None:
    receiver.scripts += [scripts.status(500)] * 5
    rig = start(receiver.url(), retry=RetryPolicy(schedule=(0, 0.01, 0.01), jitter=0), pool_size=1)
    rig.publish("a")  # three attempts, and dead
    await until(lambda: rig.lane.dead == 1)
    assert counts(rig.lane) == {"matched": 1, "failed": 3, "retried": 2, "dead": 1}
    rig.publish("b")  # two attempts, and delivered by the third
    await until(lambda: rig.lane.delivered == 1)
    assert counts(rig.lane) == {"matched": 2, "failed": 5, "retried": 4, "dead": 1, "delivered": 1}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ordering": "client"},
        {"ordering": "endpoint"},
        {"batch": BatchPolicy(max_events=5, max_wait=0)},
        {"batch": BatchPolicy(max_events=5, max_wait=0), "ordering": "client"},
    ],
    ids=str,
)
async def test_nothing_is_lost_from_sight(receiver: Receiver, start: Start, settings: dict[str, Any]) -> None:
    """At every step each event that was matched is in exactly one place."""
    receiver.script = scripts.hang
    rig = start(
        receiver.url(),
        retry=RetryPolicy(schedule=(0, 0.3, 0.3), jitter=0),
        pool_size=3,
        cancel_timeout=300,
        **settings,
    )
    lane = rig.lane
    for number in range(40):
        rig.publish(str(number), client=f"c{number % 4}")
    await until(lambda: lane.in_flight)
    assert lane.matched == 40
    assert balanced(lane), counts(lane)
    await until(lambda: lane.failed)
    assert balanced(lane), counts(lane)
    receiver.script = None
    receiver.delay = 0.002
    seen = 0
    while lane.delivered < 40:
        assert balanced(lane), counts(lane)
        seen += lane.in_flight > 0
        before = lane.delivered
        await until(lambda: lane.delivered != before)  # noqa: B023  called at once
    assert seen
    await until(lambda: not lane.in_flight)
    assert lane.queued == 0
    assert lane.retried >= 1


async def test_events_of_a_group_are_counted_in_flight(receiver: Receiver, start: Start) -> None:
    receiver.script = scripts.hang
    rig = start(receiver.url(), batch=BatchPolicy(max_events=10, max_wait=0), pool_size=1)
    for number in range(25):
        rig.publish(str(number))
    await receiver.wait_count(1)
    assert counts(rig.lane) == {"matched": 25, "in_flight": 10, "queued": 15}


async def test_a_replay_is_delivered_again_and_not_matched_again(receiver: Receiver, start: Start) -> None:
    rig = start(receiver.url())
    seq = rig.publish("a")
    await until(lambda: rig.lane.delivered == 1)
    rig.flush()
    assert rig.lane.replay([(seq, rig.event(text="a"))]) == [seq]
    await until(lambda: rig.lane.delivered == 2)
    assert counts(rig.lane) == {"matched": 1, "delivered": 2}

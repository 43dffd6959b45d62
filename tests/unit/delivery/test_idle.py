"""A thousand endpoints in one process: what each of them costs while nothing happens."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from bridge.config.settings import BacklogBound, Endpoint
from bridge.delivery.connect import Network
from bridge.delivery.lane import Lane
from tests.integration.receiver import Receiver
from tests.unit.delivery.conftest import until
from tests.unit.delivery.rig import Rig

MANY = 1000
MAX_BYTES = 20_000


@pytest.fixture
async def rig(receiver: Receiver) -> AsyncIterator[Rig]:
    rig = Rig(receiver.url())
    yield rig
    rig.kill()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_lane_takes_little_memory_and_no_timer(rig: Rig, scheme: str) -> None:
    loop = asyncio.get_running_loop()
    network = Network(loop)
    endpoints = [
        Endpoint(url=f"{scheme}://receiver.example:8080/line/{n}", name=f"w{n}", format="emqx")
        for n in range(MANY)
    ]
    states = [rig.store.lane(endpoint.name) for endpoint in endpoints]
    first = Lane(endpoints[0], states[0], rig.journal, loop, network=network, node="a@b")
    gc.collect()
    tracemalloc.start()
    try:
        lanes = [
            Lane(endpoint, state, rig.journal, loop, network=network, node="a@b")
            for endpoint, state in zip(endpoints, states, strict=True)
        ]
        for lane in lanes:
            lane.start()
            lane._tick()  # as a second later
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] / MANY
    finally:
        tracemalloc.stop()
    assert taken < MAX_BYTES
    assert first.target.ssl is lanes[-1].target.ssl  # one context for all
    for lane in lanes:
        timers = (lane._tick_timer, lane._wake_timer, lane._touch_timer, lane.pool._timer)
        assert timers == (None,) * 4
        await lane.stop(loop.time())


async def test_a_lane_keeps_time_while_there_is_something_to_watch(rig: Rig, receiver: Receiver) -> None:
    lane = rig.lane
    rig.start()
    lane._tick()
    assert lane._tick_timer is None
    rig.publish("x")
    await until(lambda: lane.delivered == 1)
    assert lane._tick_timer is not None
    await until(lambda: not lane.dirty)
    lane._tick()
    assert lane._tick_timer is None
    receiver.status = 500
    for _ in range(3):
        rig.publish("x")
    await until(lambda: lane.failed == 3)
    await until(lambda: not lane.dirty)
    lane._tick()
    assert lane._tick_timer is not None  # retries need their events


async def test_a_full_lane_keeps_time_until_it_has_room(receiver: Receiver) -> None:
    rig = Rig(receiver.url(), backlog=BacklogBound(max_bytes=1 << 16, on_full="refuse"))
    rig.lane.start()
    rig.lane.switch_off("by hand")
    rig.lane.bounds.refusing(on=True)
    for _ in range(1000):
        rig.publish("x" * 100)
    await until(lambda: rig.lane.full)
    rig.lane._tick()
    assert rig.lane._tick_timer is not None
    rig.lane.switch_on()
    await until(lambda: not rig.lane.full and rig.lane._tick_timer is None)
    rig.kill()

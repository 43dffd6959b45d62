"""The retry promise of MachShop's document, kept by a lane with a real receiver, in injected time:

attempts at once, and 5 seconds, 30 seconds, 5 minutes and 30 minutes later; then daily for 7 days; then a
dead letter. 200 within 5 seconds is success, and nothing else is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.config.load import load
from tests.integration.receiver import Receiver, hang, hang_in_body, response
from tests.unit.delivery.conftest import until
from tests.unit.delivery.policy.warp import Make, turns, warp
from tests.unit.delivery.rig import Rig

PROMISE_S = [5, 30, 5 * 60, 30 * 60, *[86400] * 7]


def mes(folder: Path) -> dict[str, Any]:
    """What `retry.schedule = mes` means, as a file that says nothing else is read."""
    path = folder / "nanomq.conf"
    path.write_text('webhook { url = "http://h/", types = ["*"], retry.schedule = mes }')
    settings = load(path, {}).settings
    assert settings is not None
    (endpoint,) = settings.webhooks
    return {name: getattr(endpoint, name) for name in ("retry", "success", "cancel_timeout")}


async def outcome(box: Rig, receiver: Receiver, count: int) -> None:
    """Wait for that many attempts and for what came of the last one."""
    await receiver.wait_count(count)
    await until(lambda: box.lane.failed + box.lane.delivered >= count and not box.lane.in_flight)


async def nothing_is_sent(box: Rig) -> None:
    """What is due now would be in flight."""
    await turns()
    assert box.lane.in_flight == 0


@pytest.mark.parametrize("random", [0.0, 0.999])
async def test_the_schedule(random: float, receiver: Receiver, rig: Make, tmp_path: Path) -> None:
    receiver.status = 500
    box = rig(receiver.url(), random=lambda: random, **mes(tmp_path))
    seq = box.publish("x")
    await outcome(box, receiver, 1)
    for number, wait in enumerate(PROMISE_S, 2):
        # Not before its time, and at most a tenth of it later (`retry.jitter`).
        await warp(wait * (1 + 0.1 * random) - 1)
        await nothing_is_sent(box)
        await warp(1.1)
        await outcome(box, receiver, number)
        assert len(receiver.requests) == number
        assert receiver.requests[-1].attempt == number
        assert receiver.requests[-1].id == box.webhook_id(seq)
        # From the fifth on it counts as failed; the twelfth was the last: a dead letter.
        assert (box.lane.shown_failed, box.lane.dead) == ((0, 1) if number == 12 else (number >= 5, 0))
    box.flush()
    assert [dead.seq for dead in box.store.dead(box.lane.id)] == [seq]
    await warp(30 * 86400)
    await nothing_is_sent(box)
    assert len(receiver.requests) == 12


async def test_a_success_ends_it(receiver: Receiver, rig: Make, tmp_path: Path) -> None:
    """On the last day but one."""
    receiver.status = 500
    box = rig(receiver.url(), **mes(tmp_path))
    box.publish("x")
    for number, wait in enumerate([*PROMISE_S[:-1], 0], 1):
        await outcome(box, receiver, number)
        if number == 10:
            receiver.status = 200
        await warp(wait + 0.1)
    await until(lambda: box.lane.delivered == 1)
    await warp(30 * 86400)
    await nothing_is_sent(box)
    assert (len(receiver.requests), box.lane.dead, box.lane.shown_failed) == (11, 0, 0)


OTHERS = [201, 202, 204, 205, 299, 301, 304, 400, 404, 408, 410, 418, 422, 429, 500, 502, 503, 504]


async def test_200_alone_is_success(receiver: Receiver, rig: Make, tmp_path: Path) -> None:
    box = rig(receiver.url(), **mes(tmp_path))
    box.publish("x")
    receiver.status = 200
    await outcome(box, receiver, 1)
    assert (box.lane.delivered, box.lane.failed) == (1, 0)


@pytest.mark.parametrize("code", OTHERS)
async def test_no_other_status_is(code: int, receiver: Receiver, rig: Make, tmp_path: Path) -> None:
    box = rig(receiver.url(), **mes(tmp_path))
    receiver.status = code
    box.publish("x")
    await outcome(box, receiver, 1)
    assert (box.lane.delivered, box.lane.failed, box.lane.retrying) == (0, 1, 1)


@pytest.mark.parametrize("script", [hang, hang_in_body], ids=["no head", "no end"])
async def test_later_than_5_s_is_no_success(
    script: Any, receiver: Receiver, rig: Make, tmp_path: Path
) -> None:
    box = rig(receiver.url(), **mes(tmp_path))
    receiver.scripts.append(script)
    box.publish("x")
    await receiver.wait_count(1)
    await warp(4.8)
    assert (box.lane.in_flight, box.lane.failed) == (1, 0)
    await warp(0.4)
    await until(lambda: box.lane.failed == 1)
    assert (box.lane.delivered, box.lane.retrying) == (0, 1)
    receiver.status = 200
    await warp(5.1)
    await until(lambda: box.lane.delivered == 1)


async def test_just_within_5_s_is(receiver: Receiver, rig: Make, tmp_path: Path) -> None:
    box = rig(receiver.url(), **mes(tmp_path))
    held: list[Any] = []

    async def late(exchange: Any) -> None:
        held.append(exchange)
        while held:
            await turns(1)
        await exchange.send(response(200))

    receiver.scripts.append(late)
    box.publish("x")
    await receiver.wait_count(1)
    await warp(4.8)
    held.clear()
    await until(lambda: box.lane.delivered == 1)
    assert box.lane.failed == 0

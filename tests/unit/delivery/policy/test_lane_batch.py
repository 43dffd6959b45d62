"""`batch`: several events in one request, frozen with their id before it is first sent."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.config.settings import BatchPolicy, BreakerPolicy, RateLimit, RetryPolicy
from bridge.delivery import batching, retries
from bridge.delivery.batching import group_number
from bridge.delivery.rows import GROUP, decode_seqs, group_space
from bridge.events.event import EventType
from bridge.journal.store import StoreError
from tests.integration import receiver as scripts
from tests.integration.receiver import Exchange, Receiver, Request
from tests.unit.delivery.conftest import until
from tests.unit.delivery.policy.warp import Make, turns, wall, warp
from tests.unit.delivery.rig import Rig

RETRY = RetryPolicy(schedule=(0, 10, 10))
NOW = BatchPolicy(max_events=4, max_wait=0.0)


async def settled(box: Rig) -> None:
    """Everything was delivered or given up, and the store knows."""
    lane = box.lane
    await until(lambda: not (lane.retrying or lane.backlog_events or lane._unsettled()))
    box.flush()
    state = box.store.lane("default")
    assert (state.holes, state.retries) == ([], 0)
    assert list(box.store.load(group_space(box.lane.id))) == []
    left = box.lane._retries
    assert (left.count, left.bytes, left.parked, len(left.order)) == (0, 0, 0, 0)


def payloads(request: Request) -> list[str]:
    return [item["body"].get("payload") or item["body"]["topic"] for item in request.json]


def groups(box: Rig) -> dict[int, tuple[int, ...]]:
    """The frozen groups as they are stored."""
    return {int(name, 16): decode_seqs(value) for name, value in box.store.load(group_space(box.lane.id))}


async def test_events_go_in_groups_with_their_ids(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), batch=NOW)
    seqs = [box.publish(str(n)) for n in range(10)]
    await receiver.wait_count(3)
    await settled(box)
    assert sorted(len(request.json) for request in receiver.requests) == [2, 4, 4]
    found = {item["id"]: item["body"]["payload"] for request in receiver.requests for item in request.json}
    assert found == {box.webhook_id(seq): str(n) for n, seq in enumerate(seqs)}
    for request in receiver.requests:
        assert list(request.json[0]) == ["id", "body"]
        members = tuple(int(item["id"].rpartition("_")[2], 16) for item in request.json)
        assert list(members) == sorted(members)
        assert request.id == box.webhook_id(group_number(members))
        assert group_number(members) & GROUP
        assert request.header("content-type") == "application/json"
    assert len({request.id for request in receiver.requests}) == 3
    assert (box.lane.delivered, box.lane.failed) == (10, 0)


async def test_a_group_waits_for_max_wait_or_until_it_is_full(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), batch=BatchPolicy(max_events=3, max_wait=5))
    await turns(20)
    box.publish("a")
    box.publish("b")
    box.flush()
    await warp(4.9)
    await turns(20)
    assert receiver.requests == []
    await warp(0.2)
    await receiver.wait_count(1)
    assert payloads(receiver.requests[0]) == ["a", "b"]
    for text in "cde":
        box.publish(text)
    await receiver.wait_count(2)  # at once
    assert payloads(receiver.requests[1]) == ["c", "d", "e"]
    await settled(box)


async def test_a_group_is_stored_and_synced_before_it_is_sent(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), batch=NOW)
    receiver.script = scripts.hang
    sync = box.store.sync
    box.store.sync = lambda: None  # type: ignore[method-assign]  # a disk that takes its time
    seqs = [box.publish(str(n)) for n in range(4)]
    await until(lambda: groups(box))
    await warp(0.05)
    await turns(20)
    assert receiver.requests == []
    assert groups(box) == {group_number(tuple(seqs)): tuple(seqs)}
    assert box.lane.cursor().holes == seqs
    assert box.lane.low_batch() is not None
    box.store.sync = sync  # type: ignore[method-assign]
    box.store.sync()
    await receiver.wait_count(1)


async def test_a_retry_has_the_same_events_id_and_body(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), batch=NOW, retry=RETRY, pool_size=1)
    receiver.scripts.extend([scripts.status(500), scripts.cut_in_body])
    for n in range(3):
        box.publish(str(n))
    await until(lambda: box.lane.retrying == 3)
    box.publish("later")
    await until(lambda: box.lane.failed == 2)
    await warp(10.1)
    await receiver.wait_count(4)
    await settled(box)
    assert [request.attempt for request in receiver.requests] == [1, 1, 2, 2]
    first, second, *again = receiver.requests
    assert {(r.id, r.body) for r in again} == {(first.id, first.body), (second.id, second.body)}


async def test_a_frozen_group_outlives_a_crash_in_flight(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), batch=NOW, pool_size=2)
    receiver.script = scripts.hang
    for n in range(8):
        box.publish(str(n))
    await receiver.wait_count(2)
    box.journal._commit()
    left = box.kill()
    receiver.script = None
    again = rig(receiver.url(), left, batch=NOW, pool_size=2)
    again.publish("new")
    await receiver.wait_count(5)
    await settled(again)
    before, after = receiver.requests[:2], receiver.requests[2:4]
    assert {(r.id, r.body) for r in before} == {(r.id, r.body) for r in after}


async def test_a_failed_group_outlives_a_crash_with_its_attempt(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), batch=NOW, retry=RETRY, pool_size=1)
    receiver.scripts.append(scripts.status(500))
    for n in range(4):
        box.publish(str(n))
    await until(lambda: box.lane.retrying == 4)
    box.flush()
    assert len(groups(box)) == 1
    assert [row.attempt for row in box.store.retries(box.lane.id)] == [1] * 4
    again = rig(receiver.url(), box.kill(), batch=NOW, retry=RETRY, pool_size=1)
    assert again.lane.retrying == 4
    await turns(20)
    assert len(receiver.requests) == 1
    await warp(10.1)
    await receiver.wait_count(2)
    await settled(again)
    first, second = receiver.requests
    assert (first.id, first.body, second.attempt) == (second.id, second.body, 2)


async def test_after_the_last_attempt_each_event_is_a_dead_letter(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), batch=NOW, retry=RetryPolicy(schedule=(0,)))
    receiver.scripts.append(scripts.status(400, b"no"))
    seqs = [box.publish(str(n)) for n in range(3)]
    await until(lambda: box.lane.dead == 3)
    await settled(box)
    assert [(letter.seq, letter.error) for letter in box.store.dead(box.lane.id)] == [
        (seq, "status 400: no") for seq in seqs
    ]
    assert box.lane.failed == 1  # attempts


async def test_a_dead_letter_that_is_sent_again_is_another_group(receiver: Receiver, rig: Make) -> None:
    """A receiver that remembers ids must not take it for the group that it was in before."""
    box = rig(receiver.url(), batch=NOW, retry=RetryPolicy(schedule=(0,)))
    receiver.scripts.append(scripts.status(400))
    seqs = [box.publish(str(n)) for n in range(3)]
    await until(lambda: box.lane.dead == 3)
    box.flush()
    assert box.lane.replay(list(box.store.fetch(seqs[:2]).items())) == seqs[:2]
    await receiver.wait_count(2)
    await settled(box)
    assert payloads(receiver.requests[1]) == ["0", "1"]
    assert receiver.requests[0].id != receiver.requests[1].id
    assert [letter.seq for letter in box.store.dead(box.lane.id)] == [seqs[2]]


async def test_what_has_no_body_is_dead_alone(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), batch=NOW)
    box.publish("before")
    bad = box.journal.append(box.event(99))  # type: ignore[arg-type]
    box.publish("after")
    await receiver.wait_count(1)
    await settled(box)
    assert payloads(receiver.requests[0]) == ["before", "after"]
    assert [letter.seq for letter in box.store.dead(box.lane.id)] == [bad]


async def test_events_of_a_key_stand_in_one_group_or_wait(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), batch=NOW, retry=RETRY, ordering="client", pool_size=4)
    receiver.scripts.append(scripts.status(500))
    for n in range(3):
        box.publish(f"a{n}", client="a")
    await until(lambda: box.lane.retrying == 3)
    for n in range(3, 6):
        box.publish(f"a{n}", client="a")
        box.publish(f"b{n}", client="b")
    await receiver.wait_count(2)
    await until(lambda: box.lane.retrying == 6)
    assert payloads(receiver.requests[1]) == ["b3", "b4", "b5"]
    await warp(10.1)
    await receiver.wait_count(4)
    await settled(box)
    assert payloads(receiver.requests[2]) == ["a0", "a1", "a2"]
    assert payloads(receiver.requests[3]) == ["a3", "a4", "a5"]  # what was parked goes together


@pytest.mark.parametrize("parts", [1, 2])  # groups begin by turns with what is fresh and what waited
async def test_while_the_store_cannot_be_read_no_fresh_event_overtakes_a_parked_one(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    monkeypatch.setattr(retries, "FETCH", 2)
    batch = BatchPolicy(max_events=20, max_wait=0.0)
    box = rig(receiver.url(), batch=batch, retry=RETRY, ordering="client", pool_size=1)
    receiver.scripts.append(scripts.status(500))
    box.publish("a0", client="a")
    await until(lambda: box.lane.retrying == 1)
    for n in range(1, 8):
        if parts == 2 and n == 4:
            box.flush()
        box.publish(f"a{n}", client="a")
    await until(lambda: box.lane.retrying == 8)
    fetch = box.store.fetch
    reads = 0

    def now_and_then(seqs: Any) -> Any:
        nonlocal reads
        reads += 1
        if reads == 3:  # the retry, the first of the parked, and then not the next
            raise StoreError("hookmq.db: disk I/O error")
        return fetch(seqs)

    monkeypatch.setattr(box.store, "fetch", now_and_then)

    async def publish_more(exchange: Exchange) -> None:
        for n in range(8, 12):
            box.publish(f"a{n}", client="a")
        box.flush()
        await exchange.respond(204)

    receiver.scripts.append(publish_more)  # while the one connection is busy
    await warp(10.1)
    await receiver.wait_count(2)
    for _ in range(20):
        await warp(1.1)
        await until(lambda: not box.lane.in_flight)
    await settled(box)
    assert reads > 3
    sent = [text for request in receiver.requests[1:] for text in payloads(request)]
    assert sent == [f"a{n}" for n in range(12)]


async def test_groups_are_bounded_in_bytes(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MAX_GROUP_BYTES", 5000)
    box = rig(receiver.url(), batch=BatchPolicy(max_events=100, max_wait=0), pool_size=1)
    box.publish("x" * 4000)  # alone beyond the bound
    for _ in range(10):
        box.publish("y" * 1000)
    await until(lambda: box.lane.delivered == 11)
    await settled(box)
    assert [len(request.json) for request in receiver.requests] == [1, 2, 2, 2, 2, 2]


async def test_max_in_flight_counts_events(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), batch=NOW, max_in_flight=6, pool_size=4)
    receiver.script = scripts.hang
    for n in range(40):
        box.publish(str(n))
    await receiver.wait_count(2)
    await turns(50)
    assert [len(request.json) for request in receiver.requests] == [4, 2]
    assert len(groups(box)) == 2


async def test_a_breaker_and_a_rate_count_requests(receiver: Receiver, rig: Make) -> None:
    box = rig(
        receiver.url(),
        batch=NOW,
        pool_size=4,
        rate_limit=RateLimit(per_second=1, burst=1),
        breaker=BreakerPolicy(failures=2, probe_interval=1),
        retry=RETRY,
    )
    receiver.scripts.extend([scripts.status(500)] * 3)
    for n in range(20):
        box.publish(str(n))
    for count in range(1, 4):
        await receiver.wait_count(count)
        await until(lambda: not box.lane.in_flight)
        await turns(50)
        assert len(receiver.requests) == count
        await warp(1.05)
    assert box.lane.failed >= 2
    for _ in range(30):
        await warp(1.05)
        await turns(20)
        await until(lambda: not box.lane.in_flight)
    await settled(box)
    assert box.lane.delivered == 20


async def test_groups_are_dissolved_where_batching_was_switched_off(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), batch=NOW, retry=RETRY, pool_size=2)
    receiver.scripts.append(scripts.status(500))
    receiver.script = scripts.hang
    seqs = [box.publish(str(n)) for n in range(4)]
    await until(lambda: box.lane.retrying == 4)
    seqs += [box.publish(str(n)) for n in range(4, 8)]
    await receiver.wait_count(2)
    box.journal._commit()
    receiver.script = None
    again = rig(receiver.url(), box.kill(), retry=RETRY, pool_size=2)
    await until(lambda: again.lane.delivered == 4 and not again.lane.in_flight)
    await warp(10.1)
    await receiver.wait_count(10)
    await settled(again)
    assert sorted(request.id for request in receiver.requests[2:]) == [box.webhook_id(seq) for seq in seqs]


async def test_single_rows_join_groups_where_batching_was_switched_on(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), retry=RETRY, pool_size=1)
    receiver.status = 500
    for n in range(3):
        box.publish(str(n))
    await until(lambda: box.lane.retrying == 3 and not box.lane.in_flight)
    box.flush()
    receiver.status = 204
    again = rig(receiver.url(), box.kill(), batch=NOW, retry=RETRY, pool_size=1)
    await warp(10.1)
    await receiver.wait_count(4)
    await settled(again)
    assert payloads(receiver.requests[3]) == ["0", "1", "2"]
    assert receiver.requests[3].attempt == 2


async def test_a_lane_that_is_behind_sends_full_groups(receiver: Receiver, rig: Make) -> None:
    box = Rig(receiver.url(), clock=wall)
    for n in range(50):
        box.publish(str(n))
    box.flush()
    again = rig(receiver.url(), box.kill(), batch=BatchPolicy(max_events=20, max_wait=60), pool_size=1)
    await until(lambda: again.lane.delivered >= 40)
    await warp(60.1)
    await until(lambda: again.lane.delivered == 50)
    await settled(again)
    assert [len(request.json) for request in receiver.requests] == [20, 20, 10]


# -- CloudEvents -------------------------------------------------------------------------------------------


async def test_cloudevents_batch(receiver: Receiver, rig: Make) -> None:
    box = rig(receiver.url(), batch=BatchPolicy(max_events=10, max_wait=0, format="cloudevents-batch"))
    seq = box.journal.append(box.event(text="hello"))
    connected = box.event(EventType.CLIENT_CONNECTED, client="c9")
    connected.topic = ""
    box.journal.append(connected)
    await receiver.wait_count(1)
    await settled(box)
    (request,) = receiver.requests
    assert request.header("content-type") == "application/cloudevents-batch+json; charset=utf-8"
    message, lifecycle = request.json
    assert message["id"] == box.webhook_id(seq)
    assert message["source"] == f"/hookmq/{box.store.id}"
    assert message["type"] == "hookmq.message_publish"
    assert message["subject"] == "hello"
    assert message["specversion"] == "1.0"
    assert message["datacontenttype"] == "application/json"
    assert message["data"]["payload"] == "hello"
    assert message["time"].endswith("Z")
    assert (lifecycle["type"], lifecycle["subject"]) == ("hookmq.client_connected", "c9")
    check_cloudevent(message)
    check_cloudevent(lifecycle)


def check_cloudevent(event: dict[str, Any]) -> None:
    """Section 3.1 of the specification: required attributes, and names of lower-case letters and digits."""
    for name in ("id", "source", "specversion", "type"):
        assert isinstance(event[name], str)
        assert event[name]
    assert all(name.isalnum() and name == name.lower() for name in event)


async def test_a_content_type_of_the_settings_stays(receiver: Receiver, rig: Make) -> None:
    batch = BatchPolicy(max_events=10, max_wait=0, format="cloudevents-batch")
    box = rig(receiver.url(), batch=batch, headers=(("content-type", "application/json"),))
    box.publish("a")
    await receiver.wait_count(1)
    assert receiver.requests[0].all("content-type") == ["application/json"]


async def test_a_turn_forms_a_bounded_number_of_groups(
    receiver: Receiver, rig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many connections are free, the loop is not held until all of them have a body."""
    monkeypatch.setattr(batching, "GATHER_EVENTS", 8)
    box = rig(receiver.url(), batch=NOW, pool_size=8)
    formed: list[int] = []
    freeze = batching.Batcher._freeze

    def counted(self: Any, forming: Any) -> None:
        formed[-1] += len(forming.members)
        freeze(self, forming)

    monkeypatch.setattr(batching.Batcher, "_freeze", counted)
    for n in range(40):
        box.publish(str(n))
    while sum(formed) < 40:
        formed.append(0)
        await turns(1)
    assert max(formed) == 8
    await settled(box)
    assert box.lane.delivered == 40

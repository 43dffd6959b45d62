"""What only the detailed formats show of messages and subscriptions, and where it is made (INTEROP 2.2)."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from bridge.broker.feed import EventFeed
from bridge.broker.rows import ConnectionRow
from bridge.events.event import HOOK_EVENTS, EventType
from bridge.events.rules import Rules
from bridge.journal.batch import Batch, Put
from bridge.journal.memory import MemoryStore
from bridge.journal.sqlite import SqliteStore
from bridge.mqtt.packets import (
    Properties,
    Puback,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)
from tests.integration.broker.looking import PAIRS, SHOWN_PAIRS, address, of, one, persistent
from tests.integration.broker.running import EVERY_EVENT, Running, Start

# -- subscriptions -------------------------------------------------------------------------------------------


async def test_subscriptions_have_their_properties_and_qos(detailed: Running, version: int) -> None:
    client = await detailed.connect("c", version=version)
    properties = Properties(subscription_identifier=[7], user_property=PAIRS) if version == 5 else None
    client.send(Subscribe(1, [Subscription("t", 2)], properties))
    properties = Properties(user_property=PAIRS) if version == 5 else None
    client.send(Unsubscribe(2, ["t"], properties))
    await client.expect(Unsuback)
    subscribed = {"props": {"Subscription-Identifier": 7, **SHOWN_PAIRS}} if version == 5 else None
    unsubscribed = {"props": SHOWN_PAIRS} if version == 5 else None
    for kind, qos, data in (
        (EventType.CLIENT_SUBSCRIBE, 2, subscribed),
        (EventType.SESSION_SUBSCRIBED, 2, subscribed),
        (EventType.CLIENT_UNSUBSCRIBE, 0, unsubscribed),
        (EventType.SESSION_UNSUBSCRIBED, 2, unsubscribed),
    ):
        [event] = of(detailed, kind)
        assert (event.topic, event.qos, event.data) == ("t", qos, data)


@pytest.mark.parametrize("topic_filter", ["$share//t", "$share/g", "a/#/b"])
async def test_an_unsubscribe_of_what_is_no_filter(detailed: Running, topic_filter: str) -> None:
    client = await detailed.connect("c", version=5)
    client.send(Unsubscribe(1, [topic_filter]))
    await client.expect_disconnect(0x82 if topic_filter.startswith("$share") else 0x81)
    assert of(detailed, EventType.CLIENT_UNSUBSCRIBE) == []


# -- messages ------------------------------------------------------------------------------------------------


async def test_one_id_from_publish_to_acknowledgement(detailed: Running, version: int) -> None:
    begin = int(time.time() * 1000)
    client = await detailed.connect("c", version=version)
    await client.subscribe("t", 1)
    for number in range(3):
        await client.publish("t", b"%d" % number, 1)
        client.send(Puback((await client.expect(Publish)).packet_id))
    await client.publish("nobody", b"3")
    await client.ping()
    ids: dict[bytes, set[str]] = {}
    for event in detailed.events:
        if event.payload:
            ids.setdefault(event.payload, set()).add((event.data or {})["id"])
    assert set(ids) == {b"0", b"1", b"2", b"3"}
    flat = [found for [found] in ids.values()]  # one each, whatever the event
    assert all(re.fullmatch(r"[0-9A-F]{32}", found) for found in flat)
    assert flat == sorted(set(flat))
    assert {found[:20] for found in flat} == {flat[0][:20]}
    assert begin - 60_000 < int(flat[0][:12], 16) <= begin
    assert [int(found[20:], 16) for found in flat] == [1, 2, 3, 4]


async def test_two_processes_have_different_ids(start: Start) -> None:
    ids = set()
    for _ in range(2):
        broker = await start(rules=EVERY_EVENT)
        client = await broker.connect("c")
        await client.publish("t", b"x", 1)
        ids.add(one(broker, EventType.MESSAGE_PUBLISH)[1]["id"])
    assert len(ids) == 2


async def test_the_properties_of_a_message(detailed: Running) -> None:
    subscriber = await detailed.connect("s", version=5)
    await subscriber.subscribe("t", 2)
    client = await detailed.connect("c", version=5)
    sent = Properties(
        payload_format_indicator=1,
        message_expiry_interval=60,
        content_type="text/plain",
        response_topic="r",
        correlation_data=b"\xff\x00",
        topic_alias=3,
        user_property=PAIRS,
    )
    at = int(time.time() * 1000)
    await client.publish("t", b"x", 2, properties=sent)
    message = await subscriber.expect(Publish)
    answer = Properties(reason_string="ok", user_property=[("a", "b")])
    subscriber.send(Pubrec(message.packet_id, 0, answer))
    await subscriber.expect(Pubrel)
    shown = {
        "Payload-Format-Indicator": 1,
        "Message-Expiry-Interval": 60,
        "Content-Type": "text/plain",
        "Response-Topic": "r",
        "Correlation-Data": "/wA=",
        **SHOWN_PAIRS,
    }
    event, data = one(detailed, EventType.MESSAGE_PUBLISH)
    assert data == {"id": data["id"], "props": shown | {"Topic-Alias": 3}}
    to = {"to_clientid": "s", "to_username": None, "to_peername": address(subscriber, "sockname")}
    for kind, more in (
        (EventType.MESSAGE_DELIVERED, {}),
        (
            EventType.MESSAGE_ACKED,
            {
                "ack_props": {
                    "Reason-String": "ok",
                    "User-Property": {"a": "b"},
                    "User-Property-Pairs": [{"key": "a", "value": "b"}],
                }
            },
        ),
    ):
        found = one(detailed, kind)[1]
        assert event.ts <= found["at"] <= at + 5000
        del found["at"]
        # The topic alias was the publisher's connection's.
        assert found == {"id": data["id"], "props": shown, **to, **more}


@pytest.mark.parametrize("expiry", [None, 60])
async def test_a_message_with_nothing_but_an_expiry(detailed: Running, expiry: int | None) -> None:
    client = await detailed.connect("c", version=5)
    await client.subscribe("t", 0)
    await client.publish("t", b"x", message_expiry_interval=expiry)
    await client.expect(Publish)
    data = one(detailed, EventType.MESSAGE_DELIVERED)[1]
    expected = {"Message-Expiry-Interval": 60, "User-Property": {}} if expiry else None
    assert data.get("props") == expected


async def test_dup_is_what_the_packet_says(detailed: Running, version: int) -> None:
    client = await detailed.connect("c", **persistent(version))
    await client.subscribe("t", 1)
    client.send(Publish("t", b"x", 1, dup=True, packet_id=9))
    await client.expect(Publish)
    client.abort()
    await detailed.until_away("c")
    client = await detailed.connect("c", **persistent(version))
    client.send(Puback((await client.expect(Publish)).packet_id))
    await detailed.until(lambda: of(detailed, EventType.MESSAGE_ACKED))
    assert one(detailed, EventType.MESSAGE_PUBLISH)[1]["dup"] is True
    assert ["dup" in (e.data or {}) for e in of(detailed, EventType.MESSAGE_DELIVERED)] == [False, True]
    assert "dup" not in one(detailed, EventType.MESSAGE_ACKED)[1]


# -- what is made where --------------------------------------------------------------------------------------


async def test_details_only_where_a_lane_shows_them(start: Start) -> None:
    """One that does makes them for all that listen to this type, and for no other type."""
    both = [(1, EventType.MESSAGE_PUBLISH, None), (2, EventType.MESSAGE_PUBLISH, None)]
    other = (1, EventType.CLIENT_CONNECTED, None)
    broker = await start()
    feed = EventFeed(broker.journal, Rules([*both, other], detailed={2}))
    broker.broker.set_hooks([feed])
    client = await broker.connect("c")
    await client.publish("t", b"x", 1)
    connected, published = broker.events
    assert set(connected.data or {}) == {"keepalive", "proto_ver", "ipaddress", "connected_at"}
    assert (published.targets, set(published.data or {})) == ((1, 2), {"id"})

    for rules, details in ((Rules(both), False), (Rules(both, detailed={1}), True)):
        feed.set_rules(rules)
        broker.broker.set_hooks([feed])
        broker.events.clear()
        await client.publish("t", b"x", 1)
        assert (broker.events[0].data is not None) is details


async def test_conditions_choose_before_anything_is_stored(start: Start) -> None:
    rules = Rules(
        [(lane, kind, None) for lane in (1, 2) for kind in HOOK_EVENTS],
        detailed={1},
        conditions={1: lambda e: e.payload == b"1", 2: lambda e: e.payload in (b"1", b"2")},
    )
    broker = await start(rules=rules)
    client = await broker.connect("c")
    await client.subscribe("t")
    for payload in (b"0", b"1", b"2"):
        await client.publish("t", payload, 1)
        await client.expect(Publish)
    await client.ping()
    published, delivered = EventType.MESSAGE_PUBLISH, EventType.MESSAGE_DELIVERED
    assert [(e.type, e.payload, e.targets) for e in broker.events] == [
        (published, b"1", (1, 2)),
        (delivered, b"1", (1, 2)),
        (published, b"2", (2,)),
        (delivered, b"2", (2,)),
    ]


async def test_a_full_endpoint_refuses_only_what_it_would_take(start: Start) -> None:
    broker = await start()
    rules = Rules([(1, EventType.MESSAGE_PUBLISH, None)], conditions={1: lambda e: e.payload == b"wanted"})
    broker.broker.set_hooks([EventFeed(broker.journal, rules, refusing=True)])
    client = await broker.connect("c", version=5)
    broker.journal.full.add(1)
    assert await client.publish("t", b"other", 1) == 0x10
    assert await client.publish("t", b"wanted", 1) == 0x97
    assert broker.events == []


# -- over a crash --------------------------------------------------------------------------------------------


async def test_the_end_of_a_connection_that_a_crash_ended(start: Start, tmp_path: Path, version: int) -> None:
    loop = asyncio.get_running_loop()
    store = SqliteStore.open(tmp_path / "1" / "hookmq.db", loop)
    broker = await start(store=store, rules=EVERY_EVENT)
    client = await broker.connect("c", version=version, username="u")
    connected = one(broker, EventType.CLIENT_CONNECTED)[1]
    (tmp_path / "2").mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{store.path}{suffix}", tmp_path / "2" / f"hookmq.db{suffix}")
    after = await start(store=SqliteStore.open(tmp_path / "2" / "hookmq.db", loop), rules=EVERY_EVENT)
    event, data = one(after, EventType.CLIENT_DISCONNECTED)
    assert (event.clientid, event.username) == ("c", "u")
    assert event.peername == address(client, "sockname")
    assert data == {
        "reason": "internal_error",
        "sockname": address(client, "peername"),
        "proto_ver": version,
        "connected_at": connected["connected_at"],
    }


async def test_a_row_of_an_older_store(start: Start) -> None:
    store = MemoryStore()
    old = msgspec.msgpack.encode(["c", "u", "127.0.0.1:1", 4, 60, 1_700_000_000_000, 0, None, 0])
    assert msgspec.msgpack.decode(old, type=ConnectionRow).sockname == ""
    batch = Batch(store.next_batch, 0)
    batch.changes.append(Put("connection", "7", old))
    store.commit([batch])
    broker = await start(store=store, rules=EVERY_EVENT)
    await broker.until(lambda: of(broker, EventType.CLIENT_DISCONNECTED))
    event, data = one(broker, EventType.CLIENT_DISCONNECTED)
    assert (event.clientid, data["sockname"], data["connected_at"]) == ("c", "", 1_700_000_000_000)

"""Messages that go to nobody, or not to one of those they were for: the events that say so, and why."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.events.event import EventType
from bridge.events.rules import Rules
from bridge.mqtt.packets import (
    Disconnect,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Will,
)
from tests.integration.broker.looking import address, dotted, of, one, persistent
from tests.integration.broker.running import EVERY_EVENT, Running, Start

DROPPED = EventType.MESSAGE_DROPPED
NOT_DELIVERED = EventType.MESSAGE_DELIVERY_DROPPED


def reasons(broker: Running, kind: EventType) -> list[tuple[bytes, str]]:
    return [(e.payload, (e.data or {})["reason"]) for e in of(broker, kind)]


# -- to nobody -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_no_subscribers(detailed: Running, version: int, qos: int, retain: bool) -> None:
    client = await detailed.connect("c", version=version, username="u")
    await client.publish("t", b"x", qos, retain=retain)
    await client.ping()
    publish, data = one(detailed, EventType.MESSAGE_PUBLISH)
    dropped, more = one(detailed, DROPPED)
    assert detailed.events.index(dropped) == detailed.events.index(publish) + 1
    for name in ("ts", "clientid", "username", "peername", "topic", "payload", "qos", "retain"):
        assert getattr(dropped, name) == getattr(publish, name), name
    assert dropped.ts <= more.pop("at") <= dropped.ts + 5000
    assert more == {**data, "reason": "no_subscribers"}


async def test_one_subscriber_is_enough(detailed: Running, version: int) -> None:
    client = await detailed.connect("c", version=version)
    await client.subscribe("$share/g/t", 1)
    await client.publish("t", b"x", 1)
    await client.expect(Publish)
    await client.unsubscribe("$share/g/t")
    await client.publish("t", b"y", 1)
    assert reasons(detailed, DROPPED) == [(b"y", "no_subscribers")]


async def test_a_will_that_nobody_gets(detailed: Running, version: int) -> None:
    client = await detailed.connect("c", version=version, will=Will("w", b"gone", 1))
    client.abort()
    await detailed.until(lambda: of(detailed, EventType.SESSION_TERMINATED))
    assert dotted(detailed.events)[-5:] == [
        "client.check_authz_complete",
        "message.publish",
        "message.dropped",
        "client.disconnected",
        "session.terminated",
    ]
    assert one(detailed, DROPPED)[1]["id"] == one(detailed, EventType.MESSAGE_PUBLISH)[1]["id"]


async def test_a_subscriber_that_is_gone_when_the_message_is_stored(detailed: Running) -> None:
    """It is in the segment of its only subscriber's DISCONNECT: nobody is there when it is durable."""
    client = await detailed.connect("c", version=5)
    await client.subscribe("t", 1)
    properties = Properties(message_expiry_interval=60, content_type="t")
    client.send(Publish("t", b"x", 1, packet_id=5, properties=properties), Disconnect())
    await client.wait_closed()
    await detailed.until(lambda: of(detailed, DROPPED))
    assert reasons(detailed, DROPPED) == [(b"x", "no_subscribers")]
    publish = one(detailed, EventType.MESSAGE_PUBLISH)[1]
    dropped = one(detailed, DROPPED)[1]
    assert (dropped["id"], dropped["props"]) == (publish["id"], publish["props"])


async def test_a_packet_id_in_use(detailed: Running, version: int) -> None:
    client = await detailed.connect("c", version=version)
    client.send(Publish("t", b"first", 2, packet_id=5))
    client.send(Publish("t", b"first", 2, dup=True, packet_id=5))  # sent again: nothing is lost
    client.send(Publish("t", b"second", 2, packet_id=5))
    for _ in range(3):
        await client.expect(Pubrec)
    client.send(Pubrel(5))
    await client.expect(Pubcomp)
    client.send(Publish("t", b"third", 2, packet_id=5))
    await client.expect(Pubrec)
    assert [e.payload for e in of(detailed, EventType.MESSAGE_PUBLISH)] == [b"first", b"third"]
    assert reasons(detailed, DROPPED) == [
        (b"first", "no_subscribers"),
        (b"second", "packet_identifier_inuse"),
        (b"third", "no_subscribers"),
    ]
    ids = [(e.data or {})["id"] for e in of(detailed, DROPPED)]
    assert len(set(ids)) == 3


async def test_more_open_messages_than_the_receive_maximum(start: Start, version: int) -> None:
    broker = await start(rules=EVERY_EVENT, max_inflight_window=2)
    client = await broker.connect("c", version=version)
    client.send(*(Publish("t", b"%d" % number, 2, packet_id=number) for number in (1, 2, 3)))
    await client.expect_disconnect(0x93)
    assert reasons(broker, DROPPED) == [
        (b"1", "no_subscribers"),
        (b"2", "no_subscribers"),
        (b"3", "receive_maximum_exceeded"),
    ]
    assert [e.payload for e in of(broker, EventType.MESSAGE_PUBLISH)] == [b"1", b"2"]
    assert dotted(broker.events)[-3:] == ["message.dropped", "client.disconnected", "session.terminated"]


# -- not to one of them --------------------------------------------------------------------------------------


async def test_no_local(detailed: Running) -> None:
    client = await detailed.connect("c", version=5, username="u")
    await client.subscribe("t", 1, no_local=True)
    await client.publish("t", b"x", 2)
    event, data = one(detailed, NOT_DELIVERED)
    published, publish = one(detailed, EventType.MESSAGE_PUBLISH)
    assert (event.clientid, event.username, event.peername) == ("c", "u", published.peername)
    assert (event.ts, event.topic, event.payload, event.qos) == (published.ts, "t", b"x", 1)
    assert published.ts <= data.pop("at") <= published.ts + 5000
    assert data == {
        "reason": "no_local",
        "id": publish["id"],
        "to_clientid": "c",
        "to_username": "u",
        "to_peername": published.peername,
    }
    assert of(detailed, DROPPED, EventType.MESSAGE_DELIVERED) == []
    assert await client.subscribe("t/#", 0) == 0
    await client.publish("t", b"y", 1)
    assert (await client.expect(Publish)).payload == b"y"
    assert len(of(detailed, NOT_DELIVERED)) == 1


async def test_a_qos0_message_for_who_is_away(detailed: Running, version: int) -> None:
    client = await detailed.connect("s", username="us", **persistent(version))
    own = address(client, "sockname")
    await client.subscribe("t", 1)
    await client.disconnect()
    publisher = await detailed.connect("p", version=version, username="up")
    await publisher.publish("t", b"0", 0)
    await publisher.publish("t", b"1", 1)
    event, data = one(detailed, NOT_DELIVERED)
    assert (event.clientid, event.username, event.payload, event.qos) == ("p", "up", b"0", 0)
    assert (data["to_clientid"], data["to_username"], data["to_peername"]) == ("s", "us", own)
    assert data["reason"] == "qos0_msg"
    assert of(detailed, DROPPED) == []


async def test_a_full_queue(start: Start, version: int) -> None:
    broker = await start(rules=EVERY_EVENT, max_mqueue_len=2)
    client = await broker.connect("s", **persistent(version))
    await client.subscribe("t", 1)
    await client.disconnect()
    publisher = await broker.connect("p", version=version)
    for number in range(4):
        await publisher.publish("t", b"%d" % number, 1)
    assert reasons(broker, NOT_DELIVERED) == [(b"2", "queue_full"), (b"3", "queue_full")]
    assert broker.broker.stats.dropped == 2


async def test_what_a_full_queue_pushes_out(start: Start) -> None:
    """The oldest goes where it is QoS 0: of a client that is there and does not read."""
    broker = await start(rules=EVERY_EVENT, max_mqueue_len=2)
    client = await broker.connect("s")
    client.send(Subscribe(1, [Subscription("t", 1)]))
    await client.expect(Suback)
    connection = broker.broker.sessions["s"].connection
    assert connection is not None
    connection.pause_writing()
    publisher = await broker.connect("p")
    for number, qos in enumerate((0, 0, 1, 1, 0, 1)):
        await publisher.publish("t", b"%d" % number, qos)
    await publisher.ping()
    assert reasons(broker, NOT_DELIVERED) == [(b"%d" % number, "queue_full") for number in (0, 1, 4, 5)]
    connection.resume_writing()
    assert [(await client.expect(Publish)).payload for _ in range(2)] == [b"2", b"3"]


async def test_expired(detailed: Running) -> None:
    for version in (4, 5):
        client = await detailed.connect(f"s{version}", **persistent(version))
        await client.subscribe("t", 1)
        await client.disconnect()
    publisher = await detailed.connect("p", version=5)
    await publisher.publish("t", b"old", 1, message_expiry_interval=10)
    await publisher.publish("t", b"new", 1, message_expiry_interval=1000)
    for version in (4, 5):
        for waiting in detailed.broker.sessions[f"s{version}"].queue:
            if waiting.message.payload == b"old":
                waiting.message.expires = detailed.loop.time() - 1
    for version in (4, 5):
        client = await detailed.connect(f"s{version}", **persistent(version))
        assert (await client.expect(Publish)).payload == b"new"
    events = of(detailed, NOT_DELIVERED)
    found = [(e.payload, (e.data or {})["reason"], (e.data or {})["to_clientid"]) for e in events]
    assert found == [(b"old", "expired", "s4"), (b"old", "expired", "s5")]
    assert [(e.data or {})["props"]["Message-Expiry-Interval"] for e in events] == [10, 10]


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_too_large_for_the_client(detailed: Running, qos: int) -> None:
    client = await detailed.connect("s", version=5, maximum_packet_size=100)
    await client.subscribe("t", 2)
    publisher = await detailed.connect("p", version=5)
    await publisher.publish("t", b"x" * 200, qos)
    await publisher.publish("t", b"ok", qos)
    message = await client.expect(Publish)
    if qos == 1:
        client.send(Puback(message.packet_id))
    assert reasons(detailed, NOT_DELIVERED) == [(b"x" * 200, "too_large")]
    assert [e.payload for e in of(detailed, EventType.MESSAGE_DELIVERED)] == [b"ok"]


async def test_nothing_is_made_that_nobody_wants(start: Start) -> None:
    """The same ends, seen by rules for other topics."""
    rules: list[tuple[int, EventType, str | None]] = [(1, DROPPED, "a/#"), (1, NOT_DELIVERED, "b/#")]
    broker = await start(rules=Rules(rules))
    client = await broker.connect("c", version=5)
    await client.subscribe("+/t", 1, no_local=True)
    got: list[Any] = []
    for topic in ("a/x", "b/x", "a/t", "b/t"):
        await client.publish(topic, b"x", 1)
        got = [(e.topic, e.type, e.data) for e in broker.events]
    assert got == [
        ("a/x", DROPPED, {"reason": "no_subscribers"}),
        ("b/t", NOT_DELIVERED, {"reason": "no_local", "to_clientid": "c", "to_username": None}),
    ]

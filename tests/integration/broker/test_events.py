"""The 12 events: which, in which order, with what in them (INTEROP 1.2, issue 2 section 3)."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.broker.auth import Authentication
from bridge.broker.feed import EventFeed
from bridge.broker.hooks import NAMES, HookChain, Hooks
from bridge.events.event import HOOK_EVENTS, Event, EventType
from bridge.events.rules import Rules
from bridge.mqtt.packets import Puback, Pubcomp, Publish, Pubrec, Pubrel, Will
from tests.integration.broker.running import Running, Start


def names(events: list[Event], clientid: str | None = None) -> list[str]:
    return [EventType(e.type).action for e in events if clientid is None or e.clientid == clientid]


async def test_all_twelve_in_their_order(broker: Running, version: int) -> None:
    client = await broker.connect("c1", version=version, username="u", keepalive=60)
    await client.subscribe("t", 1)
    await client.publish("t", b"x", 1)
    client.send(Puback((await client.expect(Publish)).packet_id))
    await client.unsubscribe("t")
    await client.disconnect()
    await broker.until(lambda: len(broker.events) == 12)
    assert names(broker.events) == [
        "client_connect",
        "client_connected",
        "client_connack",
        "client_subscribe",
        "session_subscribed",
        "message_publish",
        "message_delivered",
        "message_acked",
        "client_unsubscribe",
        "session_unsubscribed",
        "client_disconnected",
        "session_terminated",
    ]
    assert {e.clientid for e in broker.events} == {"c1"}
    assert {e.username for e in broker.events} == {"u"}
    assert {e.peername for e in broker.events} == {_peername(client)}
    assert all(e.targets == (1,) for e in broker.events)
    base = {"keepalive": 60, "proto_ver": version}
    connected_at = broker.events[1].ts
    data: list[dict[str, Any] | None] = [
        {**base, "ipaddress": "127.0.0.1"},
        {**base, "ipaddress": "127.0.0.1", "connected_at": broker.events[1].data["connected_at"]},
        {**base, "conn_ack": "success"},
        *(None,) * 3,
        {"to_clientid": "c1", "to_username": "u"},
        {"to_clientid": "c1", "to_username": "u"},
        *(None,) * 2,
        {"reason": "normal"},
        {"reason": "normal"},
    ]
    assert [e.data for e in broker.events] == data
    assert abs(data[1]["connected_at"] - connected_at) < 1000
    assert [(e.topic, e.qos) for e in broker.events[3:10]] == [
        ("t", 1), ("t", 1), ("t", 1), ("t", 1), ("t", 1), ("t", 0), ("t", 1),
    ]  # fmt: skip
    assert [e.payload for e in broker.events[5:8]] == [b"x"] * 3
    stamps = [e.ts for e in broker.events]
    assert all(1_600_000_000_000 < ts < 10_000_000_000_000 for ts in stamps)  # milliseconds


def _peername(client: Any) -> str:
    host, port = client.writer.get_extra_info("sockname")[:2]
    return f"{host}:{port}"


async def test_a_refused_client(start: Start, version: int) -> None:
    broker = await start(hooks=(Authentication(allow_anonymous=False, users={"u": b"p"}),))
    client = await broker.connect("c", version=version, username="u", password=b"hunter2", code=None)
    await client.wait_closed()
    await broker.until(lambda: len(broker.events) == 2)
    connect, connack = broker.events
    assert names(broker.events) == ["client_connect", "client_connack"]
    assert (connect.username, connack.username) == ("u", "u")
    reason = "bad_username_or_password" if version == 5 else "malformed_username_or_password"
    assert connack.data == {"keepalive": 0, "proto_ver": version, "conn_ack": reason}
    assert "hunter2" not in repr(broker.events)


async def test_a_will_is_a_publish_of_its_client_before_its_end(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version, username="u", will=Will("w", b"gone", 2, retain=True))
    client.abort()
    await broker.until(lambda: "session_terminated" in names(broker.events))
    assert names(broker.events)[3:] == ["message_publish", "client_disconnected", "session_terminated"]
    event = broker.events[3]
    assert (event.clientid, event.username, event.topic, event.payload, event.qos, event.retain) == (
        "c", "u", "w", b"gone", 2, True,
    )  # fmt: skip
    assert event.peername == broker.events[0].peername


async def test_delivered_and_acked_name_both_sides(broker: Running, version: int) -> None:
    publisher = await broker.connect("p", version=version, username="up")
    one = await broker.connect("one", version=version, username="u1")
    two = await broker.connect("two", version=version)
    await one.subscribe("t", 2)
    await two.subscribe("t", 0)
    broker.events.clear()
    await publisher.publish("t", b"x", 2, retain=True)
    message = await one.expect(Publish)
    await two.expect(Publish)
    one.send(Pubrec(message.packet_id))
    await one.expect(Pubrel)
    one.send(Pubcomp(message.packet_id))
    await one.silent()
    assert names(broker.events) == [
        "message_publish",
        "message_delivered",
        "message_delivered",
        "message_acked",  # with PUBREC, and only where there is an acknowledgement
    ]
    published, *others = broker.events
    for event in others:
        assert (event.clientid, event.username) == ("p", "up")
        assert (event.topic, event.payload, event.ts) == ("t", b"x", published.ts)
    got = {
        (EventType(e.type).action, e.data["to_clientid"], e.data["to_username"], e.qos)
        for e in others
        if e.data
    }
    assert got == {
        ("message_delivered", "one", "u1", 2),
        ("message_delivered", "two", None, 0),
        ("message_acked", "one", "u1", 2),
    }


async def test_a_message_that_nobody_subscribed_to_is_published_all_the_same(broker: Running) -> None:
    client = await broker.connect("c")
    await client.publish("t", b"", 0)
    await client.publish("t", b"\x00\xff", 2)
    await client.ping()
    published = [e for e in broker.events if e.type == EventType.MESSAGE_PUBLISH]
    assert [(e.payload, e.qos) for e in published] == [(b"", 0), (b"\x00\xff", 2)]


async def test_a_redelivered_message_is_delivered_again(broker: Running) -> None:
    client = await broker.connect("c", clean=False)
    await client.subscribe("t", 1)
    await client.publish("t", b"x", 1)
    await client.expect(Publish)
    client.abort()
    await broker.until_away("c")
    client = await broker.connect("c", clean=False)
    await client.expect(Publish)
    assert names(broker.events).count("message_delivered") == 2
    assert names(broker.events).count("message_publish") == 1


@pytest.mark.parametrize("kind", [kind for kind in HOOK_EVENTS if kind <= EventType.MESSAGE_ACKED])
async def test_an_event_that_no_rule_wants_is_not_made(start: Start, kind: EventType) -> None:
    broker = await start()
    feed = EventFeed(broker.journal, Rules([(3, kind, None)]))
    broker.broker.set_hooks([feed])
    client = await broker.connect("c")
    await client.subscribe("t", 1)
    await client.publish("t", b"x", 1)
    client.send(Puback((await client.expect(Publish)).packet_id))
    await client.unsubscribe("t")
    await client.disconnect()
    await broker.until(lambda: broker.events)
    assert [e.type for e in broker.events] == [kind]
    assert broker.events[0].targets == (3,)


async def test_topics_choose_messages_and_subscriptions(start: Start) -> None:
    broker = await start()
    rules = Rules([(1, EventType.MESSAGE_PUBLISH, "a/#"), (2, EventType.SESSION_SUBSCRIBED, "b/+")])
    feed = EventFeed(broker.journal, rules)
    broker.broker.set_hooks([feed])
    client = await broker.connect("c")
    for topic in ("a", "a/b", "b/c", "$a/b"):
        await client.publish(topic, b"x", 1)
    for topic_filter in ("b/x", "b/#", "$share/g/b/y", "a"):
        await client.subscribe(topic_filter)
    await client.ping()
    # A rule's topic is compared with the filter as if that were a topic; a shared one by what it shares.
    assert [(e.topic, e.targets) for e in broker.events] == [
        ("a", (1,)), ("a/b", (1,)), ("b/x", (2,)), ("b/#", (2,)), ("$share/g/b/y", (2,)),
    ]  # fmt: skip
    feed.set_rules(Rules([(1, EventType.MESSAGE_PUBLISH, "b/#")]))
    broker.broker.set_hooks([feed])
    broker.events.clear()
    await client.publish("a", b"x", 1)
    await client.publish("b/c", b"x", 1)
    await client.subscribe("b/z")
    assert [(e.topic, e.targets) for e in broker.events] == [("b/c", (1,))]


async def test_a_full_endpoint_turns_publishes_away(start: Start) -> None:
    broker = await start()
    rules = Rules([(1, EventType.MESSAGE_PUBLISH, "a/#"), (2, EventType.MESSAGE_PUBLISH, "b/#")])
    broker.broker.set_hooks([EventFeed(broker.journal, rules, refusing=True)])
    client = await broker.connect("c", version=5)
    broker.journal.full.add(1)
    assert await client.publish("a/x", b"x", 1) == 0x97
    assert await client.publish("b/x", b"x", 2) == 0
    assert await client.publish("c/x", b"x", 1) == 0x10
    broker.journal.full.discard(1)
    assert await client.publish("a/x", b"x", 2) == 0
    assert [e.topic for e in broker.events] == ["b/x", "a/x"]


def test_a_hook_that_nobody_overrides_costs_nothing() -> None:
    class One(Hooks):
        def on_terminated(self, client: Any, reason: str) -> None:
            """Overridden."""

    chain = HookChain([One(), Hooks()])
    assert {name for name in NAMES if getattr(chain, name)} == {"on_terminated"}

"""Access rules through the front door: what is denied, and what the client is told of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.events.event import EventType
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
from tests.integration.broker.looking import of
from tests.integration.broker.protecting import Protected, protect, rule
from tests.integration.broker.running import Start

MINE = (rule("allow", "publish", "mine/${clientid}/#"), rule("allow", "subscribe", "mine/#", "open"))


def decisions(broker: Protected, clientid: str = "c") -> list[tuple[Any, ...]]:
    events = of(broker.running, EventType.CLIENT_CHECK_AUTHZ_COMPLETE, clientid=clientid)
    return [
        (e.data["action"], e.topic, e.data["result"], e.data["authz_source"]) for e in events if e.data
    ]  # fmt: skip


async def test_publishing(start: Start, version: int) -> None:
    broker = await protect(start, acl=MINE, no_match="deny")
    watcher = await broker.connect("w", version=5)
    assert await watcher.subscribe("mine/#", 2) == 2
    client = await broker.connect("c", version=version)
    refused = 0x87 if version == 5 else 0
    client.send(Publish("mine/c/0", b"ok"), Publish("mine/d/0", b"no"))
    client.send(Publish("mine/c/1", b"ok", 1, packet_id=1), Publish("mine/d/1", b"no", 1, packet_id=2))
    assert await client.expect(Puback) == Puback(1)
    assert await client.expect(Puback) == Puback(2, refused)
    client.send(Publish("mine/d/2", b"no", 2, retain=True, packet_id=3))
    assert await client.expect(Pubrec) == Pubrec(3, refused)
    if version < 5:
        client.send(Pubrel(3))
        assert await client.expect(Pubcomp) == Pubcomp(3)
    client.send(Publish("mine/c/2", b"ok", 2, packet_id=3))
    assert await client.expect(Pubrec) == Pubrec(3)
    await client.ping()
    assert [(await watcher.expect(Publish)).topic for _ in range(3)] == ["mine/c/0", "mine/c/1", "mine/c/2"]
    assert len(broker.broker.retained) == 0
    assert broker.broker.stats.rejected == 3
    assert [call[2] for call in broker.recorder.of("publish")] == ["mine/c/0", "mine/c/1", "mine/c/2"]
    assert decisions(broker)[:4] == [
        ("publish", "mine/c/0", "allow", "file"), ("publish", "mine/d/0", "deny", "no_match"),
        ("publish", "mine/c/1", "allow", "file"), ("publish", "mine/d/1", "deny", "no_match"),
    ]  # fmt: skip


async def test_a_topic_alias_is_no_way_round(start: Start) -> None:
    broker = await protect(start, acl=MINE, no_match="deny")
    client = await broker.connect("c", version=5)
    for topic, packet_id, code in [("mine/d", 1, 0x87), ("", 2, 0x87), ("mine/c/x", 3, 0x10), ("", 4, 0x10)]:
        client.send(Publish(topic, b"", 1, packet_id=packet_id, properties=Properties(topic_alias=1)))
        assert await client.expect(Puback) == Puback(packet_id, code)


async def test_subscribing(start: Start, version: int) -> None:
    broker = await protect(start, acl=MINE, no_match="deny")
    client = await broker.connect("c", version=version)
    failed = 0x87 if version == 5 else 0x80
    filters = ["mine/+", "mine/#", "#", "+/c", "open", "$share/g/mine/a", "$share/g/other", "open/#"]
    client.send(Subscribe(7, [Subscription(text, 1) for text in filters]))
    suback = await client.expect(Suback)
    assert suback.reason_codes == [1, 1, failed, failed, 1, 1, failed, failed]
    assert set(broker.broker.sessions["c"].subscriptions) == {"mine/+", "mine/#", "open", "$share/g/mine/a"}
    assert ("subscribe", "other", "deny", "no_match") in decisions(broker)
    assert [call[2] for call in broker.recorder.of("subscribe")] == [
        "mine/+",
        "mine/#",
        "open",
        "$share/g/mine/a",
    ]


@pytest.mark.parametrize("what", ["publish", "subscribe"])
async def test_deny_action_disconnect(start: Start, version: int, what: str) -> None:
    broker = await protect(start, acl=(rule("deny", "pubsub", "x"),), deny_action="disconnect")
    client = await broker.connect("c", version=version)
    if what == "publish":
        client.send(Publish("y", b"before"), Publish("x", b"", 1, packet_id=1), Publish("y", b"behind"))
    else:
        client.send(Publish("y", b"before"), Subscribe(1, [Subscription("x"), Subscription("y")]))
    await client.expect_disconnect(0x87)
    await broker.until_idle()
    assert not any(isinstance(packet, Puback | Suback) for packet in client.inbox)
    assert broker.recorder.by("c")[2:] == [
        ("connack", "success"), ("publish", "y", b"before"),
        ("disconnected", "not_authorized"), ("terminated", "not_authorized"),
    ]  # fmt: skip


async def test_the_session_ends_the_packet(start: Start) -> None:
    """A denied filter with `disconnect` leaves no subscription of the same packet behind."""
    broker = await protect(start, acl=(rule("deny", "pubsub", "x"),), deny_action="disconnect")
    client = await broker.connect("c", version=5, session_expiry_interval=100)
    client.send(Subscribe(1, [Subscription("x"), Subscription("y")]))
    assert isinstance((await client.wait_closed())[-1], Disconnect)
    assert not broker.broker.sessions["c"].subscriptions


async def test_wills_are_looked_at_with_the_connect(start: Start, version: int) -> None:
    broker = await protect(start, acl=MINE, no_match="deny")
    watcher = await broker.connect("w")
    await watcher.subscribe("mine/#", 1)
    denied = await broker.connect(
        "c", version=version, will=Will("mine/d/w", b"gone"), code=0x87 if version == 5 else 5
    )
    await denied.wait_closed()
    assert "c" not in broker.broker.sessions
    client = await broker.connect("c", version=version, will=Will("mine/c/w", b"gone"))
    client.abort()
    assert (await watcher.expect(Publish)).topic == "mine/c/w"
    assert decisions(broker)[-1] == ("publish", "mine/c/w", "allow", "file")


async def test_rules_that_change(start: Start) -> None:
    """Connected clients get new decisions for what they do from now on; what they have they keep."""
    broker = await protect(start)
    client = await broker.connect("c", version=5, will=Will("w", b""))
    watcher = await broker.connect("w")
    assert await watcher.subscribe("#") == 0
    assert await client.publish("a", b"1", 1) < 0x80
    broker.reload(broker.auth.model_copy(update={"acl": (rule("deny", "publish", "a", "w"),)}))
    client.send(Publish("a", b"2", 1, packet_id=50), Publish("b", b"3", 1, packet_id=51))
    assert await client.expect(Puback) == Puback(50, 0x87)
    assert await client.expect(Puback) == Puback(51)
    broker.reload(broker.auth.model_copy(update={"acl": (rule("deny", "publish", "b", "w"),)}))
    client.send(Publish("a", b"4", 1, packet_id=52), Publish("b", b"5", 1, packet_id=53))
    assert await client.expect(Puback) == Puback(52)
    assert await client.expect(Puback) == Puback(53, 0x87)
    client.abort()
    await broker.until_away("c")
    await watcher.ping()
    assert [packet.payload for packet in watcher.inbox] == [b"1", b"3", b"4"]  # and no will
    assert decisions(broker)[-1] == ("publish", "w", "deny", "file")


async def test_decisions_are_remembered_in_bounds(start: Start) -> None:
    broker = await protect(start, acl=(rule("deny", "publish", "t/3"),), cache={"max_size": 4})
    client = await broker.connect("c", version=5)
    for _ in range(2):
        for number in range(10):
            code = await client.publish(f"t/{number}", b"", 1)
            assert code == (0x87 if number == 3 else 0x10)
    access = broker.broker.sessions["c"].client.access
    assert access is not None
    assert 0 < len(access.known) <= 4
    broker.reload(
        broker.auth.model_copy(update={"cache": broker.auth.cache.model_copy(update={"enable": False})})
    )
    await client.publish("t/1", b"", 1)
    access = broker.broker.sessions["c"].client.access
    assert access is not None
    assert not access.known


async def test_without_rules_nobody_has_any(start: Start) -> None:
    broker = await protect(start)
    client = await broker.connect("c")
    await client.publish("a", b"", 1)
    assert broker.broker.sessions["c"].client.access is None
    assert decisions(broker) == [("publish", "a", "allow", "default")]


async def test_many_clients_each_in_its_own_place(start: Start) -> None:
    broker = await protect(
        start, acl=(rule("allow", "pubsub", "u/${username}/#"),), no_match="deny",
        password=tuple((f"u{n}", "p") for n in range(20)),
    )  # fmt: skip

    async def one(number: int) -> list[int]:
        client = await broker.connect(f"c{number}", version=5, username=f"u{number}", password=b"p")
        return [await client.publish(f"u/u{n}/x", b"", 1) for n in range(20)]

    for number, codes in enumerate(await asyncio.gather(*map(one, range(20)))):
        assert codes == [0x10 if n == number else 0x87 for n in range(20)]

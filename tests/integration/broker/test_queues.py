"""Messages of stored sessions over the death of the process: queued, in flight, retained; bounds, expiry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bridge.broker.queues import OUTGOING
from bridge.broker.retained import RETAINED
from bridge.events.event import EventType
from bridge.journal.memory import MemoryStore
from bridge.journal.sqlite import SqliteStore
from bridge.mqtt.packets import (
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Subscription,
    Will,
)
from tests.integration.broker.looking import of
from tests.integration.broker.running import EVERY_EVENT, Crash, Running, Start, persistent
from tests.integration.mqtt_client import Client


async def away(broker: Running, name: str, version: int, *filters: str, qos: int = 1, **more: Any) -> None:
    """A stored session whose client is away."""
    client = await broker.connect(name, **persistent(version, **more))
    for topic_filter in filters:
        await client.subscribe(topic_filter, qos)
    await client.disconnect()
    await broker.until_away(name)


def rows(broker: Running) -> list[tuple[int, bytes]]:
    return list(broker.store.chunks())


async def settled(broker: Running) -> None:
    """Wait until no message is kept for anybody, in memory nor in the store."""
    await broker.until(lambda: not broker.broker.queues.bytes and not rows(broker))


async def take(client: Client, qos: int) -> Publish:
    """The next message, with the whole exchange of its QoS."""
    message = await client.expect(Publish)
    assert message.qos == qos
    if qos == 1:
        client.send(Puback(message.packet_id))
    elif qos == 2:
        client.send(Pubrec(message.packet_id))
        assert (await client.expect(Pubrel)).packet_id == message.packet_id
        client.send(Pubcomp(message.packet_id))
    return message


# -- queued --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_was_acknowledged_reaches_who_was_away(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash, version: int, qos: int
) -> None:
    broker = await start(store=new_store())
    await away(broker, "c", version, "t/#", qos=qos)
    publisher = await broker.connect("p", version=version)
    for number in range(50):
        await publisher.publish(f"t/{number % 3}", b"%d" % number, qos)
        if number == 20:
            broker = await start(store=crash(broker))
            publisher = await broker.connect("p", version=version)
    broker = await start(store=crash(broker))
    client = await broker.connect("c", **persistent(version))
    assert [int((await take(client, qos)).payload) for _ in range(50)] == list(range(50))
    await client.silent()
    await settled(broker)
    broker = await start(store=crash(broker))
    client = await broker.connect("c", **persistent(version))
    await client.silent()


async def test_everything_about_a_message_is_kept(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash
) -> None:
    now = 1_700_000_000.0
    broker = await start(store=new_store(), clock=lambda: now, rules=EVERY_EVENT)
    client = await broker.connect("c", **persistent(5))
    await client.subscribe("t", 2, identifier=7, retain_as_published=True)
    await client.subscribe("+", 1, identifier=8)
    await client.disconnect()
    publisher = await broker.connect("p", version=5, username="u")
    properties = Properties(
        payload_format_indicator=1,
        content_type="text/plain",
        response_topic="r",
        correlation_data=b"\0\xff",
        user_property=[("a", "1"), ("a", "2")],
        message_expiry_interval=1000,
    )
    await publisher.publish("t", "\u00e4".encode(), 2, retain=True, properties=properties)
    (published,) = of(broker, EventType.MESSAGE_PUBLISH)

    now += 100
    broker = await start(store=crash(broker), clock=lambda: now, rules=EVERY_EVENT)
    client = await broker.connect("c", **persistent(5))
    message = await client.expect(Publish)
    assert (message.topic, message.payload, message.qos) == ("t", "\u00e4".encode(), 2)
    assert message.retain
    assert not message.dup
    assert message.properties is not None
    left = message.properties.message_expiry_interval
    assert left is not None
    assert 898 <= left <= 900
    properties.message_expiry_interval = left
    assert message.properties.subscription_identifier is not None
    assert sorted(message.properties.subscription_identifier) == [7, 8]
    message.properties.subscription_identifier = None
    assert message.properties == properties
    client.send(Pubrec(message.packet_id))
    await client.expect(Pubrel)
    (delivered,) = of(broker, EventType.MESSAGE_DELIVERED)
    assert (delivered.data or {})["id"] == (published.data or {})["id"]
    assert delivered.payload == "\u00e4".encode()
    # A message of this process has another id, whatever its number.
    other = await broker.connect("p2", version=5)
    await other.publish("t", b"x", 1)
    (fresh,) = of(broker, EventType.MESSAGE_PUBLISH)
    assert (fresh.data or {})["id"] != (published.data or {})["id"]


async def test_expiry_counts_on_while_nothing_runs(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash
) -> None:
    now = 1_700_000_000.0
    broker = await start(store=new_store(), clock=lambda: now)
    await away(broker, "c", 5, "t")
    publisher = await broker.connect("p", version=5)
    await publisher.publish("t", b"short", 1, message_expiry_interval=50)
    await publisher.publish("t", b"long", 1, message_expiry_interval=500)
    await publisher.publish("t", b"for ever", 1)
    await publisher.publish("r/short", b"x", 1, retain=True, message_expiry_interval=50)
    await publisher.publish("r/long", b"x", 1, retain=True, message_expiry_interval=500)
    now += 100
    broker = await start(store=crash(broker), clock=lambda: now, rules=EVERY_EVENT)
    await broker.until(lambda: [key for key, _ in broker.store.load(RETAINED)] == ["r/long"])
    client = await broker.connect("c", **persistent(5))
    assert (await take(client, 1)).payload == b"long"
    assert (await take(client, 1)).payload == b"for ever"
    (lost,) = of(broker, EventType.MESSAGE_DELIVERY_DROPPED)
    assert (lost.payload, (lost.data or {})["reason"]) == (b"short", "expired")
    await settled(broker)
    # A clock that was set back lengthens no life.
    await away(broker, "d", 5, "t")
    publisher = await broker.connect("p", version=5)
    await publisher.publish("t", b"back", 1, message_expiry_interval=60)
    now -= 10_000
    broker = await start(store=crash(broker), clock=lambda: now)
    client = await broker.connect("d", **persistent(5))
    properties = (await client.expect(Publish)).properties
    assert properties is not None
    assert 0 < (properties.message_expiry_interval or 0) <= 60


async def test_a_message_is_stored_once_for_all_who_get_it(start: Start) -> None:
    store = MemoryStore()
    broker = await start(store=store)
    for number in range(20):
        await away(broker, f"c{number}", 4, "t", qos=1 + number % 2)
    publisher = await broker.connect("p")
    await publisher.publish("t", b"x" * 10_000, 2)
    assert sum(len(body) for _, body in rows(broker)) < 11_000
    for number in range(20):
        assert rows(broker)
        client = await broker.connect(f"c{number}", **persistent(4))
        await take(client, 1 + number % 2)
    await settled(broker)


async def test_who_needs_no_store_writes_nothing(broker: Running) -> None:
    """Sessions that end with their connection, and QoS 0."""
    clean = await broker.connect("clean", version=5)
    await clean.subscribe("t", 2)
    zero = await broker.connect("zero", **persistent(5))
    await zero.subscribe("t", 0)
    await away(broker, "away", 5, "t")
    written: list[Any] = []
    publisher = await broker.connect("p")
    await clean.ping()
    broker.journal.on_commit.append(lambda batch: written.extend(batch.changes))
    await publisher.publish("t", b"x", 0)
    assert (await clean.expect(Publish)).payload == b"x"
    assert (await zero.expect(Publish)).payload == b"x"
    assert not rows(broker)
    assert written == []


async def test_shared_subscriptions_keep_for_one_member(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash
) -> None:
    broker = await start(store=new_store())
    for name in ("a", "b"):
        await away(broker, name, 5, "$share/g/t", "t" if name == "a" else "none")
    publisher = await broker.connect("p", version=5)
    for number in range(10):
        await publisher.publish("t", b"%d" % number, 1)
    broker = await start(store=crash(broker))
    got: dict[str, list[int]] = {}
    for name in ("a", "b"):
        client = await broker.connect(name, **persistent(5))
        count = len(broker.broker.sessions[name].inflight)
        got[name] = [int((await take(client, 1)).payload) for _ in range(count)]
        await client.silent()
    alone = list(range(10))
    for number in got["b"]:
        assert number in alone
    # `a` has its own subscription too: each once by that, and its share.
    share = list(got["a"])
    for number in range(10):
        share.remove(number)
    assert sorted(share + got["b"]) == alone
    assert share
    assert got["b"]
    await settled(broker)


# -- in flight -----------------------------------------------------------------------------------------------


async def test_what_was_in_flight_comes_again_as_it_was(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash, version: int
) -> None:
    """[MQTT-4.4.0-1]: under its packet id, with DUP; a PUBREL where PUBREC has come."""
    broker = await start(store=new_store())
    client = await broker.connect("c", **persistent(version))
    await client.subscribe("t", 2)
    publisher = await broker.connect("p", version=version)
    for number in range(5):
        await publisher.publish("t", b"%d" % number, 2 if number % 2 else 1)
    got = [await client.expect(Publish) for _ in range(5)]
    assert not any(message.dup for message in got)
    client.send(Puback(got[0].packet_id), Pubrec(got[1].packet_id))
    assert (await client.expect(Pubrel)).packet_id == got[1].packet_id
    await broker.until(lambda: got[0].packet_id not in broker.broker.sessions["c"].inflight)
    await broker.until(lambda: not broker.broker.queues._lazy)
    await publisher.publish("other", b"", 1)

    broker = await start(store=crash(broker))
    publisher = await broker.connect("p", version=version)
    await publisher.publish("t", b"new", 2)
    client = await broker.connect("c", **persistent(version))
    again = [await client.next() for _ in range(5)]
    assert again[0] == Pubrel(got[1].packet_id)
    for message in got:
        message.dup = True
    assert again[1:4] == got[2:]
    new = again[4]
    assert isinstance(new, Publish)
    assert (new.payload, new.dup) == (b"new", False)
    assert new.packet_id not in {message.packet_id for message in got[1:]}
    client.send(Pubcomp(got[1].packet_id), Puback(got[2].packet_id), Puback(got[4].packet_id))
    for message in (got[3], new):
        client.send(Pubrec(message.packet_id))
        await client.expect(Pubrel)
        client.send(Pubcomp(message.packet_id))
    await settled(broker)


async def test_what_was_sent_after_the_last_row_says_dup(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash, version: int
) -> None:
    broker = await start(store=new_store())
    client = await broker.connect("c", **persistent(version))
    await client.subscribe("t", 1)
    publisher = await broker.connect("p", version=version)
    await publisher.publish("t", b"0", 1)
    got = [await take(client, 1)]
    await broker.until(lambda: list(broker.store.load(OUTGOING)) and not broker.broker.queues._lazy)
    publisher.send(*(Publish("t", b"%d" % number, 1, packet_id=number) for number in range(1, 6)))
    for _ in range(5):
        await publisher.expect(Puback)
    store = crash(broker)
    got = [await client.expect(Publish) for _ in range(5)]
    broker = await start(store=store)
    client = await broker.connect("c", **persistent(version))
    for message in got:
        message.dup = True
    assert [await client.expect(Publish) for _ in range(5)] == got


async def test_a_qos2_message_is_not_sent_before_its_packet_id_is_stored(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash, version: int
) -> None:
    """However often the process dies in between, the client sees one packet id."""
    broker = await start(store=new_store())
    await away(broker, "c", version, "t", qos=2)
    publisher = await broker.connect("p", version=version)
    for number in range(3):
        await publisher.publish("t", b"%d" % number, 2)
    seen: dict[bytes, int] = {}
    for _ in range(3):
        broker = await start(store=crash(broker))
        client = await broker.connect("c", **persistent(version))
        for _ in range(3):
            message = await client.expect(Publish)
            assert message.dup == (message.payload in seen)
            assert seen.setdefault(message.payload, message.packet_id) == message.packet_id
    broker = await start(store=crash(broker))
    client = await broker.connect("c", **persistent(version))
    for number in range(3):
        assert (await client.expect(Publish)).payload == b"%d" % number
    client.send(*(Pubrec(packet_id) for packet_id in seen.values()))
    for _ in range(3):
        await client.expect(Pubrel)
    broker = await start(store=crash(broker))
    client = await broker.connect("c", **persistent(version))
    assert [await client.next() for _ in range(3)] == [Pubrel(packet_id) for packet_id in seen.values()]
    client.send(*(Pubcomp(packet_id) for packet_id in seen.values()))
    await settled(broker)


async def test_acknowledgements_cost_no_sync_and_no_row_each(start: Start) -> None:
    store = MemoryStore()
    broker = await start(store=store)
    client = await broker.connect("c", **persistent(4))
    await client.subscribe("t", 1)
    publisher = await broker.connect("p")
    commits: list[int] = []
    commit = store.commit

    def counted(batches: Any) -> None:
        commits.append(sum(len(batch.changes) for batch in batches))
        commit(batches)

    store.commit = counted  # type: ignore[method-assign]
    publisher.send(*(Publish("t", b"%d" % number, 1, packet_id=number + 1) for number in range(200)))
    for _ in range(200):
        await take(client, 1)
    await settled(broker)
    assert sum(commits) < 60


async def test_a_receive_maximum_holds_over_a_restart(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash
) -> None:
    broker = await start(store=new_store())
    await away(broker, "c", 5, "t", qos=2)
    publisher = await broker.connect("p", version=5)
    for number in range(10):
        await publisher.publish("t", b"%d" % number, 1 + number % 2)
    broker = await start(store=crash(broker))
    client = await broker.connect("c", **persistent(5, receive_maximum=3))
    got = [await client.expect(Publish) for _ in range(3)]
    await client.silent()
    broker = await start(store=crash(broker))
    client = await broker.connect("c", **persistent(5, receive_maximum=2))
    assert [(await client.expect(Publish)).payload for _ in range(2)] == [m.payload for m in got[:2]]
    await client.silent()
    for number in range(10):
        if number < 2:
            message = got[number]
        else:
            message = await client.expect(Publish)
        assert message.payload == b"%d" % number
        if message.qos == 1:
            client.send(Puback(message.packet_id))
        else:
            client.send(Pubrec(message.packet_id))
            await client.expect(Pubrel)
            client.send(Pubcomp(message.packet_id))
    await settled(broker)


async def test_takeover_loses_nothing_and_doubles_nothing(start: Start, version: int) -> None:
    """Messages on their way when another connection takes the session over come again, once, in order."""
    broker = await start()
    client = await broker.connect("c", **persistent(version))
    await client.subscribe("t", 1)
    publisher = await broker.connect("p", version=version)
    number = 0
    expected = 0
    for _ in range(20):
        publisher.send(*(Publish("t", b"%d" % (number + i), 1, packet_id=i + 1) for i in range(10)))
        number += 10
        client = await broker.connect("c", **persistent(version))
        for _ in range(10):
            await publisher.expect(Puback)
        while expected < number:
            message = await client.expect(Publish)
            assert int(message.payload) == expected
            expected += 1
            client.send(Puback(message.packet_id))
        await client.silent()
    await settled(broker)


# -- the end of a session, and bounds ------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["clean start", "expiry 0", "expired"])
async def test_with_a_session_its_messages_go(start: Start, end: str) -> None:
    broker = await start(store=MemoryStore(), rules=EVERY_EVENT)
    await away(broker, "c", 5, "t", seconds=1 if end == "expired" else 1000)
    await away(broker, "other", 5, "t")
    publisher = await broker.connect("p", version=5)
    await publisher.publish("t", b"1", 1)
    await publisher.publish("t", b"2", 1)
    if end == "clean start":
        client = await broker.connect("c", version=5)
        await client.silent()
    elif end == "expiry 0":
        client = await broker.connect("c", version=5, clean=False)
        assert (await client.expect(Publish)).payload == b"1"
        await client.disconnect()
    await broker.until(lambda: [key for key, _ in broker.store.load(OUTGOING)] in ([], ["other"]))
    await broker.until(lambda: of(broker, EventType.SESSION_TERMINATED))
    lost = [(e.payload, (e.data or {})["reason"]) for e in of(broker, EventType.MESSAGE_DELIVERY_DROPPED)]
    if end != "expiry 0":
        assert lost == [(b"1", "session_terminated"), (b"2", "session_terminated")]
    else:
        assert lost == []  # both were sent
    client = await broker.connect("other", **persistent(5))
    assert [(await take(client, 1)).payload for _ in range(2)] == [b"1", b"2"]
    await settled(broker)
    # A session of that name that begins later gets nothing of the one before.
    client = await broker.connect("c", **persistent(5))
    await client.silent()


async def test_a_new_session_gets_nothing_of_the_old_one(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash
) -> None:
    broker = await start(store=new_store())
    await away(broker, "c", 5, "t")
    await away(broker, "other", 5, "t")
    publisher = await broker.connect("p", version=5)
    await publisher.publish("t", b"old", 1)
    await (await broker.connect("c", version=5)).disconnect()
    await away(broker, "c", 5, "t")
    await publisher.publish("t", b"new", 1)
    broker = await start(store=crash(broker))
    client = await broker.connect("c", **persistent(5))
    assert (await take(client, 1)).payload == b"new"
    await client.silent()


async def test_bounds_of_one_session_and_of_all(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    broker = await start(store=store, rules=EVERY_EVENT, max_mqueue_len=5, max_mqueue_total_bytes=30_000)
    await away(broker, "c", 4, "t")
    publisher = await broker.connect("p")
    for number in range(7):
        await publisher.publish("t", b"%d" % number, 1)
    lost = [(e.payload, (e.data or {})["reason"]) for e in of(broker, EventType.MESSAGE_DELIVERY_DROPPED)]
    assert lost == [(b"5", "queue_full"), (b"6", "queue_full")]
    for number in range(30):
        await away(broker, f"d{number}", 4, f"u/{number}")
    for number in range(30):
        await publisher.publish(f"u/{number}", b"x" * 2000, 1)
    assert 28_000 < broker.broker.queues.bytes < 33_000
    assert sum(len(body) for _, body in rows(broker)) < 33_000
    assert "mqtt.max_mqueue_total_bytes" in caplog.text
    held = sum(len(session.queue) for session in broker.broker.sessions.values())
    assert held < 20
    client = await broker.connect("c", **persistent(4))
    assert [(await take(client, 1)).payload for _ in range(5)] == [b"%d" % number for number in range(5)]
    # Who is there gets its messages, full or not.
    await publisher.publish("t", b"y", 1)
    assert (await take(client, 1)).payload == b"y"


async def test_a_slow_session_holds_little_more_than_its_own(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash
) -> None:
    """Chunks of which one message is needed are written anew without the others."""
    broker = await start(store=new_store())
    await away(broker, "slow", 4, "t/7")
    client = await broker.connect("fast", **persistent(4))
    await client.subscribe("t/#", 1)
    publisher = await broker.connect("p")
    for _ in range(5):
        publisher.send(
            *(Publish(f"t/{number}", b"%d" % number * 300, 1, packet_id=number) for number in range(1, 51))
        )
        for _ in range(50):
            await take(client, 1)
    await broker.until(lambda: sum(len(body) for _, body in rows(broker)) < 12_000, 10)
    assert broker.broker.queues.bytes < 12_000
    broker = await start(store=crash(broker))
    client = await broker.connect("slow", **persistent(4))
    for _ in range(5):
        assert (await take(client, 1)).payload == b"7" * 300
    await settled(broker)


async def test_a_will_waits_for_who_is_away(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash, version: int
) -> None:
    broker = await start(store=new_store())
    await away(broker, "c", version, "w", qos=2)
    await broker.connect("dies", version=version, will=Will("w", b"bye", 2))
    broker = await start(store=crash(broker))
    broker = await start(store=crash(broker))
    client = await broker.connect("c", **persistent(version))
    assert (await take(client, 2)).payload == b"bye"
    await client.silent()


# -- retained ------------------------------------------------------------------------------------------------


async def test_retained_messages(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash, version: int
) -> None:
    broker = await start(store=new_store())
    publisher = await broker.connect("p", version=version)
    await publisher.publish("r/0", b"zero", 0, retain=True)
    await publisher.publish("r/1", b"old", 1, retain=True)
    await publisher.publish("r/1", b"one", 1, retain=True)
    await publisher.publish("r/2", b"two", 2, retain=True)
    await publisher.publish("r/gone", b"x", 1, retain=True)
    await publisher.publish("$SYS/x", b"own", 1, retain=True)
    broker = await start(store=crash(broker))
    publisher = await broker.connect("p", version=version)
    await publisher.publish("r/gone", b"", 1, retain=True)
    broker = await start(store=crash(broker))
    assert len(broker.broker.retained) == 3
    client = await broker.connect("c", version=version)
    await client.subscribe("r/#", 2)
    got = {(m.topic, m.payload, m.qos, m.retain) for m in [await client.expect(Publish) for _ in range(3)]}
    assert got == {("r/0", b"zero", 0, True), ("r/1", b"one", 1, True), ("r/2", b"two", 2, True)}
    await client.silent()


async def test_retained_messages_that_were_owed_come_after_a_crash(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash
) -> None:
    broker = await start(store=new_store())
    publisher = await broker.connect("p", version=5)
    for number in range(20):
        await publisher.publish(f"r/{number:02}", b"x", 1, retain=True)
    client = await broker.connect("c", **persistent(5, receive_maximum=4))
    await client.subscribe("r/#", 1)
    first = [await client.expect(Publish) for _ in range(4)]
    await client.silent()
    broker = await start(store=crash(broker))
    client = await broker.connect("c", **persistent(5))
    got = {first[0].topic}
    while len(got) < 20:
        got.add((await take(client, 1)).topic)
    await broker.until(lambda: not broker.broker.sessions["c"].owed)
    while client.inbox:
        await take(client, 1)
    await client.ping()
    while client.inbox:
        await take(client, 1)
    await settled(broker)
    # Now it owes nothing any more.
    broker = await start(store=crash(broker))
    client = await broker.connect("c", **persistent(5))
    await client.silent()


async def test_many_subscriptions_at_once_and_their_retained(start: Start) -> None:
    broker = await start(store=MemoryStore())
    publisher = await broker.connect("p")
    for number in range(5):
        await publisher.publish(f"r/{number}", b"x", 2, retain=True)
    client = await broker.connect("c", **persistent(4))
    client.send(Subscribe(1, [Subscription("r/+", 2), Subscription("r/#", 1)]))
    got = [await client.expect(Publish) for _ in range(10)]
    assert sorted(m.qos for m in got) == [1] * 5 + [2] * 5
    assert len({m.packet_id for m in got}) == 10
    for message in got:
        client.send(Puback(message.packet_id) if message.qos == 1 else Pubrec(message.packet_id))
    for _ in range(5):
        client.send(Pubcomp((await client.expect(Pubrel)).packet_id))
    await settled(broker)

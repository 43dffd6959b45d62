"""What a process that ends, or is killed, leaves to the next one: sessions, open QoS 2 ids, wills, ends."""

from __future__ import annotations

from collections.abc import Callable

from bridge.events.event import EventType
from bridge.journal.sqlite import SqliteStore
from bridge.mqtt.packets import (
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
from tests.integration.broker.running import Crash, Start, persistent


async def test_sessions_and_their_subscriptions(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash, version: int
) -> None:
    broker = await start(store=new_store())
    client = await broker.connect("c", **persistent(version))
    await client.subscribe("a", 2)
    await client.subscribe("b/#", 1)
    await client.subscribe("$share/g/c", 1)
    await client.subscribe("gone", 1)
    await client.unsubscribe("gone")
    if version == 5:
        await client.subscribe("d", 1, no_local=True, retain_as_published=True, identifier=77)
    clean = await broker.connect("clean", version=version)
    await clean.subscribe("a", 1)

    broker = await start(store=crash(broker))
    assert set(broker.broker.sessions) == {"c"}
    publisher = await broker.connect("p", version=version)
    for topic in ("a", "b/x", "c", "gone"):
        await publisher.publish(topic, topic.encode(), 2)
    client = await broker.connect("c", **persistent(version))
    assert client.connack is not None
    assert client.connack.session_present == (version > 3)
    got = [await client.expect(Publish) for _ in range(3)]
    assert [(m.topic, m.qos) for m in got] == [("a", 2), ("b/x", 1), ("c", 1)]
    if version == 5:
        await client.publish("d", b"mine", 0)
        await publisher.publish("d", b"x", 1, retain=True)
        message = await client.expect(Publish)
        assert message.payload == b"x"
        assert message.retain
        assert message.properties == Properties(subscription_identifier=[77])
    await client.silent()


async def test_after_an_ordered_end(start: Start, new_store: Callable[[], SqliteStore]) -> None:
    broker = await start(store=new_store())
    client = await broker.connect("c", will=Will("w", b"x"), **persistent(4))
    await client.subscribe("a", 1)
    await broker.stop()
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "server_shutting_down")]
    broker = await start(store=new_store())
    assert broker.lost == 0
    assert broker.recorder.calls == []
    client = await broker.connect("c", **persistent(4))
    assert client.connack is not None
    assert client.connack.session_present


async def test_the_ends_of_connections_are_told(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash, version: int
) -> None:
    broker = await start(store=new_store())
    await broker.connect("stays", username="u", **persistent(version))
    await broker.connect("goes", version=version, will=Will("w/goes", b"bye", 1))
    gone = await broker.connect("gone", version=version, will=Will("w/gone", b"never", 1))
    await gone.disconnect()
    watching = await broker.connect("watcher", **persistent(version))
    await watching.subscribe("w/#", 1)

    broker = await start(store=crash(broker))
    assert broker.lost == 3
    assert broker.recorder.by("goes") == [
        ("publish", "w/goes", b"bye"),
        ("disconnected", "internal_error"),
        ("terminated", "internal_error"),
    ]
    assert broker.recorder.by("stays") == [("disconnected", "internal_error")]
    assert broker.recorder.by("gone") == []
    (event,) = [e for e in broker.events if e.type == EventType.CLIENT_DISCONNECTED and e.clientid == "stays"]
    assert (event.username, event.data) == ("u", {"reason": "internal_error"})
    assert event.peername.startswith("127.0.0.1:")
    watching = await broker.connect("watcher", **persistent(version))
    assert (await watching.expect(Publish)).payload == b"bye"
    await watching.disconnect()
    # It was told once.
    broker = await start(store=crash(broker))
    assert broker.lost == 0
    assert broker.recorder.calls == []


async def test_an_open_qos2_id_fires_once_also_over_a_crash(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash, version: int
) -> None:
    broker = await start(store=new_store())
    client = await broker.connect("c\u00e9", **persistent(version))
    for packet_id in (7, 8):
        client.send(Publish("a", b"x", 2, packet_id=packet_id))
        assert await client.next() == Pubrec(packet_id)
    client.send(Pubrel(8))
    assert await client.next() == Pubcomp(8)

    broker = await start(store=crash(broker))
    client = await broker.connect("c\u00e9", **persistent(version))
    client.send(Publish("a", b"x", 2, dup=True, packet_id=7))
    assert await client.next() == Pubrec(7)
    assert broker.recorder.of("publish") == []
    client.send(Pubrel(7))
    assert await client.next() == Pubcomp(7)
    client.send(Publish("a", b"x", 2, dup=True, packet_id=8))  # released before the crash: new
    assert await client.next() == Pubrec(8)
    assert len(broker.recorder.of("publish")) == 1

    broker = await start(store=crash(broker))
    assert broker.broker.sessions["c\u00e9"].awaiting_rel == {8}


async def test_a_qos1_message_that_comes_again_after_a_crash_is_a_new_one(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash
) -> None:
    broker = await start(store=new_store())
    client = await broker.connect("c", **persistent(4))
    client.send(Publish("a", b"x", 1, packet_id=7))
    await client.expect(Puback)
    broker = await start(store=crash(broker))
    client = await broker.connect("c", **persistent(4))
    client.send(Publish("a", b"x", 1, dup=True, packet_id=7))
    await client.expect(Puback)
    assert len(broker.recorder.of("publish")) == 1


async def test_sessions_that_ended_leave_nothing(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash
) -> None:
    broker = await start(store=new_store())
    for number, end in enumerate(("clean start", "expiry 0", "disconnect", "expired")):
        name = f"c{number}"
        client = await broker.connect(name, **persistent(5, 1 if end == "expired" else 1000))
        await client.subscribe("a/#", 1)
        client.send(Publish("t", b"", 2, packet_id=5))
        await client.expect(Pubrec)
        if end == "disconnect":
            await client.disconnect(properties=Properties(session_expiry_interval=0))
            continue
        client.abort()
        await broker.until_away(name)
        if end == "clean start":
            await (await broker.connect(name, version=5)).disconnect()
        elif end == "expiry 0":
            client = await broker.connect(name, version=5, clean=False)
            client.send(Publish("t", b"", 2, packet_id=6))
            await client.expect(Pubrec)
            await client.subscribe("b", 1)
            await client.disconnect()
        else:
            await broker.until(lambda: not broker.broker.sessions)
    await broker.until(lambda: not list(broker.store.load("session")))
    store = crash(broker)
    for space in ("session", "subscription", "qos2", "connection"):
        assert list(store.load(space)) == []
    broker = await start(store=store)
    assert not broker.broker.sessions


async def test_an_absence_over_a_restart_counts(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash
) -> None:
    now = 1_700_000_000.0
    broker = await start(store=new_store(), clock=lambda: now)
    for name, seconds in (("short", 60), ("long", 600)):
        client = await broker.connect(name, **persistent(5, seconds))
        await client.disconnect()
    now += 100
    broker = await start(store=crash(broker), clock=lambda: now)
    await broker.until(lambda: "short" not in broker.broker.sessions)
    assert broker.recorder.of("terminated") == [("terminated", "short", "expired")]
    session = broker.broker.sessions["long"]
    assert session.expires_at is not None
    assert 499 < session.expires_at - broker.loop.time() <= 500
    # A clock that jumps back lengthens nothing.
    now -= 10_000
    broker = await start(store=crash(broker), clock=lambda: now)
    session = broker.broker.sessions["long"]
    assert session.expires_at is not None
    assert session.expires_at - broker.loop.time() <= 600


async def test_a_delayed_will_over_a_crash(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash
) -> None:
    now = 1_700_000_000.0
    will = Will("w", b"late", 1, properties=Properties(will_delay_interval=30, content_type="t"))
    broker = await start(store=new_store(), clock=lambda: now)
    client = await broker.connect("away", will=will, **persistent(5))
    client.abort()  # its will is due in 30 s
    await broker.until_away("away")
    await broker.connect("open", will=will, **persistent(5))  # its connection ends with the crash
    watching = await broker.connect("watcher", **persistent(5))
    await watching.subscribe("w", 1)

    now += 20
    broker = await start(store=crash(broker), clock=lambda: now)
    assert broker.recorder.of("publish") == []
    assert broker.recorder.by("away") == []  # its end was told before
    due = {name: broker.broker.sessions[name].will_due for name in ("away", "open")}
    assert due["away"] is not None
    assert due["open"] is not None
    assert 9 <= due["away"][0] - broker.loop.time() <= 11
    assert 29 <= due["open"][0] - broker.loop.time() <= 30
    await broker.connect("open", **persistent(5))  # back in time [MQTT-3.1.3-9]

    now += 15
    broker = await start(store=crash(broker), clock=lambda: now)
    await broker.until(lambda: broker.recorder.of("publish"))
    assert broker.recorder.of("publish") == [("publish", "away", "w", b"late")]
    watching = await broker.connect("watcher", **persistent(5))
    assert (await watching.expect(Publish)).properties == Properties(content_type="t")
    assert {key for key, _ in broker.store.load("connection")} == {str(broker.broker.serial)}


async def test_serials_go_on(start: Start, new_store: Callable[[], SqliteStore], crash: Crash) -> None:
    """A row of a waiting will must not be overwritten by a new connection's."""
    will = Will("w", b"late", 1, properties=Properties(will_delay_interval=300))
    broker = await start(store=new_store())
    client = await broker.connect("c", will=will, **persistent(5))
    client.abort()
    await broker.until_away("c")
    broker = await start(store=crash(broker))
    for number in range(5):
        await (await broker.connect(f"n{number}")).disconnect()
    broker = await start(store=crash(broker))
    assert broker.broker.sessions["c"].will_due is not None


async def test_ten_thousand_subscriptions_cost_a_row_each(
    start: Start, new_store: Callable[[], SqliteStore], crash: Crash
) -> None:
    """One more costs the same however many there are."""
    broker = await start(store=new_store())
    client = await broker.connect("c", **persistent(4))
    client.send(Subscribe(1, [Subscription(f"t/{number}", 1) for number in range(9_990)]))
    await client.expect(Suback)
    written: list[int] = []
    broker.journal.on_commit.append(lambda batch: written.append(len(batch.changes)))
    await client.subscribe("one/more", 1)
    assert sum(written) == 1
    broker = await start(store=crash(broker))
    assert len(broker.broker.sessions["c"].subscriptions) == 9_991

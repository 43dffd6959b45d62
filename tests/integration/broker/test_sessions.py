"""Sessions: clean and persistent, their expiry, takeover (sections 3.1.2.4, 3.1.2.11.2, 3.1.4, 4.1)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.mqtt.packets import Connack, Connect, Disconnect, Properties, Puback, Publish, Will
from tests.integration.broker.running import Running, Start
from tests.integration.mqtt_client import Client


def persistent(version: int, seconds: int = 1000) -> dict[str, Any]:
    properties = Properties(session_expiry_interval=seconds) if version == 5 else None
    return {"version": version, "clean": False, "properties": properties}


def present(client: Client) -> bool:
    assert client.connack is not None
    return client.connack.session_present


@pytest.mark.mqtt3("3.1.2-4", "3.1.3-2", "3.2.2-2", "3.2.2-3")
@pytest.mark.mqtt5("3.1.2-5", "3.1.2-6", "3.1.3-2", "3.2.2-3")
async def test_a_persistent_session_is_resumed(broker: Running, version: int) -> None:
    client = await broker.connect("c", **persistent(version))
    assert not present(client)  # [MQTT-3.2.2-3]
    await client.subscribe("a", 1)
    await client.disconnect()
    assert broker.recorder.of("terminated") == []
    client = await broker.connect("c", **persistent(version))
    assert present(client) == (version > 3)  # [MQTT-3.2.2-2]; MQTT 3.1 has no such flag
    await client.publish("a", b"x", 1)
    assert (await client.expect(Publish)).payload == b"x"


@pytest.mark.mqtt3("3.1.2-6", "3.1.4-3", "3.2.2-1")
@pytest.mark.mqtt5("3.1.2-4", "3.1.4-4", "3.2.2-2")
async def test_a_clean_start_discards_the_session(broker: Running, version: int) -> None:
    client = await broker.connect("c", **persistent(version))
    await client.subscribe("a", 1)
    await client.disconnect()
    client = await broker.connect("c", version=version)  # [MQTT-3.1.2-4]
    assert not present(client)
    assert broker.recorder.of("terminated") == [("terminated", "c", "discarded")]
    await client.publish("a", b"x", 1)
    await client.silent()
    await client.disconnect()
    client = await broker.connect("c", **persistent(version))
    assert not present(client)


@pytest.mark.mqtt3("3.1.2-6")
async def test_a_clean_session_ends_with_its_connection(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    await client.subscribe("a", 1)
    await client.disconnect()
    assert not broker.broker.sessions
    assert not broker.broker.away
    assert not len(broker.broker.subscriptions)
    client = await broker.connect("c", **persistent(version))
    assert not present(client)


@pytest.mark.mqtt5("3.1.2-5")
async def test_in_mqtt5_clean_start_and_expiry_are_two_things(broker: Running) -> None:
    client = await broker.connect("c", version=5, session_expiry_interval=1000)  # clean start, and stays
    await client.subscribe("a", 1)
    await client.disconnect()
    client = await broker.connect("c", version=5, clean=False)  # resumed, and ends with the connection
    assert present(client)
    await client.disconnect()
    assert not broker.broker.sessions
    assert broker.recorder.of("terminated") == [("terminated", "c", "normal")]


@pytest.mark.mqtt5("3.1.2-23", "4.1.0-2")
async def test_session_expiry(broker: Running) -> None:
    client = await broker.connect("c", version=5, session_expiry_interval=1)
    await client.subscribe("a", 1)
    client.abort()
    await broker.until(lambda: "c" not in broker.broker.sessions)
    assert broker.recorder.by("c")[-2:] == [("disconnected", "tcp_closed"), ("terminated", "expired")]
    assert not len(broker.broker.subscriptions)
    client = await broker.connect("c", **persistent(5))
    assert not present(client)


async def test_a_connected_session_does_not_expire(start: Start) -> None:
    broker = await start(session_expiry_interval=1)
    client = await broker.connect("c", clean=False)
    await asyncio.sleep(1.7)
    await client.silent()
    await client.disconnect()
    client = await broker.connect("c", clean=False)
    assert present(client)
    await asyncio.sleep(1.2)  # the first end's expiry is past and must not count any more
    await client.silent()
    assert broker.recorder.of("terminated") == []


async def test_the_expiry_of_311_sessions_is_the_settings(start: Start) -> None:
    broker = await start(session_expiry_interval=1)
    client = await broker.connect("c", clean=False)
    await client.disconnect()
    await broker.until(lambda: "c" not in broker.broker.sessions)
    assert broker.recorder.of("terminated") == [("terminated", "c", "expired")]


async def test_disconnect_may_change_the_expiry(broker: Running) -> None:
    client = await broker.connect("c", version=5, session_expiry_interval=1000)
    await client.disconnect(properties=Properties(session_expiry_interval=0))
    assert not broker.broker.sessions
    assert dict(broker.store.load("session")) == {}
    client = await broker.connect("d", version=5, session_expiry_interval=1000)
    await client.disconnect(properties=Properties(session_expiry_interval=1))
    await broker.until(lambda: not broker.broker.sessions)


async def test_disconnect_may_not_begin_an_expiry(broker: Running) -> None:
    client = await broker.connect("c", version=5)  # section 3.14.2.2.2
    client.send(_disconnect(10))
    await client.expect_disconnect(0x82)
    assert not broker.broker.sessions
    client = await broker.connect("c", version=5)
    await client.disconnect(properties=Properties(session_expiry_interval=0))
    assert client.inbox == []


async def test_where_sessions_may_not_stay_a_disconnect_with_an_expiry_is_no_fault(start: Start) -> None:
    broker = await start(session_expiry_interval=0)
    client = await broker.connect("c", version=5, session_expiry_interval=10)
    client.send(_disconnect(10))
    assert await client.wait_closed() == []
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "normal")]


def _disconnect(expiry: int) -> Disconnect:
    return Disconnect(0, Properties(session_expiry_interval=expiry))


@pytest.mark.mqtt3("3.1.3-2", "3.1.4-2")
@pytest.mark.mqtt5("3.1.3-2", "3.1.4-3")
@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("stays", [True, False])
async def test_takeover(broker: Running, version: int, stays: bool, clean: bool) -> None:
    first = await broker.connect("c", **(persistent(version) if stays else {"version": version}))
    await first.subscribe("a", 1)
    second = await broker.connect("c", **(persistent(version) | {"clean": clean}))
    await first.expect_disconnect(0x8E)  # [MQTT-3.1.4-3]
    kept = stays and not clean
    assert present(second) == (kept and version > 3)
    reason = "discarded" if clean else "takenover"
    expected = [("connect",), ("disconnected", reason)]
    if not kept:
        expected.append(("terminated", reason))
    assert broker.recorder.by("c")[5:] == [*expected, ("connected",), ("connack", "success")]
    await second.publish("a", b"x", 1)
    if kept:
        assert (await second.expect(Publish)).payload == b"x"
    await second.silent()


async def test_a_takeover_gets_what_the_first_connection_did_not_acknowledge(
    broker: Running, version: int
) -> None:
    first = await broker.connect("c", **persistent(version))
    await first.subscribe("a", 1)
    await first.publish("a", b"x", 1)
    message = await first.expect(Publish)
    second = await broker.connect("c", **persistent(version))
    again = await second.expect(Publish)
    assert (again.packet_id, again.payload, again.dup) == (message.packet_id, b"x", True)


async def test_many_takeovers_in_one_turn(broker: Running, version: int) -> None:
    clients = [await Client.open(broker.port, version=version) for _ in range(20)]
    for client in clients:
        client.send(Connect("c", version, clean_start=False, will=Will("w", b"x")))
    await broker.until(lambda: len(broker.recorder.of("connected")) == 20)
    await broker.until(lambda: len(broker.broker.connections) == 1)
    assert len(broker.recorder.of("disconnected")) == 19
    assert len(broker.broker.sessions) == 1
    alive = [client for client in clients if not (await _ended(client))]
    assert len(alive) == 1
    await alive[0].ping()


async def _ended(client: Client) -> bool:
    await client.expect(Connack)
    try:
        await client.ping()
    except Exception:
        return True
    return False


async def test_a_slow_subscriber_that_was_taken_over_gets_no_more(start: Start) -> None:
    """What the session holds belongs to the new connection, also when the old one begins to read again."""
    broker = await start(max_mqueue_len=10_000)
    slow = await Client.open(broker.port, limit=1024)
    slow.send(Connect("c", clean_start=False))
    await slow.expect(Connack)
    await slow.subscribe("a", 1)
    slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
    publisher = await broker.connect("p")
    connection = broker.broker.sessions["c"].connection
    assert connection is not None
    count = 0
    while connection.writable or not broker.broker.sessions["c"].queue:
        await publisher.publish("a", b"x" * 100_000, 1)
        count += 1
    waiting = len(broker.broker.sessions["c"].queue)
    assert waiting
    properties = Properties(session_expiry_interval=1000, receive_maximum=1)
    second = await broker.connect("c", version=5, clean=False, properties=properties)
    slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await slow.wait_closed()
    got = []
    while len(got) < count:
        message = await second.expect(Publish)
        got.append(message)
        second.send(Puback(message.packet_id))
    await second.silent()
    assert not broker.broker.sessions["c"].queue
    assert not any(m.dup for m in got[-waiting:])


async def test_subscriptions_of_another_version_are_kept(broker: Running) -> None:
    """A session may be resumed in another protocol version."""
    client = await broker.connect("c", **persistent(5))
    await client.subscribe("a", 1, identifier=5)
    await client.disconnect()
    publisher = await broker.connect("p", version=5)
    await publisher.publish("a", b"x", 1, content_type="text", user_property=[("k", "v")])
    client = await broker.connect("c", **persistent(4))
    message = await client.expect(Publish)
    assert (message.payload, message.properties) == (b"x", None)

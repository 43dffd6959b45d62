"""Wills (sections 3.1.2.5 to 3.1.2.7, 3.1.3.2): when they are published, when not, and when later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bridge.mqtt.packets import Connack, Connect, Properties, Publish, Will
from tests.integration.broker.running import Running, Start
from tests.integration.mqtt_client import Client

WILL = Will("will", b"gone", 1)


def delayed(seconds: int, **more: Any) -> Will:
    return Will("will", b"gone", 1, properties=Properties(will_delay_interval=seconds, **more))


async def watcher(broker: Running, version: int = 5) -> Client:
    client = await broker.connect("watcher", version=version)
    await client.subscribe("will", 1)
    return client


ENDS: dict[str, tuple[Callable[[Client], None], str]] = {
    "abort": (lambda client: client.abort(), "tcp_closed"),
    "close": (lambda client: client.writer.close(), "tcp_closed"),
    "malformed": (lambda client: client.raw(b"\x00\x00"), "malformed_packet"),
    "second connect": (lambda client: client.send(Connect("c", client.version)), "protocol_error"),
    "server's packet": (lambda client: client.send(Connack()), "protocol_error"),
}


@pytest.mark.mqtt3("3.1.2-8")
@pytest.mark.mqtt5("3.1.2-8")
@pytest.mark.parametrize("end", list(ENDS))
async def test_a_will_is_published_however_a_connection_ends(broker: Running, version: int, end: str) -> None:
    watching = await watcher(broker)
    client = await broker.connect("c", version=version, will=WILL)
    act, reason = ENDS[end]
    act(client)
    message = await watching.expect(Publish)
    assert (message.topic, message.payload, message.qos) == ("will", b"gone", 1)
    assert broker.recorder.by("c")[3:] == [
        ("publish", "will", b"gone"),
        ("disconnected", reason),
        ("terminated", reason),
    ]


@pytest.mark.mqtt3("3.1.2-10", "3.14.4-3")
@pytest.mark.mqtt5("3.14.4-3")
async def test_a_normal_disconnect_drops_the_will(broker: Running, version: int) -> None:
    watching = await watcher(broker)
    client = await broker.connect("c", version=version, will=WILL)  # [MQTT-3.14.4-3]
    await client.disconnect()
    await watching.silent()
    assert broker.recorder.of("publish") == []


@pytest.mark.parametrize("code", [0x04, 0x80, 0x98])
async def test_a_disconnect_with_a_reason_publishes_it(broker: Running, code: int) -> None:
    watching = await watcher(broker)
    client = await broker.connect("c", version=5, will=WILL)
    await client.disconnect(code)
    assert (await watching.expect(Publish)).payload == b"gone"
    names = {0x04: "disconnect_with_will_message", 0x80: "unspecified_error", 0x98: "administrative_action"}
    assert broker.recorder.of("disconnected") == [("disconnected", "c", names[code])]


async def test_a_will_after_a_keepalive_timeout(start: Start, version: int) -> None:
    broker = await start(keepalive_multiplier=1.0)
    watching = await watcher(broker)
    await broker.connect("c", version=version, keepalive=1, will=WILL)
    assert (await watching.expect(Publish)).payload == b"gone"


async def test_a_will_at_a_takeover(broker: Running, version: int) -> None:
    watching = await watcher(broker)
    await broker.connect("c", version=version, will=WILL)
    await broker.connect("c", version=version)
    assert (await watching.expect(Publish)).payload == b"gone"


async def test_a_refused_client_has_no_will(start: Start) -> None:
    broker = await start(max_client_id=23)
    watching = await watcher(broker)
    client = await broker.connect("c" * 24, version=5, will=WILL, code=0x85)
    await client.wait_closed()
    await watching.silent()


@pytest.mark.mqtt3("3.1.2-9", "3.1.2-17")
@pytest.mark.mqtt5("3.1.2-15")
async def test_a_retained_will(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version, will=Will("will", b"gone", retain=True))
    client.abort()
    await broker.until_away("c")
    watching = await watcher(broker)
    message = await watching.expect(Publish)
    assert (message.payload, message.retain, message.qos) == (b"gone", True, 0)


async def test_an_empty_retained_will_clears(broker: Running) -> None:
    client = await broker.connect("c", will=Will("will", b"", retain=True))
    await client.publish("will", b"here", retain=True)
    await client.ping()
    assert len(broker.broker.retained) == 1
    client.abort()
    await broker.until(lambda: not len(broker.broker.retained))


@pytest.mark.mqtt5("3.1.3-10")
async def test_the_properties_of_a_will_are_carried_through(broker: Running) -> None:
    watching = await watcher(broker)
    properties = Properties(
        payload_format_indicator=1,
        content_type="text/plain",
        response_topic="answer",
        correlation_data=b"\x00\xff",
        user_property=[("a", "1"), ("b", "2"), ("a", "3")],
    )
    client = await broker.connect("c", version=5, will=Will("will", b"gone", properties=properties))
    client.abort()
    assert (await watching.expect(Publish)).properties == properties


async def test_the_expiry_of_a_will_counts_from_its_publication(broker: Running) -> None:
    client = await broker.connect("c", version=5, will=delayed(0, message_expiry_interval=1))
    await asyncio.sleep(1.2)
    watching = await watcher(broker)
    client.abort()  # section 3.1.3.2.4
    message = await watching.expect(Publish)
    assert message.properties == Properties(message_expiry_interval=1)


@pytest.mark.mqtt5("3.1.2-7", "3.1.2-8")
async def test_a_delayed_will(broker: Running) -> None:
    watching = await watcher(broker)
    client = await broker.connect(
        "c", version=5, will=delayed(1), properties=Properties(session_expiry_interval=100)
    )
    began = broker.loop.time()
    client.abort()
    await broker.until_away("c")
    await watching.silent()
    assert (await watching.expect(Publish)).payload == b"gone"
    assert 0.9 < broker.loop.time() - began < 2.0
    assert broker.recorder.by("c")[3:] == [("disconnected", "tcp_closed"), ("publish", "will", b"gone")]
    assert dict(broker.store.load("connection")).keys() == {"1"}  # the watcher's


@pytest.mark.mqtt5("3.1.3-9")
async def test_a_delayed_will_is_dropped_when_the_client_is_back(broker: Running) -> None:
    watching = await watcher(broker)
    options = {"version": 5, "clean": False, "properties": Properties(session_expiry_interval=100)}
    client = await broker.connect("c", will=delayed(1), **options)
    client.abort()
    await broker.until_away("c")
    client = await broker.connect("c", **options)  # [MQTT-3.1.3-9]
    await asyncio.sleep(1.7)
    await watching.silent()
    await client.silent()


async def test_a_delayed_will_at_a_takeover_is_dropped(broker: Running) -> None:
    watching = await watcher(broker)
    options = {"version": 5, "clean": False, "properties": Properties(session_expiry_interval=100)}
    await broker.connect("c", will=delayed(1), **options)
    second = await broker.connect("c", **options)
    await second.silent()
    await watching.silent()
    assert broker.broker.sessions["c"].will_due is None


@pytest.mark.mqtt5("3.1.2-8")
async def test_a_delayed_will_is_due_when_the_session_ends(broker: Running) -> None:
    watching = await watcher(broker)
    # The session ends with the connection: no delay.
    client = await broker.connect("c", version=5, will=delayed(100))
    client.abort()
    assert (await watching.expect(Publish)).payload == b"gone"
    # The session expires before the delay is over.
    client = await broker.connect(
        "d", version=5, will=delayed(100), properties=Properties(session_expiry_interval=1)
    )
    client.abort()
    assert (await watching.expect(Publish)).payload == b"gone"
    # A clean start ends the session ([MQTT-3.1.2-4]).
    client = await broker.connect(
        "e", version=5, will=delayed(100), properties=Properties(session_expiry_interval=100)
    )
    client.abort()
    await broker.until_away("e")
    await watching.silent()
    await broker.connect("e", version=5)
    assert (await watching.expect(Publish)).payload == b"gone"


@pytest.mark.mqtt5("3.1.2-10")
async def test_a_normal_disconnect_drops_a_delayed_will(broker: Running) -> None:
    watching = await watcher(broker)
    client = await broker.connect(
        "c", version=5, will=delayed(1), properties=Properties(session_expiry_interval=100)
    )
    await client.disconnect()
    await asyncio.sleep(1.6)
    await watching.silent()


async def test_a_will_goes_to_its_own_waiting_session_unless_no_local(broker: Running) -> None:
    options = {"version": 5, "clean": False, "properties": Properties(session_expiry_interval=100)}
    for no_local in (False, True):
        client = await broker.connect("c", will=WILL, **options)
        await client.subscribe("will", 1, no_local=no_local)
        client.abort()
        await broker.until_away("c")
        await broker.until(lambda: not broker.journal.waiting)
        client = await broker.connect("c", **options)
        if no_local:
            await client.silent()
        else:
            assert (await client.expect(Publish)).payload == b"gone"
        await client.disconnect(properties=Properties(session_expiry_interval=0))


async def test_wills_at_shutdown(broker: Running) -> None:
    await broker.connect("c", will=WILL)
    broker.broker.shut_down()
    assert broker.recorder.by("c")[3:] == [
        ("publish", "will", b"gone"),
        ("disconnected", "server_shutting_down"),
        ("terminated", "server_shutting_down"),
    ]

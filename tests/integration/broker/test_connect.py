"""CONNECT, CONNACK, DISCONNECT (sections 3.1, 3.2, 3.14): who comes in, what is agreed on, how it ends."""

from __future__ import annotations

import asyncio

import pytest

from bridge.broker.auth import Authentication
from bridge.broker.hooks import Hooks
from bridge.mqtt import encoder
from bridge.mqtt.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
)
from tests.integration.broker.running import Running, Start
from tests.integration.mqtt_client import Client


@pytest.mark.mqtt3("3.1.4-4")
@pytest.mark.mqtt5("3.1.4-5")
async def test_connect_in_every_version(broker: Running, version: int) -> None:
    client = await broker.connect("c1", version=version)
    assert client.connack is not None
    assert not client.connack.session_present
    await client.silent()
    await client.disconnect()
    assert client.inbox == []


@pytest.mark.mqtt5("3.1.3-6", "3.1.3-7", "3.2.2-16")
async def test_an_empty_client_id_is_assigned_one_and_told_in_mqtt5(broker: Running) -> None:
    one = await broker.connect("", version=5)
    two = await broker.connect("", version=5)
    assert one.connack is not None
    assert two.connack is not None
    ids = [c.connack.properties.assigned_client_identifier for c in (one, two)]  # [MQTT-3.2.2-16]
    assert all(ids)
    assert ids[0] != ids[1]
    assert [call[1] for call in broker.recorder.of("connect")] == ids
    assert set(broker.broker.sessions) == set(ids)


@pytest.mark.mqtt3("3.1.3-6")
async def test_an_empty_client_id_with_clean_session_is_taken_in_311(broker: Running) -> None:
    await broker.connect("", version=4)
    (call,) = broker.recorder.of("connected")
    assert call[1]


@pytest.mark.mqtt3("3.1.3-7", "3.1.3-8")
@pytest.mark.parametrize(("version", "clean"), [(4, False), (3, True), (3, False)])
async def test_an_empty_client_id_is_refused(broker: Running, version: int, clean: bool) -> None:
    client = await broker.connect("", version=version, clean=clean, code=2)  # [MQTT-3.1.3-8] of 3.1.1
    await client.wait_closed()
    assert broker.recorder.calls == [
        ("connect", ""),
        ("connack", "", "client_identifier_not_valid"),
    ]


@pytest.mark.mqtt3("3.1.3-9")
@pytest.mark.mqtt5("3.1.3-8")
async def test_a_client_id_above_the_bound_is_refused(start: Start, version: int) -> None:
    broker = await start(max_client_id=64)
    await broker.connect("x" * 64, version=version)
    client = await broker.connect("é" * 33, version=version, code=0x85 if version == 5 else 2)
    await client.wait_closed()
    assert list(broker.broker.sessions) == ["x" * 64]


async def test_a_client_id_of_64_kib(broker: Running, version: int, caplog: pytest.LogCaptureFixture) -> None:
    client = await broker.connect("x" * 65535, version=version)
    client.send(Publish("a", b"", 1, packet_id=1))
    await client.expect(Puback)
    client.raw(b"\x00\x00")
    await client.wait_closed()
    assert len(caplog.text) < 1000


@pytest.mark.mqtt5("3.2.2-20", "4.12.0-6")
async def test_what_connack_says_in_mqtt5(start: Start) -> None:
    broker = await start(
        max_packet_size=4096, max_inflight_window=10, max_topic_alias=7, session_expiry_interval=60
    )
    client = await broker.connect("c", version=5, session_expiry_interval=100)
    assert client.connack is not None
    assert client.connack.properties == Properties(
        session_expiry_interval=60, receive_maximum=10, maximum_packet_size=4096, topic_alias_maximum=7
    )


async def test_a_session_expiry_that_is_granted_is_not_repeated(broker: Running) -> None:
    client = await broker.connect("c", version=5, session_expiry_interval=100)
    assert client.connack is not None
    assert client.connack.properties is not None
    assert client.connack.properties.session_expiry_interval is None


async def test_our_receive_maximum_is_the_lower_of_both_settings(start: Start) -> None:
    broker = await start(max_inflight_window=10, max_awaiting_rel=4)
    client = await broker.connect("c", version=5)
    assert client.connack is not None
    assert client.connack.properties is not None
    assert client.connack.properties.receive_maximum == 4


@pytest.mark.mqtt5("3.1.2-24")
async def test_a_client_that_cannot_take_its_connack_is_refused(broker: Running) -> None:
    # [MQTT-3.1.2-24]: five bytes are a CONNACK that refuses, and no more than that may be sent.
    client = await broker.connect("c", version=5, maximum_packet_size=5, code=0x95)
    await client.wait_closed()
    assert not broker.broker.sessions
    assert broker.recorder.of("connack") == [("connack", "c", "packet_too_large")]
    client = await Client.open(broker.port, version=5)
    client.send(Connect("c", 5, properties=Properties(maximum_packet_size=4)))
    assert await client.wait_closed() == []


async def test_all_in_one_segment_is_answered_in_order(broker: Running, version: int) -> None:
    client = await Client.open(broker.port, version=version)
    client.send(
        Connect("c", version),
        Subscribe(1, [Subscription("a", 1)]),
        Publish("a", b"x", 1, packet_id=2),
        Disconnect(),
    )
    packets = await client.wait_closed()
    assert type(packets[0]) is Connack
    assert Suback(1, [1]) in packets
    assert Puback(2) in packets
    assert broker.recorder.by("c") == [
        ("connect",),
        ("connected",),
        ("connack", "success"),
        ("subscribe", "a", 1),
        ("subscribed", "a", 1),
        ("publish", "a", b"x"),
        ("disconnected", "normal"),
        ("terminated", "normal"),
    ]


@pytest.mark.mqtt3("3.2.0-1")
@pytest.mark.mqtt5("3.2.0-1")
async def test_connack_is_the_first_packet_of_all(broker: Running, version: int) -> None:
    properties = Properties(session_expiry_interval=100) if version == 5 else None
    client = await broker.connect("c", version=version, clean=False, properties=properties)  # [MQTT-3.2.0-1]
    await client.subscribe("a", 2)
    publisher = await broker.connect("p")
    await publisher.publish("a", b"x", 2)
    packet_id = (await client.expect(Publish)).packet_id
    again = await Client.open(broker.port, version=version)
    again.send(
        Connect("c", version, clean_start=False, properties=properties),
        Pubrec(packet_id),
        Pubrec(999),
        Pubrel(999),
        Pingreq(),
    )
    assert type(await again.next()) is Connack
    rest = [await again.next() for _ in range(5)]
    assert {type(p) for p in rest} == {Pubrel, Pubcomp, Pingresp}


async def test_what_a_half_closed_connection_sent_is_acknowledged(broker: Running) -> None:
    client = await Client.open(broker.port)
    client.send(Connect("c"), Publish("a", b"x", 1, packet_id=2))
    client.writer.write_eof()
    assert await client.wait_closed() == [Connack(), Puback(2)]
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "tcp_closed")]


async def test_data_after_disconnect_is_ignored(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    client.send(Disconnect(), Publish("a", b"x"), Pingreq())
    assert await client.wait_closed() == []
    assert broker.recorder.of("publish") == []
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "normal")]


async def test_half_a_packet_then_the_end(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    whole = encoder.encode_publish(version, "a", b"payload")
    client.raw(whole + whole[:-3])
    client.writer.close()
    await broker.until(lambda: broker.recorder.of("disconnected"))
    assert broker.recorder.of("publish") == [("publish", "c", "a", b"payload")]
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "tcp_closed")]


@pytest.mark.mqtt3("3.1.0-1")
@pytest.mark.mqtt5("3.1.0-1", "3.14.0-1")
@pytest.mark.parametrize(
    "packet", [Pingreq(), Publish("a", b"x"), Disconnect(), Subscribe(1, [Subscription("a")])]
)
async def test_a_packet_before_connect(broker: Running, packet: object) -> None:
    client = await Client.open(broker.port)  # [MQTT-3.1.0-1]
    client.send(packet)
    assert await client.wait_closed() == []
    assert broker.recorder.calls == []


@pytest.mark.mqtt3("3.1.0-2")
@pytest.mark.mqtt5("3.1.0-2")
async def test_a_second_connect(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)  # [MQTT-3.1.0-2]
    client.send(Connect("c", version))
    await client.expect_disconnect(0x82)
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "protocol_error")]


@pytest.mark.mqtt3("3.1.2-1", "3.1.2-2")
@pytest.mark.mqtt5("3.1.2-1", "3.1.2-2")
@pytest.mark.parametrize(
    ("front", "answer"),
    [
        (b"\0\x04MQTT\x06", b"\x20\x03\0\x84\0"),  # a version to come: MQTT 5's answer
        (b"\0\x04MQTT\x02", b"\x20\x02\0\x01"),
        (b"\0\x06MQIsdp\x04", b"\x20\x02\0\x01"),
        (b"\0\x04HTTP\x04", b""),  # no MQTT: it would not understand a CONNACK
        (b"\0\x03MQT\x05", b""),
    ],
)
async def test_an_unsupported_protocol_version(broker: Running, front: bytes, answer: bytes) -> None:
    client = await Client.open(broker.port)  # [MQTT-3.1.2-1], [MQTT-3.1.2-2]
    body = front + b"\x02\0\0\0\x01c"
    client.raw(bytes((0x10, len(body))) + body)
    assert await client.reader.read() == answer
    assert broker.recorder.calls == []


@pytest.mark.mqtt5("3.1.2-3", "3.1.4-1")
async def test_a_malformed_connect_is_refused_in_mqtt5(broker: Running) -> None:
    client = await Client.open(broker.port, version=5)
    good = encoder.encode_connect(Connect("c", 5))
    client.raw(good[:9] + bytes((good[9] | 1,)) + good[10:])  # the reserved flag [MQTT-3.1.2-3]
    (answer,) = await client.wait_closed()
    assert isinstance(answer, Connack)
    assert answer.reason_code == 0x81


@pytest.mark.mqtt3("3.1.2-3", "3.1.4-1")
async def test_a_malformed_connect_is_just_closed_in_311(broker: Running) -> None:
    client = await Client.open(broker.port)  # [MQTT-3.1.4-1] of 3.1.1
    good = encoder.encode_connect(Connect("c"))
    client.raw(good[:9] + bytes((good[9] | 1,)) + good[10:])
    assert await client.wait_closed() == []


async def test_a_protocol_error_in_connect_is_told(broker: Running) -> None:
    client = await Client.open(broker.port, version=5)
    body = b"\0\x04MQTT\x05\x02\0\0\x0a\x11\0\0\0\x01\x11\0\0\0\x01\0\x01c"  # session expiry twice
    client.raw(bytes((0x10, len(body))) + body)
    (answer,) = await client.wait_closed()
    assert isinstance(answer, Connack)
    assert answer.reason_code == 0x82


async def test_a_will_topic_with_a_wildcard(broker: Running) -> None:
    client = await Client.open(broker.port, version=5)
    body = b"\0\x04MQTT\x05\x06\0\0\0\0\x01c\0\0\x03a/#\0\0"
    client.raw(bytes((0x10, len(body))) + body)
    (answer,) = await client.wait_closed()
    assert isinstance(answer, Connack)
    assert answer.reason_code == 0x81


@pytest.mark.mqtt5("4.12.0-1", "4.12.0-4")
async def test_enhanced_authentication_is_not_supported(broker: Running) -> None:
    client = await broker.connect("c", version=5, authentication_method="SCRAM", code=0x8C)
    await client.wait_closed()
    assert not broker.broker.sessions


@pytest.mark.mqtt5("4.12.0-7")
async def test_auth_without_a_method_ends_the_connection(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    client.send(Auth(0x19, Properties(authentication_method="x")))
    await client.expect_disconnect(0x82)


async def test_no_connect_within_the_limit(start: Start) -> None:
    broker = await start(connect_timeout=0.2)
    silent = [await Client.open(broker.port) for _ in range(20)]
    slow = await Client.open(broker.port)
    slow.raw(b"\x10\x20\0\x04MQ")
    for client in [*silent, slow]:
        assert await client.wait_closed() == []
    assert broker.broker.stats.connect_timeouts == 21
    assert not broker.broker.connections
    assert broker.recorder.calls == []


USERS = {"ann": b"secret", "bob": b""}


@pytest.mark.mqtt3("3.2.2-5")
@pytest.mark.mqtt5("3.1.4-2", "3.2.2-7", "3.2.2-8")
@pytest.mark.parametrize(
    ("username", "password", "codes", "names"),
    [
        ("ann", b"secret", (0, 0), ("success", "success")),
        ("bob", b"", (0, 0), ("success", "success")),
        ("ann", b"wrong", (4, 0x86), ("malformed_username_or_password", "bad_username_or_password")),
        ("ann", None, (4, 0x86), ("malformed_username_or_password", "bad_username_or_password")),
        ("eve", b"secret", (4, 0x86), ("malformed_username_or_password", "bad_username_or_password")),
        (None, None, (5, 0x87), ("unauthorized_client", "not_authorized")),
    ],
)
async def test_user_names_and_passwords(
    start: Start,
    version: int,
    username: str | None,
    password: bytes | None,
    codes: tuple[int, int],
    names: tuple[str, str],
) -> None:
    broker = await start(hooks=(Authentication(allow_anonymous=False, users=USERS),))
    five = version == 5
    client = await broker.connect(
        "c", version=version, username=username, password=password, code=codes[five]
    )
    if codes[0]:
        await client.wait_closed()
        assert not broker.broker.sessions
        assert broker.recorder.calls == [("connect", "c"), ("connack", "c", names[five])]
        assert broker.broker.stats.refused == 1
    else:
        await client.silent()


async def test_anonymous_clients_where_they_are_allowed(start: Start) -> None:
    broker = await start(hooks=(Authentication(allow_anonymous=True, users=USERS),))
    await broker.connect("anybody")
    await broker.connect("ann", username="ann", password=b"secret")
    await broker.connect("eve", username="eve", password=b"x", code=4)


async def test_without_any_user_everybody_is_let_in(start: Start) -> None:
    broker = await start(hooks=(Authentication(allow_anonymous=True, users={}),))
    await broker.connect("c", username="anybody", password=b"x")


async def test_a_refused_client_changes_nothing_of_its_victims(start: Start, version: int) -> None:
    broker = await start(hooks=(Authentication(allow_anonymous=False, users=USERS),))
    victim = await broker.connect("v", version=version, username="ann", password=b"secret")
    await victim.subscribe("a", 1)
    before = broker.broker.sessions["v"]
    thief = await broker.connect(
        "v", version=version, username="ann", password=b"guess", code=0x86 if version == 5 else 4
    )
    await thief.wait_closed()
    assert broker.broker.sessions["v"] is before
    assert broker.recorder.of("disconnected", "terminated") == []
    await victim.publish("a", b"still here", 1)
    assert (await victim.expect(Publish)).payload == b"still here"


@pytest.mark.mqtt3("3.1.4-5")
@pytest.mark.mqtt5("3.1.4-6")
async def test_packets_behind_a_refused_connect_are_not_processed(start: Start) -> None:
    broker = await start(hooks=(Authentication(allow_anonymous=False, users={}),))
    client = await Client.open(broker.port)  # [MQTT-3.1.4-6]
    client.send(Connect("c"), Publish("a", b"x", 1, packet_id=1))
    assert await client.wait_closed() == [Connack(False, 5)]
    assert broker.recorder.of("publish") == []


@pytest.mark.mqtt3("3.2.2-6")
async def test_max_connections(start: Start) -> None:
    broker = await start(max_connections=2)
    one = await broker.connect("1")
    await broker.connect("2")
    late = await Client.open(broker.port)
    late.send(Connect("3"))
    (answer,) = await late.wait_closed()
    assert isinstance(answer, Connack)
    assert answer.reason_code == 3
    await one.disconnect()
    await broker.until(lambda: len(broker.broker.connections) == 1)
    await broker.connect("4")
    assert broker.broker.stats.turned_away == 1


async def test_max_sessions_bounds_clients_with_ever_new_ids(start: Start, version: int) -> None:
    broker = await start(max_sessions=3)
    for number in range(3):
        client = await broker.connect(
            f"c{number}", version=version, clean=False, properties=_persistent(version)
        )
        await client.disconnect()
    client = await broker.connect(
        "c3", version=version, clean=False, properties=_persistent(version), code=0x89 if version == 5 else 3
    )
    await client.wait_closed()
    await broker.connect("c1", version=version, clean=False, properties=_persistent(version))
    assert len(broker.broker.sessions) == 3
    # `max_connections` bounds those that leave nothing behind.
    await (await broker.connect("c4", version=version)).disconnect()
    await broker.until(lambda: len(broker.broker.sessions) == 3)


def _persistent(version: int) -> Properties | None:
    return Properties(session_expiry_interval=100) if version == 5 else None


@pytest.mark.mqtt3("3.1.2-24")
@pytest.mark.mqtt5("3.1.2-22", "3.2.2-22")
async def test_keepalive(start: Start, version: int) -> None:
    broker = await start(keepalive_multiplier=1.0)
    client = await broker.connect("c", version=version, keepalive=1)
    other = await broker.connect("other", version=version)
    began = broker.loop.time()
    await client.expect_disconnect(0x8D)  # [MQTT-3.1.2-22]
    assert 0.9 < broker.loop.time() - began < 2.6
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "keepalive_timeout")]
    await other.silent()  # keepalive 0: never


async def test_a_client_that_pings_stays(start: Start) -> None:
    broker = await start(keepalive_multiplier=1.0)
    client = await broker.connect("c", keepalive=1)
    for _ in range(6):
        await asyncio.sleep(0.4)
        await client.silent()


async def test_time_limits_of_more_clients_than_one_turn_looks_at(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.broker.server.SWEEP_STEP", 2)
    broker = await start(keepalive_multiplier=1.0, connect_timeout=0.5)
    for number in range(9):
        await broker.connect(f"silent{number}", version=5, keepalive=1, session_expiry_interval=1)
        await broker.connect(f"free{number}")
    waiting = [await Client.open(broker.port) for _ in range(9)]
    for client in waiting:
        await client.wait_closed()
    await broker.until(lambda: len(broker.recorder.of("terminated")) == 9, within=10)
    assert {call[1][:6] for call in broker.recorder.of("terminated")} == {"silent"}
    assert len(broker.broker.sessions) == 9


async def test_shutdown_tells_mqtt5_clients(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    waiting = await Client.open(broker.port)
    broker.broker.shut_down()
    await client.expect_disconnect(0x8B)
    await waiting.wait_closed()
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "server_shutting_down")]
    with pytest.raises(OSError):
        await Client.open(broker.port)


class Broken(Hooks):
    def on_subscribe(self, client: object, subscription: Subscription, properties: object) -> int:
        raise RuntimeError("a fault of ours")


@pytest.mark.mqtt3("4.8.0-2")
async def test_an_internal_error_ends_one_connection_only(
    start: Start, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await start(hooks=(Broken(),))
    other = await broker.connect("other", version=version)
    client = await broker.connect("c", version=version)
    client.send(Subscribe(1, [Subscription("a")]))
    await client.expect_disconnect(0x83)
    assert broker.recorder.of("disconnected") == [("disconnected", "c", "internal_error")]
    await other.silent()
    assert "a fault of ours" in caplog.text

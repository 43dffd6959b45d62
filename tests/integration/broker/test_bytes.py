"""Bytes that end a connection, and bytes that we send: written down here, not made by an encoder.

The unit table of packets has far more of them; here they meet a live broker, one statement at a time.
"""

from __future__ import annotations

import asyncio

import pytest

from bridge.mqtt.packets import Connack, Disconnect, Puback, Publish, Suback, Subscribe, Subscription
from tests.integration.broker.running import Running
from tests.integration.mqtt_client import Client
from tests.unit.mqtt.cases import NONE, V4, V5, packet, props, string, x

EMPTY = {3: b"", 4: b"", 5: NONE}
"""The property list of a packet that has one, by version."""


async def ended(client: Client, code: int = 0x81) -> None:
    """The connection is closed: in MQTT 5 with DISCONNECT and this code alone, else without a word."""
    data = await asyncio.wait_for(client.reader.read(), 5)
    assert data == (bytes((0xE0, 1, code)) if client.version == 5 else b"")
    client.writer.close()


async def refused(port: int, wire: bytes, answer: bytes = b"") -> None:
    """A CONNECT that is answered with these bytes, and the end."""
    client = await Client.open(port)
    client.raw(wire)
    assert await asyncio.wait_for(client.reader.read(), 5) == answer
    client.writer.close()


# -- strings -------------------------------------------------------------------------------------------------

ILL_FORMED = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xe2\x82", b"\xf4\x90\x80\x80"]
"""Not UTF-8, overlong, the first and the last surrogate, cut short, above U+10FFFF."""


def with_string(version: int, raw: bytes) -> dict[str, bytes]:
    """A packet for each place where a connected client sends a string."""
    text, empty = string(raw), EMPTY[version]
    packets = {
        "topic name": packet(0x30, text, empty),
        "SUBSCRIBE filter": packet(0x82, x("0001"), empty, text, x("00")),
        "UNSUBSCRIBE filter": packet(0xA2, x("0001"), empty, text),
    }
    if version == 5:
        packets |= {
            "response topic": packet(0x30, "a", props(x("08"), text)),
            "content type": packet(0x30, "a", props(x("03"), text)),
            "user property's name": packet(0x30, "a", props(x("26"), text, "v")),
            "user property's value": packet(0x30, "a", props(x("26"), "k", text)),
            "reason string": packet(0x40, x("0001 00"), props(x("1f"), text)),
        }
    return packets


@pytest.mark.mqtt3("1.5.3-1", "3.3.2-1", "3.8.3-1", "3.10.3-1")
@pytest.mark.mqtt5("1.5.4-1", "1.5.7-1", "3.3.2-1", "3.3.2-13", "3.3.2-19", "3.8.3-1", "3.10.3-1")
@pytest.mark.parametrize("raw", ILL_FORMED, ids=lambda raw: raw.hex())
async def test_ill_formed_utf8_ends_the_connection(broker: Running, version: int, raw: bytes) -> None:
    for wire in with_string(version, raw).values():
        client = await Client.connect(broker.port, "c", version=version)
        client.raw(wire)
        await ended(client)


@pytest.mark.mqtt3("1.5.3-2", "4.7.3-2")
@pytest.mark.mqtt5("1.5.4-2", "1.5.7-1", "4.7.3-2")
async def test_u0000_ends_the_connection(broker: Running, version: int) -> None:
    for wire in with_string(version, b"a\0b").values():
        client = await Client.connect(broker.port, "c", version=version)
        client.raw(wire)
        await ended(client)


@pytest.mark.mqtt3("1.5.3-1", "1.5.3-2", "3.1.3-4", "3.1.3-10", "3.1.3-11")
@pytest.mark.mqtt5("1.5.4-1", "1.5.4-2", "3.1.3-4", "3.1.3-11", "3.1.3-12")
@pytest.mark.parametrize("raw", [*ILL_FORMED, b"a\0"], ids=lambda raw: raw.hex())
async def test_strings_of_connect_are_utf8(broker: Running, raw: bytes) -> None:
    text = string(raw)
    for tail in (
        (x("02 0000"), text),
        (x("06 0000"), "c", text, x("0000")),
        (x("82 0000"), "c", text),
    ):
        await refused(broker.port, packet(0x10, V4, *tail))
    for tail in (
        (x("02 0000"), NONE, text),
        (x("06 0000"), NONE, "c", NONE, text, x("0000")),
        (x("82 0000"), NONE, "c", text),
    ):
        await refused(broker.port, packet(0x10, V5, *tail), b"\x20\x03\0\x81\0")
    assert broker.recorder.calls == []


@pytest.mark.mqtt3("1.5.3-3", "4.7.3-4")
@pytest.mark.mqtt5("1.5.4-3", "4.7.3-4")
async def test_nothing_of_a_string_is_changed(broker: Running, version: int) -> None:
    """U+FEFF is a character; no composition, no case, no slash is normalised."""
    names = ["\ufeffa", "a", "A", "\u00e9", "e\u0301", "a//b", "a/b", "a/b/", "\uffff", "\u2460"]
    client = await broker.connect("\ufeffc", version=version)
    assert set(broker.broker.sessions) == {"\ufeffc"}
    for name in names:
        await client.subscribe(name)
        for other in names:
            await client.publish(other, other.encode())
        await client.ping()
        got = [p for p in client.inbox if type(p) is Publish]
        client.inbox.clear()
        assert [(p.topic, p.payload) for p in got] == [(name, name.encode())]
        await client.unsubscribe(name)


# -- the fixed header and packet identifiers -----------------------------------------------------------------

FLAGS = {
    "PUBACK": (0x40, 0),
    "PUBREC": (0x50, 0),
    "PUBREL": (0x60, 2),
    "PUBCOMP": (0x70, 0),
    "SUBSCRIBE": (0x80, 2),
    "UNSUBSCRIBE": (0xA0, 2),
    "PINGREQ": (0xC0, 0),
    "DISCONNECT": (0xE0, 0),
}


@pytest.mark.mqtt3("2.2.2-2", "3.6.1-1", "3.8.1-1", "3.10.1-1", "3.14.1-1")
@pytest.mark.mqtt5("2.1.3-1", "3.6.1-1", "3.8.1-1", "3.10.1-1", "3.14.1-1")
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("name", list(FLAGS))
async def test_reserved_flags_of_the_fixed_header(broker: Running, version: int, name: str) -> None:
    head, right = FLAGS[name]
    body = b"" if head >= 0xC0 else x("0001")
    if head in (0x80, 0xA0):
        body += EMPTY[version] + string("a") + (x("00") if head == 0x80 else b"")
    for flags in sorted({1, 2, 4, 8, 0} - {right}):
        client = await Client.connect(broker.port, "c", version=version)
        client.raw(packet(head | flags, body))
        await ended(client)


@pytest.mark.mqtt5("3.15.1-1", "3.15.2-1")
async def test_auth_with_flags_or_a_servers_code(broker: Running) -> None:
    method = props(x("15"), "m")
    for wire, code in (
        (packet(0xF1, x("18"), method), 0x81),
        (packet(0xF0, x("00"), method), 0x82),
        (packet(0xF0, x("80"), method), 0x82),
    ):
        client = await Client.connect(broker.port, "c", version=5)
        client.raw(wire)
        await ended(client, code)


@pytest.mark.mqtt3("3.3.1-2", "3.3.1-4")
@pytest.mark.mqtt5("3.3.1-2", "3.3.1-4")
@pytest.mark.parametrize("head", [0x36, 0x37, 0x3E, 0x38, 0x39])
async def test_qos_3_and_dup_with_qos_0(broker: Running, version: int, head: int) -> None:
    client = await Client.connect(broker.port, "c", version=version)
    client.raw(packet(head, "a", x("0001") if head & 6 else b"", EMPTY[version]))
    await ended(client)
    assert broker.recorder.of("publish") == []


@pytest.mark.mqtt3("2.3.1-1")
@pytest.mark.mqtt5("2.2.1-3")
async def test_packet_identifier_0(broker: Running, version: int) -> None:
    empty = EMPTY[version]
    for wire in (
        packet(0x32, "a", x("0000"), empty),
        packet(0x34, "a", x("0000"), empty),
        packet(0x82, x("0000"), empty, "a", x("00")),
        packet(0xA2, x("0000"), empty, "a"),
    ):
        client = await Client.connect(broker.port, "c", version=version)
        client.raw(wire)
        await ended(client)


@pytest.mark.mqtt5("1.5.5-1")
async def test_more_bytes_of_a_length_than_needed(broker: Running) -> None:
    for wire in (
        x("c0 8000"),
        x("30 8400 0001 61 00"),
        x("30 05 0001 61 8000"),
        x("82 08 0001 8000 0001 61 00"),
    ):
        client = await Client.connect(broker.port, "c", version=5)
        client.raw(wire)
        await ended(client)


@pytest.mark.mqtt5("2.2.2-1")
async def test_a_packet_without_the_length_of_its_properties(broker: Running) -> None:
    for wire in (x("30 03 0001 61"), x("32 05 0001 61 0001"), x("82 02 0001"), x("a2 02 0001")):
        client = await Client.connect(broker.port, "c", version=5)
        client.raw(wire)
        await ended(client)


# -- CONNECT -------------------------------------------------------------------------------------------------

# Flags, and what follows the keep alive, without the properties of MQTT 5.
DISAGREE: dict[str, tuple[int, tuple[bytes | str, ...]]] = {
    "no client id": (0x02, ()),
    "will QoS without will": (0x0A, ("c",)),
    "will retain without will": (0x22, ("c",)),
    "will fields without will": (0x02, ("c", "w", x("0000"))),
    "will without topic": (0x06, ("c",)),
    "will without payload": (0x06, ("c", "w")),
    "will QoS 3": (0x1E, ("c", "w", x("0000"))),
    "user name, no flag": (0x02, ("c", "u")),
    "flag, no user name": (0x82, ("c",)),
    "password, no flag": (0x82, ("c", "u", x("0001 70"))),
    "flag, no password": (0xC2, ("c", "u")),
    "reserved flag": (0x03, ("c",)),
}


@pytest.mark.mqtt3(
    *("3.1.2-3", "3.1.2-9", "3.1.2-11", "3.1.2-13", "3.1.2-14", "3.1.2-15", "3.1.2-18", "3.1.2-19"),
    *("3.1.2-20", "3.1.2-21", "3.1.3-3", "3.1.4-1"),
)
@pytest.mark.mqtt5(
    *("3.1.2-3", "3.1.2-9", "3.1.2-11", "3.1.2-12", "3.1.2-13", "3.1.2-16", "3.1.2-17", "3.1.2-18"),
    *("3.1.2-19", "3.1.3-3", "3.1.4-1", "3.14.0-1", "4.13.2-1"),
)
@pytest.mark.parametrize("name", list(DISAGREE))
async def test_flags_and_payload_of_connect_agree(broker: Running, name: str) -> None:
    flags, fields = DISAGREE[name]
    await refused(broker.port, packet(0x10, V4, bytes((flags, 0, 0)), *fields))
    if flags & 4 and len(fields) > 1:
        fields = (fields[0], NONE, *fields[1:])
    await refused(broker.port, packet(0x10, V5, bytes((flags, 0, 0)), NONE, *fields), b"\x20\x03\0\x81\0")
    assert broker.recorder.calls == []


@pytest.mark.mqtt3("3.1.2-22")
async def test_a_password_needs_a_user_name_in_311_only(broker: Running) -> None:
    await refused(broker.port, packet(0x10, V4, x("42 0000"), "c", x("0001 70")))
    client = await Client.open(broker.port, version=5)
    client.raw(packet(0x10, V5, x("42 0000"), NONE, "c", x("0001 70")))
    assert (await client.expect(Connack)).reason_code == 0
    client.abort()


@pytest.mark.mqtt3("3.1.3-1")
@pytest.mark.mqtt5("3.1.3-1")
async def test_the_order_of_connects_payload(broker: Running) -> None:
    four = packet(0x10, V4, x("e6 0000"), "c4", "will/4", string("gone"), "user", string("secret"))
    five = packet(
        0x10, V5, x("e6 0000"), NONE, "c5", NONE, "will/5", string("gone"), "user", string("secret")
    )
    for version, wire in ((4, four), (5, five)):
        client = await Client.open(broker.port, version=version)
        client.raw(wire)
        await client.expect(Connack)
        session = broker.broker.sessions[f"c{version}"]
        connection = session.connection
        assert connection is not None
        assert connection.will is not None
        will = connection.will
        assert (will.topic, will.payload, will.qos, will.retain) == (f"will/{version}", b"gone", 0, True)
        assert session.client.username == "user"
        client.abort()


async def test_a_client_of_31_may_set_unused_flags(broker: Running) -> None:
    """MQTT 3.1 does not use the flags that 3.1.1 reserves."""
    client = await Client.open(broker.port, version=3)
    client.raw(x("14 0f 0006 4d5149736470 03 02 0000 0001 63"))
    assert (await client.expect(Connack)).reason_code == 0
    await client.silent()


# -- SUBSCRIBE and UNSUBSCRIBE -------------------------------------------------------------------------------


@pytest.mark.mqtt3("3.8.3-4")
@pytest.mark.parametrize("options", [3, 4, 8, 0x10, 0x20, 0x40, 0x80])
async def test_reserved_bits_of_a_requested_qos(broker: Running, options: int) -> None:
    client = await Client.connect(broker.port, "c")
    client.raw(packet(0x82, x("0001"), "a", bytes((options,))))
    await ended(client)


@pytest.mark.mqtt5("3.8.3-5")
@pytest.mark.parametrize(("options", "code"), [(0x40, 0x81), (0x80, 0x81), (3, 0x82), (0x30, 0x82)])
async def test_reserved_subscription_options(broker: Running, options: int, code: int) -> None:
    client = await Client.connect(broker.port, "c", version=5)
    client.raw(packet(0x82, x("0001"), NONE, "a", bytes((options,))))
    await ended(client, code)


@pytest.mark.mqtt3("3.10.3-2")
@pytest.mark.mqtt5("3.10.3-2")
async def test_an_unsubscribe_without_filters(broker: Running, version: int) -> None:
    client = await Client.connect(broker.port, "c", version=version)
    client.raw(packet(0xA2, x("0001"), EMPTY[version]))
    await ended(client, 0x82)


@pytest.mark.mqtt3("4.7.3-1", "4.8.0-1")
@pytest.mark.mqtt5("4.7.3-1", "4.13.1-1")
async def test_an_empty_topic_or_filter(broker: Running, version: int) -> None:
    empty = EMPTY[version]
    for wire, code in (
        (packet(0x30, "", empty), 0x82),  # neither topic nor alias
        (packet(0x82, x("0001"), empty, "", x("00")), 0x81),
        (packet(0xA2, x("0001"), empty, "a", ""), 0x81),
    ):
        client = await Client.connect(broker.port, "c", version=version)
        client.raw(wire)
        await ended(client, code)


@pytest.mark.mqtt3("4.7.3-3")
@pytest.mark.mqtt5("4.7.3-3")
async def test_a_topic_of_65535_bytes(broker: Running, version: int) -> None:
    topic = "é" * 32767 + "x"
    client = await broker.connect("c", version=version)
    await client.subscribe(topic)
    await client.publish(topic, b"x")
    assert (await client.expect(Publish)).topic == topic


# -- what we send --------------------------------------------------------------------------------------------


@pytest.mark.mqtt3("2.2.2-1", "2.3.1-5", "2.3.1-6", "2.3.1-7", "3.3.1-2", "4.3.1-1")
async def test_every_byte_that_a_311_client_gets(broker: Running) -> None:
    client = await broker.connect("c")
    client.raw(packet(0x82, x("ffff"), "a/+", x("02")))
    assert await client.reader.readexactly(5) == x("90 03 ffff 02")
    client.raw(packet(0x30, "a/0", b"hi"))
    assert await client.reader.readexactly(9) == packet(0x30, "a/0", b"hi")
    client.raw(packet(0x32, "a/1", x("1234"), b"hi"))
    both = await client.reader.readexactly(4 + 11)
    assert both in (
        x("40 02 1234") + packet(0x32, "a/1", x("0001"), b"hi"),
        packet(0x32, "a/1", x("0001"), b"hi") + x("40 02 1234"),
    )
    client.raw(x("40 02 0001") + packet(0x34, "x", x("1235")))
    assert await client.reader.readexactly(4) == x("50 02 1235")
    client.raw(x("62 02 1235"))
    assert await client.reader.readexactly(4) == x("70 02 1235")
    client.raw(x("50 02 0009"))
    assert await client.reader.readexactly(4) == x("62 02 0009")
    client.raw(packet(0xA2, x("fffe"), "a/+"))
    assert await client.reader.readexactly(4) == x("b0 02 fffe")
    client.raw(x("c0 00"))
    assert await client.reader.readexactly(2) == x("d0 00")


@pytest.mark.mqtt5(
    *("2.1.3-1", "2.2.1-2", "2.2.1-5", "2.2.1-6", "2.2.2-1", "3.1.2-29", "3.3.1-2", "3.4.2-1", "3.4.2-2"),
    *("3.4.2-3", "3.5.2-1", "3.5.2-2", "3.5.2-3", "3.6.2-1", "3.6.2-2", "3.6.2-3", "3.7.2-1", "3.7.2-2"),
    *("3.7.2-3", "3.9.2-1", "3.9.2-2", "3.9.3-2", "3.11.2-1", "3.11.2-2", "3.11.3-2", "4.3.1-1"),
)
async def test_every_byte_that_an_mqtt5_client_gets(broker: Running) -> None:
    """No acknowledgement carries a Reason String or User Property, so none can be too large for them."""
    client = await broker.connect("c", version=5)
    client.raw(packet(0x82, x("ffff"), NONE, "a/+", x("02")))
    assert await client.reader.readexactly(6) == x("90 04 ffff 00 02")
    client.raw(packet(0x30, "a/0", NONE, b"hi"))
    assert await client.reader.readexactly(10) == packet(0x30, "a/0", NONE, b"hi")
    client.raw(packet(0x32, "x", x("1234"), NONE))
    assert await client.reader.readexactly(5) == x("40 03 1234 10")  # nobody has subscribed
    client.raw(packet(0x34, "x", x("1235"), NONE))
    assert await client.reader.readexactly(4) == x("50 02 1235")
    client.raw(x("62 02 1235"))
    assert await client.reader.readexactly(4) == x("70 02 1235")
    client.raw(x("62 02 1235"))  # again: the first PUBCOMP may have been lost
    assert await client.reader.readexactly(4) == x("70 02 1235")
    client.raw(x("50 02 0009"))
    assert await client.reader.readexactly(4) == x("62 02 0009")
    client.raw(packet(0xA2, x("fffe"), NONE, "a/+", "b"))
    assert await client.reader.readexactly(7) == x("b0 05 fffe 00 00 11")
    client.raw(x("c0 00"))
    assert await client.reader.readexactly(2) == x("d0 00")


@pytest.mark.mqtt5("3.2.2-1", "3.2.2-3")
async def test_the_flags_of_connack(broker: Running) -> None:
    for flags in (0, 1):
        client = await Client.open(broker.port)
        client.raw(packet(0x10, V4, x("00 0000"), "c"))
        assert await client.reader.readexactly(4) == bytes((0x20, 2, flags, 0))
        await client.disconnect()
    for clean, flags in ((0x02, 0), (0x00, 1)):
        client = await Client.open(broker.port, version=5)
        client.raw(packet(0x10, V5, bytes((clean, 0, 0)), props(x("11 00000064")), "d"))
        assert (await client.reader.readexactly(4))[2:] == bytes((flags, 0))
        client.abort()
        await broker.until_away("d")


@pytest.mark.mqtt3("3.8.4-1", "3.8.4-2", "3.8.4-4", "3.8.4-5", "3.9.3-1")
@pytest.mark.mqtt5("3.8.4-1", "3.8.4-2", "3.8.4-5", "3.8.4-6", "3.8.4-7", "3.9.3-1")
async def test_suback_has_a_code_for_each_filter_in_their_order(broker: Running, version: int) -> None:
    client = await broker.connect("c", version=version)
    for packet_id in (65535, 1, 65535):
        client.send(Subscribe(packet_id, [Subscription("a", 2), Subscription("b", 0), Subscription("a", 1)]))
        assert await client.next() == Suback(packet_id, [2, 0, 1])
    client.send(Publish("a", b"x", 2, packet_id=7))  # as of a sequence of packets: the last one holds
    assert (await client.expect(Publish)).qos == 1


@pytest.mark.mqtt5("3.14.2-1", "3.14.2-2", "3.14.2-4", "3.14.4-1", "3.14.4-2", "4.13.2-1")
async def test_after_a_disconnect_of_ours_nothing_follows(broker: Running) -> None:
    client = await broker.connect("c", version=5)
    await client.subscribe("a", 1)
    client.send(Publish("a", b"x", 1, packet_id=9))
    client.raw(x("c0 01 00"))
    client.send(Publish("a", b"y", 1, packet_id=10))
    packets = await client.wait_closed()
    assert packets[-1] == Disconnect(0x81)
    assert Puback(10) not in packets
    assert broker.recorder.of("publish") == [("publish", "c", "a", b"x")]

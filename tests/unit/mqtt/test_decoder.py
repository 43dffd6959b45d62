"""The stream: pieces, limits, faults, and what a peer can make the decoder hold."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import pytest

from bridge.mqtt import decoder as module
from bridge.mqtt.decoder import Decoder
from bridge.mqtt.encoder import PINGREQ, encode, encode_publish
from bridge.mqtt.packets import Connect, Pingreq, Properties, Puback, Publish, Will
from tests.unit.mqtt.cases import LONG, V3, V4, V5, packet, props, string, x

CONNECT = encode(Connect("c"), 4)


def server(version: int = 4, max_packet_size: int = 1 << 28, **limits: Any) -> Decoder:
    return Decoder(version=version, max_packet_size=max_packet_size, **limits)


def reason(decoder: Decoder) -> int:
    assert decoder.error is not None
    return decoder.error.reason_code


def test_many_packets_in_one_read_and_the_rest_of_one() -> None:
    decoder = Decoder(max_packet_size=1000)
    publish = encode_publish(4, "a/b", b"x" * 10, 1, packet_id=7)
    assert decoder.feed(CONNECT + publish + PINGREQ + x("4002 0001") + publish[:9]) == [
        Connect("c"),
        Publish("a/b", b"x" * 10, 1, packet_id=7),
        Pingreq(),
        Puback(1),
    ]
    assert (decoder.buffered, decoder.needed) == (9, len(publish) - 9)
    assert decoder.feed(publish[9:12]) == []
    assert (decoder.buffered, decoder.needed) == (12, len(publish) - 12)
    assert decoder.feed(publish[12:] + PINGREQ) == [Publish("a/b", b"x" * 10, 1, packet_id=7), Pingreq()]
    assert (decoder.buffered, decoder.needed, decoder.error) == (0, 0, None)
    assert decoder.feed(b"") == []


def test_payload_is_bytes_however_it_came() -> None:
    wire = encode_publish(4, "a", b"payload")
    decoder = server()
    for packets in (decoder.feed(wire), decoder.feed(wire[:5]) + decoder.feed(wire[5:])):
        assert [type(p.payload) for p in packets] == [bytes]


def test_the_version_is_known_as_soon_as_the_level_is_read() -> None:
    for front, version in (
        (V3, 3),
        (V4, 4),
        (V5, 5),
        (x("0004 4d515454 84"), 4),
        (x("0004 4d515454 06"), 5),  # a newer version reads the newest CONNACK that we have
        (x("0004 4d515454 03"), 4),
        (x("0006 4d5149736470 06"), 3),
        (x("0003 666f6f 09"), 0),
    ):
        decoder = Decoder(max_packet_size=1000)
        decoder.feed(packet(0x10, front, x("fe")))
        assert decoder.error is not None
        assert decoder.version == version
    decoder = Decoder(max_packet_size=1000)
    decoder.feed(packet(0x10, V4[:-1]))
    assert (decoder.error is not None, decoder.version) == (True, 0)


def test_the_limit_is_of_the_whole_packet() -> None:
    wire = encode_publish(4, "a", b"x" * 200)
    assert len(server(max_packet_size=len(wire)).feed(wire)) == 1
    decoder = server(max_packet_size=len(wire) - 1)
    assert decoder.feed(PINGREQ + wire) == [Pingreq()]
    assert reason(decoder) == 0x95


@pytest.mark.parametrize("length", [b"\x7f", b"\xff\x7f", b"\xff\xff\x7f", b"\xff\xff\xff\x7f"])
def test_the_limit_is_checked_at_the_length_field(length: bytes) -> None:
    decoder = server(max_packet_size=100)
    for byte in b"\x30" + length[:-1]:
        assert decoder.feed(bytes((byte,))) == []
        assert decoder.error is None
    decoder.feed(length[-1:])
    assert reason(decoder) == 0x95
    assert (decoder.buffered, decoder.needed) == (0, 0)


def test_a_length_of_five_bytes_is_found_at_the_fourth() -> None:
    decoder = server()
    assert decoder.feed(x("30 ffffff")) == []
    assert decoder.error is None
    decoder.feed(x("ff"))
    assert reason(decoder) == 0x81


def test_nobody_unknown_makes_us_buffer_more_than_a_connect_can_have() -> None:
    decoder = Decoder(max_packet_size=1 << 28)
    decoder.feed(x("10 ffff7f"))  # 2 MiB, more than its fields can have
    assert reason(decoder) == 0x95
    decoder = Decoder(max_packet_size=1 << 28)
    decoder.feed(x("30 ffff7f"))
    assert reason(decoder) == 0x82
    decoder = Decoder(max_packet_size=1 << 28)
    decoder.feed(x("12 0c 0004 4d515454 04 02 0000 0000"))  # only 3.1 leaves the flags unused
    assert reason(decoder) == 0x81


def test_the_largest_connect_is_taken() -> None:
    limit = 65_536
    user = [("k" * (limit - 5 - 1), "v")]
    connect = Connect(
        LONG,
        5,
        username=LONG,
        password=b"p" * 65_535,
        will=Will("t" * 65_535, b"w" * 65_535, properties=Properties(user_property=[("k" * 65_531, "")])),
        properties=Properties(user_property=[(user[0][0], "")]),
    )
    wire = encode(connect, 5)
    decoder = Decoder(max_packet_size=1 << 28, property_size=limit)
    assert decoder.feed(wire[:10]) == []
    assert decoder.feed(wire[10:]) == [connect], decoder.error


def test_a_large_packet_in_small_pieces_costs_no_more_than_its_bytes() -> None:
    """8 MiB in pieces of 64 bytes: a decoder that joins at every piece would copy 512 GiB, and time out."""
    wire = encode_publish(4, "a", b"x" * (8 << 20))
    decoder = server()
    packets = []
    tracemalloc.start()
    try:
        for at in range(0, len(wire), 64):
            packets += decoder.feed(wire[at : at + 64])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [len(p.payload) for p in packets] == [8 << 20]
    assert peak < 3.5 * len(wire)  # what was kept, the whole, and the payload


def test_tiny_pieces_hold_no_more_memory_than_large_ones() -> None:
    """A peer that sends byte by byte must not make us keep an object for each."""
    wire = encode_publish(4, "a", b"xy" * 100_000)
    decoder = server()
    tracemalloc.start()
    try:
        for at in range(0, len(wire) - 2, 2):
            decoder.feed(wire[at : at + 2])
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 1.5 * len(wire)


def test_nothing_is_kept_after_whole_packets_nor_after_a_fault() -> None:
    decoder = server()
    decoder.feed(PINGREQ[:1])
    assert decoder._buffer is not None
    decoder.feed(PINGREQ[1:])
    assert decoder._buffer is None
    data = bytes(PINGREQ + x("00 00") + b"x" * 1000)
    references = sys.getrefcount(data)
    decoder.feed(data)
    assert decoder.error is not None
    assert sys.getrefcount(data) == references
    assert (decoder.error.__traceback__, decoder.error.__context__) == (None, None)


def test_a_string_fault_keeps_no_frames_either() -> None:
    decoder = server()
    decoder.feed(packet(0x30, string(b"\xff")))
    assert decoder.error is not None
    assert (decoder.error.__traceback__, decoder.error.__context__) == (None, None)


def test_properties_are_bounded() -> None:
    """Reason 0x97; the default takes 65,536 bytes, so not quite a string of 65,535 with its identifier."""
    for size, taken in ((100, True), (101, False)):
        list_ = props(x("26"), "k" * (size - 5), "")
        decoder = server(5, property_size=100)
        assert bool(decoder.feed(packet(0x30, "a", list_))) == taken
        if not taken:
            assert reason(decoder) == 0x97
    decoder = server(5)
    decoder.feed(packet(0x30, "a", props(x("03"), LONG)))
    assert reason(decoder) == 0x97
    decoder = server(5, property_size=1 << 20)
    assert decoder.feed(packet(0x30, "a", props(x("03"), LONG))) == [
        Publish("a", b"", properties=Properties(content_type=LONG))
    ]


def test_levels_are_bounded_by_the_setting() -> None:
    assert server(max_topic_levels=3).feed(packet(0x30, "a/b/c"))
    decoder = server(max_topic_levels=3)
    decoder.feed(packet(0x30, "a/b/c/d"))
    assert reason(decoder) == 0x82
    # A topic that a laxer decoder has let into its cache is not let in here.
    assert server(max_topic_levels=4).feed(packet(0x30, "a/b/c/d"))
    decoder = server(5, max_topic_levels=3)
    decoder.feed(packet(0x30, "a/b/c/d", x("00")))
    assert reason(decoder) == 0x90


def test_the_topic_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    cache: dict[bytes, str] = {}
    monkeypatch.setattr(module, "_topic_caches", {77: cache})
    monkeypatch.setattr(module, "TOPIC_CACHE_ENTRIES", 10)
    decoder = server(max_topic_levels=77)
    for n in range(1000):
        topic = f"t/{n % 37}"
        assert decoder.feed(packet(0x30, topic)) == [Publish(topic, b"")]
        assert len(cache) <= 10
    first, second = (decoder.feed(packet(0x30, "t/x"))[0].topic for _ in range(2))
    assert first is second
    size = len(cache)
    decoder.feed(packet(0x30, "l" * 257))
    assert len(cache) == size
    assert b"l" * 257 not in cache
    decoder.feed(packet(0x30, "a/#"))
    assert decoder.error is not None
    assert b"a/#" not in cache


def test_an_empty_topic_is_no_cached_topic() -> None:
    """The alias stands for it in MQTT 5 only."""
    wire = packet(0x30, "", props(x("23 0001")))
    assert server(5).feed(wire) == [Publish("", b"", properties=Properties(topic_alias=1))]
    decoder = server(4)
    decoder.feed(wire)
    assert reason(decoder) == 0x82


def test_a_fault_names_place_and_expectation_and_no_secret() -> None:
    for wire, expected in (
        (
            packet(0x10, V4, x("c2 0000"), "c", "u", x("0009"), b"secret"),
            "CONNECT password: 9 bytes announced",
        ),
        (
            packet(0x10, V4, x("82 0000"), "c", string(b"secret\xff")),
            "CONNECT user name: not UTF-8 at byte 6",
        ),
        (packet(0x10, V4, x("02 0000"), "c", b"secret"), "CONNECT: 6 bytes follow the last field"),
    ):
        decoder = Decoder(max_packet_size=1000)
        decoder.feed(wire)
        assert expected in str(decoder.error)
        assert "secret" not in str(decoder.error)
    decoder = server()
    decoder.feed(packet(0x30, "x\n" * 500 + "#"))
    assert len(str(decoder.error)) < 300
    assert "\n" not in str(decoder.error)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="protocol version 6"):
        Decoder(max_packet_size=1, version=6)
    with pytest.raises(ValueError, match="client's decoder"):
        Decoder(max_packet_size=1, role="client")

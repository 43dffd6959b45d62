"""What the table of packets does not say of the encoder: refusals, and what older versions lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bridge.mqtt import encoder
from bridge.mqtt.decoder import Decoder
from bridge.mqtt.encoder import encode
from bridge.mqtt.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Properties,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)

TOO_LONG = "x" * 65_536
ACKS: list[Callable[..., bytes]] = [
    encoder.encode_puback,
    encoder.encode_pubrec,
    encoder.encode_pubrel,
    encoder.encode_pubcomp,
]


@pytest.mark.parametrize(
    ("version", "packet", "message"),
    [
        (4, Connect(TOO_LONG), "CONNECT client identifier: 65536 bytes"),
        (4, Connect("c", username="ü" * 32_768), "CONNECT user name: 65536 bytes"),
        (4, Connect("a\0"), "U+0000"),
        (4, Connect("\ud800"), "surrogate"),
        (4, Connect("c", 6), "protocol version 6"),
        (4, Connect("c", keepalive=65_536), "keep alive"),
        (4, Connect("c", password=b"p"), "password without a user name"),
        (3, Connect("c", 3, password=b"p"), "password without a user name"),
        (5, Connect("c", 5, bridge=True), "bridge"),
        (4, Connect("c", will=Will("t", b"", 3)), "will QoS"),
        (4, Connect("c", will=Will("t", b"x" * 65_536)), "will payload"),
        (5, Connect("c", 5, properties=Properties(topic_alias=1)), "does not belong"),
        (5, Connect("c", 5, properties=Properties(receive_maximum=0)), "not within 1 to 65535"),
        (5, Connect("c", 5, properties=Properties(session_expiry_interval=1 << 32)), "not within"),
        (5, Connect("c", 5, properties=Properties(request_problem_information=2)), "not within 0 to 1"),
        (5, Connack(reason_code=256), "not within"),
        (5, Connack(properties=Properties(reason_string=TOO_LONG)), "CONNACK reason_string: 65536 bytes"),
        (4, Publish("", b""), "neither topic name nor topic alias"),
        (5, Publish("", b""), "neither topic name nor topic alias"),
        (4, Publish("", b"", properties=Properties(topic_alias=1)), "neither topic name nor topic alias"),
        (4, Publish("a\0", b""), "U+0000"),
        (4, Publish("\udfff", b""), "surrogate"),
        (4, Publish(TOO_LONG, b""), "PUBLISH topic name: 65536 bytes"),
        (4, Publish("a", b"", 3, packet_id=1), "QoS 3"),
        (4, Publish("a", b"", 1), "packet identifier 0"),
        (4, Publish("a", b"", 1, packet_id=65_536), "packet identifier 65536"),
        (4, Publish("a", b"", dup=True), "MQTT-3.3.1-2"),
        (5, Publish("a", b"", properties=Properties(response_topic="a/+")), "not a topic name"),
        (5, Publish("a", b"", properties=Properties(response_topic="")), "not a topic name"),
        (5, Publish("a", b"", properties=Properties(user_property=[("k", TOO_LONG)])), "user_property"),
        (5, Publish("a", b"", properties=Properties(correlation_data=b"x" * 65_536)), "correlation_data"),
        (5, Publish("a", b"", properties=Properties(subscription_identifier=[0])), "not within 1 to"),
        (5, Publish("a", b"", properties=Properties(subscription_identifier=[1 << 28])), "not within 1 to"),
        (5, Puback(1, 256), "reason code"),
        (4, Subscribe(1, []), "no topic filter"),
        (4, Subscribe(0, [Subscription("a")]), "packet identifier 0"),
        (4, Subscribe(1, [Subscription("a", 3)]), "SUBSCRIBE QoS"),
        (5, Subscribe(1, [Subscription("a", retain_handling=3)]), "retain handling"),
        (4, Subscribe(1, [Subscription(TOO_LONG)]), "topic filter: 65536 bytes"),
        (5, Subscribe(1, [Subscription("a")], Properties(subscription_identifier=[1, 2])), "at most one"),
        (4, Unsubscribe(1, []), "no topic filter"),
        (4, Unsubscribe(1, ["a\0"]), "U+0000"),
        (4, Unsubscribe(65_536, ["a"]), "packet identifier"),
        (5, Suback(0, [0]), "packet identifier 0"),
        (5, Suback(1, [256]), "range"),
        (4, Unsuback(0), "packet identifier 0"),
        (5, Disconnect(-1), "reason code"),
        (4, Auth(), "MQTT 5 only"),
        (4, "text", "not a control packet"),
    ],
)
def test_what_cannot_be_encoded(version: int, packet: Packet, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        encode(packet, version)
    assert message in str(caught.value)


@pytest.mark.parametrize("acknowledge", ACKS)
def test_acknowledgements_need_a_packet_identifier(acknowledge: Callable[..., bytes]) -> None:
    for packet_id in (0, -1, 65_536):
        with pytest.raises(ValueError, match="packet identifier"):
            acknowledge(4, packet_id)
    assert acknowledge(4, 65_535)[1:] == b"\x02\xff\xff"


def test_a_publish_over_the_longest_remaining_length() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 268_435_455

    with pytest.raises(ValueError, match="remaining length"):
        encoder.encode_publish(4, "a", Huge())


def test_older_versions_get_what_they_have() -> None:
    why = Properties(reason_string="why")
    assert encoder.encode_connack(4, False, 0x87, why) == b"\x20\x02\x00\x05"
    assert encoder.encode_connack(3, True, 0) == b"\x20\x02\x00\x00"
    assert encoder.encode_connack(4, True, 0) == b"\x20\x02\x01\x00"
    assert encoder.encode_connack(4, True, 5) == b"\x20\x02\x00\x05"  # [MQTT-3.2.2-6]
    assert encoder.encode_connack(5, True, 0x87) == b"\x20\x03\x00\x87\x00"
    assert encoder.encode_suback(4, 1, [0, 1, 2, 0x87, 0x8F], why) == b"\x90\x07\x00\x01\x00\x01\x02\x80\x80"
    assert encoder.encode_unsuback(4, 1, [0x11], why) == b"\xb0\x02\x00\x01"
    assert encoder.encode_disconnect(4, 0x8B, why) == b"\xe0\x00"
    assert encoder.encode_publish(4, "a", b"p", properties=Properties(topic_alias=1)) == b"\x30\x04\x00\x01ap"
    subscription = Subscription("a", 1, True, True, 2)
    assert encoder.encode_subscribe(4, Subscribe(1, [subscription], why)) == b"\x82\x06\x00\x01\x00\x01a\x01"
    assert encoder.encode_unsubscribe(4, Unsubscribe(1, ["a"], why)) == b"\xa2\x05\x00\x01\x00\x01a"
    for acknowledge in ACKS:
        assert acknowledge(4, 1, 0x87, why)[1:] == b"\x02\x00\x01"


def test_every_property_is_refused_where_it_does_not_belong() -> None:
    """The identifiers themselves are held to the specification by the table."""
    decoder = Decoder(max_packet_size=1000, version=5)
    one = Properties(user_property=[("a", "b")])
    assert decoder.feed(encoder.encode_puback(5, 1, 0, one)) == [Puback(1, 0, one)]
    for name in Properties.__struct_fields__:
        if name in ("user_property", "reason_string"):
            continue
        values: dict[str, Any] = {name: 1}
        with pytest.raises(ValueError, match=f"PUBACK {name}: this property does not belong there"):
            encoder.encode_puback(5, 1, 0, Properties(**values))

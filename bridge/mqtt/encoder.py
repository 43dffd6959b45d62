"""From control packets to bytes, for MQTT 3.1, 3.1.1 and 5.0.

One function per packet, and `encode` for any of them. What cannot be put on the wire raises `ValueError`: a
string of more than 65,535 bytes or with U+0000, a packet identifier of 0, a property that does not belong to
its packet. Below version 5 properties are left out, and a reason code becomes what that version has for it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from bridge.mqtt import properties as place
from bridge.mqtt.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
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
    Unsuback,
    Unsubscribe,
)
from bridge.mqtt.properties import PLACE_NAMES, encode_properties
from bridge.mqtt.reasons import connack_return_code
from bridge.mqtt.wire import (
    MAX_STRING_SIZE,
    write_binary,
    write_string,
    write_u16,
    write_varint,
)

PINGREQ = b"\xc0\x00"
PINGRESP = b"\xd0\x00"

TOPIC_CACHE_ENTRIES = 8192
TOPIC_CACHE_TOPIC_SIZE = 256  # bytes; longer topics are encoded each time
# Valid topic names as they stand in a PUBLISH, emptied when full: 2 MB, at most 6 MB.
_topics: dict[str, bytes] = {}

_PROTOCOLS = {3: b"\0\x06MQIsdp\x03", 4: b"\0\x04MQTT\x04", 5: b"\0\x04MQTT\x05"}
_pack_u16 = struct.Struct(">H").pack
_pack_front_long = struct.Struct(">BBB").pack  # first byte, remaining length of two bytes
_pack_u16_pair = struct.Struct(">HH").pack


def _packet(head: int, body: bytes) -> bytes:
    return bytes((head,)) + write_varint(len(body), f"{PLACE_NAMES[head >> 4]} remaining length") + body


def _packet_id(packet_id: int, name: str) -> bytes:
    if not packet_id:
        raise ValueError(f"{name}: packet identifier 0 [MQTT-2.2.1-3]")
    return write_u16(packet_id, f"{name} packet identifier")


def _bits(value: int, highest: int, what: str) -> int:
    if not 0 <= value <= highest:
        raise ValueError(f"{what}: {value} is not within 0 to {highest}")
    return value


def encode_connect(packet: Connect) -> bytes:
    """CONNECT, section 3.1, in the version that `packet.protocol_version` names."""
    version = packet.protocol_version
    if version not in _PROTOCOLS:
        raise ValueError(f"CONNECT: protocol version {version}, expected 3, 4 or 5")
    protocol = _PROTOCOLS[version]
    if packet.bridge:
        if version == 5:
            raise ValueError("CONNECT: MQTT 5 has no bridge bit")
        protocol = protocol[:-1] + bytes((version | 0x80,))
    if version < 5 and packet.password is not None and packet.username is None:
        raise ValueError("CONNECT: a password without a user name [MQTT-3.1.2-22 of MQTT 3.1.1]")
    will = packet.will
    flags = packet.clean_start << 1 | (packet.password is not None) << 6 | (packet.username is not None) << 7
    if will is not None:
        flags |= 0x04 | _bits(will.qos, 2, "CONNECT will QoS") << 3 | will.retain << 5
    body = bytearray(protocol)
    body.append(flags)
    body += write_u16(packet.keepalive, "CONNECT keep alive")
    if version == 5:
        body += encode_properties(packet.properties, place.CONNECT)
    body += write_string(packet.client_id, "CONNECT client identifier")
    if will is not None:
        if version == 5:
            body += encode_properties(will.properties, place.WILL)
        body += write_string(will.topic, "CONNECT will topic")
        body += write_binary(will.payload, "CONNECT will payload")
    if packet.username is not None:
        body += write_string(packet.username, "CONNECT user name")
    if packet.password is not None:
        body += write_binary(packet.password, "CONNECT password")
    return _packet(0x10, bytes(body))


def encode_connack(
    version: int, session_present: bool, code: int, properties: Properties | None = None
) -> bytes:
    """CONNACK, section 3.2. `code` is an MQTT 5 reason code, below version 5 also a return code (0 to 5).

    A refusal never has session present set [MQTT-3.2.2-6], and MQTT 3.1 has no such flag.
    """
    flags = 1 if session_present and code == 0 and version > 3 else 0
    if version == 5:
        what = "CONNACK reason code"
        return _packet(
            0x20, bytes((flags, _bits(code, 255, what))) + encode_properties(properties, place.CONNACK)
        )
    return bytes((0x20, 2, flags, connack_return_code(code)))


def encode_publish(
    version: int,
    topic: str,
    payload: bytes,
    qos: int = 0,
    retain: bool = False,
    dup: bool = False,
    packet_id: int = 0,
    properties: Properties | None = None,
) -> bytes:
    """PUBLISH, section 3.3. `packet_id` counts with QoS 1 and 2 only. The topic is not checked for wildcards.

    Raises `ValueError` for a topic that is empty (without a topic alias, MQTT 5), holds U+0000 or is longer
    than 65,535 bytes, for QoS 3, DUP with QoS 0, packet identifier 0, and more than 256 MiB.
    """
    name = _topics.get(topic)
    if name is None:
        name = _publish_topic(version, topic, properties)
    head = 0x30 | retain | qos << 1 | dup << 3
    middle = b""
    if qos:
        if not 0 < qos < 3 or not 0 < packet_id <= 0xFFFF:
            raise ValueError(f"PUBLISH: QoS {qos} with packet identifier {packet_id}")
        middle = _pack_u16(packet_id)
    elif dup:
        raise ValueError("PUBLISH: DUP with QoS 0 [MQTT-3.3.1-2]")
    if version == 5:
        middle += b"\0" if properties is None else encode_properties(properties, place.PUBLISH)
    length = len(name) + len(middle) + len(payload)
    if length < 128:
        front = _pack_u16(head << 8 | length)
    elif length < 16_384:
        front = _pack_front_long(head, length & 127 | 128, length >> 7)
    else:
        front = b"%c%b" % (head, write_varint(length, "PUBLISH remaining length"))
    return b"".join((front, name, middle, payload))


def _publish_topic(version: int, topic: str, properties: Properties | None) -> bytes:
    """A topic name with its length; one that may come again is remembered."""
    raw = topic.encode()
    size = len(raw)
    if not 0 < size <= MAX_STRING_SIZE or "\0" in topic:
        _check_publish_topic(version, raw, properties)
        return b"\0\0"
    name = _pack_u16(size) + raw
    if size <= TOPIC_CACHE_TOPIC_SIZE:
        if len(_topics) >= TOPIC_CACHE_ENTRIES:
            _topics.clear()
        _topics[topic] = name
    return name


def _check_publish_topic(version: int, raw: bytes, properties: Properties | None) -> None:
    if len(raw) > MAX_STRING_SIZE:
        raise ValueError(f"PUBLISH topic name: {len(raw)} bytes, at most 65535 can be sent")
    if raw:
        raise ValueError("PUBLISH topic name: holds U+0000 [MQTT-1.5.4-2]")
    if version < 5 or properties is None or properties.topic_alias is None:
        raise ValueError("PUBLISH: neither topic name nor topic alias")


def _encode_ack(head: int, version: int, packet_id: int, code: int, properties: Properties | None) -> bytes:
    """Any of the four, section 3.4.2: the reason code 0 and an empty property list are left out."""
    name = PLACE_NAMES[head >> 4]
    body = _packet_id(packet_id, name)
    if version == 5 and (code or properties is not None):
        body += bytes((_bits(code, 255, f"{name} reason code"),))
        if properties is not None:
            body += encode_properties(properties, head >> 4)
    return _packet(head, body)


def encode_puback(version: int, packet_id: int, code: int = 0, properties: Properties | None = None) -> bytes:
    """PUBACK, section 3.4. Below version 5 there is no code: it acknowledges, whatever `code` says."""
    if properties is None and 0 < packet_id <= 0xFFFF:
        if not code or version < 5:
            return _pack_u16_pair(0x4002, packet_id)
        if 0 < code <= 0xFF:
            return bytes((0x40, 3, packet_id >> 8, packet_id & 0xFF, code))
    return _encode_ack(0x40, version, packet_id, code, properties)


def encode_pubrec(version: int, packet_id: int, code: int = 0, properties: Properties | None = None) -> bytes:
    """PUBREC, section 3.5; codes as in `encode_puback`."""
    if not code and properties is None and 0 < packet_id <= 0xFFFF:
        return _pack_u16_pair(0x5002, packet_id)
    return _encode_ack(0x50, version, packet_id, code, properties)


def encode_pubrel(version: int, packet_id: int, code: int = 0, properties: Properties | None = None) -> bytes:
    """PUBREL, section 3.6; codes as in `encode_puback`."""
    if not code and properties is None and 0 < packet_id <= 0xFFFF:
        return _pack_u16_pair(0x6202, packet_id)
    return _encode_ack(0x62, version, packet_id, code, properties)


def encode_pubcomp(
    version: int, packet_id: int, code: int = 0, properties: Properties | None = None
) -> bytes:
    """PUBCOMP, section 3.7; codes as in `encode_puback`."""
    if not code and properties is None and 0 < packet_id <= 0xFFFF:
        return _pack_u16_pair(0x7002, packet_id)
    return _encode_ack(0x70, version, packet_id, code, properties)


def encode_subscribe(version: int, packet: Subscribe) -> bytes:
    """SUBSCRIBE, section 3.8. Below version 5 a subscription has no option but its QoS."""
    if not packet.subscriptions:
        raise ValueError("SUBSCRIBE: no topic filter [MQTT-3.8.3-2]")
    body = bytearray(_packet_id(packet.packet_id, "SUBSCRIBE"))
    if version == 5:
        body += encode_properties(packet.properties, place.SUBSCRIBE)
    for one in packet.subscriptions:
        options = _bits(one.qos, 2, "SUBSCRIBE QoS")
        if version == 5:
            options |= one.no_local << 2 | one.retain_as_published << 3
            options |= _bits(one.retain_handling, 2, "SUBSCRIBE retain handling") << 4
        body += write_string(one.topic_filter, "SUBSCRIBE topic filter")
        body.append(options)
    return _packet(0x82, bytes(body))


def encode_suback(
    version: int, packet_id: int, codes: list[int], properties: Properties | None = None
) -> bytes:
    """SUBACK, section 3.9. Below version 5 every failure is 0x80."""
    body = _packet_id(packet_id, "SUBACK")
    if version == 5:
        return _packet(0x90, body + encode_properties(properties, place.SUBACK) + bytes(codes))
    return _packet(0x90, body + bytes(0x80 if code > 2 else code for code in codes))


def encode_unsubscribe(version: int, packet: Unsubscribe) -> bytes:
    """UNSUBSCRIBE, section 3.10."""
    if not packet.topic_filters:
        raise ValueError("UNSUBSCRIBE: no topic filter [MQTT-3.10.3-2]")
    body = bytearray(_packet_id(packet.packet_id, "UNSUBSCRIBE"))
    if version == 5:
        body += encode_properties(packet.properties, place.UNSUBSCRIBE)
    for topic_filter in packet.topic_filters:
        body += write_string(topic_filter, "UNSUBSCRIBE topic filter")
    return _packet(0xA2, bytes(body))


def encode_unsuback(
    version: int, packet_id: int, codes: list[int], properties: Properties | None = None
) -> bytes:
    """UNSUBACK, section 3.11. Below version 5 it has no codes."""
    body = _packet_id(packet_id, "UNSUBACK")
    if version == 5:
        body += encode_properties(properties, place.UNSUBACK) + bytes(codes)
    return _packet(0xB0, body)


def _encode_end(head: int, code: int, properties: Properties | None) -> bytes:
    """DISCONNECT and AUTH: code 0 without properties has no body, and no properties have no length."""
    name = PLACE_NAMES[head >> 4]
    if properties is None and not code:
        return bytes((head, 0))
    body = bytes((_bits(code, 255, f"{name} reason code"),))
    if properties is not None:
        body += encode_properties(properties, head >> 4)
    return _packet(head, body)


def encode_disconnect(version: int, code: int = 0, properties: Properties | None = None) -> bytes:
    """DISCONNECT, section 3.14. Below version 5 it has no body, and only a client sends it."""
    return _encode_end(0xE0, code, properties) if version == 5 else b"\xe0\0"


def encode_auth(code: int, properties: Properties | None = None) -> bytes:
    """AUTH, section 3.15 (MQTT 5 only)."""
    return _encode_end(0xF0, code, properties)


_ENCODERS: dict[type[Any], Callable[[Any, int], bytes]] = {
    Connect: lambda p, v: encode_connect(p),
    Connack: lambda p, v: encode_connack(v, p.session_present, p.reason_code, p.properties),
    Publish: lambda p, v: encode_publish(
        v, p.topic, p.payload, p.qos, p.retain, p.dup, p.packet_id, p.properties
    ),
    Puback: lambda p, v: encode_puback(v, p.packet_id, p.reason_code, p.properties),
    Pubrec: lambda p, v: encode_pubrec(v, p.packet_id, p.reason_code, p.properties),
    Pubrel: lambda p, v: encode_pubrel(v, p.packet_id, p.reason_code, p.properties),
    Pubcomp: lambda p, v: encode_pubcomp(v, p.packet_id, p.reason_code, p.properties),
    Subscribe: lambda p, v: encode_subscribe(v, p),
    Suback: lambda p, v: encode_suback(v, p.packet_id, p.reason_codes, p.properties),
    Unsubscribe: lambda p, v: encode_unsubscribe(v, p),
    Unsuback: lambda p, v: encode_unsuback(v, p.packet_id, p.reason_codes, p.properties),
    Pingreq: lambda p, v: PINGREQ,
    Pingresp: lambda p, v: PINGRESP,
    Disconnect: lambda p, v: encode_disconnect(v, p.reason_code, p.properties),
    Auth: lambda p, v: encode_auth(p.reason_code, p.properties),
}


def encode(packet: Packet, version: int) -> bytes:
    """Any packet. A CONNECT has its own version; AUTH exists in version 5 only (`ValueError` below)."""
    encoder = _ENCODERS.get(type(packet))
    if encoder is None:
        raise ValueError(f"{type(packet).__name__} is not a control packet")
    if version < 5 and type(packet) is Auth:
        raise ValueError("AUTH: exists in MQTT 5 only")
    return encoder(packet, version)

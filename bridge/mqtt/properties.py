"""MQTT 5 properties, section 2.2.2: which there are, where they may stand, how they are read and written.

Rules kept here, for every packet:
* an identifier that is unknown or not valid for the packet is malformed, 0x81 (section 2.2.2.2);
* a property that may stand once and comes again is a protocol error, 0x82; only the user property, and
  the subscription identifier of a PUBLISH, may come again;
* a value that its property forbids is a protocol error, 0x82; a topic alias of 0 is 0x94;
* more than `limit` bytes of properties in one packet are 0x97 (quota exceeded): that is our own bound, so
  that a peer cannot make a small packet into a large list of strings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from bridge.mqtt import wire
from bridge.mqtt.errors import ProtocolError
from bridge.mqtt.packets import Properties

# Where properties stand. CONNECT to AUTH are the control packet types (section 2.1.2); a will has its own.
CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15
WILL = 16

PLACE_NAMES = {
    CONNECT: "CONNECT",
    CONNACK: "CONNACK",
    PUBLISH: "PUBLISH",
    PUBACK: "PUBACK",
    PUBREC: "PUBREC",
    PUBREL: "PUBREL",
    PUBCOMP: "PUBCOMP",
    SUBSCRIBE: "SUBSCRIBE",
    SUBACK: "SUBACK",
    UNSUBSCRIBE: "UNSUBSCRIBE",
    UNSUBACK: "UNSUBACK",
    PINGREQ: "PINGREQ",
    PINGRESP: "PINGRESP",
    DISCONNECT: "DISCONNECT",
    AUTH: "AUTH",
    WILL: "CONNECT will",
}

_Reader = Callable[[bytes, int, int, str], tuple[Any, int]]
_Writer = Callable[[Any, str], bytes]


def _write_u8(value: int, what: str) -> bytes:
    if not 0 <= value <= 0xFF:
        raise ValueError(f"{what}: {value} is not within 0 to 255")
    return bytes((value,))


# Kind of a value: how it is read, how it is written.
_BYTE: tuple[_Reader, _Writer] = (wire.read_u8, _write_u8)
_U16: tuple[_Reader, _Writer] = (wire.read_u16, wire.write_u16)
_U32: tuple[_Reader, _Writer] = (wire.read_u32, wire.write_u32)
_VARINT: tuple[_Reader, _Writer] = (wire.read_varint, wire.write_varint)
_STRING: tuple[_Reader, _Writer] = (wire.read_string, wire.write_string)
_BINARY: tuple[_Reader, _Writer] = (wire.read_binary, wire.write_binary)

_MESSAGE = (PUBLISH, WILL)
_HANDSHAKE = (CONNECT, CONNACK)
_AUTHENTICATION = (CONNECT, CONNACK, AUTH)
_ANSWERS = (CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)
_ALL = (*_ANSWERS, CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, WILL)

# Table 2-4: identifier, name, kind, where it may stand, and the value's bounds where there are any.
TABLE: tuple[tuple[int, str, tuple[_Reader, _Writer], tuple[int, ...], tuple[int, int] | None], ...] = (
    (0x01, "payload_format_indicator", _BYTE, _MESSAGE, (0, 1)),
    (0x02, "message_expiry_interval", _U32, _MESSAGE, None),
    (0x03, "content_type", _STRING, _MESSAGE, None),
    (0x08, "response_topic", _STRING, _MESSAGE, None),
    (0x09, "correlation_data", _BINARY, _MESSAGE, None),
    (0x0B, "subscription_identifier", _VARINT, (PUBLISH, SUBSCRIBE), (1, 268_435_455)),
    (0x11, "session_expiry_interval", _U32, (CONNECT, CONNACK, DISCONNECT), None),
    (0x12, "assigned_client_identifier", _STRING, (CONNACK,), None),
    (0x13, "server_keep_alive", _U16, (CONNACK,), None),
    (0x15, "authentication_method", _STRING, _AUTHENTICATION, None),
    (0x16, "authentication_data", _BINARY, _AUTHENTICATION, None),
    (0x17, "request_problem_information", _BYTE, (CONNECT,), (0, 1)),
    (0x18, "will_delay_interval", _U32, (WILL,), None),
    (0x19, "request_response_information", _BYTE, (CONNECT,), (0, 1)),
    (0x1A, "response_information", _STRING, (CONNACK,), None),
    (0x1C, "server_reference", _STRING, (CONNACK, DISCONNECT), None),
    (0x1F, "reason_string", _STRING, _ANSWERS, None),
    (0x21, "receive_maximum", _U16, _HANDSHAKE, (1, 65_535)),
    (0x22, "topic_alias_maximum", _U16, _HANDSHAKE, None),
    (0x23, "topic_alias", _U16, (PUBLISH,), (1, 65_535)),
    (0x24, "maximum_qos", _BYTE, (CONNACK,), (0, 1)),
    (0x25, "retain_available", _BYTE, (CONNACK,), (0, 1)),
    (0x26, "user_property", _STRING, _ALL, None),
    (0x27, "maximum_packet_size", _U32, _HANDSHAKE, (1, 0xFFFF_FFFF)),
    (0x28, "wildcard_subscription_available", _BYTE, (CONNACK,), (0, 1)),
    (0x29, "subscription_identifier_available", _BYTE, (CONNACK,), (0, 1)),
    (0x2A, "shared_subscription_available", _BYTE, (CONNACK,), (0, 1)),
)

_USER_PROPERTY = 0x26
_SUBSCRIPTION_IDENTIFIER = 0x0B
_RESPONSE_TOPIC = 0x08
_TOPIC_ALIAS = 0x23


# What a reader needs, by place and identifier: name, reader, bounds, and the place's and property's names
# for an error's text.
_READERS = {
    place: {
        id_: (name, kind[0], bounds, f"{place_name} {name}")
        for id_, name, kind, places, bounds in TABLE
        if place in places
    }
    for place, place_name in PLACE_NAMES.items()
}
_KNOWN = {id_: name for id_, name, *_ in TABLE}
# What a writer needs, in the order of the struct's fields, so that one call gives all values.
_FIELDS = {name: (id_, kind[1], places, bounds) for id_, name, kind, places, bounds in TABLE}
_WRITERS = tuple((name, *_FIELDS[name]) for name in Properties.__struct_fields__)


def decode_properties(
    data: bytes, pos: int, stop: int, place: int, limit: int
) -> tuple[Properties | None, int]:
    """Property length and properties at `pos`; `None` where the length is 0. `limit` is in bytes.

    Returns them with the position behind them. Raises `ProtocolError` by the rules above.
    """
    size, pos = wire.read_varint(data, pos, stop, f"{PLACE_NAMES[place]} property length")
    if not size:
        return None, pos
    end = pos + size
    if end > stop:
        raise ProtocolError(
            wire.MALFORMED,
            f"{PLACE_NAMES[place]} property length: {size} bytes announced, {stop - pos} are left",
        )
    if size > limit:
        raise ProtocolError(0x97, f"{PLACE_NAMES[place]} properties: {size} bytes, at most {limit} are taken")
    properties = Properties()
    readers = _READERS[place]
    seen = 0
    while pos < end:
        id_ = data[pos]
        entry = readers.get(id_)
        if entry is None:
            raise _misplaced(id_, place)
        name, read, bounds, what = entry
        value, pos = read(data, pos + 1, end, what)
        if id_ == _USER_PROPERTY:
            second, pos = wire.read_string(data, pos, end, what)
            if properties.user_property is None:
                properties.user_property = [(value, second)]
            else:
                properties.user_property.append((value, second))
            continue
        if bounds is not None and not bounds[0] <= value <= bounds[1]:
            raise ProtocolError(
                0x94 if id_ == _TOPIC_ALIAS else wire.PROTOCOL,
                f"{what}: {value}, expected {bounds[0]} to {bounds[1]}",
            )
        if seen >> id_ & 1:
            if id_ == _SUBSCRIPTION_IDENTIFIER and place == PUBLISH:
                properties.subscription_identifier.append(value)  # type: ignore[union-attr]
                continue
            raise ProtocolError(wire.PROTOCOL, f"{what}: comes twice")
        seen |= 1 << id_
        if id_ == _SUBSCRIPTION_IDENTIFIER:
            value = [value]
        elif id_ == _RESPONSE_TOPIC and not _is_topic_name(value):
            raise ProtocolError(wire.PROTOCOL, f"{what}: {wire.shown(value)} is not a topic name")
        setattr(properties, name, value)
    return properties, end


def _is_topic_name(text: str) -> bool:
    """At least one character [MQTT-4.7.3-1] and no wildcard [MQTT-3.3.2-14]."""
    return bool(text) and "+" not in text and "#" not in text


def _misplaced(id_: int, place: int) -> ProtocolError:
    if id_ in _KNOWN:
        text = f"property {_KNOWN[id_]} does not belong here"
    else:
        text = f"unknown property 0x{id_:02X}"
    return ProtocolError(wire.MALFORMED, f"{PLACE_NAMES[place]}: {text}")


def encode_properties(properties: Properties | None, place: int) -> bytes:
    """Property length and properties. `ValueError` for one that does not belong there or has a bad value."""
    if properties is None:
        return b"\0"
    out = bytearray()
    for value, (name, id_, write, places, bounds) in zip(
        msgspec.structs.astuple(properties), _WRITERS, strict=True
    ):
        if value is None:
            continue
        what = f"{PLACE_NAMES[place]} {name}"
        if place not in places:
            raise ValueError(f"{what}: this property does not belong there")
        if id_ == _USER_PROPERTY:
            for key, text in value:
                out.append(id_)
                out += write(key, what) + write(text, what)
            continue
        if id_ == _RESPONSE_TOPIC and not _is_topic_name(value):
            raise ValueError(f"{what}: {wire.shown(value)} is not a topic name")
        values = value if id_ == _SUBSCRIPTION_IDENTIFIER else (value,)
        if len(values) > 1 and place != PUBLISH:
            raise ValueError(f"{what}: {len(values)} of them, at most one is allowed")
        for one in values:
            if bounds is not None and not bounds[0] <= one <= bounds[1]:
                raise ValueError(f"{what}: {one} is not within {bounds[0]} to {bounds[1]}")
            out.append(id_)
            out += write(one, what)
    return wire.write_varint(len(out), f"{PLACE_NAMES[place]} property length") + out

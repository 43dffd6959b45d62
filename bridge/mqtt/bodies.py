"""What follows the fixed header of each control packet: variable header and payload, from bytes to values.

The stream (fixed headers, pieces, the PUBLISH and the short acknowledgements) is `decoder`'s, CONNECT is
`connect`'s. A function here takes the bytes, where the body begins and ends, and what the connection has
agreed on; it returns the packet or raises `ProtocolError`. A body must be used up: what is left over is
malformed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bridge.mqtt import properties as place
from bridge.mqtt import reasons, wire
from bridge.mqtt.errors import ProtocolError
from bridge.mqtt.packets import (
    Auth,
    Connack,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)
from bridge.mqtt.properties import PLACE_NAMES, decode_properties

MAX_TOPIC_FILTERS = 16_384
"""The most topic filters in one SUBSCRIBE or UNSUBSCRIBE. Our own bound (0x97, quota exceeded): four bytes
on the wire become a subscription of more than a hundred, and a packet may be 256 MiB long."""


class Agreement(NamedTuple):
    """What decides how a body is read: protocol version (3, 4, 5), our role, bytes of properties."""

    version: int
    server: bool
    property_size: int


Body = Callable[[bytes, int, int, Agreement], Packet]


def check_end(name: str, pos: int, stop: int) -> None:
    """A packet ends with its last field."""
    if pos != stop:
        raise ProtocolError(wire.MALFORMED, f"{name}: {stop - pos} bytes follow the last field")


def check_code(name: str, code: int, codes: frozenset[int]) -> None:
    """A reason code must be one of those of its packet."""
    if code not in codes:
        raise ProtocolError(wire.PROTOCOL, f"{name}: 0x{code:02X} is not a reason code of this packet")


def read_packet_id(data: bytes, pos: int, stop: int, name: str) -> tuple[int, int]:
    """A packet identifier is not 0 [MQTT-2.2.1-3]."""
    packet_id, pos = wire.read_u16(data, pos, stop, f"{name} packet identifier")
    if not packet_id:
        raise ProtocolError(wire.MALFORMED, f"{name}: packet identifier 0")
    return packet_id, pos


def _optional_end(data: bytes, pos: int, stop: int, kind: int, limit: int) -> tuple[int, Properties | None]:
    """Reason code and properties, each of which may be left out (sections 3.4.2.2, 3.14.2.2, 3.15.2.2)."""
    code, properties = 0, None
    if pos < stop:
        code = data[pos]
        pos += 1
        if pos < stop:
            properties, pos = decode_properties(data, pos, stop, kind, limit)
            check_end(PLACE_NAMES[kind], pos, stop)
    return code, properties


def _acknowledgement(cls: type[Puback], kind: int, codes: frozenset[int]) -> Body:
    name = PLACE_NAMES[kind]

    def decode(data: bytes, pos: int, stop: int, agreed: Agreement) -> Packet:
        packet_id, pos = read_packet_id(data, pos, stop, name)
        if agreed.version < 5:
            check_end(name, pos, stop)
            return cls(packet_id)
        code, properties = _optional_end(data, pos, stop, kind, agreed.property_size)
        check_code(name, code, codes)
        return cls(packet_id, code, properties)

    return decode


def decode_connack(data: bytes, pos: int, stop: int, agreed: Agreement) -> Packet:
    """CONNACK, section 3.2."""
    flags, pos = wire.read_u8(data, pos, stop, "CONNACK flags")
    code, pos = wire.read_u8(data, pos, stop, "CONNACK reason code")
    if agreed.version == 3:
        flags = 0  # MQTT 3.1, section 3.2: not used, and there is no session present
    if flags & 0xFE:
        raise ProtocolError(wire.MALFORMED, f"CONNACK: reserved flags are set (0x{flags:02X}) [MQTT-3.2.2-1]")
    properties = None
    if agreed.version == 5:
        properties, pos = decode_properties(data, pos, stop, place.CONNACK, agreed.property_size)
        check_code("CONNACK", code, reasons.CONNACK_CODES)
    elif code > 5:
        raise ProtocolError(wire.PROTOCOL, f"CONNACK: return code {code}, expected 0 to 5")
    check_end("CONNACK", pos, stop)
    if flags and code:
        raise ProtocolError(
            wire.PROTOCOL, f"CONNACK: session present with reason code 0x{code:02X} [MQTT-3.2.2-6]"
        )
    return Connack(bool(flags), code, properties)


def decode_subscribe(data: bytes, pos: int, stop: int, agreed: Agreement) -> Packet:
    """SUBSCRIBE, section 3.8. Filters are UTF-8, no more: whether one is valid is for the broker to say."""
    packet_id, pos = read_packet_id(data, pos, stop, "SUBSCRIBE")
    properties = None
    if agreed.version == 5:
        properties, pos = decode_properties(data, pos, stop, place.SUBSCRIBE, agreed.property_size)
    subscriptions: list[Subscription] = []
    while pos < stop:
        topic_filter, pos = wire.read_string(data, pos, stop, "SUBSCRIBE topic filter")
        options, pos = wire.read_u8(data, pos, stop, "SUBSCRIBE options")
        _check_count("SUBSCRIBE", len(subscriptions))
        if agreed.version == 5:
            subscriptions.append(_subscription(topic_filter, options))
            continue
        if agreed.version == 3:
            options &= 3  # MQTT 3.1, section 3.8: the upper bits are not used
        if options > 2:
            raise ProtocolError(  # [MQTT-3.8.3-4] of MQTT 3.1.1
                wire.MALFORMED, f"SUBSCRIBE: requested QoS 0x{options:02X}, expected 0, 1 or 2"
            )
        subscriptions.append(Subscription(topic_filter, options))
    if not subscriptions:
        raise ProtocolError(wire.PROTOCOL, "SUBSCRIBE: no topic filter [MQTT-3.8.3-2]")
    return Subscribe(packet_id, subscriptions, properties)


def _subscription(topic_filter: str, options: int) -> Subscription:
    """Subscription Options of MQTT 5, section 3.8.3.1."""
    if options & 0xC0:
        raise ProtocolError(
            wire.MALFORMED, f"SUBSCRIBE: reserved options are set (0x{options:02X}) [MQTT-3.8.3-5]"
        )
    qos, retain_handling = options & 3, options >> 4
    if qos == 3:
        raise ProtocolError(wire.PROTOCOL, "SUBSCRIBE: maximum QoS 3, expected 0, 1 or 2")
    if retain_handling == 3:
        raise ProtocolError(wire.PROTOCOL, "SUBSCRIBE: retain handling 3, expected 0, 1 or 2")
    no_local = options & 4 == 4
    if no_local and topic_filter.startswith("$share/"):
        raise ProtocolError(wire.PROTOCOL, "SUBSCRIBE: no local on a shared subscription [MQTT-3.8.3-4]")
    return Subscription(topic_filter, qos, no_local, options & 8 == 8, retain_handling)


def _check_count(name: str, count: int) -> None:
    if count >= MAX_TOPIC_FILTERS:
        raise ProtocolError(0x97, f"{name}: more than {MAX_TOPIC_FILTERS} topic filters in one packet")


def decode_suback(data: bytes, pos: int, stop: int, agreed: Agreement) -> Packet:
    """SUBACK, section 3.9."""
    packet_id, pos = read_packet_id(data, pos, stop, "SUBACK")
    properties = None
    codes = reasons.SUBACK_CODES_V3
    if agreed.version == 5:
        properties, pos = decode_properties(data, pos, stop, place.SUBACK, agreed.property_size)
        codes = reasons.SUBACK_CODES
    return Suback(packet_id, _codes("SUBACK", data[pos:stop], codes), properties)


def decode_unsubscribe(data: bytes, pos: int, stop: int, agreed: Agreement) -> Packet:
    """UNSUBSCRIBE, section 3.10. Filters as in `decode_subscribe`."""
    packet_id, pos = read_packet_id(data, pos, stop, "UNSUBSCRIBE")
    properties = None
    if agreed.version == 5:
        properties, pos = decode_properties(data, pos, stop, place.UNSUBSCRIBE, agreed.property_size)
    topic_filters: list[str] = []
    while pos < stop:
        topic_filter, pos = wire.read_string(data, pos, stop, "UNSUBSCRIBE topic filter")
        _check_count("UNSUBSCRIBE", len(topic_filters))
        topic_filters.append(topic_filter)
    if not topic_filters:
        raise ProtocolError(wire.PROTOCOL, "UNSUBSCRIBE: no topic filter [MQTT-3.10.3-2]")
    return Unsubscribe(packet_id, topic_filters, properties)


def decode_unsuback(data: bytes, pos: int, stop: int, agreed: Agreement) -> Packet:
    """UNSUBACK, section 3.11; below version 5 it is a packet identifier alone."""
    packet_id, pos = read_packet_id(data, pos, stop, "UNSUBACK")
    if agreed.version < 5:
        check_end("UNSUBACK", pos, stop)
        return Unsuback(packet_id, [])
    properties, pos = decode_properties(data, pos, stop, place.UNSUBACK, agreed.property_size)
    return Unsuback(packet_id, _codes("UNSUBACK", data[pos:stop], reasons.UNSUBACK_CODES), properties)


def _codes(name: str, raw: bytes, known: frozenset[int]) -> list[int]:
    """The payload of a SUBACK or UNSUBACK: one code for each topic filter, so at least one."""
    if not raw:
        raise ProtocolError(wire.PROTOCOL, f"{name}: no reason code")
    for code in raw:
        check_code(name, code, known)
    return list(raw)


def decode_pingreq(data: bytes, pos: int, stop: int, agreed: Agreement) -> Packet:
    """PINGREQ, section 3.12."""
    check_end("PINGREQ", pos, stop)
    return Pingreq()


def decode_pingresp(data: bytes, pos: int, stop: int, agreed: Agreement) -> Packet:
    """PINGRESP, section 3.13."""
    check_end("PINGRESP", pos, stop)
    return Pingresp()


def decode_disconnect(data: bytes, pos: int, stop: int, agreed: Agreement) -> Packet:
    """DISCONNECT, section 3.14. Some reason codes are the server's only."""
    if agreed.version < 5:
        if not agreed.server:
            raise ProtocolError(wire.PROTOCOL, "DISCONNECT: a server sends none below MQTT 5")
        check_end("DISCONNECT", pos, stop)
        return Disconnect()
    codes = reasons.DISCONNECT_CODES_OF_CLIENT if agreed.server else reasons.DISCONNECT_CODES_OF_SERVER
    code, properties = _optional_end(data, pos, stop, place.DISCONNECT, agreed.property_size)
    check_code("DISCONNECT", code, codes)
    if not agreed.server and properties is not None and properties.session_expiry_interval is not None:
        raise ProtocolError(wire.PROTOCOL, "DISCONNECT: session expiry from a server [MQTT-3.14.2-2]")
    return Disconnect(code, properties)


def decode_auth(data: bytes, pos: int, stop: int, agreed: Agreement) -> Packet:
    """AUTH, section 3.15: continue is anyone's, re-authenticate the client's, success the server's."""
    if agreed.version < 5:
        raise ProtocolError(wire.MALFORMED, "AUTH: packet type 15 is reserved below MQTT 5")
    codes = reasons.AUTH_CODES_OF_CLIENT if agreed.server else reasons.AUTH_CODES_OF_SERVER
    empty = pos == stop  # stands for success without properties (section 3.15.2.1)
    code, properties = _optional_end(data, pos, stop, place.AUTH, agreed.property_size)
    check_code("AUTH", code, codes)
    if not empty and (properties is None or properties.authentication_method is None):
        raise ProtocolError(wire.PROTOCOL, "AUTH: no authentication method (section 3.15.2.2.2)")
    return Auth(code, properties)


# By packet type (section 2.1.2), for each role: what the other side may send. CONNECT and PUBLISH are not
# here: `decoder` has them.
_BOTH: dict[int, Body] = {
    place.PUBACK: _acknowledgement(Puback, place.PUBACK, reasons.PUBACK_CODES),
    place.PUBREC: _acknowledgement(Pubrec, place.PUBREC, reasons.PUBACK_CODES),
    place.PUBREL: _acknowledgement(Pubrel, place.PUBREL, reasons.PUBREL_CODES),
    place.PUBCOMP: _acknowledgement(Pubcomp, place.PUBCOMP, reasons.PUBREL_CODES),
    place.DISCONNECT: decode_disconnect,
    place.AUTH: decode_auth,
}
FROM_CLIENT: dict[int, Body] = {
    **_BOTH,
    place.SUBSCRIBE: decode_subscribe,
    place.UNSUBSCRIBE: decode_unsubscribe,
    place.PINGREQ: decode_pingreq,
}
FROM_SERVER: dict[int, Body] = {
    **_BOTH,
    place.CONNACK: decode_connack,
    place.SUBACK: decode_suback,
    place.UNSUBACK: decode_unsuback,
    place.PINGRESP: decode_pingresp,
}

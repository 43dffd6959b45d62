"""The body of CONNECT, section 3.1 of MQTT 3.1, 3.1.1 and 5.0."""

from __future__ import annotations

from typing import NamedTuple

from bridge.mqtt import properties as place
from bridge.mqtt import wire
from bridge.mqtt.bodies import check_end
from bridge.mqtt.errors import ProtocolError
from bridge.mqtt.packets import Connect, Will
from bridge.mqtt.properties import decode_properties

UNSUPPORTED_PROTOCOL_VERSION = 0x84
BRIDGE = 0x80  # in the protocol level: mosquitto's bridges set it with 3.1 and 3.1.1

_NAMES = ("MQIsdp", "MQTT")
_VERSIONS = {("MQIsdp", 3): 3, ("MQTT", 4): 4, ("MQTT", 5): 5}


def connect_size_limit(property_size: int) -> int:
    """The most bytes that the body of a well-formed CONNECT can have.

    A peer that has not said who it is can make us buffer no more than this, however large packets may be:
    protocol name, fixed part, both property lists, client id, will topic and payload, name and password.
    """
    return 8 + 4 + 2 * (property_size + 4) + 5 * (2 + wire.MAX_STRING_SIZE)


class Protocol(NamedTuple):
    """Protocol name and level, and the position behind them."""

    version: int  # 3, 4 or 5; that of the refusal where `refused` is set, 0: no answer
    bridge: bool
    refused: ProtocolError | None
    pos: int


def read_protocol(data: bytes, pos: int, stop: int) -> Protocol:
    """The first fields of a CONNECT, sections 3.1.2.1 and 3.1.2.2.

    A protocol name or level that we do not speak is `refused` with 0x84 [MQTT-3.1.2-1] [MQTT-3.1.2-2];
    `version` is then the one in which the client may understand a CONNACK. Whoever names another protocol
    would understand none, and gets none.
    """
    name, pos = wire.read_string(data, pos, stop, "CONNECT protocol name")
    level, pos = wire.read_u8(data, pos, stop, "CONNECT protocol level")
    bridge = level in (3 | BRIDGE, 4 | BRIDGE)
    version = _VERSIONS.get((name, level & 0x7F if bridge else level))
    if version is not None:
        return Protocol(version, bridge, None, pos)
    version = 0
    if name in _NAMES:
        version = 5 if name == "MQTT" and 5 <= level < BRIDGE else 3 if name == "MQIsdp" else 4
    refused = ProtocolError(
        UNSUPPORTED_PROTOCOL_VERSION,
        f"CONNECT: protocol {wire.shown(name)} level {level}, expected MQIsdp 3, MQTT 4 or MQTT 5",
    )
    return Protocol(version, False, refused, pos)


def decode_connect(data: bytes, stop: int, protocol: Protocol, property_size: int) -> Connect:
    """What follows the protocol level. The will topic is a string, not yet a topic name."""
    version, pos = protocol.version, protocol.pos
    flags, pos = wire.read_u8(data, pos, stop, "CONNECT flags")
    _check_flags(flags, version)
    keepalive, pos = wire.read_u16(data, pos, stop, "CONNECT keep alive")
    properties = None
    if version == 5:
        properties, pos = decode_properties(data, pos, stop, place.CONNECT, property_size)
        if (
            properties is not None
            and properties.authentication_data is not None
            and properties.authentication_method is None
        ):
            raise ProtocolError(
                wire.PROTOCOL, "CONNECT: authentication data without a method (section 3.1.2.11.10)"
            )
    client_id, pos = wire.read_string(data, pos, stop, "CONNECT client identifier")

    will = None
    if flags & 0x04:
        will_properties = None
        if version == 5:
            will_properties, pos = decode_properties(data, pos, stop, place.WILL, property_size)
        topic, pos = wire.read_string(data, pos, stop, "CONNECT will topic")
        payload, pos = wire.read_binary(data, pos, stop, "CONNECT will payload")
        will = Will(topic, payload, flags >> 3 & 3, flags & 0x20 == 0x20, will_properties)

    # MQTT 3.1, section 3.1: the remaining length takes precedence over the flags for user name and password,
    # and a client whose flag is set but whose string is missing is let in.
    username = None
    if flags & 0x80 and not (version == 3 and pos == stop):
        username, pos = wire.read_string(data, pos, stop, "CONNECT user name")
    password = None
    if flags & 0x40 and not (version == 3 and pos == stop):
        password, pos = wire.read_binary(data, pos, stop, "CONNECT password")
    check_end("CONNECT", pos, stop)
    return Connect(
        client_id=client_id,
        protocol_version=version,
        clean_start=flags & 0x02 == 0x02,
        keepalive=keepalive,
        username=username,
        password=password,
        will=will,
        properties=properties,
        bridge=protocol.bridge,
    )


def _check_flags(flags: int, version: int) -> None:
    """Connect Flags, section 3.1.2.3."""
    if flags & 0x01 and version > 3:  # 3.1 calls the bit unused, not reserved
        raise ProtocolError(wire.MALFORMED, "CONNECT: the reserved flag is set [MQTT-3.1.2-3]")
    if flags & 0x04:
        if flags & 0x18 == 0x18:
            raise ProtocolError(wire.MALFORMED, "CONNECT: will QoS 3 [MQTT-3.1.2-12]")
    elif flags & 0x38 and version > 3:  # 3.1 disregards them
        raise ProtocolError(
            wire.MALFORMED, "CONNECT: will QoS or will retain without a will [MQTT-3.1.2-11] [MQTT-3.1.2-13]"
        )
    if flags & 0xC0 == 0x40 and version < 5:
        raise ProtocolError(
            wire.MALFORMED, "CONNECT: a password without a user name [MQTT-3.1.2-22 of MQTT 3.1.1]"
        )

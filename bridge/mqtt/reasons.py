"""Reason codes (MQTT 5.0, section 2.4), the return codes of MQTT 3.1.1, and their names in event bodies."""

from __future__ import annotations

from enum import IntEnum


class ReasonCode(IntEnum):
    """Section 2.4, under the specification's names. Codes of 0x80 and above are failures."""

    SUCCESS = 0x00
    NORMAL_DISCONNECTION = 0x00
    GRANTED_QOS_0 = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


def _codes(*codes: int) -> frozenset[int]:
    return frozenset(codes)


# Which codes a packet may carry, sections 3.2.2.2, 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1, 3.9.3, 3.11.3,
# 3.14.2.1 and 3.15.2.1. DISCONNECT and AUTH differ by who sends them.
CONNACK_CODES = _codes(0, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F)
PUBACK_CODES = _codes(0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)  # and PUBREC
PUBREL_CODES = _codes(0, 0x92)  # and PUBCOMP
SUBACK_CODES = _codes(0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2)
SUBACK_CODES_V3 = _codes(0, 1, 2, 0x80)
UNSUBACK_CODES = _codes(0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91)
DISCONNECT_CODES_OF_CLIENT = _codes(0, 0x04, *range(0x80, 0x84), 0x90, *range(0x93, 0x9A))
# 0x8C stands in the table of section 2.4 and not in that of 3.14.2.1; 0x00 and 0x04 are a client's, but a
# client that reads them loses nothing by taking them.
DISCONNECT_CODES_OF_SERVER = DISCONNECT_CODES_OF_CLIENT | _codes(
    0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, *range(0x9A, 0xA3)
)
AUTH_CODES_OF_CLIENT = _codes(0x18, 0x19)
AUTH_CODES_OF_SERVER = _codes(0, 0x18)

# MQTT 3.1.1, table 3.1, by the MQTT 5 reason that stands behind a refusal. What is not here becomes
# 3 (server unavailable): 3.1.1 has no code for it, and only 3 blames neither version, name nor password.
_RETURN_CODES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 0x84: 1, 0x85: 2, 0x86: 4, 0x87: 5, 0x8A: 5, 0x8C: 5}


def connack_return_code(reason: int) -> int:
    """The MQTT 3.1.1 return code (0 to 5) for an MQTT 5 reason code; 0 to 5 stay what they are."""
    return _RETURN_CODES.get(reason, 3)


_CONNACK_NAMES_V3 = (
    "connection_accepted",
    "unacceptable_protocol_version",
    "client_identifier_not_valid",
    "server_unavaliable",  # EMQX's spelling, which its users' receivers compare with
    "malformed_username_or_password",
    "unauthorized_client",
)
# Names that EMQX does not derive from the specification's text; the others are the text in snake case.
_EMQX_NAMES = {0x86: "bad_username_or_password", 0x8D: "keepalive_timeout", 0x91: "packet_identifier_inuse"}
_NAMES = {int(code): code.name.lower() for code in ReasonCode} | _EMQX_NAMES


def connack_name_v3(code: int) -> str:
    """EMQX's name of a CONNACK return code of MQTT 3.1 and 3.1.1; an MQTT 5 reason is mapped first."""
    return _CONNACK_NAMES_V3[connack_return_code(code)]


def connack_name_v5(code: int) -> str:
    """EMQX's name of a CONNACK reason code of MQTT 5; `unknown_error` for one that is not in section 2.4."""
    return _NAMES.get(code, "unknown_error")


def connack_name(version: int, code: int) -> str:
    """The `conn_ack` of a NanoMQ body: `success` in every version, else the refusal's name."""
    if code == 0:
        return "success"
    return connack_name_v5(code) if version >= 5 else connack_name_v3(code)


def disconnect_name(code: int) -> str:
    """EMQX's name of a DISCONNECT reason code of MQTT 5: `normal` for 0, `unknown_error` if not known."""
    return "normal" if code == 0 else _NAMES.get(code, "unknown_error")

"""Reason codes and their names, as in the specification and in EMQX's vocabulary."""

from __future__ import annotations

from bridge.mqtt import reasons
from bridge.mqtt.reasons import (
    ReasonCode,
    connack_name,
    connack_name_v3,
    connack_name_v5,
    connack_return_code,
    disconnect_name,
)

CONNACK_V5 = {
    0x00: "success",
    0x80: "unspecified_error",
    0x81: "malformed_packet",
    0x82: "protocol_error",
    0x83: "implementation_specific_error",
    0x84: "unsupported_protocol_version",
    0x85: "client_identifier_not_valid",
    0x86: "bad_username_or_password",
    0x87: "not_authorized",
    0x88: "server_unavailable",
    0x89: "server_busy",
    0x8A: "banned",
    0x8C: "bad_authentication_method",
    0x90: "topic_name_invalid",
    0x95: "packet_too_large",
    0x97: "quota_exceeded",
    0x9A: "retain_not_supported",
    0x9B: "qos_not_supported",
    0x9C: "use_another_server",
    0x9D: "server_moved",
    0x9F: "connection_rate_exceeded",
}
DISCONNECT = {
    0x00: "normal",
    0x04: "disconnect_with_will_message",
    0x80: "unspecified_error",
    0x81: "malformed_packet",
    0x82: "protocol_error",
    0x83: "implementation_specific_error",
    0x87: "not_authorized",
    0x89: "server_busy",
    0x8B: "server_shutting_down",
    0x8D: "keepalive_timeout",
    0x8E: "session_taken_over",
    0x8F: "topic_filter_invalid",
    0x90: "topic_name_invalid",
    0x93: "receive_maximum_exceeded",
    0x94: "topic_alias_invalid",
    0x95: "packet_too_large",
    0x96: "message_rate_too_high",
    0x97: "quota_exceeded",
    0x98: "administrative_action",
    0x99: "payload_format_invalid",
    0x9A: "retain_not_supported",
    0x9B: "qos_not_supported",
    0x9C: "use_another_server",
    0x9D: "server_moved",
    0x9E: "shared_subscriptions_not_supported",
    0x9F: "connection_rate_exceeded",
    0xA0: "maximum_connect_time",
    0xA1: "subscription_identifiers_not_supported",
    0xA2: "wildcard_subscriptions_not_supported",
}
CONNACK_V3 = (
    "connection_accepted",
    "unacceptable_protocol_version",
    "client_identifier_not_valid",
    "server_unavaliable",
    "malformed_username_or_password",
    "unauthorized_client",
)


def test_names() -> None:
    assert {code: connack_name_v5(code) for code in CONNACK_V5} == CONNACK_V5
    assert {code: disconnect_name(code) for code in DISCONNECT} == DISCONNECT
    assert tuple(connack_name_v3(code) for code in range(6)) == CONNACK_V3
    assert connack_name_v3(ReasonCode.NOT_AUTHORIZED) == "unauthorized_client"
    assert (connack_name_v5(0x7F), disconnect_name(0x7F)) == ("unknown_error", "unknown_error")


def test_connack_name_of_a_nanomq_body() -> None:
    assert [connack_name(version, 0) for version in (3, 4, 5)] == ["success"] * 3
    assert connack_name(4, 5) == connack_name(4, 0x87) == connack_name(3, 0x87) == "unauthorized_client"
    assert connack_name(5, 0x87) == "not_authorized"
    assert connack_name(5, 0x86) == "bad_username_or_password"


def test_return_codes_of_3_1_1() -> None:
    assert [connack_return_code(code) for code in range(6)] == [0, 1, 2, 3, 4, 5]
    assert [connack_return_code(code) for code in (0x84, 0x85, 0x86, 0x87, 0x88, 0x8A)] == [1, 2, 4, 5, 3, 5]
    # Never 0: a refusal is a refusal in every version.
    assert all(1 <= connack_return_code(code) <= 5 for code in range(1, 256))


def test_reason_codes_of_section_2_4() -> None:
    assert len({int(code) for code in ReasonCode}) == 43
    assert {int(ReasonCode[name]) for name in ("SUCCESS", "NORMAL_DISCONNECTION", "GRANTED_QOS_0")} == {0}
    every = [
        reasons.CONNACK_CODES,
        reasons.PUBACK_CODES,
        reasons.PUBREL_CODES,
        reasons.SUBACK_CODES,
        reasons.UNSUBACK_CODES,
        reasons.DISCONNECT_CODES_OF_SERVER,
        reasons.AUTH_CODES_OF_CLIENT,
        reasons.AUTH_CODES_OF_SERVER,
    ]
    # Each code belongs to some packet, and each packet's codes are known.
    assert frozenset().union(*every) == {int(code) for code in ReasonCode}

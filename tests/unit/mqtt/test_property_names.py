"""MQTT 5 properties under the names that EMQX's bodies have."""

from __future__ import annotations

import msgspec
import pytest

from bridge.mqtt.packets import Properties
from bridge.mqtt.property_names import property_map


def test_user_properties_are_always_there() -> None:
    assert property_map(None) == {"User-Property": {}}
    assert property_map(Properties()) == {"User-Property": {}}


def test_pairs_keep_their_order_and_repeats() -> None:
    shown = property_map(Properties(user_property=[("b", "1"), ("a", "2"), ("b", "3")]))
    assert shown == {
        "User-Property": {"b": "3", "a": "2"},
        "User-Property-Pairs": [
            {"key": "b", "value": "1"},
            {"key": "a", "value": "2"},
            {"key": "b", "value": "3"},
        ],
    }


def test_every_property_that_a_client_sends() -> None:
    properties = Properties(
        payload_format_indicator=0,
        message_expiry_interval=0,
        content_type="",
        response_topic="r",
        correlation_data=b"c",
        subscription_identifier=[268_435_455],
        session_expiry_interval=1,
        authentication_method="m",
        request_problem_information=0,
        will_delay_interval=2,
        request_response_information=1,
        server_reference="s",
        reason_string="why",
        receive_maximum=3,
        topic_alias_maximum=4,
        topic_alias=5,
        maximum_packet_size=6,
    )
    assert property_map(properties) == {
        "Payload-Format-Indicator": 0,  # 0 and "" are values, too
        "Message-Expiry-Interval": 0,
        "Content-Type": "",
        "Response-Topic": "r",
        "Correlation-Data": "c",
        "Subscription-Identifier": 268_435_455,
        "Session-Expiry-Interval": 1,
        "Authentication-Method": "m",
        "Request-Problem-Information": 0,
        "Will-Delay-Interval": 2,
        "Request-Response-Information": 1,
        "Server-Reference": "s",
        "Reason-String": "why",
        "Receive-Maximum": 3,
        "Topic-Alias-Maximum": 4,
        "Topic-Alias": 5,
        "Maximum-Packet-Size": 6,
        "User-Property": {},
    }


def test_authentication_data_is_never_shown() -> None:
    shown = property_map(Properties(authentication_method="m", authentication_data=b"hunter2"))
    assert shown == {"Authentication-Method": "m", "User-Property": {}}


@pytest.mark.parametrize(
    ("data", "text"), [(b"", ""), ("é\0".encode(), "é\0"), (b"\xff\x00", "/wA="), (b"\xed\xa0\x80", "7aCA")]
)
def test_correlation_data_is_text_or_base64(data: bytes, text: str) -> None:
    shown = property_map(Properties(correlation_data=data))
    assert shown["Correlation-Data"] == text
    assert msgspec.json.decode(msgspec.json.encode(shown)) == shown


def test_several_subscription_identifiers_are_a_list() -> None:
    assert property_map(Properties(subscription_identifier=[1, 2]))["Subscription-Identifier"] == [1, 2]

"""MQTT 5 properties under the specification's names, as EMQX's bodies have them (section 2.2.2)."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from bridge.mqtt.packets import Properties

_NAMES = {
    "payload_format_indicator": "Payload-Format-Indicator",
    "message_expiry_interval": "Message-Expiry-Interval",
    "content_type": "Content-Type",
    "response_topic": "Response-Topic",
    "correlation_data": "Correlation-Data",
    "subscription_identifier": "Subscription-Identifier",
    "session_expiry_interval": "Session-Expiry-Interval",
    "authentication_method": "Authentication-Method",
    "request_problem_information": "Request-Problem-Information",
    "will_delay_interval": "Will-Delay-Interval",
    "request_response_information": "Request-Response-Information",
    "server_reference": "Server-Reference",
    "reason_string": "Reason-String",
    "receive_maximum": "Receive-Maximum",
    "topic_alias_maximum": "Topic-Alias-Maximum",
    "topic_alias": "Topic-Alias",
    "maximum_packet_size": "Maximum-Packet-Size",
}
# Authentication-Data is not among them: it may hold a password.


def property_map(properties: Properties | None) -> dict[str, Any]:
    """The properties that a client sent: name to value.

    `User-Property` is always there, an object with the last value of each name; all pairs, in their order and
    with their repeats, are in `User-Property-Pairs` when there are any. Correlation data that is not UTF-8
    stands as base64. One subscription identifier is a number.
    """
    if properties is None:
        return {"User-Property": {}}
    shown: dict[str, Any] = {}
    for field, name in _NAMES.items():
        value = getattr(properties, field)
        if value is None:
            continue
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                value = b64encode(value).decode("ascii")
        elif isinstance(value, list):
            value = value[0] if len(value) == 1 else value
        shown[name] = value
    pairs = properties.user_property or []
    shown["User-Property"] = dict(pairs)
    if pairs:
        shown["User-Property-Pairs"] = [{"key": key, "value": value} for key, value in pairs]
    return shown

"""The control packets of MQTT 3.1, 3.1.1 and 5.0 as plain values.

A packet is data only: `codec` turns bytes into packets and packets into bytes, `broker` decides what
they mean. Every field keeps the specification's name. Sections are those of MQTT 5.0 unless said otherwise.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Properties(msgspec.Struct, omit_defaults=True, kw_only=True):
    """MQTT 5 properties, section 2.2.2. `None` means absent; intervals are in seconds, sizes in bytes."""

    payload_format_indicator: int | None = None
    message_expiry_interval: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_identifier: list[int] | None = None
    session_expiry_interval: int | None = None
    assigned_client_identifier: str | None = None
    server_keep_alive: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    request_problem_information: int | None = None
    will_delay_interval: int | None = None
    request_response_information: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: int | None = None
    user_property: list[tuple[str, str]] | None = None
    maximum_packet_size: int | None = None
    wildcard_subscription_available: int | None = None
    subscription_identifier_available: int | None = None
    shared_subscription_available: int | None = None


class Will(msgspec.Struct, gc=False):
    """The will of a CONNECT, sections 3.1.2.5 to 3.1.2.7 and 3.1.3.2 to 3.1.3.4."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties | None = None


class Connect(msgspec.Struct):
    """CONNECT, section 3.1. `protocol_version` is 3 (MQTT 3.1), 4 (3.1.1) or 5; `keepalive` is in seconds."""

    client_id: str
    protocol_version: int = 4
    clean_start: bool = True
    keepalive: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties | None = None
    bridge: bool = False  # bit 7 of the protocol level, as mosquitto's bridges set it with 3.1 and 3.1.1


class Connack(msgspec.Struct):
    """CONNACK, section 3.2. `reason_code` is a 3.1.1 return code (0 to 5) below version 5."""

    session_present: bool = False
    reason_code: int = 0
    properties: Properties | None = None


class Publish(msgspec.Struct, gc=False):
    """PUBLISH, section 3.3. `topic` is empty only where a topic alias stands for it (MQTT 5)."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties | None = None


class Puback(msgspec.Struct, gc=False):
    """PUBACK, section 3.4."""

    packet_id: int
    reason_code: int = 0
    properties: Properties | None = None


class Pubrec(Puback, gc=False):
    """PUBREC, section 3.5."""


class Pubrel(Puback, gc=False):
    """PUBREL, section 3.6."""


class Pubcomp(Puback, gc=False):
    """PUBCOMP, section 3.7."""


class Subscription(msgspec.Struct, gc=False):
    """One topic filter of a SUBSCRIBE with its options, section 3.8.3.1."""

    topic_filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


class Subscribe(msgspec.Struct):
    """SUBSCRIBE, section 3.8."""

    packet_id: int
    subscriptions: list[Subscription]
    properties: Properties | None = None


class Suback(msgspec.Struct):
    """SUBACK, section 3.9."""

    packet_id: int
    reason_codes: list[int]
    properties: Properties | None = None


class Unsubscribe(msgspec.Struct):
    """UNSUBSCRIBE, section 3.10."""

    packet_id: int
    topic_filters: list[str]
    properties: Properties | None = None


class Unsuback(msgspec.Struct):
    """UNSUBACK, section 3.11. `reason_codes` is empty below version 5."""

    packet_id: int
    reason_codes: list[int] = []
    properties: Properties | None = None


class Pingreq(msgspec.Struct):
    """PINGREQ, section 3.12."""


class Pingresp(msgspec.Struct):
    """PINGRESP, section 3.13."""


class Disconnect(msgspec.Struct):
    """DISCONNECT, section 3.14. Below version 5 it has no reason code and comes from the client only."""

    reason_code: int = 0
    properties: Properties | None = None


class Auth(msgspec.Struct):
    """AUTH, section 3.15 (MQTT 5 only)."""

    reason_code: int = 0
    properties: Properties | None = None


Packet = Any  # one of the classes above; receivers dispatch on `type(packet)`

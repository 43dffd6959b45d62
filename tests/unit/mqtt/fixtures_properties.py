"""Part of the table: every property, in the packets where it may stand and in those where it may not."""

from __future__ import annotations

from typing import Any

from bridge.mqtt.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from tests.unit.mqtt.cases import (
    CLIENT,
    LONG,
    METHOD,
    NONE,
    SERVER,
    V5,
    Role,
    bad,
    good,
    packet,
    props,
    string,
    x,
)

# --- Properties, section 2.2.2 ----------------------------------------------------------------------------

PLACES = (
    *(
        "CONNECT",
        "WILL",
        "CONNACK",
        "PUBLISH",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
    ),
    *("UNSUBSCRIBE", "UNSUBACK", "DISCONNECT", "AUTH"),
)
ANSWERS = ("CONNACK", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBACK", "UNSUBACK", "DISCONNECT", "AUTH")


def in_place(place: str, list_: bytes, value: Properties) -> tuple[int, Role, bytes, Any]:
    """A packet with these properties: decoder's version, reader, bytes, packet."""
    match place:
        case "CONNECT":
            return 0, SERVER, packet(0x10, V5, x("02 0000"), list_, "c"), Connect("c", 5, properties=value)
        case "WILL":
            wire = packet(0x10, V5, x("06 0000"), NONE, "c", list_, "w", x("0000"))
            return 0, SERVER, wire, Connect("c", 5, will=Will("w", b"", properties=value))
        case "CONNACK":
            return 5, CLIENT, packet(0x20, x("0000"), list_), Connack(properties=value)
        case "PUBLISH":
            return 5, CLIENT, packet(0x30, "t", list_, b"p"), Publish("t", b"p", properties=value)
        case "PUBACK":
            return 5, SERVER, packet(0x40, x("0001 00"), list_), Puback(1, 0, value)
        case "PUBREC":
            return 5, SERVER, packet(0x50, x("0001 00"), list_), Pubrec(1, 0, value)
        case "PUBREL":
            return 5, SERVER, packet(0x62, x("0001 00"), list_), Pubrel(1, 0, value)
        case "PUBCOMP":
            return 5, SERVER, packet(0x70, x("0001 00"), list_), Pubcomp(1, 0, value)
        case "SUBSCRIBE":
            wire = packet(0x82, x("0001"), list_, "t", x("00"))
            return 5, SERVER, wire, Subscribe(1, [Subscription("t")], value)
        case "SUBACK":
            return 5, CLIENT, packet(0x90, x("0001"), list_, x("00")), Suback(1, [0], value)
        case "UNSUBSCRIBE":
            return 5, SERVER, packet(0xA2, x("0001"), list_, "t"), Unsubscribe(1, ["t"], value)
        case "UNSUBACK":
            return 5, CLIENT, packet(0xB0, x("0001"), list_, x("00")), Unsuback(1, [0], value)
        case "DISCONNECT":
            return 5, SERVER, packet(0xE0, x("00"), list_), Disconnect(0, value)
        case _:
            return 5, SERVER, packet(0xF0, x("18"), list_), Auth(0x18, value)


U32 = ((x("00000000"), 0), (x("ffffffff"), 4_294_967_295))
U16 = ((x("0000"), 0), (x("ffff"), 65_535))
FLAG = ((x("00"), 0), (x("01"), 1))
NOT_FLAG = ((x("02"), 0x82), (x("ff"), 0x82))
TEXT = ((string(""), ""), (string("é𐍈"), "é𐍈"), (string(LONG), LONG))
NOT_TEXT = (
    (string(b"\xff"), 0x81),
    (string(b"a\0"), 0x81),
    (string(b"\xed\xa0\x80"), 0x81),
    (x("0002 61"), 0x81),
)
BYTES = ((x("0000"), b""), (x("0003 00ff0a"), b"\x00\xff\n"))
NOT_BYTES = ((x("0002 61"), 0x81),)

# Table 2-4: identifier, name, places, good values, bad values with their reason.
PROPERTIES: tuple[tuple[int, str, tuple[str, ...], tuple[Any, ...], tuple[Any, ...]], ...] = (
    (0x01, "payload_format_indicator", ("PUBLISH", "WILL"), FLAG, NOT_FLAG),
    (0x02, "message_expiry_interval", ("PUBLISH", "WILL"), U32, ()),
    (0x03, "content_type", ("PUBLISH", "WILL"), TEXT, NOT_TEXT),
    (
        0x08,
        "response_topic",
        ("PUBLISH", "WILL"),
        ((string("r/t"), "r/t"),),
        ((string("+"), 0x82), *NOT_TEXT),
    ),
    (0x09, "correlation_data", ("PUBLISH", "WILL"), BYTES, NOT_BYTES),
    (
        0x0B,
        "subscription_identifier",
        ("PUBLISH", "SUBSCRIBE"),
        ((x("01"), [1]), (x("7f"), [127]), (x("8001"), [128]), (x("ffffff7f"), [268_435_455])),
        ((x("00"), 0x82), (x("8000"), 0x81), (x("8100"), 0x81), (x("ffffffff7f"), 0x81), (x("80"), 0x81)),
    ),
    (0x11, "session_expiry_interval", ("CONNECT", "CONNACK", "DISCONNECT"), U32, ()),
    (0x12, "assigned_client_identifier", ("CONNACK",), TEXT, NOT_TEXT),
    (0x13, "server_keep_alive", ("CONNACK",), U16, ()),
    (0x15, "authentication_method", ("CONNECT", "CONNACK", "AUTH"), TEXT, NOT_TEXT),
    (0x16, "authentication_data", ("CONNECT", "CONNACK", "AUTH"), BYTES, NOT_BYTES),
    (0x17, "request_problem_information", ("CONNECT",), FLAG, NOT_FLAG),
    (0x18, "will_delay_interval", ("WILL",), U32, ()),
    (0x19, "request_response_information", ("CONNECT",), FLAG, NOT_FLAG),
    (0x1A, "response_information", ("CONNACK",), TEXT, NOT_TEXT),
    (0x1C, "server_reference", ("CONNACK", "DISCONNECT"), TEXT, NOT_TEXT),
    (0x1F, "reason_string", ANSWERS, TEXT, NOT_TEXT),
    (
        0x21,
        "receive_maximum",
        ("CONNECT", "CONNACK"),
        ((x("0001"), 1), (x("ffff"), 65_535)),
        ((x("0000"), 0x82),),
    ),
    (0x22, "topic_alias_maximum", ("CONNECT", "CONNACK"), U16, ()),
    (0x23, "topic_alias", ("PUBLISH",), ((x("0001"), 1), (x("ffff"), 65_535)), ((x("0000"), 0x94),)),
    (0x24, "maximum_qos", ("CONNACK",), FLAG, NOT_FLAG),
    (0x25, "retain_available", ("CONNACK",), FLAG, NOT_FLAG),
    (
        0x26,
        "user_property",
        PLACES,
        ((string("k") + string("v"), [("k", "v")]), (x("0000 0000"), [("", "")])),
        (
            (string("k"), 0x81),
            (string("k") + x("0002 76"), 0x81),
            (string(b"\xff") + string("v"), 0x81),
            (string("k") + string(b"\0"), 0x81),
        ),
    ),
    (
        0x27,
        "maximum_packet_size",
        ("CONNECT", "CONNACK"),
        ((x("00000001"), 1), U32[1]),
        ((x("00000000"), 0x82),),
    ),
    (0x28, "wildcard_subscription_available", ("CONNACK",), FLAG, NOT_FLAG),
    (0x29, "subscription_identifier_available", ("CONNACK",), FLAG, NOT_FLAG),
    (0x2A, "shared_subscription_available", ("CONNACK",), FLAG, NOT_FLAG),
)

NO_VALUES: dict[str, Any] = {}
for identifier, name, places, values, bad_values in PROPERTIES:
    tag = bytes((identifier,))
    for where in PLACES:
        # AUTH needs a method, and so has authentication data in CONNECT.
        front, more = b"", NO_VALUES
        if name != "authentication_method" and (
            where == "AUTH" or (name, where) == ("authentication_data", "CONNECT")
        ):
            front, more = METHOD, {"authentication_method": "m"}
        if where not in places:
            raw = values[0][0]
            bad(f"{name} in {where}", *in_place(where, props(front, tag, raw), Properties())[:3], 0x81)
            continue
        for at, (raw, value) in enumerate(values):
            if len(raw) > 60_000:
                continue  # with its length, more than the properties that a decoder takes: test_limits has it
            case = in_place(where, props(front, tag, raw), Properties(**more, **{name: value}))
            good(f"{name} in {where}, value {at}", *case)
            repeated = props(front, tag, raw, tag, raw)
            if name == "user_property" or (name, where) == ("subscription_identifier", "PUBLISH"):
                case = in_place(where, repeated, Properties(**more, **{name: value * 2}))
                good(f"{name} in {where} twice, value {at}", *case)
            else:
                bad(
                    f"{name} in {where} twice, value {at}", *in_place(where, repeated, Properties())[:3], 0x82
                )
            for cut in range(min(len(raw), 5)):
                wire = in_place(where, props(front, tag, raw[:cut]), Properties())[2]
                bad(f"{name} in {where}, value {at} cut to {cut}", *case[:2], wire, 0x81)
        for at, (raw, reason) in enumerate(bad_values):
            case = in_place(where, props(front, tag, raw), Properties())
            bad(f"{name} in {where}, bad value {at}", *case[:3], reason)
UNKNOWN = sorted(set(range(256)) - {identifier for identifier, *_ in PROPERTIES})
for where in PLACES:
    for identifier in (0x00, 0x04, 0x20, 0x2B, 0x7F, 0x80, 0xFF):
        bad(
            f"unknown property 0x{identifier:02X} in {where}",
            *in_place(where, props(bytes((identifier, 0))), Properties())[:3],
            0x81,
        )
    past_end = in_place(where, x("ffff03"), Properties())
    bad(f"property length past the end in {where}", *past_end[:3], 0x81)
    bad(
        f"property length of five bytes in {where}", *in_place(where, x("8080808000"), Properties())[:3], 0x81
    )
    bad(f"property length too long in {where}", *in_place(where, x("8000"), Properties())[:3], 0x81)
for identifier in UNKNOWN:
    wire = packet(0x30, "t", props(bytes((identifier, 0, 0, 0, 0))))
    bad(f"unknown property 0x{identifier:02X}", 5, SERVER, wire, 0x81)

"""Part of the table: PUBLISH and its acknowledgements."""

from __future__ import annotations

from bridge.mqtt.packets import Properties, Puback, Pubcomp, Publish, Pubrec, Pubrel
from tests.unit.mqtt.cases import CLIENT, NONE, SERVER, bad, good, packet, props, string, x

# --- PUBLISH, section 3.3 ---------------------------------------------------------------------------------

for role in (SERVER, CLIENT):
    for version, end in ((3, b""), (4, b""), (5, NONE)):
        for flags, qos, retain, dup in (
            (0x0, 0, False, False),
            (0x1, 0, True, False),
            (0x2, 1, False, False),
            (0x3, 1, True, False),
            (0x4, 2, False, False),
            (0x5, 2, True, False),
            (0xA, 1, False, True),
            (0xB, 1, True, True),
            (0xC, 2, False, True),
            (0xD, 2, True, True),
        ):
            id_ = x("000a") if qos else b""
            good(
                f"PUBLISH flags {flags:X}",
                version,
                role,
                packet(0x30 | flags, "a/b", id_, end, b"hi"),
                Publish("a/b", b"hi", qos, retain, dup, 10 if qos else 0),
            )
        for flags in (0x6, 0x7, 0xE, 0xF):
            bad(
                f"PUBLISH QoS 3 [MQTT-3.3.1-4], flags {flags:X}",
                version,
                role,
                packet(0x30 | flags, "a", x("0001"), end),
                0x81,
            )
        for flags in (0x8, 0x9):
            bad(
                f"PUBLISH DUP with QoS 0 [MQTT-3.3.1-2], flags {flags:X}",
                version,
                role,
                packet(0x30 | flags, "a", end),
                0x81,
            )
for version, end in ((3, b""), (4, b""), (5, NONE)):
    good("PUBLISH empty payload", version, SERVER, packet(0x30, "a", end), Publish("a", b""))
    good(
        "PUBLISH id 65535",
        version,
        SERVER,
        packet(0x32, "a", x("ffff"), end),
        Publish("a", b"", 1, packet_id=65_535),
    )
    good(
        "PUBLISH id 1", version, SERVER, packet(0x34, "a", x("0001"), end), Publish("a", b"", 2, packet_id=1)
    )
    for size in (110, 127, 128, 129, 16_383, 16_384, 70_000, 2_097_151, 2_097_152):
        fill = b"p" * (size - 7 - len(end))  # the remaining length is `size`
        good(f"PUBLISH of {size}", version, SERVER, packet(0x30, "a/b/c", end, fill), Publish("a/b/c", fill))
    for topic in ("/", "//", "a b", "$SYS/x", "€/𐍈", "\ufeffa", "\x01", "\uffff", "/" * 200, "t" * 65_535):
        good(
            f"PUBLISH topic {topic[:20]!r}",
            version,
            SERVER,
            packet(0x30, topic, end, b"1"),
            Publish(topic, b"1"),
        )
    for name, wire in (
        ("no body", packet(0x30)),
        ("one byte", packet(0x30, x("00"))),
        ("cut topic", packet(0x30, x("0003 6161"))),
        ("cut topic, QoS 1", packet(0x32, x("0003 6161"))),
        ("no packet id", packet(0x32, "a")),
        ("half a packet id", packet(0x34, "a", x("00"))),
        ("packet id 0 [MQTT-2.2.1-3]", packet(0x32, "a", x("0000"), end)),
        ("packet id 0, QoS 2", packet(0x34, "a", x("0000"), end)),
        ("U+0000 in the topic", packet(0x30, "a\0b", end)),
        ("a surrogate in the topic", packet(0x30, string(b"\xed\xbf\xbf"), end)),
        ("a topic that is not UTF-8", packet(0x30, string(b"a\xff"), end)),
        ("a topic cut within a character", packet(0x30, string(b"\xe2\x82"), end)),
    ):
        bad(f"PUBLISH: {name}", version, SERVER, wire, 0x81)
    topic_reason = 0x81 if version == 5 else 0x82
    for topic in ("+", "#", "a/+", "a/#", "a+", "#a"):  # [MQTT-3.3.2-2]
        bad(f"PUBLISH: topic {topic}", version, SERVER, packet(0x30, topic, end), topic_reason)
    bad("PUBLISH: 202 levels", version, SERVER, packet(0x30, "/" * 201, end), 0x90 if version == 5 else 0x82)
    bad("PUBLISH: empty topic", version, SERVER, packet(0x30, "", end), 0x82)
    bad("PUBLISH: empty topic, QoS 1", version, SERVER, packet(0x32, "", x("0001"), end, b"x"), 0x82)
good(
    "PUBLISH topic alias alone",
    5,
    SERVER,
    packet(0x32, "", x("0001"), props(x("23 0007")), b"p"),
    Publish("", b"p", 1, packet_id=1, properties=Properties(topic_alias=7)),
)
good(
    "PUBLISH many subscription identifiers",
    5,
    CLIENT,
    packet(0x30, "a", props(x("0b 01"), x("0b ffffff7f"), x("0b 01"))),
    Publish("a", b"", properties=Properties(subscription_identifier=[1, 268_435_455, 1])),
)
good(
    "PUBLISH everything",
    5,
    SERVER,
    packet(
        0x3D,
        "a",
        x("0102"),
        props(
            x("01 01 02 0000000a 03"), "t/p", x("08"), "r", x("09 0001 ff 26"), "k", "v", x("26"), "k", "w"
        ),
        b"\xff",
    ),
    Publish(
        "a",
        b"\xff",
        2,
        True,
        True,
        258,
        Properties(
            payload_format_indicator=1,
            message_expiry_interval=10,
            content_type="t/p",
            response_topic="r",
            correlation_data=b"\xff",
            user_property=[("k", "v"), ("k", "w")],
        ),
    ),
)
bad("PUBLISH: empty topic with other properties", 5, SERVER, packet(0x30, "", props(x("01 01"))), 0x82)
bad("PUBLISH: no property length", 5, SERVER, packet(0x30, "a"), 0x81)
bad("PUBLISH: no property length, QoS 1", 5, SERVER, packet(0x32, "a", x("0001")), 0x81)
bad("PUBLISH: property length past the end", 5, SERVER, packet(0x30, "a", x("03 0101")), 0x81)
bad("PUBLISH: property length of five bytes", 5, SERVER, packet(0x30, "a", x("8080808001")), 0x81)
bad("PUBLISH: property length cut", 5, SERVER, packet(0x30, "a", x("80")), 0x81)
bad("PUBLISH: subscription identifier [MQTT-3.3.4-6]", 5, SERVER, packet(0x30, "a", props(x("0b 01"))), 0x82)
for topic in ("", "a/+", "#"):  # [MQTT-3.3.2-14]
    bad(f"PUBLISH: response topic {topic!r}", 5, SERVER, packet(0x30, "a", props(x("08"), topic)), 0x82)

# --- PUBACK, PUBREC, PUBREL, PUBCOMP, sections 3.4 to 3.7 -------------------------------------------------

codes: tuple[int, ...]
PUBACK_CODES = (0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
ACKNOWLEDGEMENTS: tuple[tuple[int, type[Puback], tuple[int, ...]], ...] = (
    (0x40, Puback, PUBACK_CODES),
    (0x50, Pubrec, PUBACK_CODES),
    (0x62, Pubrel, (0x00, 0x92)),
    (0x70, Pubcomp, (0x00, 0x92)),
)
for head, cls, codes in ACKNOWLEDGEMENTS:
    title = cls.__name__.upper()
    for version in (3, 4, 5):
        for role in (SERVER, CLIENT):
            good(f"{title}", version, role, bytes((head, 2, 0x12, 0x34)), cls(0x1234))
            bad(f"{title} id 0", version, role, bytes((head, 2, 0, 0)), 0x81)
            bad(f"{title} without body", version, role, bytes((head, 0)), 0x81)
            bad(f"{title} cut", version, role, bytes((head, 1, 1)), 0x81)
            for flags in range(16):
                if flags == head & 15:
                    continue
                wire = bytes((head & 0xF0 | flags, 2, 0, 1))
                if version == 3:  # MQTT 3.1 does not use them (DUP may be set on a PUBREL)
                    good(f"{title} flags {flags:X}", version, role, wire, cls(1), False)
                else:
                    bad(f"{title} flags {flags:X} [MQTT-2.1.3-1]", version, role, wire, 0x81)
    for version in (3, 4):
        bad(f"{title} with a trailing byte", version, SERVER, bytes((head, 3, 0, 1, 0)), 0x81)
    good(f"{title} code 0 said", 5, SERVER, bytes((head, 3, 0, 1, 0)), cls(1), False)
    good(f"{title} code 0 and no properties said", 5, SERVER, bytes((head, 4, 0, 1, 0, 0)), cls(1), False)
    for code in range(1, 256):
        wire = bytes((head, 3, 0, 1, code))
        if code in codes:
            good(f"{title} code 0x{code:02X}", 5, SERVER, wire, cls(1, code))
        else:
            bad(f"{title} code 0x{code:02X}", 5, SERVER, wire, 0x82)
    good(
        f"{title} with a reason",
        5,
        SERVER,
        packet(head, x("0001"), bytes((codes[-1],)), props(x("1f"), "why")),
        cls(1, codes[-1], Properties(reason_string="why")),
    )
    bad(f"{title} trailing byte", 5, SERVER, bytes((head, 5, 0, 1, 0, 0, 0)), 0x81)
    bad(f"{title} id 0 with a code", 5, SERVER, bytes((head, 3, 0, 0, 0)), 0x81)

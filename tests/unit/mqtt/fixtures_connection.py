"""Part of the table: CONNECT, CONNACK, PINGREQ, PINGRESP, DISCONNECT, AUTH, and the fixed header."""

from __future__ import annotations

from bridge.mqtt.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Properties,
    Publish,
    Will,
)
from tests.unit.mqtt.cases import CLIENT, LONG, METHOD, NONE, SERVER, V3, V4, V5, bad, good, packet, props, x

# --- CONNECT, section 3.1 ---------------------------------------------------------------------------------

good("the least CONNECT of 3.1.1", 0, SERVER, x("10 0c 0004 4d515454 04 02 0000 0000"), Connect(""))
good("the least CONNECT of 5", 0, SERVER, x("10 0d 0004 4d515454 05 02 0000 00 0000"), Connect("", 5))
good("the least CONNECT of 3.1", 0, SERVER, x("10 0e 0006 4d5149736470 03 02 0000 0000"), Connect("", 3))
good("session kept", 0, SERVER, packet(0x10, V4, x("00 003c"), "c1"), Connect("c1", 4, False, 60))
good("keep alive 65535", 0, SERVER, packet(0x10, V5, x("02 ffff"), NONE, "c"), Connect("c", 5, True, 65_535))
good("client id of 65535 bytes", 0, SERVER, packet(0x10, V4, x("02 0000"), LONG), Connect(LONG))
good("user name", 0, SERVER, packet(0x10, V4, x("82 0000"), "c", "u"), Connect("c", username="u"))
good(
    "empty user name and password",
    0,
    SERVER,
    packet(0x10, V4, x("c2 0000"), "c", "", x("0000")),
    Connect("c", username="", password=b""),
)
good(
    "password of any bytes",
    0,
    SERVER,
    packet(0x10, V4, x("c2 0000"), "c", "ü", x("0003 00ff80")),
    Connect("c", username="ü", password=b"\x00\xff\x80"),
)
good(
    "password without user name",
    0,
    SERVER,
    packet(0x10, V5, x("42 0000"), NONE, "c", x("0001 70")),
    Connect("c", 5, password=b"p"),
)
for level, front in ((3, V3), (4, V4)):
    good(
        f"bridge, level {level}",
        0,
        SERVER,
        packet(0x10, front[:-1], bytes((level | 0x80,)), x("02 0000"), "c"),
        Connect("c", level, bridge=True),
    )
    for qos in (0, 1, 2):
        good(
            f"will QoS {qos}, level {level}",
            0,
            SERVER,
            packet(0x10, front, bytes((0x06 | qos << 3,)), x("0000"), "c", "w/t", x("0002 00ff")),
            Connect("c", level, will=Will("w/t", b"\x00\xff", qos)),
        )
good(
    "everything",
    0,
    SERVER,
    packet(0x10, V5, x("f6 000a"), props(x("11 00000005")), "c", NONE, "w", x("0000"), "u", x("0001 70")),
    Connect("c", 5, True, 10, "u", b"p", Will("w", b"", 2, True), Properties(session_expiry_interval=5)),
)
good(
    "will retain",
    0,
    SERVER,
    packet(0x10, V4, x("26 0000"), "c", "w", x("0001 70")),
    Connect("c", will=Will("w", b"p", 0, True)),
)
# MQTT 3.1: the flags of the fixed header are not used, nor is the lowest connect flag; will QoS without a
# will is disregarded, and the remaining length takes precedence over the flags for user name and password.
for flags in range(1, 16):
    wire = bytes((0x10 | flags,)) + packet(0x10, V3, x("02 0000"), "c")[1:]
    good(f"fixed header flags {flags:X} in 3.1", 0, SERVER, wire, Connect("c", 3), False)
    wire = bytes((0x10 | flags,)) + packet(0x10, V4, x("02 0000"), "c")[1:]
    bad(f"CONNECT: fixed header flags {flags:X} [MQTT-2.2.2-2 of 3.1.1]", 0, SERVER, wire, 0x81)
good("unused flag", 0, SERVER, packet(0x10, V3, x("03 0000"), "c"), Connect("c", 3), False)
good("will bits, no will", 0, SERVER, packet(0x10, V3, x("3a 0000"), "c"), Connect("c", 3), False)
good("user name is missing", 0, SERVER, packet(0x10, V3, x("c2 0000"), "c"), Connect("c", 3), False)
good(
    "password is missing",
    0,
    SERVER,
    packet(0x10, V3, x("c2 0000"), "c", "u"),
    Connect("c", 3, username="u"),
    False,
)
good(
    "longer remaining length than needed",
    0,
    SERVER,
    x("10 8c00 0004 4d515454 04 02 0000 0000"),
    Connect(""),
    False,
)

for name, front in (
    ("MQTT 3", x("0004 4d515454 03")),
    ("MQTT 6", x("0004 4d515454 06")),
    ("MQTT 0", x("0004 4d515454 00")),
    ("MQTT 5 as a bridge", x("0004 4d515454 85")),
    ("MQIsdp 4", x("0006 4d5149736470 04")),
    ("mqtt 4", x("0004 6d717474 04")),
    ("an empty name", x("0000 04")),
):
    bad(f"protocol {name}", 0, SERVER, packet(0x10, front, x("02 0000"), "c"), 0x84)
    bad(f"protocol {name}, then garbage", 0, SERVER, packet(0x10, front, x("ff")), 0x84)
for name, wire in (
    ("no body", b""),
    ("cut in the protocol name", x("0004 4d51")),
    ("no level", x("0004 4d515454")),
    ("no flags", V4),
    ("cut keep alive", V4 + x("02 00")),
    ("no client id", V4 + x("02 0000")),
    ("cut client id", V4 + x("02 0000 0002 63")),
    ("no will topic", V4 + x("06 0000 0001 63")),
    ("no will payload", V4 + x("06 0000 0001 63 0001 77")),
    ("cut will payload", V4 + x("06 0000 0001 63 0001 77 0002 70")),
    ("no user name", V4 + x("82 0000 0001 63")),
    ("no password", V4 + x("c2 0000 0001 63 0001 75")),
    ("cut user name in 3.1", V3 + x("82 0000 0001 63 0002 75")),
    ("no property length", V5 + x("02 0000")),
    ("property length past the end", V5 + x("02 0000 05 0001")),
    ("property length of five bytes", V5 + x("02 0000 80808080 01 0001 63")),
    ("property length of two bytes for 0", V5 + x("02 0000 8000 0001 63")),
    ("no will properties", V5 + x("06 0000 00 0001 63")),
    ("trailing byte in 3.1", V3 + x("02 0000 0001 63 00")),
    ("trailing byte in 3.1.1", V4 + x("02 0000 0001 63 00")),
    ("trailing byte in 5", V5 + x("02 0000 00 0001 63 00")),
    ("reserved flag [MQTT-3.1.2-3]", V4 + x("03 0000 0001 63")),
    ("reserved flag in 5", V5 + x("03 0000 00 0001 63")),
    ("will QoS without will [MQTT-3.1.2-11]", V4 + x("0a 0000 0001 63")),
    ("will retain without will [MQTT-3.1.2-13]", V5 + x("22 0000 00 0001 63")),
    ("will QoS 3 [MQTT-3.1.2-12]", V4 + x("1e 0000 0001 63 0001 77 0000")),
    ("will QoS 3 in 3.1", V3 + x("1e 0000 0001 63 0001 77 0000")),
    ("password without user name in 3.1", V3 + x("42 0000 0001 63 0001 70")),
    ("password without user name in 3.1.1", V4 + x("42 0000 0001 63 0001 70")),
    ("U+0000 in the client id [MQTT-1.5.4-2]", V4 + x("02 0000 0001 00")),
    ("a surrogate in the client id [MQTT-1.5.4-1]", V4 + x("02 0000 0003 eda080")),
    ("an overlong encoding in the client id", V4 + x("02 0000 0002 c080")),
    ("a user name that is not UTF-8", V4 + x("82 0000 0001 63 0001 ff")),
    ("a will topic that is not UTF-8", V4 + x("06 0000 0001 63 0001 ff 0000")),
    ("a protocol name that is not UTF-8", x("0004 ffffffff 04 02 0000 0000")),
):
    bad(f"CONNECT: {name}", 0, SERVER, packet(0x10, wire), 0x81)
for name, topic in (("wildcard +", "a/+"), ("wildcard #", "#"), ("empty", ""), ("202 levels", "/" * 201)):
    bad(
        f"will topic: {name}",
        0,
        SERVER,
        packet(0x10, V5, x("06 0000"), NONE, "c", NONE, topic, x("0000")),
        0x90 if len(topic) > 3 else 0x81,  # correctly formed, and not taken; or not correctly formed
    )
    bad(
        f"will topic: {name} in 3.1.1", 0, SERVER, packet(0x10, V4, x("06 0000"), "c", topic, x("0000")), 0x82
    )
bad("CONNECT: flags [MQTT-2.1.3-1]", 0, SERVER, x("11 0c 0004 4d515454 04 02 0000 0000"), 0x81)
bad("CONNECT: overlong remaining length", 0, SERVER, x("10 8d00 0004 4d515454 05 02 0000 00 0000"), 0x81)
bad(
    "CONNECT: authentication data without method",
    0,
    SERVER,
    packet(0x10, V5, x("02 0000"), props(x("16 0001 64")), "c"),
    0x82,
)
for head in (0x00, 0x20, 0x30, 0x40, 0x82, 0xA2, 0xC0, 0xE0, 0xF0):  # [MQTT-3.1.0-1]
    bad(f"first packet 0x{head:02X}", 0, SERVER, bytes((head, 2, 0, 1)), 0x82)
bad("HTTP", 0, SERVER, b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n", 0x82)
for version, front in ((3, V3), (4, V4)):
    bad("second CONNECT [MQTT-3.1.0-2]", version, SERVER, packet(0x10, front, x("02 0000"), "c"), 0x82)
bad("second CONNECT [MQTT-3.1.0-2]", 5, SERVER, packet(0x10, V5, x("02 0000"), NONE, "c"), 0x82)

# --- CONNACK, section 3.2 ---------------------------------------------------------------------------------

for version in (3, 4):
    for code in range(6):
        good(f"CONNACK {code}", version, CLIENT, bytes((0x20, 2, 0, code)), Connack(False, code))
    bad("CONNACK 6", version, CLIENT, x("20 02 00 06"), 0x82)
    bad("CONNACK with a trailing byte", version, CLIENT, x("20 03 00 00 00"), 0x81)
good("CONNACK session present", 4, CLIENT, x("20 02 01 00"), Connack(True))
good("CONNACK flags are not used", 3, CLIENT, x("20 02 01 00"), Connack(False), False)
good("CONNACK session present", 5, CLIENT, x("20 03 01 00 00"), Connack(True))
CONNACK_FAILURES = (*range(0x80, 0x8B), *(0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F))
for code in range(1, 256):
    if code in CONNACK_FAILURES:
        good(f"CONNACK 0x{code:02X}", 5, CLIENT, bytes((0x20, 3, 0, code, 0)), Connack(False, code))
    else:
        bad(f"CONNACK 0x{code:02X}", 5, CLIENT, bytes((0x20, 3, 0, code, 0)), 0x82)
bad("CONNACK reserved flags [MQTT-3.2.2-1]", 5, CLIENT, x("20 03 02 00 00"), 0x81)
bad("CONNACK reserved flags", 4, CLIENT, x("20 02 80 00"), 0x81)
bad("CONNACK session present and refused [MQTT-3.2.2-6]", 5, CLIENT, x("20 03 01 87 00"), 0x82)
bad("CONNACK session present and refused", 4, CLIENT, x("20 02 01 05"), 0x82)
bad("CONNACK without property length", 5, CLIENT, x("20 02 00 00"), 0x81)
bad("CONNACK without code", 5, CLIENT, x("20 01 00"), 0x81)
bad("CONNACK without body", 4, CLIENT, x("20 00"), 0x81)
bad("CONNACK flags [MQTT-2.1.3-1]", 4, CLIENT, x("21 02 00 00"), 0x81)

# --- PINGREQ, PINGRESP, DISCONNECT, AUTH, sections 3.12 to 3.15 -------------------------------------------

for version in (3, 4, 5):
    good("PINGREQ", version, SERVER, x("c0 00"), Pingreq())
    good("PINGRESP", version, CLIENT, x("d0 00"), Pingresp())
    good("DISCONNECT", version, SERVER, x("e0 00"), Disconnect())
    bad("PINGREQ with a body", version, SERVER, x("c0 01 00"), 0x81)
    bad("PINGRESP with a body", version, CLIENT, x("d0 01 00"), 0x81)
    for head, role, value in (
        (0xC0, SERVER, Pingreq()),
        (0xD0, CLIENT, Pingresp()),
        (0xE0, SERVER, Disconnect()),
    ):
        for flags in range(1, 16):
            wire = bytes((head | flags, 0))
            if version == 3:
                good(f"0x{head | flags:02X}", version, role, wire, value, False)
            else:
                bad(f"0x{head | flags:02X} [MQTT-2.1.3-1]", version, role, wire, 0x81)
    if version < 5:
        bad("DISCONNECT with a body", version, SERVER, x("e0 01 00"), 0x81)
        bad("DISCONNECT from a server", version, CLIENT, x("e0 00"), 0x82)
        for role in (SERVER, CLIENT):
            bad("AUTH is reserved", version, role, x("f0 00"), 0x81)

codes: tuple[int, ...]
FROM_CLIENT = (0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99)
FROM_SERVER = (
    *FROM_CLIENT,
    *(0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2),
)
for role, codes in ((SERVER, FROM_CLIENT), (CLIENT, FROM_SERVER)):
    for code in range(256):
        if code in codes:
            good(
                f"DISCONNECT 0x{code:02X}",
                5,
                role,
                bytes((0xE0, 1, code)),
                Disconnect(code),
                canonical=code != 0,
            )
        else:
            bad(f"DISCONNECT 0x{code:02X}", 5, role, bytes((0xE0, 1, code)), 0x82)
    good("DISCONNECT with no properties said", 5, role, x("e0 02 04 00"), Disconnect(4), False)
    bad("DISCONNECT with a trailing byte", 5, role, x("e0 03 00 00 00"), 0x81)
bad(
    "DISCONNECT with session expiry from a server [MQTT-3.14.2-2]",
    5,
    CLIENT,
    packet(0xE0, x("00"), props(x("11 00000001"))),
    0x82,
)
for role, codes in ((SERVER, (0x18, 0x19)), (CLIENT, (0x00, 0x18))):
    for code in range(256):
        wire = packet(0xF0, bytes((code,)), props(METHOD))
        if code in codes:
            good(f"AUTH 0x{code:02X}", 5, role, wire, Auth(code, Properties(authentication_method="m")))
        else:
            bad(f"AUTH 0x{code:02X}", 5, role, wire, 0x82)
    bad("AUTH without method", 5, role, x("f0 01 18"), 0x82)
    bad("AUTH without method, with data", 5, role, packet(0xF0, x("18"), props(x("16 0000"))), 0x82)
    bad("AUTH flags", 5, role, packet(0xF1, x("18"), props(METHOD)), 0x81)
    bad("AUTH with a trailing byte", 5, role, packet(0xF0, x("18"), props(METHOD), x("00")), 0x81)
good("AUTH without body is success", 5, CLIENT, x("f0 00"), Auth())
bad("AUTH without body is success, a server's code", 5, SERVER, x("f0 00"), 0x82)

# --- Fixed header, section 2.1 ----------------------------------------------------------------------------

for version in (3, 4, 5):
    for role, heads in ((SERVER, (0x20, 0x90, 0xB0, 0xD0)), (CLIENT, (0x10, 0x82, 0xA2, 0xC0))):
        bad("packet type 0", version, role, x("00 00"), 0x81)
        bad("packet type 0 with a body", version, role, x("00 02 0001"), 0x81)
        for head in heads:
            bad(f"0x{head:02X} is sent by a {role}", version, role, bytes((head, 2, 0, 1)), 0x82)
        for head in (0x30, 0x40, 0xE0):
            wire = bytes((head,)) + x("80808080")
            bad(f"0x{head:02X} with a length of more than four bytes", version, role, wire, 0x81)
for head in (0x10, 0x00, 0x30):
    bad(
        f"0x{head:02X} with a length of more than four bytes", 0, SERVER, bytes((head,)) + x("ffffffff"), 0x81
    )
bad("overlong length, PUBLISH", 5, SERVER, x("30 8400 0001 61 00"), 0x81)
bad("overlong length of four bytes", 5, SERVER, x("30 84808000 0001 61 00"), 0x81)
bad("overlong length, PINGREQ", 5, SERVER, x("c0 8000"), 0x81)
good("overlong length, PUBLISH", 4, SERVER, x("30 8300 0001 61"), Publish("a", b""), False)
good("overlong length of four bytes", 4, SERVER, x("30 83808000 0001 61"), Publish("a", b""), False)

"""Part of the table: SUBSCRIBE, UNSUBSCRIBE and their acknowledgements."""

from __future__ import annotations

from bridge.mqtt.packets import Properties, Suback, Subscribe, Subscription, Unsuback, Unsubscribe
from tests.unit.mqtt.cases import CLIENT, NONE, SERVER, bad, good, packet, props, x

# --- SUBSCRIBE and SUBACK, sections 3.8 and 3.9 -----------------------------------------------------------

for version, empty in ((3, b""), (4, b""), (5, NONE)):
    for qos in (0, 1, 2):
        good(
            f"SUBSCRIBE QoS {qos}",
            version,
            SERVER,
            packet(0x82, x("000a"), empty, "a/#", bytes((qos,))),
            Subscribe(10, [Subscription("a/#", qos)]),
        )
    good(
        "SUBSCRIBE three, one of them not valid",  # the filter's own code in the SUBACK, not a broken stream
        version,
        SERVER,
        packet(0x82, x("0001"), empty, "a", x("00"), "a/#/b", x("01"), "", x("02")),
        Subscribe(1, [Subscription("a", 0), Subscription("a/#/b", 1), Subscription("", 2)]),
    )
    for name, wire in (
        ("no body", b""),
        ("packet id 0", x("0000") + empty + x("0001 61 00")),
        ("cut filter", x("0001") + empty + x("0002 61")),
        ("no options", x("0001") + empty + x("0001 61")),
        ("cut second filter", x("0001") + empty + x("0001 61 00 00")),
        ("U+0000 in a filter", x("0001") + empty + x("0001 00 00")),
        ("a filter that is not UTF-8", x("0001") + empty + x("0001 ff 00")),
    ):
        bad(f"SUBSCRIBE: {name}", version, SERVER, packet(0x82, wire), 0x81)
    bad("SUBSCRIBE: no filter [MQTT-3.8.3-2]", version, SERVER, packet(0x82, x("0001"), empty), 0x82)
    for flags in range(16):
        wire = packet(0x80 | flags, x("0001"), empty, "a", x("00"))
        if flags != 2 and version == 3:
            good(f"SUBSCRIBE flags {flags:X}", 3, SERVER, wire, Subscribe(1, [Subscription("a")]), False)
        elif flags != 2:
            bad(f"SUBSCRIBE flags {flags:X} [MQTT-3.8.1-1]", version, SERVER, wire, 0x81)
bad("SUBSCRIBE: QoS 3", 3, SERVER, packet(0x82, x("0001"), "a", x("03")), 0x81)
good(
    "SUBSCRIBE upper bits are not used",
    3,
    SERVER,
    packet(0x82, x("0001"), "a", x("fd")),
    Subscribe(1, [Subscription("a", 1)]),
    False,
)
for options in (0x03, 0x04, 0x08, 0x10, 0x80, 0xFF):
    bad(f"SUBSCRIBE: 0x{options:02X}", 4, SERVER, packet(0x82, x("0001"), "a", bytes((options,))), 0x81)
for options in range(256):
    wire = packet(0x82, x("0001"), NONE, "a", bytes((options,)))
    if options & 0xC0:
        bad(f"SUBSCRIBE: options 0x{options:02X} [MQTT-3.8.3-5]", 5, SERVER, wire, 0x81)
    elif options & 3 == 3 or options >> 4 == 3:
        bad(f"SUBSCRIBE: options 0x{options:02X}", 5, SERVER, wire, 0x82)
    else:
        one = Subscription("a", options & 3, bool(options & 4), bool(options & 8), options >> 4)
        good(f"SUBSCRIBE options 0x{options:02X}", 5, SERVER, wire, Subscribe(1, [one]))
good(
    "SUBSCRIBE shared",
    5,
    SERVER,
    packet(0x82, x("0001"), props(x("0b 8001")), "$share/g/a", x("01")),
    Subscribe(1, [Subscription("$share/g/a", 1)], Properties(subscription_identifier=[128])),
)
bad(
    "SUBSCRIBE: no local on a shared one [MQTT-3.8.3-4]",
    5,
    SERVER,
    packet(0x82, x("0001"), NONE, "$share/g/a", x("05")),
    0x82,
)
bad("SUBSCRIBE: no property length", 5, SERVER, packet(0x82, x("0001")), 0x81)
for count, reason in ((16_384, 0), (16_385, 0x97)):  # our own bound
    wire = packet(0x82, x("0001"), x("0001 61 00") * count)
    if reason:
        bad(f"SUBSCRIBE: {count} filters", 4, SERVER, wire, reason)
    else:
        good(f"SUBSCRIBE {count} filters", 4, SERVER, wire, Subscribe(1, [Subscription("a")] * count))

SUBACK_CODES = (0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2)
for version, empty, codes in ((3, b"", (0, 1, 2, 0x80)), (4, b"", (0, 1, 2, 0x80)), (5, NONE, SUBACK_CODES)):
    good("SUBACK", version, CLIENT, packet(0x90, x("0001"), empty, bytes(codes)), Suback(1, list(codes)))
    for code in set(range(256)) - set(codes):
        bad(f"SUBACK 0x{code:02X}", version, CLIENT, packet(0x90, x("0001"), empty, bytes((code,))), 0x82)
    bad("SUBACK without code", version, CLIENT, packet(0x90, x("0001"), empty), 0x82)
    bad("SUBACK id 0", version, CLIENT, packet(0x90, x("0000"), empty, x("00")), 0x81)
    bad("SUBACK cut", version, CLIENT, packet(0x90, x("00")), 0x81)
    if version > 3:
        bad("SUBACK flags", version, CLIENT, packet(0x91, x("0001"), empty, x("00")), 0x81)

# --- UNSUBSCRIBE and UNSUBACK, sections 3.10 and 3.11 -----------------------------------------------------

for version, empty in ((3, b""), (4, b""), (5, NONE)):
    good(
        "UNSUBSCRIBE",
        version,
        SERVER,
        packet(0xA2, x("000a"), empty, "a/+", "b", "a/#/b"),
        Unsubscribe(10, ["a/+", "b", "a/#/b"]),
    )
    bad("UNSUBSCRIBE: no filter [MQTT-3.10.3-2]", version, SERVER, packet(0xA2, x("0001"), empty), 0x82)
    for name, wire in (
        ("no body", b""),
        ("packet id 0", x("0000") + empty + x("0001 61")),
        ("cut filter", x("0001") + empty + x("0002 61")),
        ("a byte left", x("0001") + empty + x("0001 61 00")),
        ("U+0000 in a filter", x("0001") + empty + x("0001 00")),
        ("a filter that is not UTF-8", x("0001") + empty + x("0001 ff")),
    ):
        bad(f"UNSUBSCRIBE: {name}", version, SERVER, packet(0xA2, wire), 0x81)
    for flags in range(16):
        wire = packet(0xA0 | flags, x("0001"), empty, "a")
        if flags != 2 and version == 3:
            good(f"UNSUBSCRIBE flags {flags:X}", 3, SERVER, wire, Unsubscribe(1, ["a"]), False)
        elif flags != 2:
            bad(f"UNSUBSCRIBE flags {flags:X} [MQTT-3.10.1-1]", version, SERVER, wire, 0x81)
bad("UNSUBSCRIBE: 16385 filters", 4, SERVER, packet(0xA2, x("0001"), x("0001 61") * 16_385), 0x97)

UNSUBACK_CODES = (0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91)
for version in (3, 4):
    good("UNSUBACK", version, CLIENT, x("b0 02 0001"), Unsuback(1))
    bad("UNSUBACK with a trailing byte", version, CLIENT, x("b0 03 0001 00"), 0x81)
    bad("UNSUBACK id 0", version, CLIENT, x("b0 02 0000"), 0x81)
good(
    "UNSUBACK",
    5,
    CLIENT,
    packet(0xB0, x("0001"), NONE, bytes(UNSUBACK_CODES)),
    Unsuback(1, list(UNSUBACK_CODES)),
)
for code in set(range(256)) - set(UNSUBACK_CODES):
    bad(f"UNSUBACK 0x{code:02X}", 5, CLIENT, packet(0xB0, x("0001"), NONE, bytes((code,))), 0x82)
bad("UNSUBACK without code", 5, CLIENT, packet(0xB0, x("0001"), NONE), 0x82)
bad("UNSUBACK without property length", 5, CLIENT, packet(0xB0, x("0001")), 0x81)
bad("UNSUBACK flags", 5, CLIENT, packet(0xB2, x("0001"), NONE, x("00")), 0x81)

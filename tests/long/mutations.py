"""What a hostile client sends: sessions of packets, some of them damaged, made from the packet fixtures.

Most packets of a session are well formed, so that it gets somewhere; the damaged ones keep their structure
more often than not, so that what reads them is more than the check of lengths.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from bridge.mqtt import encoder
from bridge.mqtt.packets import (
    Connect,
    Packet,
    Pingreq,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from tests.unit.mqtt.cases import varint
from tests.unit.mqtt.fixtures import BAD, GOOD, Bad, Good

VERSIONS = (3, 4, 5)
MAX_PIECE = 70_000
"""Bytes of one packet."""
PACKETS = 250
"""Of one session, about."""
DAMAGED = 0.01
CLIENTS = 60
"""Different client ids."""
TOPICS = (
    *("a", "a/b", "a/b/c", "b", "/", "//", "a//b", "$SYS/x", "$share/g/a", "ü/€/𝄞", "x" * 300),
    *("a/" * 100 + "a", "f/1", "f/2", "f/3"),
)
FILTERS = (
    *("#", "+", "a/#", "a/+", "+/b", "+/+/c", "/#", "$SYS/#", "$share/g/a/#", "$share/g/+", "$share/h/#"),
    *("+/" * 60 + "#", "a/+/" * 40 + "a", "f/+", "$SYS/brokers/#"),
)
STRINGS = (
    *(
        b"",
        b"\0",
        b"+",
        b"#",
        b"a/#/b",
        b"a+",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xef\xbb\xbf",
        b"$share",
    ),
    *(
        b"$share/",
        b"$share//a",
        b"$share/+/a",
        b"$share/g/",
        b"/" * 127,
        b"/" * 200,
        b"x" * 65_535,
        b"\xf0\x9f",
    ),
)


class Maker:
    """Makes sessions; the same seed makes the same ones."""

    def __init__(self, seed: int | str) -> None:
        self.random = random.Random(seed)
        cases: list[Good | Bad] = [case for table in (GOOD, BAD) for case in table if case.role == "server"]
        self._first = [case.wire for case in cases if case.version == 0]
        self._later = {v: [case.wire for case in cases if case.version == v] for v in VERSIONS}

    # -- sessions --------------------------------------------------------------------------------------

    def session(self) -> bytes:
        """What one connection sends."""
        rng = self.random
        version = rng.choice(VERSIONS)
        if rng.random() < 0.05:
            return b"".join(self.damaged(rng.choice(self._first)) for _ in range(rng.randint(1, 3)))
        later = self._later[version]
        parts = [encoder.encode(self._connect(version), version)]
        for _ in range(rng.randint(PACKETS // 2, PACKETS * 3 // 2)):
            if rng.random() < DAMAGED:
                wire = rng.choice(later) if rng.random() < 0.5 else self._encoded(version)
                parts.append(self.damaged(wire))
            else:
                parts.append(self._encoded(version))
        return b"".join(parts)

    def _connect(self, version: int) -> Connect:
        rng = self.random
        will = properties = None
        if rng.random() < 0.3:
            more = Properties(will_delay_interval=rng.choice((0, 1))) if version == 5 else None
            will = Will(rng.choice(TOPICS), rng.randbytes(5), rng.randrange(3), rng.random() < 0.3, more)
        if version == 5 and rng.random() < 0.7:
            properties = Properties(
                session_expiry_interval=rng.choice((None, 0, 1, 60)),
                receive_maximum=rng.choice((None, 1, 5)),
                maximum_packet_size=rng.choice((None, None, 30, 500)),
                topic_alias_maximum=rng.choice((None, 3, 65535)),
                user_property=rng.choice((None, [("k", "v")] * 3)),
            )
        name = f"fuzz{rng.randrange(CLIENTS)}"
        clean, keepalive = rng.random() < 0.6, rng.choice((0, 1, 60))
        return Connect(name, version, clean, keepalive, will=will, properties=properties)

    def _encoded(self, version: int) -> bytes:
        return encoder.encode(self._packet(version), version)

    def _packet(self, version: int) -> Packet:
        """A packet that a client may send."""
        rng = self.random
        kind = rng.randrange(20)
        packet_id = rng.randint(1, 12)
        if kind < 8:
            qos = rng.choice((0, 0, 1, 1, 2))
            properties = None
            if version == 5 and rng.random() < 0.3:
                properties = Properties(
                    message_expiry_interval=rng.choice((None, 0, 1, 100)),
                    user_property=rng.choice((None, [("a", "b")], [("", "")] * 40)),
                    content_type=rng.choice((None, "t")),
                    topic_alias=rng.choice((None, 1, 2)),
                )
            payload = rng.randbytes(rng.choice((0, 1, 20, 20, 500)))
            retain = rng.random() < 0.15
            return Publish(rng.choice(TOPICS[4:]), payload, qos, retain, False, qos and packet_id, properties)
        if kind < 10:
            options = (rng.random() < 0.1, rng.random() < 0.2, rng.randrange(3)) if version == 5 else ()
            topic_filter = rng.choice(FILTERS)
            if topic_filter.startswith("$share"):
                options = ()
            return Subscribe(packet_id, [Subscription(topic_filter, rng.randrange(3), *options)])
        if kind < 12:
            return Unsubscribe(packet_id, [rng.choice(FILTERS)])
        if kind < 14:
            return Pubrel(packet_id)
        return (Puback, Puback, Pubrec, Pubcomp)[kind - 14](packet_id) if kind < 18 else Pingreq()

    # -- damage ----------------------------------------------------------------------------------------

    def damaged(self, wire: bytes) -> bytes:
        """The packet, or what is left of it."""
        wire = wire[:MAX_PIECE]
        damage: Callable[[bytes], bytes] = self.random.choice(
            (
                self._bits,
                self._bits,
                self._cut,
                self._grown,
                self._string,
                self._string,
                self._length,
                self._head,
            )
        )
        return damage(wire)

    def _split(self, wire: bytes) -> tuple[int, bytes]:
        """First byte and body."""
        at = 1
        while at < min(len(wire), 5) and wire[at] > 127:
            at += 1
        return (wire[0] if wire else 0xC0), wire[at + 1 :]

    def _joined(self, head: int, body: bytes) -> bytes:
        return bytes((head,)) + varint(len(body)) + body

    def _bits(self, wire: bytes) -> bytes:
        rng = self.random
        head, body = self._split(wire)
        data = bytearray(body)
        for _ in range(rng.choice((1, 1, 2, 8))):
            if data:
                at = rng.randrange(min(len(data), 24))
                data[at] = (
                    data[at] ^ 1 << rng.randrange(8)
                    if rng.random() < 0.5
                    else rng.choice(b"\0\1\x7f\x80\xff")
                )
        return self._joined(head, bytes(data))

    def _cut(self, wire: bytes) -> bytes:
        rng = self.random
        head, body = self._split(wire)
        short = body[: rng.randint(0, len(body))]
        return self._joined(head, short) if rng.random() < 0.7 else wire[: rng.randint(0, len(wire))]

    def _grown(self, wire: bytes) -> bytes:
        rng = self.random
        head, body = self._split(wire)
        at = rng.randint(0, len(body))
        more = rng.choice(
            (rng.randbytes(rng.randint(1, 8)), body, b"\x26\0\1k\0\1v" * rng.choice((1, 50, 9000)))
        )
        return self._joined(head, body[:at] + more + body[at:])

    def _string(self, wire: bytes) -> bytes:
        """Another string in the place of one."""
        rng = self.random
        head, body = self._split(wire)
        places = [
            at
            for at in range(min(len(body) - 1, 60))
            if (size := body[at] << 8 | body[at + 1]) > 0 and at + 2 + size <= len(body)
        ]
        if not places:
            return self._bits(wire)
        at = rng.choice(places)
        end = at + 2 + (body[at] << 8 | body[at + 1])
        text = rng.choice(STRINGS)
        return self._joined(head, body[:at] + len(text).to_bytes(2, "big") + text + body[end:])

    def _length(self, wire: bytes) -> bytes:
        """A remaining length that is not that of the body."""
        rng = self.random
        head, body = self._split(wire)
        wrong = rng.choice(
            (
                *(
                    varint(max(0, len(body) + rng.randint(-3, 3))),
                    b"\xff\xff\xff\x7f",
                    b"\xff\xff\xff\xff\x01",
                ),
                *(b"\x80\x00", b"\xff\xff\x03", varint(len(body))[:-1] + b"\x80\x00"),
            )
        )
        return bytes((head,)) + wrong + body

    def _head(self, wire: bytes) -> bytes:
        head, body = self._split(wire)
        return self._joined(head ^ 1 << self.random.randrange(8), body)

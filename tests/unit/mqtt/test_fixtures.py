"""Every packet of the table, through decoder and encoder.

There are thousands of cases: a test takes all of a version and a role, and its failure lists the cases.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from bridge.mqtt.decoder import Decoder
from bridge.mqtt.encoder import PINGREQ, PINGRESP, encode
from tests.unit.mqtt.fixtures import BAD, GOOD, Bad, Good

# Goes before and behind a case: a fault must not swallow what came before it, and must end the stream.
PING = {"server": PINGREQ, "client": PINGRESP}
GROUPS = [
    (version, role)
    for version in (0, 3, 4, 5)
    for role in ("server", "client")
    if version or role == "server"
]


def decoder_for(case: Good | Bad) -> Decoder:
    return Decoder(max_packet_size=1 << 28, version=case.version, role=case.role)


def failures(cases: list[Any], version: int, role: str, check: Callable[[Any], None]) -> list[str]:
    """What `check` found, by case; there must be cases."""
    found = []
    chosen = [case for case in cases if (case.version, case.role) == (version, role)]
    assert len(chosen) > 20
    for case in chosen:
        try:
            check(case)
        except AssertionError as error:
            found.append(f"{case.name}: {error}")
    return found


def test_a_failing_case_is_reported() -> None:
    """The test of the test: a good packet taken for a bad one, and the reverse."""
    wrong = [Bad(c.name, c.version, c.role, c.wire, 0x81) for c in GOOD]
    assert len(failures(wrong, 5, "server", check_bad)) == len([c for c in GOOD if c[1:3] == (5, "server")])
    swapped = [case._replace(packet=None) for case in GOOD]
    assert len(failures(swapped, 4, "client", check_good)) == len(
        [c for c in GOOD if c[1:3] == (4, "client")]
    )


def test_the_table_names_each_case_once_and_covers_every_packet() -> None:
    for names in ([case.name for case in GOOD], [case.name for case in BAD]):
        assert sorted(names) == sorted(set(names))
    for version in (3, 4, 5):
        types = {
            type(c.packet).__name__
            for c in GOOD
            if c.version == version or getattr(c.packet, "protocol_version", 0) == version
        }
        assert len(types) == (15 if version == 5 else 14)


def check_good(case: Good) -> None:
    decoder = decoder_for(case)
    packets = decoder.feed(case.wire)
    assert packets == [case.packet], decoder.error
    assert decoder.error is None
    assert (decoder.buffered, decoder.needed) == (0, 0)
    encoded = encode(case.packet, decoder.version)
    if case.canonical:
        assert encoded == case.wire
    assert decoder_for(case).feed(encoded) == [case.packet]


def check_good_in_single_bytes(case: Good) -> None:
    if len(case.wire) > 1000:
        return
    decoder = decoder_for(case)
    for at in range(len(case.wire) - 1):
        assert decoder.feed(case.wire[at : at + 1]) == []
        assert decoder.error is None
        assert decoder.buffered == at + 1
        assert 0 < decoder.needed <= len(case.wire) - at - 1
    assert decoder.feed(case.wire[-1:]) == [case.packet]
    assert (decoder.buffered, decoder.needed, decoder.error) == (0, 0, None)


def check_bad(case: Bad) -> None:
    decoder = decoder_for(case)
    ping = PING[case.role]
    before = ping if case.version else b""
    assert len(decoder.feed(before + case.wire + ping)) == bool(before)
    assert decoder.error is not None
    assert decoder.error.reason_code == case.reason, decoder.error
    assert decoder.feed(ping) == []
    assert (decoder.buffered, decoder.needed) == (0, 0)


def check_bad_in_single_bytes(case: Bad) -> None:
    if len(case.wire) > 1000:
        return
    decoder = decoder_for(case)
    for at in range(len(case.wire)):
        assert decoder.feed(case.wire[at : at + 1]) == []
    assert decoder.error is not None
    assert decoder.error.reason_code == case.reason, decoder.error


@pytest.mark.parametrize(("version", "role"), GROUPS)
def test_good(version: int, role: str) -> None:
    assert failures(GOOD, version, role, check_good) == []


@pytest.mark.parametrize(("version", "role"), GROUPS)
def test_good_in_single_bytes(version: int, role: str) -> None:
    assert failures(GOOD, version, role, check_good_in_single_bytes) == []


@pytest.mark.parametrize(("version", "role"), GROUPS)
def test_bad(version: int, role: str) -> None:
    assert failures(BAD, version, role, check_bad) == []


@pytest.mark.parametrize(("version", "role"), GROUPS)
def test_bad_in_single_bytes(version: int, role: str) -> None:
    assert failures(BAD, version, role, check_bad_in_single_bytes) == []


@pytest.mark.parametrize(("version", "role"), GROUPS[1:])
def test_all_good_packets_in_one_stream_of_random_pieces(version: int, role: str) -> None:
    cases = [c for c in GOOD if (c.version, c.role) == (version, role)]
    stream = b"".join(c.wire for c in cases)
    chance = random.Random(version)
    decoder = decoder_for(cases[0])
    packets = []
    cuts = sorted({0, len(stream), *(chance.randrange(len(stream)) for _ in range(2000))})
    for start, end in pairwise(cuts):
        packets += decoder.feed(stream[start:end])
    assert decoder.error is None
    assert packets == [c.packet for c in cases]

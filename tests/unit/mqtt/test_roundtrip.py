"""Properties of the codec: what is encoded comes back, in whatever pieces; no bytes make it raise."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.mqtt.decoder import Decoder
from bridge.mqtt.encoder import encode
from bridge.mqtt.errors import ProtocolError
from bridge.mqtt.packets import Packet
from bridge.mqtt.reasons import ReasonCode
from tests.unit.mqtt.fixtures import BAD, GOOD
from tests.unit.mqtt.strategies import connects, packets

SIDES = [(version, role) for version in (3, 4, 5) for role in ("server", "client")]
few = settings(max_examples=60, deadline=None)


def decoder_for(version: int, role: str) -> Decoder:
    return Decoder(max_packet_size=1 << 28, version=version, role=role)  # type: ignore[arg-type]


def pieces(data: st.DataObject, wire: bytes) -> Iterable[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=20)))
    return [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]


def read(decoder: Decoder, parts: Iterable[bytes]) -> tuple[list[Packet], int | None]:
    found: list[Packet] = []
    for part in parts:
        found += decoder.feed(part)
    return found, None if decoder.error is None else decoder.error.reason_code


@pytest.mark.parametrize(("version", "role"), SIDES)
@few
@given(data=st.data())
def test_any_packets_come_back_in_any_pieces(version: int, role: str, data: st.DataObject) -> None:
    sent = data.draw(st.lists(packets(version, role), min_size=1, max_size=6))
    wire = b"".join(encode(one, version) for one in sent)
    decoder = decoder_for(version, role)
    assert decoder.feed(wire) == sent, decoder.error
    assert read(decoder_for(version, role), pieces(data, wire)) == (sent, None)


@pytest.mark.parametrize("version", [3, 4, 5])
@few
@given(data=st.data())
def test_any_connect_comes_back_in_any_pieces(version: int, data: st.DataObject) -> None:
    sent = data.draw(connects(version))
    wire = encode(sent, version)
    decoder = decoder_for(0, "server")
    assert decoder.feed(wire) == [sent], decoder.error
    assert decoder.version == version
    assert read(decoder_for(0, "server"), pieces(data, wire)) == ([sent], None)


def check_stream(data: st.DataObject, version: int, role: str, wire: bytes) -> None:
    """It never raises, pieces make no difference, and what was read can be sent."""
    whole = decoder_for(version, role)
    found, code = read(whole, [wire])
    assert code is None or code in ReasonCode.__members__.values()
    parts = decoder_for(version, role)
    assert read(parts, pieces(data, wire)) == (found, code)
    assert str(parts.error) == str(whole.error)
    assert (parts.buffered, parts.needed, parts.version) == (whole.buffered, whole.needed, whole.version)
    assert isinstance(whole.error, ProtocolError | None)
    for one in found:
        assert encode(one, whole.version)


@pytest.mark.parametrize(("version", "role"), [(0, "server"), *SIDES])
@few
@given(data=st.data())
def test_random_bytes_never_raise(version: int, role: str, data: st.DataObject) -> None:
    check_stream(data, version, role, data.draw(st.binary(max_size=200)))


@pytest.mark.parametrize(("version", "role"), [(0, "server"), *SIDES])
@few
@given(data=st.data())
def test_damaged_packets_never_raise(version: int, role: str, data: st.DataObject) -> None:
    known = [(c.version, c.role, c.wire) for c in GOOD] + [(c.version, c.role, c.wire) for c in BAD]
    cases = [c[2] for c in known if c[:2] == (version, role) and len(c[2]) < 300]
    wire = bytearray(b"".join(data.draw(st.lists(st.sampled_from(cases), min_size=1, max_size=3))))
    for at, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(wire) - 1), st.integers(0, 255)), max_size=4)
    ):
        wire[at] = byte
    check_stream(data, version, role, bytes(wire))

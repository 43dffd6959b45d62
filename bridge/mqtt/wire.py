"""The data types of the wire, section 1.5: integers, strings, binary data, variable byte integers.

Readers take the bytes, a position and the position where the packet ends, and return the value with the
position behind it. What does not fit is a `ProtocolError` with reason 0x81 (malformed packet), whose text
begins with `what`, the place: "SUBSCRIBE topic filter". Writers raise `ValueError`.
"""

from __future__ import annotations

import re

from bridge.mqtt.errors import ProtocolError

MALFORMED = 0x81
PROTOCOL = 0x82

_DISCOURAGED = re.compile(
    "[\x01-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
"""Control characters and non-characters, U+0000 apart, which no string holds."""

MAX_REMAINING_LENGTH = 268_435_455
MAX_STRING_SIZE = 65_535


def shown(text: str | bytes, limit: int = 64) -> str:
    """What a peer sent, for an error's text: quoted, and cut after `limit` characters."""
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}… ({len(text)} long)"


def read_u8(data: bytes, pos: int, stop: int, what: str) -> tuple[int, int]:
    """One byte."""
    if pos >= stop:
        raise ProtocolError(MALFORMED, f"{what}: the packet ends where one byte is expected")
    return data[pos], pos + 1


def read_u16(data: bytes, pos: int, stop: int, what: str) -> tuple[int, int]:
    """Two Byte Integer, section 1.5.2."""
    if pos + 2 > stop:
        raise ProtocolError(MALFORMED, f"{what}: {stop - pos} bytes left, expected two")
    return data[pos] << 8 | data[pos + 1], pos + 2


def read_u32(data: bytes, pos: int, stop: int, what: str) -> tuple[int, int]:
    """Four Byte Integer, section 1.5.3."""
    if pos + 4 > stop:
        raise ProtocolError(MALFORMED, f"{what}: {stop - pos} bytes left, expected four")
    return int.from_bytes(data[pos : pos + 4], "big"), pos + 4


def read_binary(data: bytes, pos: int, stop: int, what: str) -> tuple[bytes, int]:
    """Binary Data, section 1.5.6."""
    size, pos = read_u16(data, pos, stop, what)
    end = pos + size
    if end > stop:
        raise ProtocolError(MALFORMED, f"{what}: {size} bytes announced, {stop - pos} are left of the packet")
    return data[pos:end], end


def read_string(data: bytes, pos: int, stop: int, what: str) -> tuple[str, int]:
    """UTF-8 Encoded String, section 1.5.4."""
    raw, end = read_binary(data, pos, stop, what)
    return decode_string(raw, what), end


def decode_string(raw: bytes, what: str) -> str:
    """Well-formed UTF-8 without surrogates [MQTT-1.5.4-1] and U+0000 [MQTT-1.5.4-2].

    U+FEFF is a character as any other [MQTT-1.5.4-3]; control characters and non-characters are let in,
    as the specification only advises against them (`check_characters`).
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        # The bytes are not shown: the string may be a name or a value that is nobody else's business.
        raise ProtocolError(
            MALFORMED, f"{what}: not UTF-8 at byte {error.start} of {len(raw)} ({error.reason})"
        ) from None
    if "\0" in text:
        raise ProtocolError(MALFORMED, f"{what}: holds U+0000")
    return text


def check_characters(text: str, what: str, code: int = MALFORMED) -> None:
    """Raise for a control character or a non-character, which a string should not hold (section 1.5.4)."""
    found = _DISCOURAGED.search(text)
    if found is not None:
        raise ProtocolError(code, f"{what}: holds U+{ord(found[0]):04X}, and mqtt.strict_mode is on")


def read_varint(data: bytes, pos: int, stop: int, what: str) -> tuple[int, int]:
    """Variable Byte Integer, section 1.5.5; more bytes than the value needs are malformed [MQTT-1.5.5-1]."""
    value = 0
    for shift in (0, 7, 14, 21):
        if pos >= stop:
            raise ProtocolError(MALFORMED, f"{what}: the packet ends within a variable byte integer")
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if not byte and shift:
                raise ProtocolError(MALFORMED, f"{what}: {value} in more bytes than needed [MQTT-1.5.5-1]")
            return value, pos
    raise ProtocolError(MALFORMED, f"{what}: a variable byte integer of more than four bytes")


def write_u16(value: int, what: str) -> bytes:
    """Two Byte Integer."""
    if not 0 <= value <= 0xFFFF:
        raise ValueError(f"{what}: {value} is not within 0 to 65535")
    return value.to_bytes(2, "big")


def write_u32(value: int, what: str) -> bytes:
    """Four Byte Integer."""
    if not 0 <= value <= 0xFFFF_FFFF:
        raise ValueError(f"{what}: {value} is not within 0 to 4294967295")
    return value.to_bytes(4, "big")


def write_binary(value: bytes, what: str) -> bytes:
    """Binary Data."""
    if len(value) > MAX_STRING_SIZE:
        raise ValueError(f"{what}: {len(value)} bytes, at most 65535 can be sent")
    return len(value).to_bytes(2, "big") + value


def write_string(text: str, what: str) -> bytes:
    """UTF-8 Encoded String."""
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what}: holds a lone surrogate at character {error.start}") from None
    if "\0" in text:
        raise ValueError(f"{what}: holds U+0000 [MQTT-1.5.4-2]")
    return write_binary(raw, what)


def write_varint(value: int, what: str) -> bytes:
    """Variable Byte Integer, in as few bytes as possible [MQTT-1.5.5-1]."""
    if not 0 <= value <= MAX_REMAINING_LENGTH:
        raise ValueError(f"{what}: {value} is not within 0 to {MAX_REMAINING_LENGTH}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

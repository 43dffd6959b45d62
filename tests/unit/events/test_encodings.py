"""Encodings against NanoMQ's vectors (INTEROP 1.2) and their own definition."""

from __future__ import annotations

import base64 as standard

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events.encodings import base62, base62_legacy, base64

VECTORS = [
    (b"messagei+/", "2a7oZkl5ty6sG7", "bWVzc2FnZWkrLw", "bWVzc2FnZWkrLw=="),
    (b"Hello World!", "T8dgcjRGkZ3aysdN", "SGVsbG8gV29ybGQh", "SGVsbG8gV29ybGQh"),
    (b"\x00\x00\x01", "001", "AAAB", "AAAB"),
    (b"\xff" * 8, "LygHa16AHYF", "BBBBBBBBBB8", "//////////8="),
    (b"", "", "", ""),
    (b"\x00", "0", "AA", "AA=="),
    (b"\x00\x00\x00", "000", "AAAA", "AAAA"),
]
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(("data", "as62", "legacy", "as64"), VECTORS)
def test_vectors(data: bytes, as62: str, legacy: str, as64: str) -> None:
    assert base62(data) == as62
    assert base62_legacy(data) == legacy
    assert base64(data) == as64


def plain_base62(data: bytes) -> str:
    """The definition, without GMP."""
    zeros = len(data) - len(data.lstrip(b"\0"))
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return "0" * zeros + digits


@given(st.binary(max_size=200))
def test_base62_is_its_definition(data: bytes) -> None:
    text = base62(data)
    assert text == plain_base62(data)
    # and it can be read back: leading zeros are bytes, the rest is the number
    digits = text.lstrip("0")
    number = 0
    for digit in digits:
        number = number * 62 + ALPHABET.index(digit)
    assert b"\0" * (len(text) - len(digits)) + number.to_bytes((number.bit_length() + 7) // 8, "big") == data


@given(st.binary(max_size=200))
def test_base64_is_the_standard_one(data: bytes) -> None:
    assert base64(data) == standard.b64encode(data).decode()
    assert base62_legacy(data) == standard.b64encode(data, b"AB").decode().rstrip("=")

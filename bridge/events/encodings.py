"""How a payload's bytes become text (`webhook.body.encoding`).

* `base64`: RFC 4648 section 4, padded.
* `base62`: NanoMQ's since 0.24.10: the bytes as one big-endian integer in the alphabet `0-9A-Za-z`, and one
  leading `0` for each leading NUL byte.
* `base62_legacy`: NanoMQ's before 0.24.10, which is unpadded base64 with `A` for `+` and `B` for `/`: it
  loses information and is there for receivers that expect it.
"""

from __future__ import annotations

from binascii import b2a_base64

from gmpy2 import mpz

_LEGACY = bytes.maketrans(b"+/", b"AB")


def base64(data: bytes) -> str:
    """Standard base64 with padding."""
    return b2a_base64(data, newline=False).decode("ascii")


def base62(data: bytes) -> str:
    """One big-endian integer in `0-9A-Za-z`; it costs more than linear time: bound the length."""
    zeros = len(data) - len(data.lstrip(b"\0"))
    if zeros == len(data):
        return "0" * zeros
    digits: str = mpz(int.from_bytes(data, "big")).digits(62)  # GMP's alphabet above 36 is NanoMQ's
    return "0" * zeros + digits


def base62_legacy(data: bytes) -> str:
    """Unpadded base64 without its two signs; not reversible."""
    return b2a_base64(data, newline=False).rstrip(b"=").translate(_LEGACY).decode("ascii")

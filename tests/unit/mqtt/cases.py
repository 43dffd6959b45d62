"""How the table of packets in `fixtures` is written: good ones as bytes and packet, malformed ones as bytes
and reason code.

Bytes are written down from the specification, independently of the encoder: `packet(head, …)` only counts
the remaining length, a `str` stands for a UTF-8 Encoded String, `bytes` and hex (`x("00 0a")`) for
themselves. A case with version 0 begins a connection (CONNECT). Sections and statements are those of MQTT 5
unless said otherwise.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Role = Literal["server", "client"]


class Good(NamedTuple):
    """`role` is the reader's. `canonical`: the encoder makes exactly these bytes of the packet."""

    name: str
    version: int
    role: Role
    wire: bytes
    packet: Any
    canonical: bool = True


class Bad(NamedTuple):
    """`reason` is the MQTT 5 reason code that ends the connection, also where the version has none."""

    name: str
    version: int
    role: Role
    wire: bytes
    reason: int


def x(text: str) -> bytes:
    return bytes.fromhex(text)


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return len(raw).to_bytes(2, "big") + raw


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes((value % 128 + 128,))
        value //= 128
    return out + bytes((value,))


def packet(head: int, *parts: bytes | str) -> bytes:
    body = b"".join(string(p) if isinstance(p, str) else p for p in parts)
    return bytes((head,)) + varint(len(body)) + body


def props(*parts: bytes | str) -> bytes:
    body = b"".join(string(p) if isinstance(p, str) else p for p in parts)
    return varint(len(body)) + body


SERVER: Role = "server"
CLIENT: Role = "client"
NONE = b"\0"  # property length 0
LONG = "n" * 65_535
V3, V4, V5 = x("0006 4d5149736470 03"), x("0004 4d515454 04"), x("0004 4d515454 05")

GOOD: list[Good] = []
BAD: list[Bad] = []


def good(name: str, version: int, role: Role, wire: bytes, value: Any, canonical: bool = True) -> None:
    GOOD.append(Good(f"v{version} {role}: {name}", version, role, wire, value, canonical))


def bad(name: str, version: int, role: Role, wire: bytes, reason: int) -> None:
    BAD.append(Bad(f"v{version} {role}: {name}", version, role, wire, reason))


METHOD = x("15") + string("m")  # authentication method

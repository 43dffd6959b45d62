"""The payload in a body, as `webhook.body.encoding` (also spelt `payload`) says.

* `plain` (also spelt `string`): text. One that is not UTF-8 goes as base64.
* `json`: a payload that is JSON stands in the body as it was sent, anything else as under `plain`.
* `base64`, `base62`, `base62_legacy`: see `bridge.events.encodings`. One above the limit under `base62` goes
  as base64.

A body whose payload could not go as configured says so in its last key: `"payload_encoding":"base64"`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from bridge.events.encodings import base62, base62_legacy, base64

FALLBACK = "base64"
"""The value of `payload_encoding`."""
ENCODINGS = ("plain", "json", "base64", "base62", "base62_legacy")
NOT_JSON = object()
"""What `parse` gives for a payload that is not JSON."""

Shown = tuple[Any, bool]
"""A payload as a body has it (text or `msgspec.Raw`), and whether it had to go as base64."""

_decode = msgspec.json.Decoder().decode


class BodyCounts:
    """How often a payload could not be sent as configured and went as base64."""

    __slots__ = ("base62_too_long", "not_utf8")

    def __init__(self) -> None:
        self.not_utf8 = 0
        self.base62_too_long = 0


def parse(payload: bytes) -> Any:
    """The payload's JSON value, or NOT_JSON.

    Stricter than the grammar of RFC 8259: a number beyond a double's range and half a surrogate pair are
    refused, since many receivers could not read a body that holds them.
    """
    try:
        return _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return NOT_JSON


def make_payload(encoding: str, base62_limit: int, counts: BodyCounts) -> Callable[[bytes], Shown]:
    """How payloads stand in bodies. Raises ValueError for an unknown encoding."""

    def plain(payload: bytes) -> Shown:
        try:
            return payload.decode(), False
        except UnicodeDecodeError:
            counts.not_utf8 += 1
            return base64(payload), True

    def as_json(payload: bytes) -> Shown:
        return plain(payload) if parse(payload) is NOT_JSON else (msgspec.Raw(payload), False)

    def as_base62(payload: bytes) -> Shown:
        if len(payload) <= base62_limit:
            return base62(payload), False
        counts.base62_too_long += 1
        return base64(payload), True

    makers: dict[str, Callable[[bytes], Shown]] = {
        "plain": plain,
        "json": as_json,
        "base64": lambda payload: (base64(payload), False),
        "base62": as_base62,
        "base62_legacy": lambda payload: (base62_legacy(payload), False),
    }
    made = makers.get(encoding)
    if made is None:
        raise ValueError(f"unknown encoding {encoding!r}; possible: {', '.join(ENCODINGS)}")
    return made

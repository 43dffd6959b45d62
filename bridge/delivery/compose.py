"""The bytes of one request, where it is more than a constant head, an id and a body.

Most endpoints are unsigned, have one URL and send a body: their requests are `bridge.delivery.request`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bridge.delivery.signing import SigningError
from bridge.delivery.target import LINES_MARK, TARGET_MARK, Target
from bridge.events.event import Event

if TYPE_CHECKING:
    from bridge.delivery.pool import Pool

Compose = Callable[["Pool", int, int, bytes, Event], bytes]
"""From the pool, the sequence, the attempt's number, the body and the event (the first of a group): the
request. Raises SigningError and FillError."""


class FillError(Exception):
    """The head of an event's request could not be made: a fault of that event; the text is one line."""


def composer(target: Target) -> Compose | None:
    """What makes a target's requests; None where `bridge.delivery.request` does."""
    if target.fill is not None:
        return _filled
    if not target.has_body:
        return _bodiless
    return _signed if target.sign is not None else None


def pieces(head: bytes) -> tuple[bytes, bytes, bytes]:
    """What stands before, between and behind the two marks of a head."""
    first, rest = head.split(TARGET_MARK, 1)
    second, third = rest.split(LINES_MARK, 1)
    return first, second, third


def _signed(pool: Pool, seq: int, attempt: int, body: bytes, event: Event) -> bytes:
    name = b"%016x" % seq
    return b"%b%b%b\r\nwebhook-attempt: %d\r\nContent-Length: %d\r\n\r\n%b" % (
        pool.head,
        name,
        _dated(pool, name, body),
        attempt,
        len(body),
        body,
    )


def _bodiless(pool: Pool, seq: int, attempt: int, body: bytes, event: Event) -> bytes:
    name = b"%016x" % seq
    return b"%b%b%b\r\nwebhook-attempt: %d\r\n\r\n" % (pool.head, name, _dated(pool, name, b""), attempt)


def _filled(pool: Pool, seq: int, attempt: int, body: bytes, event: Event) -> bytes:
    target = pool.target
    assert target.fill is not None  # noqa: S101
    try:
        request_target, lines = target.fill(seq, event)
    except Exception as error:
        raise FillError(str(error) or type(error).__name__) from error
    name = b"%016x" % seq
    before, between, behind = pool.pieces
    if not target.has_body:
        body = b""
    return b"%b%b%b%b%b%b%b\r\nwebhook-attempt: %d\r\n%b\r\n%b" % (
        before,
        request_target,
        between,
        lines,
        behind,
        name,
        _dated(pool, name, body),
        attempt,
        b"Content-Length: %d\r\n" % len(body) if target.has_body else b"",
        body,
    )


def _dated(pool: Pool, name: bytes, body: bytes) -> bytes:
    """The lines of timestamp and signatures, each with CRLF before it."""
    sign = pool.sign
    if sign is None:
        return b"\r\nwebhook-timestamp: %d" % pool.clock()
    try:
        return sign(name, int(pool.clock()), body)
    except Exception as error:
        raise SigningError(f"cannot sign: {type(error).__name__}") from error

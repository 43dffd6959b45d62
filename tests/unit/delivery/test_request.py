"""The parts that a request is joined from change when they have to, and only then."""

from __future__ import annotations

import pytest

from bridge.delivery.request import request_maker

HEAD = b"POST /hook HTTP/1.1\r\nHost: h\r\nwebhook-id: msg_0_"


def plain(seq: int, attempt: int, body: bytes, now: float) -> bytes:
    """The same request, made at once."""
    return b"%b%016x\r\nwebhook-timestamp: %d\r\nwebhook-attempt: %d\r\nContent-Length: %d\r\n\r\n%b" % (
        HEAD,
        seq,
        int(now),
        attempt,
        len(body),
        body,
    )


@pytest.mark.parametrize(
    "seq", [0, 1, 0xFFF, 0x1000, 0x1001, 0x123456789ABCDEF, (1 << 62) | 7, (1 << 63) - 1]
)
@pytest.mark.parametrize("length", [0, 1, 230, 2047, 2048, 100_000])
def test_a_request(seq: int, length: int) -> None:
    make = request_maker(HEAD, lambda: 1_700_000_000.9)
    assert make(seq, 3, b"x" * length) == plain(seq, 3, b"x" * length, 1_700_000_000)


def test_requests_one_after_the_other() -> None:
    now = 100.0
    make = request_maker(HEAD, lambda: now)
    steps = [
        (5, 1, 100.0),
        (6, 1, 100.5),  # the same second
        (6, 2, 100.9),  # a retry among first attempts
        (7, 1, 100.999),
        (0x1007, 1, 101.0),  # the next second and batch
        (8, 1, 50.5),  # a clock that was set back, a batch that comes again
        (9, 1, 49.999),
        (9, 1, 1e9),
    ]
    for seq, attempt, at in steps:
        now = at
        assert make(seq, attempt, b"{}") == plain(seq, attempt, b"{}", at)

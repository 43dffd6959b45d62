"""The bytes of an unsigned request: what many requests have in common is made once.

The head up to the `webhook-id` is the endpoint's, the upper digits of the id are those of a batch of the
journal, and timestamp and attempt stay the same for a second: so a request is five parts, joined.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.journal.batch import INDEX_BITS

MakeRequest = Callable[[int, int, bytes], bytes]
"""From the event's sequence (or the group's number), the attempt and the body: the whole request."""

_INDEXES = tuple([b"%03x" % index for index in range(1 << INDEX_BITS)])  # the last three digits of an id
_MASK = (1 << INDEX_BITS) - 1
_SHORT = 2048
_LENGTHS = tuple([b"%d\r\n\r\n" % length for length in range(_SHORT)])  # the end of a head


def request_maker(head: bytes, clock: Callable[[], float]) -> MakeRequest:
    """Requests of one endpoint; `head` ends inside the `webhook-id` line, `clock` tells Unix seconds."""
    join = b"".join
    begin = end = 0.0  # of the second that `lines` are for
    made_for = 0  # the attempt that they are for
    lines = b""
    batch = -1
    start = b""

    def make(seq: int, attempt: int, body: bytes) -> bytes:
        nonlocal begin, end, made_for, lines, batch, start
        now = clock()
        if not begin <= now < end or attempt != made_for:
            second = int(now)
            begin, end, made_for = float(second), second + 1.0, attempt
            lines = b"\r\nwebhook-timestamp: %d\r\nwebhook-attempt: %d\r\n" % (second, attempt)
            lines += b"Content-Length: "
        if seq >> INDEX_BITS != batch:
            batch = seq >> INDEX_BITS
            start = b"%b%013x" % (head, batch)
        length = len(body)
        ending = _LENGTHS[length] if length < _SHORT else b"%d\r\n\r\n" % length
        return join((start, _INDEXES[seq & _MASK], lines, ending, body))

    return make

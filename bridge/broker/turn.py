"""Fairness: one turn of the loop reads a bounded number of bytes, then HTTP and the other clients are served.

Who read more than the turn has left waits with reading paused, and goes on in a later turn, one after
another. Who has sent little since he was served last goes first, for as much as half of a turn: a client that
asks now and then does not wait for those that always have more to say. While anything holds (the store
refuses, deliveries lag too far behind) nobody who publishes goes on. So it is with work: what costs more than
a packet usually does is counted, and when the turn's share is used up what was read waits, between two
packets.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

log = logging.getLogger(__name__)

HOLD_POLL_S = 0.01
WORK = 4096
"""What may be done for clients in one turn, in units of about two microseconds. Bytes do not tell the work:
a short packet may go to thousands of subscribers, or begin a handshake of TLS."""
CONNECT_WORK = 50
HANDSHAKE_WORK = 500
SUBSCRIBE_WORK = 5
"""For each topic filter, beside what its levels take."""
RETAIN_WORK = 4
"""For a retained message, and one more for each level of its topic."""
STEP = 256
"""Topic filters that are dealt with in one go: as much as two milliseconds."""


class Reader(Protocol):
    """A connection whose reading can be paused."""

    transport: asyncio.Transport
    stash: list[bytes] | None
    paused: bool
    closed: bool
    held: list[Any] | None

    def process(self, data: bytes) -> None:
        """Act on what was read."""

    def resume(self) -> None:
        """Read on, if nothing else is in the way."""


class Turn:
    """The share of reading that the present turn has left, and who waits for the next one."""

    __slots__ = (
        "_brief",
        "_holds",
        "_loop",
        "_size",
        "_spread",
        "_waiting",
        "_work",
        "booked",
        "holding",
        "left",
        "over",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self._loop = loop
        self._size = size  # bytes
        self._waiting: deque[Reader] = deque()
        self._brief: deque[Reader] = deque()  # those that wait and have sent little
        self._spread: deque[Callable[[], bool]] = deque()
        self._holds: set[str] = set()
        self.left = size
        self._work = WORK
        self.over = False  # the share of work is used up
        self.booked = False
        self.holding = False

    def book(self) -> None:
        """See to it that the share is renewed."""
        self.booked = True
        self._loop.call_soon(self._next)

    def charge(self, work: int) -> None:
        """Count work beyond that of reading, in units of `WORK`."""
        self._work -= work
        if self._work < 0:
            self.over = True
            self.left = 0
        if not self.booked:
            self.book()

    def pause(self, reader: Reader, *, little: bool = False) -> None:
        """Let a connection wait until its turn comes, and read no further from it.

        One that has sent `little`, and may not send more, is only paused when it does: most clients wait for
        an answer, and pausing costs two calls of the system.
        """
        if not little:
            reader.transport.pause_reading()
        if not reader.paused:
            reader.paused = True
            (self._brief if little else self._waiting).append(reader)
        if not self.booked:
            self.book()

    def spread(self, step: Callable[[], bool]) -> None:
        """Do in steps, in the next turns, what is too much for one of them: `step` is called until it returns
        False. One step is made in each turn at least, and half of a turn is left for reading.
        """
        self._spread.append(step)
        if not self.booked:
            self.book()

    def hold(self, why: str, on: bool) -> None:
        """Let publishers wait as long as any reason to holds."""
        if on:
            self._holds.add(why)
        else:
            self._holds.discard(why)
        self.holding = bool(self._holds)

    def _next(self) -> None:
        """Renew the share and spend it on who had to wait, in turn."""
        if self.holding:
            self._loop.call_later(HOLD_POLL_S, self._next)
            return
        self.booked = False
        self.left = self._size
        self._work = WORK
        self.over = False
        waiting, brief = self._waiting, self._brief
        if brief:
            half, half_work = (self._size // 2, WORK // 2) if waiting else (0, 0)
            while brief and self.left > half and self._work > half_work:
                self._serve(brief.popleft())
        for _ in range(len(self._spread)):
            self._step(self._spread.popleft())
            if self._work < WORK // 2:
                break
        for _ in range(len(waiting)):
            if self.left <= 0:
                break
            self._serve(waiting.popleft())
        if not self.booked and (waiting or brief or self._spread or self.left < self._size):
            self.book()

    def _step(self, step: Callable[[], bool]) -> None:
        try:
            more = step()
        except Exception:  # a fault of ours; it must not end the turns
            log.exception("what was spread over turns failed")
            return
        if more:
            self._spread.append(step)

    def _serve(self, reader: Reader) -> None:
        """Let it go on as far as the turn's share reaches; then it waits behind all others."""
        # None once the reader has ended
        while (stash := reader.stash) and self.left > 0 and reader.held is None:
            data = stash.pop(0)
            self.left -= len(data)
            reader.process(data)
        if reader.stash and reader.held is None:  # one that is held comes again by itself
            self._waiting.append(reader)
            return
        reader.paused = False
        reader.resume()

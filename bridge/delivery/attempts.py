"""What becomes of every attempt, for the attempt log: gathered in memory, written in small slices.

* On the happy path an attempt costs one tuple of references in a bounded ring: nothing is copied, formatted
  or parsed. What the ring gives up at full speed was never written; its last entries are.
* Failures are all kept, up to `MAX_FAILURES` that wait for the disk.
* Once in `TICK_S` a slice of what has gathered is rendered, secrets masked, and handed to the store's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from bridge.config.settings import AttemptLog
from bridge.delivery.attempt_text import BODY_BYTES, HEAD_BYTES, printable, request_head, response_parts
from bridge.delivery.permission import Asked
from bridge.delivery.retry import Outcome
from bridge.events.event import Event
from bridge.journal.attempt_store import AttemptStore, Filter, Keep, Row
from bridge.journal.store import StoreError

if TYPE_CHECKING:
    from bridge.delivery.transport import Carrier

log = logging.getLogger(__name__)

TICK_S = 1.0
SLICE_ROWS = 100
"""Rows that are rendered at a time, of all endpoints together: about two milliseconds of the loop."""
PAUSE_S = 0.02
"""Between two slices of failures."""
MAX_FAILURES = 5000
"""Failures of one endpoint that may wait for the disk."""
MAX_SUCCESSES = 128
"""Successes of one endpoint that may wait for the disk: so few stay in the processor's cache, and what is
written in a second is less."""
TEXT_CHARACTERS = 256
"""Characters of a topic or client id that are kept."""
ERROR_CHARACTERS = 500
TRIM_EVERY_S = 60.0
TRIM_AFTER = 5000
"""Rows after which the log is trimmed earlier."""
LOG_EVERY_S = 60.0


class AttemptSink(Protocol):
    """What a lane tells of its attempts, before it settles them. Called from the loop; must not raise."""

    def succeeded(self, connection: Carrier) -> None:
        """The connection's request was answered with success."""

    def failed(self, connection: Carrier, outcome: Outcome) -> None:
        """The connection's request has failed."""

    def unsent(self, seq: int, attempt: int, event: Event, outcome: Outcome) -> None:
        """No request could be made of an event."""

    def asked(self, asked: Asked) -> None:
        """The endpoint was asked whether it wants events; no event is concerned."""


# seq, deadline and end (loop time), address, request, response, event's type, topic, client id
_First = tuple[int, float, float, str, bytes, bytes, int, str, str]
"""A first attempt of one event that has succeeded."""
# and attempt, the events of a group (`_pack`; empty: one event), outcome
_packed = msgspec.msgpack.Decoder(tuple[int, list[int]])
Entry = tuple[int, float, float, str, bytes, bytes, int, str, str, int, bytes, "Outcome | None"]


class Attempts:
    """The sink of one endpoint. `timeout` (s) is that of its attempts; `scrub` takes the endpoint's secrets
    out of a text."""

    def __init__(
        self,
        name: str,
        settings: AttemptLog,
        timeout: float,
        scrub: Callable[[str], str],
        now: Callable[[], float],
    ) -> None:
        self.name = name
        self.settings = settings
        self.missed = 0  # failures that found no room
        self.retired = 0  # its lane has ended: as which one of all
        self.succeeded = self._make_succeeded(now, settings.successes)
        self._timeout = timeout
        self._scrub = scrub
        self._now = now
        self._failures: deque[Entry] = deque()
        self._last: tuple[bytes, tuple[int | None, str, str]] = (b"", (None, "", ""))

    @property
    def waiting(self) -> int:
        """Attempts that are not yet written."""
        return len(self._successes) + len(self._failures)

    @property
    def failures(self) -> int:
        """Failed attempts among them."""
        return len(self._failures)

    def shed(self, limit: int) -> int:
        """Keep the latest successes, at most `limit`; how many these are."""
        while len(self._successes) > limit:
            self._successes.popleft()
        return len(self._successes)

    # -- the sink --------------------------------------------------------------------------------------

    def _make_succeeded(self, now: Callable[[], float], successes: int) -> Callable[[Carrier], None]:
        """The hot path: a closure, and no property on the way, since each attribute counts here."""
        self._successes: deque[_First | Entry] = deque(maxlen=min(successes, MAX_SUCCESSES))
        append = self._successes.append
        cut = self._cut

        def succeeded(connection: Carrier) -> None:
            """See `AttemptSink`."""
            request = connection._request
            raw = connection.raw
            if connection.row is not None or len(request) > HEAD_BYTES or len(raw) > HEAD_BYTES:
                append(cut(connection, raw, None))
                return
            event: Event = connection.event
            append(
                (
                    connection.seq,
                    connection.deadline,
                    now(),
                    connection.address,
                    request,
                    raw,
                    event.type,
                    event.topic,
                    event.clientid,
                )
            )

        return succeeded

    def failed(self, connection: Carrier, outcome: Outcome) -> None:
        """See `AttemptSink`."""
        self._fail(self._cut(connection, connection.response, outcome))

    def unsent(self, seq: int, attempt: int, event: Event, outcome: Outcome) -> None:
        """See `AttemptSink`."""
        now = self._now()
        topic, clientid = event.topic[:TEXT_CHARACTERS], event.clientid[:TEXT_CHARACTERS]
        deadline = now + self._timeout
        self._fail((seq, deadline, now, "", b"", b"", event.type, topic, clientid, attempt, b"", outcome))

    def asked(self, asked: Asked) -> None:
        """See `AttemptSink`. The row has no event: its type and sequence are 0."""
        entry: Entry = (
            *(0, asked.began + self._timeout, asked.ended, asked.address),
            *(asked.request[:HEAD_BYTES], asked.response[: HEAD_BYTES + BODY_BYTES]),
            *(0, "", "", asked.number, b"", asked.outcome),
        )
        if asked.outcome is None:
            self._successes.append(entry)
        else:
            self._fail(entry)

    def _cut(self, connection: Carrier, raw: bytes, outcome: Outcome | None) -> Entry:
        """An entry that holds no more of a long request, or of a long topic, than is kept."""
        event: Event = connection.event
        return (
            connection.seq,
            connection.deadline,
            self._now(),
            connection.address,
            connection.request[:HEAD_BYTES],
            raw[: HEAD_BYTES + BODY_BYTES],
            event.type,
            event.topic[:TEXT_CHARACTERS],
            event.clientid[:TEXT_CHARACTERS],
            connection.attempt,
            b"" if connection.row is None or not connection.row.group else _pack(connection.row.seqs),
            outcome,
        )

    def _fail(self, entry: Entry) -> None:
        if len(self._failures) >= MAX_FAILURES:
            self.missed += 1
        else:
            self._failures.append(entry)

    # -- to the store ----------------------------------------------------------------------------------

    def take(self, limit: int, offset: float) -> list[Row]:
        """Up to `limit` rows for the store, failures first; they are gone from here. `offset` (s) makes
        Unix time of loop time."""
        rows: list[Row] = []
        while self._failures and len(rows) < limit:
            rows.append(self._row(self._failures.popleft(), offset))
        while self._successes and len(rows) < limit:
            entry = self._successes.popleft()
            rows.append(self._row(entry if len(entry) == 12 else (*entry, 1, b"", None), offset))
        return rows

    def _row(self, entry: Entry, offset: float) -> Row:
        seq, deadline, ended, address, request, raw, kind, topic, clientid, attempt, packed, outcome = entry
        first, offsets = _unpack(packed)
        began = deadline - self._timeout
        if raw != self._last[0]:
            self._last = (raw, response_parts(raw, self._scrub))
        status, head, body = self._last[1]
        return (
            self.name,
            1 if outcome is None else 0,
            int((began + offset) * 1000),
            seq,
            attempt,
            status if outcome is None else outcome.status,
            None if outcome is None else outcome.error,
            max(int((ended - began) * 1_000_000), 0),
            address,
            kind,
            len(offsets) or 1,
            printable(topic[:TEXT_CHARACTERS].encode("utf-8", "replace")),
            printable(clientid[:TEXT_CHARACTERS].encode("utf-8", "replace")),
            request_head(request, self._scrub),
            head,
            body,
            "" if outcome is None else self._scrub(str(outcome))[:ERROR_CHARACTERS],
            *(((first, first + offsets[-1], offsets),) if offsets else ()),
        )


def _pack(seqs: Sequence[int]) -> bytes:
    """The events of a group, small while they wait for the disk: the first one, and the steps to the next."""
    return msgspec.msgpack.encode((seqs[0], [b - a for a, b in pairwise(seqs)]))


def _unpack(packed: bytes) -> tuple[int, list[int]]:
    """The first event of a group, and how far each one, itself included, lies behind it."""
    if not packed:
        return 0, []
    first, steps = _packed.decode(packed)
    return first, list(accumulate(steps, initial=0))


class AttemptRecorder:
    """Carries the attempts of all endpoints to the store, bounded slices at a time."""

    def __init__(
        self,
        store: AttemptStore,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lost = 0  # rows that the store did not take
        self._store = store
        self._loop = loop
        self._clock = clock
        self._sinks: deque[Attempts] = deque()
        self._retired = 0  # how many have ended
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._trim_at = 0.0
        self._written = 0  # since the last trim
        self._next_log = 0.0

    def sink(self, name: str, settings: AttemptLog, timeout: float, scrub: Callable[[str], str]) -> Attempts:
        """A sink for one endpoint, which this recorder empties."""
        made = Attempts(name, settings, timeout, scrub, self._loop.time)
        self._sinks.append(made)
        return made

    def retire(self, sink: AttemptSink) -> None:
        """Nothing comes from a sink any more; what it holds is still written.

        Of an endpoint's successes these are the latest `settings.successes`: reloads may come faster than the
        disk takes them.
        """
        if isinstance(sink, Attempts):
            self._retired += 1
            sink.retired = self._retired

    def start(self) -> None:
        """Begin to write."""
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick)
        if self._writing is None and any(sink.retired for sink in self._sinks):
            self._tidy()
        if self._writing is None and (
            any(sink.waiting for sink in self._sinks) or self._loop.time() >= self._trim_at
        ):
            self._writing = self._loop.create_task(self._work())
            self._writing.add_done_callback(self._worked)

    def _tidy(self) -> None:
        """Let go of retired sinks that hold nothing, and of what is too old in the others."""
        room: dict[str, int] = {}
        for sink in sorted(self._sinks, key=lambda sink: sink.retired, reverse=True):
            if sink.retired:
                left = room.setdefault(sink.name, sink.settings.successes)
                room[sink.name] = left - sink.shed(left)
        self._sinks = deque([sink for sink in self._sinks if not sink.retired or sink.waiting])

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the attempt log: %r", error)

    async def _work(self) -> None:
        """What one tick may cost: one slice of successes; failures until they are written."""
        while True:
            await self._slice()
            if not any(sink.failures for sink in self._sinks):
                break
            await asyncio.sleep(PAUSE_S)
        now = self._loop.time()
        if now >= self._trim_at or self._written >= TRIM_AFTER:
            self._trim_at = now + TRIM_EVERY_S
            self._written = 0
            await self._guarded(self._trim())

    async def _slice(self) -> int:
        """Write a slice, and say how many rows it had; which endpoint comes first in it goes round."""
        offset = self._clock() - self._loop.time()
        rows: list[Row] = []
        sinks = self._sinks
        waiting = sum([1 for sink in sinks if sink.waiting])
        share = max(SLICE_ROWS // max(waiting, 1), 1)
        for _ in range(len(sinks)):
            if len(rows) >= SLICE_ROWS:
                break
            sink = sinks[0]
            sinks.rotate(-1)
            rows += sink.take(share, offset)
            if sink.missed:
                self.lost += sink.missed
                sink.missed = 0
        if rows and not await self._guarded(self._store.write(rows)):
            self.lost += len(rows)
        self._written += len(rows)
        return len(rows)

    async def _trim(self) -> None:
        now = self._clock()
        keep = {}
        for sink in self._sinks:
            settings = sink.settings
            successes = min(settings.successes, settings.max_rows // 2)  # failures are never crowded out
            before = int((now - settings.max_age) * 1000)
            keep[sink.name] = Keep(successes, settings.max_rows - successes, before)
        await self._store.trim(keep, int((now - AttemptLog().max_age) * 1000))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether it went well. What goes wrong here is told now and then, and stops nothing."""
        try:
            await work
        except StoreError as error:
            if self._loop.time() >= self._next_log:
                self._next_log = self._loop.time() + LOG_EVERY_S
                log.warning("the attempt log is not written: %s", error)
            return False
        return True

    async def flush(self, most: int | None = None) -> None:
        """Write what has gathered so far, in slices: all of it, or `most` rows or a few more. A reader asks
        for it first."""
        left = sum(sink.waiting for sink in self._sinks)
        if most is not None:
            left = min(left, most)
        while left > 0 and any(sink.waiting for sink in self._sinks):
            left -= await self._slice()
            await asyncio.sleep(0)

    async def search(
        self,
        wanted: Filter,
        limit: int,
        *,
        below: tuple[int, int] | None = None,
        full: bool = False,
        seconds: float | None = None,
    ) -> tuple[list[dict[str, Any]], tuple[int, int] | None]:
        """See `AttemptStore.search`: the rows, and where to go on. Raises StoreError."""
        found = await self._store.search(wanted, limit, below=below, full=full, seconds=seconds)
        return msgspec.json.decode(found.rows), found.more

    async def query(
        self, wanted: Filter, limit: int, *, below: tuple[int, int] | None = None, full: bool = False
    ) -> list[dict[str, Any]]:
        """See `AttemptStore.query`. Raises StoreError."""
        return await self._store.query(wanted, limit, below=below, full=full)

    async def members(self, numbers: Sequence[int]) -> dict[int, list[int]]:
        """See `AttemptStore.members`. Raises StoreError."""
        return await self._store.members(numbers)

    async def stop(self) -> None:
        """Write what is left and close the store."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        await self.flush()
        self._store.close()

"""Several events in one request: `webhook.batch`.

* A group is frozen before it is first sent: its events and its number are stored and synced, so that every
  attempt, also after a crash, carries the same events under the same `webhook-id`.
* The number is a digest of its events' sequences with bit 62 set: no event has such a sequence, and another
  choice of events has another number.
* A group forms when `max_events` wait, or a MiB of them, or the oldest has waited `max_wait`.
* Order keeps to groups: the events of a key stand in one group in their order, or in groups one after the
  other.
* A group succeeds and fails as a whole. Its events become dead letters one by one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import blake2b

import msgspec

from bridge.config.settings import BatchPolicy, Endpoint
from bridge.delivery.backlog import Backlog
from bridge.delivery.retries import Retries
from bridge.delivery.rows import GROUP, Row, encode_seqs
from bridge.events.event import Event
from bridge.journal.codec import event_size

MAX_GROUP_BYTES = 1 << 20
"""Events of a group in bytes: more do not join."""

GATHER_EVENTS = 1000
"""Events for which a lane begins groups in one turn of the loop; the last group may go beyond."""

_json = msgspec.json.Encoder()


class _Item(msgspec.Struct, gc=False):
    id: str
    body: msgspec.Raw


def group_number(seqs: tuple[int, ...]) -> int:
    """The number of a group."""
    digest = blake2b(encode_seqs(seqs), digest_size=8).digest()
    return GROUP | int.from_bytes(digest, "big") >> 2


class BodyMaker:
    """Turns bodies of single events into the body of a group."""

    def __init__(self, policy: BatchPolicy, store_id: str) -> None:
        self._prefix = f"msg_{store_id}_"
        self._cloud = policy.format == "cloudevents-batch"

    def item(self, seq: int, event: Event, body: bytes) -> bytes:
        """One element of the array: under `cloudevents-batch` the body, which is a CloudEvent then."""
        if self._cloud:
            return body
        return _json.encode(_Item(f"{self._prefix}{seq:016x}", msgspec.Raw(body)))


def join(items: Sequence[bytes]) -> bytes:
    """The whole body."""
    return b"[" + b",".join(items) + b"]"


class _Forming:
    """A group that is being filled."""

    def __init__(self, max_events: int) -> None:
        self.max_events = max_events
        self.members: list[tuple[int, Event, bytes, str, Row | None]] = []  # with item and key
        self.keys: set[str] = set()  # that it blocks
        self.size = 0

    def room(self, size: int) -> bool:
        """Whether an event of this size may join."""
        members = self.members
        return not members or (len(members) < self.max_events and self.size + size <= MAX_GROUP_BYTES)

    def add(self, seq: int, event: Event, item: bytes, key: str, row: Row | None) -> None:
        """Let an event join that `room` was asked for."""
        self.members.append((seq, event, item, key, row))
        self.size += event_size(event)
        if key:
            self.keys.add(key)


class Batcher:
    """Forms the groups of one lane. `sendable` are those that may go out for the first time.

    `refill()` reads the log on and says whether there is something fresh, `unsendable` takes an event that no
    request can be built from (with the keys that it blocks), and `pump` is called when there is something to
    do.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        retries: Retries,
        backlog: Backlog,
        form: Callable[[int, Event], bytes],
        refill: Callable[[], bool],
        unsendable: Callable[[int, Event, Row | None, str, Exception], None],
        pump: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        assert endpoint.batch is not None  # noqa: S101
        self.sendable: deque[tuple[Row, list[Event], bytes]] = deque()
        self.out: dict[int, list[Event]] = {}  # the events of groups that are in flight
        self._max_events = endpoint.batch.max_events
        self._max_wait = endpoint.batch.max_wait
        self._max_in_flight = endpoint.max_in_flight
        self._retries = retries
        self._backlog = backlog
        self._maker = BodyMaker(endpoint.batch, retries.store.id)
        self._format = form
        self._refill = refill
        self._unsendable = unsendable
        self._pump = pump
        self._loop = loop
        self._freezing: dict[int, int] = {}  # groups that are not yet durable, and how many events they have
        self._since: float | None = None  # when the oldest fresh event was seen first
        self._timer: asyncio.TimerHandle | None = None
        self._left = GATHER_EVENTS  # may be put into groups in this turn
        self._renewing = False
        self._late = True  # the next group begins with what has waited longer
        self._stopped = False

    @property
    def waiting(self) -> int:
        """Groups before their first attempt."""
        return len(self._freezing) + len(self.sendable)

    def stop(self) -> None:
        """Form no group any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def allows(self, events: int) -> bool:
        """Whether so many further events may be in flight."""
        limit = self._max_in_flight
        return limit is None or not self.out or sum(map(len, self.out.values())) + events <= limit

    def body(self, row: Row, events: Sequence[Event]) -> bytes:
        """A group's body, made anew."""
        item, form = self._maker.item, self._format
        return join([item(seq, event, form(seq, event)) for seq, event in zip(row.seqs, events, strict=True)])

    def single(self, seq: int, event: Event) -> bytes:
        """The body of a group of this one event."""
        return join([self._maker.item(seq, event, self._format(seq, event))])

    # -- forming ---------------------------------------------------------------------------------------

    def _capacity(self) -> int:
        """How many events a new group may have."""
        if self._max_in_flight is None:
            return self._max_events
        begun = sum(self._freezing.values()) + sum(len(row.seqs) for row, _, _ in self.sendable)
        begun += sum(len(events) for events in self.out.values())
        return min(self._max_events, self._max_in_flight - begun)

    def gather(self, slots: int, *, blocked: bool) -> None:
        """Freeze groups until so many wait for their first attempt; `blocked`: take nothing fresh."""
        while self.waiting < slots and not self._stopped:
            if self._left <= 0:
                return
            capacity = self._capacity()
            if capacity <= 0 or not self._due(capacity, blocked=blocked):
                return
            forming = _Forming(capacity)
            self._late = not self._late
            if self._late:
                self._take_ready(forming)
            if not blocked:
                self._take_fresh(forming)
            self._take_ready(forming)
            if not self._retries.ready:
                self._retries.more()
            if not forming.members:
                return
            self._charge(len(forming.members))
            self._freeze(forming)

    def _charge(self, events: int) -> None:
        """Form no more than some groups in a turn of the loop: clients and other lanes have theirs."""
        self._left -= events
        if not self._renewing:
            self._renewing = True
            self._loop.call_soon(self._renew)

    def _renew(self) -> None:
        self._renewing = False
        short = self._left <= 0
        self._left = GATHER_EVENTS
        if short and not self._stopped:
            self._pump()

    def _due(self, capacity: int, *, blocked: bool) -> bool:
        """Whether there is enough for a group, or it has waited long enough."""
        if self._retries.ready:
            return True
        if blocked:
            return False
        backlog = self._backlog
        fresh = backlog.fresh
        if not fresh and not (backlog.behind and self._refill()):
            self._since = None
            return False
        if len(fresh) >= capacity or backlog.behind or backlog.memory_bytes >= MAX_GROUP_BYTES:
            return True
        now = self._loop.time()
        if self._since is None:
            self._since = now
        # A timer may ring a rounding error early.
        wait = self._since + self._max_wait - now
        if wait < 0.0005:
            return True
        if self._timer is None:
            self._timer = self._loop.call_later(wait, self._waited)
        return False

    def _waited(self) -> None:
        self._timer = None
        self._pump()

    def _take_ready(self, forming: _Forming) -> None:
        ready = self._retries.ready
        while ready and forming.room(event_size(ready[0][1])):
            seq, event, row = ready.popleft()
            key = self._retries.key_of(event)
            if self._join(forming, seq, event, row, key, blocks=True):
                self._follow(forming, key)

    def _follow(self, forming: _Forming, key: str) -> None:
        """What is parked behind an event of this group goes with it."""
        while key in forming.keys and forming.room(0):
            item = self._retries.follow(key)
            if item is None:
                return
            seq, event, row = item
            self._join(forming, seq, event, row, key, blocks=False)

    def _take_fresh(self, forming: _Forming) -> None:
        backlog, retries = self._backlog, self._retries
        fresh = backlog.fresh
        self._since = None
        while fresh and forming.room(fresh[0][2]):
            seq, event, size = fresh[0]
            key = retries.key_of(event)
            joins = key in forming.keys and retries.order.parked(key) is None
            blocks = not joins and key != "" and retries.order.admit(key)
            if key and not joins and not blocks:
                if not retries.may_park(key, size):
                    break
                retries.park(seq, event, key)
            else:
                self._join(forming, seq, event, None, key, blocks=blocks)
            fresh.popleft()
            backlog.memory_bytes -= size
        if fresh:
            self._since = self._loop.time()

    def _join(
        self, forming: _Forming, seq: int, event: Event, row: Row | None, key: str, *, blocks: bool
    ) -> bool:
        """Make an event a member; False if no body can be made of it. `blocks`: it is its key's blocker."""
        try:
            item = self._maker.item(seq, event, self._format(seq, event))
        except Exception as error:
            self._unsendable(seq, event, row, key if blocks and key not in forming.keys else "", error)
            return False
        forming.add(seq, event, item, key, row)
        return True

    def _freeze(self, forming: _Forming) -> None:
        members = sorted(forming.members, key=lambda member: member[0])
        seqs = tuple([member[0] for member in members])
        taken = [row for *_, row in members if row is not None]
        row = Row(
            group_number(seqs),
            max((each.attempt for each in taken), default=0),
            min((each.first for each in taken if each.first), default=0),
            seqs,
            tuple([member[3] for member in members]),
            tuple([each.seq for each in taken]),
            sum([each.pinned for each in taken]),
            forming.size,
        )
        self._retries.freeze(row, taken)
        self._freezing[row.seq] = len(seqs)
        events = [member[1] for member in members]
        body = join([member[2] for member in members])
        self._retries.outbox.after(self._durable, row, events, body)

    def _durable(self, row: Row, events: list[Event], body: bytes) -> None:
        """A frozen group is stored and synced: it may go."""
        del self._freezing[row.seq]
        if not self._stopped:
            self.sendable.append((row, events, body))
            self._pump()

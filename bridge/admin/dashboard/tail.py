"""The live tail: events as they come, for whoever watches, whether an endpoint wants them or not.

* While nobody watches nothing listens. While somebody does, the broker's hooks are listened to as for an
  endpoint: one table of rules, in which each watcher stands for an endpoint (`bridge.broker.plain_feed`).
* A watcher gets at most `PER_S` events a second, and is told how many more there were: `dropped`. What
  exceeds that costs no more than its count.
* The last events of each watcher are kept, so that a reader that comes back within `GRACE_S` goes on behind
  the last one that it has seen (`Last-Event-ID`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import msgspec

from bridge.admin.dashboard.stream import message
from bridge.admin.dashboard.tail_row import row
from bridge.broker.client import Client
from bridge.broker.hooks import Hooks
from bridge.broker.plain_feed import PlainFeed
from bridge.events.event import Event, EventType
from bridge.events.rules import Rules
from bridge.journal.journal import Journal
from bridge.mqtt.packets import Publish

PER_S = 200
TICK_S = 0.1
"""How often what has come is sent."""
PER_TICK = int(PER_S * TICK_S)
KEEP_EVENTS = 1000
KEEP_BYTES = 4 << 20
"""What is kept for each watcher, sent or not."""
SEND_BYTES = 256 << 10
"""What one message to a reader has at most, but for the first event."""
GRACE_S = 10.0
MAX_DETACHED = 32
"""Watchers that are kept without a reader."""


class Wanted(NamedTuple):
    """What a watcher wants to see: types of the broker's events, a topic filter (None: all), and patterns of
    types of business events."""

    kinds: tuple[EventType, ...]
    topic: str | None
    patterns: tuple[str, ...]


class Watch:
    """One watcher: what is kept for it. `token` begins the ids of its events, `owner` is whose it is."""

    def __init__(self, number: int, owner: str, wanted: Wanted) -> None:
        self.number = number
        self.token = secrets.token_hex(8)
        self.owner = owner
        self.wanted = wanted
        self.rows: deque[tuple[int, bytes]] = deque()
        self.size = 0
        self.last = 0  # the number of the last event that was taken
        self.sent = 0  # of the last one that a reader was given
        self.room = PER_TICK
        self.dropped = 0
        self.reader: TailFeed | None = None
        self.gone_at = 0.0  # loop time, without a reader

    def take(self, event: Event) -> None:
        """An event has come."""
        if self.room <= 0:
            self.dropped += 1
            return
        self.room -= 1
        self.last += 1
        data = row(event)
        self.rows.append((self.last, data))
        self.size += len(data)
        while len(self.rows) > KEEP_EVENTS or self.size > KEEP_BYTES:
            number, old = self.rows.popleft()
            self.size -= len(old)
            if number > self.sent:
                self.dropped += 1

    def resume(self, seen: int) -> None:
        """A reader has come back that has seen the event of that number as the last one."""
        self.sent = min(max(seen, 0), self.last)
        first = self.rows[0][0] if self.rows else self.last + 1
        self.dropped += max(first - self.sent - 1, 0)

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return self.sent < self.last or self.dropped > 0

    def read(self) -> bytes:
        """What is to be sent next."""
        parts: list[bytes] = []
        size = 0
        start = len(self.rows) - (self.last - self.sent)
        for at in range(max(start, 0), len(self.rows)):
            number, data = self.rows[at]
            size += len(data)
            if parts and size > SEND_BYTES:
                break
            parts.append(message("event", data, f"{self.token}.{number}"))
            self.sent = number
        if self.dropped:
            parts.append(message("dropped", msgspec.json.encode({"count": self.dropped})))
            self.dropped = 0
        return b"".join(parts)


class TailHooks(PlainFeed):
    """The broker's hooks, for the watchers that `Rules` names as if they were endpoints."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        super().__init__(cast(Journal, _Sink(tail.take)), Rules())

    def on_published(self, client: Client, publish: Publish, ts: int, number: int) -> None:
        if self._tail.open:
            super().on_published(client, publish, ts, number)
        else:  # no watcher has room: no event is made
            self._tail.miss(self._rules.targets(EventType.MESSAGE_PUBLISH, publish.topic))


class _Sink:
    """What `PlainFeed` needs of a journal."""

    def __init__(self, append: Callable[[Event], Any]) -> None:
        self.append = append
        self.full: set[int] = set()
        self.overfull: set[int] = set()


class Tail:
    """All watchers. `listen` is called with the hooks to listen to, or None, and with what is to be shown
    business events, or None; whenever that changes. For the loop's thread only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listen: Callable[[Hooks | None, Callable[[Event], None] | None], None],
    ) -> None:
        self.open = 0  # watchers that have room
        self._loop = loop
        self._listen = listen
        self._watches: dict[int, Watch] = {}
        self._hooks = TailHooks(self)
        self._rules = Rules()
        self._numbers = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._watches)

    # -- events ----------------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """An event that the rules have matched."""
        for number in event.targets:
            watch = self._watches[number]
            watch.take(event)
            if not watch.room:
                self._count()

    def miss(self, targets: Sequence[int]) -> None:
        """An event for which none of these has room."""
        for number in targets:
            self._watches[number].dropped += 1

    def business(self, event: Event) -> None:
        """A business event has come; its targets are those of endpoints."""
        targets = self._rules.targets(EventType.DOMAIN, event.topic)
        for number in targets:
            self._watches[number].take(event)

    def _count(self) -> None:
        self.open = sum([watch.room > 0 for watch in self._watches.values()])

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        for watch in list(self._watches.values()):
            watch.room = PER_TICK
            if watch.reader is not None:
                if watch.waiting:
                    watch.reader.wake()
            elif now - watch.gone_at > GRACE_S:
                self._remove(watch)
        self._count()
        self._arm()

    def _arm(self) -> None:
        if self._timer is None and self._watches:
            self._timer = self._loop.call_later(TICK_S, self._tick)

    # -- watchers --------------------------------------------------------------------------------------

    def watch(self, owner: str, wanted: Wanted, seen: str = "") -> TailFeed:
        """A reader of what is wanted; `seen` is the id of the last event that it has seen, if it comes
        back."""
        token, _, number = seen.partition(".")
        found = next((one for one in self._watches.values() if one.token == token), None)
        if found is not None and found.owner == owner and found.wanted == wanted and number.isdecimal():
            if found.reader is not None:
                found.reader.ended = True
                found.reader.wake()
            found.resume(int(number[:18]))
            made = TailFeed(self, found)
        else:
            found = self._add(owner, wanted)
            made = TailFeed(self, found, lost=bool(seen))
        found.reader = made
        return made

    def _add(self, owner: str, wanted: Wanted) -> Watch:
        detached = [one for one in self._watches.values() if one.reader is None]
        for one in detached[: max(len(detached) - MAX_DETACHED + 1, 0)]:
            self._remove(one, tell=False)
        self._numbers += 1
        watch = self._watches[self._numbers] = Watch(self._numbers, owner, wanted)
        self._changed()
        return watch

    def leave(self, watch: Watch, reader: TailFeed) -> None:
        """Its reader has gone, and may come back."""
        if watch.reader is reader:
            watch.reader = None
            watch.gone_at = self._loop.time()

    def _remove(self, watch: Watch, *, tell: bool = True) -> None:
        del self._watches[watch.number]
        if tell:
            self._changed()

    def _changed(self) -> None:
        """Listen to what is wanted by now."""
        rules: list[tuple[int, EventType, str | None]] = []
        types: list[tuple[int, str]] = []
        for watch in self._watches.values():
            wanted = watch.wanted
            rules += [(watch.number, kind, wanted.topic) for kind in wanted.kinds]
            types += [(watch.number, pattern) for pattern in wanted.patterns]
        self._rules = Rules(rules, types=types)
        self._hooks.set_rules(self._rules)
        self._count()
        self._arm()
        self._listen(self._hooks if rules else None, self.business if types else None)

    def close(self) -> None:
        """No more."""
        if self._timer is not None:
            self._timer.cancel()
        for watch in self._watches.values():
            if watch.reader is not None:
                watch.reader.ended = True
                watch.reader.wake()


class TailFeed:
    """One reader (`Feed`)."""

    def __init__(self, tail: Tail, watch: Watch, *, lost: bool = False) -> None:
        self.ended = False
        self._tail = tail
        self._watch = watch
        self._there = asyncio.Event()
        # Nobody knows how much a reader has missed whose place is kept no more.
        self._first = message("dropped", b'{"count":null}') if lost else b""
        if self._first or watch.waiting:
            self._there.set()

    def wake(self) -> None:
        """There is something, or it is over."""
        self._there.set()

    async def take(self, timeout: float) -> bytes:  # noqa: ASYNC109
        """See `Feed`."""
        if not self._there.is_set():
            try:
                async with asyncio.timeout(timeout):
                    await self._there.wait()
            except TimeoutError:
                return b""
        if self.ended:
            return b""
        first, self._first = self._first, b""
        data = first + self._watch.read()
        if not self._watch.waiting:
            self._there.clear()
        return data

    def close(self) -> None:
        """See `Feed`."""
        self.ended = True
        self._there.set()
        self._tail.leave(self._watch, self)

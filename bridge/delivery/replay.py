"""Settled events and dead letters sent again: read from the log in slices, handed to the lane as it has room.

An event keeps its `webhook-id` and counts its attempts anew. What is handed over has a row and survives a
restart. Whoever sets `on_position` can go on after one with what is not: what it stores then and there is
committed together with those rows.

* At most `OUTSTANDING` events of one replay wait for their outcome, so that fresh events are not held up; the
  lane's own turns see to it that both are sent.
* The log may be trimmed while a replay waits for room; then the events that are gone are counted as such.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from bridge.delivery.lane import Lane
from bridge.events.event import Event
from bridge.journal.batch import INDEX_BITS
from bridge.journal.journal import Journal
from bridge.journal.retention import Retention
from bridge.journal.store import DeadLetter, Store

OUTSTANDING = 500
"""Events of one replay that wait for their outcome at most."""
RESERVE = 1000
"""Rows of the lane that a replay leaves to what fails by itself."""
SLICE = 100
"""Events that are handed over, or letters that are looked at, in one turn of the loop."""
READ_BYTES = 128 << 10
PAUSE_S = 0.02
TELL_S = 0.25


class Progress(msgspec.Struct):
    """How far it has come. `done` of `total` is bytes of the log, or dead letters."""

    done: int = 0
    total: int = 0
    taken: int = 0  # events handed to the lane
    under_way: int = 0  # that were being sent anyway
    gone: int = 0  # that the log has no more
    waiting: bool = False  # for room at the lane


class Extent(NamedTuple):
    """What is left of the log to be sent again: the sequences from `position` to `end` (exclusive). `done` of
    it has been before, in bytes. Below the log's beginning there are dead letters alone."""

    position: int
    end: int
    done: int = 0


class NotServed(Exception):
    """The lane has ended, and no other one has come in its place."""


class Replay:
    """One replay of one lane. Iterate over `log` or `dead` to run it: it yields now and then, and at its end;
    to stop it, stop iterating. Before it the caller commits what is open, so that the store knows all dead
    letters. `current` gives the lane that has come in the place of the one with an id, by a reload, or None.
    Raises StoreError and NotServed."""

    def __init__(
        self, lane: Lane, journal: Journal, current: Callable[[int], Lane | None] | None = None
    ) -> None:
        self.progress = Progress()
        self._first = lane
        self._current = current
        self._journal = journal
        self._store: Store = journal.store
        self._loop = asyncio.get_running_loop()
        self.on_position: Callable[[int], None] | None = None
        """Called with a sequence below which all of the log has been handed over."""
        self._outstanding: set[int] = set()
        self._told = self._loop.time()

    @property
    def _lane(self) -> Lane:
        if self._current is None:
            return self._first
        lane = self._current(self._first.id)
        if lane is None:
            raise NotServed(f"{self._first.name} is no longer served")
        return lane

    def extent(self, retention: Retention, since: int, until: int) -> Extent:
        """What `log` would go through."""
        behind = retention.span(since, until)[1]
        return Extent(0, self._store.head if behind is None else behind << INDEX_BITS)

    async def log(
        self,
        retention: Retention,
        since: int,
        until: int,
        wanted: Callable[[Event], bool],
        extent: Extent | None = None,
    ) -> AsyncIterator[Progress]:
        """The lane's events from `since` to `until` (Unix ms, exclusive) that are `wanted`, dead letters
        included, as far as the log and the dead letters reach. `extent`: what is left of that."""
        store, lane_id, progress = self._store, self._lane.id, self.progress
        position, end, before = extent or self.extent(retention, since, until)
        # Those of before a restart count too.
        self._outstanding.update(seq for seq in self._lane.unattempted() if seq < position)
        log_begins = retention.span(since, until)[0] << INDEX_BITS
        start = retention.bytes_before(max(position, log_begins) >> INDEX_BITS)
        progress.done = before
        progress.total = before + max(retention.bytes_before(end >> INDEX_BITS) - start, 0)

        def fits(event: Event) -> bool:
            return since <= event.ts < until and wanted(event)

        # Dead letters lie pinned where the log has been trimmed.
        for letters in self._letters(position, min(log_begins, end)):
            events = store.fetch([letter.seq for letter in letters])
            chosen = sorted(seq for seq, event in events.items() if fits(event))
            async for told in self._hand_over(chosen, set(events)):
                yield told
        position = max(position, log_begins)
        while position < end:
            items, after = store.read(lane_id, position, READ_BYTES)
            after = max(min(after, end), position)
            found = {seq: event for seq, event in items if seq < after}
            dead: set[int] = set()
            for letters in self._letters(position, after):
                dead.update(letter.seq for letter in letters)
                found.update(store.fetch([letter.seq for letter in letters if letter.seq not in found]))
                await asyncio.sleep(0)
            chosen = sorted(seq for seq, event in found.items() if fits(event))
            async for told in self._hand_over(chosen, dead, found):
                yield told
            if after == position:
                break
            position = after
            progress.done = before + max(retention.bytes_before(position >> INDEX_BITS) - start, 0)
            self._reached(position)
            if self._due():
                yield progress
            await asyncio.sleep(0)
        progress.done = progress.total
        yield progress

    async def dead(self, seqs: Iterable[int] | None) -> AsyncIterator[Progress]:
        """These dead letters, or all (None)."""
        if seqs is not None:
            chosen = sorted(seqs)
            parts: Iterable[Sequence[int]] = (chosen[i : i + SLICE] for i in range(0, len(chosen), SLICE))
            total = len(chosen)
        else:
            parts = ([one.seq for one in part] for part in self._letters(0, self._store.head))
            total = self._lane.dead
        async for told in self.parts(parts, total):
            yield told

    async def parts(
        self, parts: Iterable[Sequence[int]], total: int, *, dead: bool = True
    ) -> AsyncIterator[Progress]:
        """Events a slice at a time, `total` in all: dead letters, or whether they are one is looked at."""
        progress = self.progress
        progress.total = total
        store, lane = self._store, self._lane.id
        for part in parts:
            if part:
                letters = part if dead else [seq for seq in part if letter(store, lane, seq) is not None]
                async for told in self._hand_over(part, set(letters)):
                    yield told
            progress.done += len(part)
            await asyncio.sleep(0)
        progress.done = progress.total
        yield progress

    def _reached(self, position: int) -> None:
        if self.on_position is not None:
            _ = self._lane  # raises NotServed
            self.on_position(position)

    def _letters(self, first: int, end: int) -> Iterator[list[DeadLetter]]:
        return letters(self._store, self._lane.id, first, end)

    async def _hand_over(
        self, seqs: Sequence[int], dead: set[int], events: dict[int, Event] | None = None
    ) -> AsyncIterator[Progress]:
        """Give the lane these events as it has room. `dead`: those that are dead letters. `events`: where
        they are in memory already."""
        progress = self.progress
        index = 0
        while index < len(seqs):
            room = self._room()
            if room <= 0:
                progress.waiting = True
                events = None  # by the time there is room the log may have been trimmed
                if self._due():
                    yield progress
                await asyncio.sleep(PAUSE_S)
                continue
            progress.waiting = False
            part = seqs[index : index + min(room, SLICE)]
            index += len(part)
            found = self._store.fetch(part) if events is None else events
            progress.gone += sum(1 for seq in part if seq not in found)
            there = [(seq, found[seq]) for seq in part if seq in found]
            lane = self._lane
            taken = lane.replay(there)
            lane.dead -= sum(1 for seq in taken if seq in dead)
            self._outstanding.update(taken)
            progress.taken += len(taken)
            progress.under_way += len(there) - len(taken)
            self._reached(part[-1] + 1)
            if self._due():
                yield progress
            await asyncio.sleep(0)

    def _room(self) -> int:
        lane = self._lane
        if self._journal.stalled:
            return 0
        if len(self._outstanding) >= OUTSTANDING - SLICE:
            self._outstanding &= lane.under_way(self._outstanding)
        return min(OUTSTANDING - len(self._outstanding), lane.room - RESERVE)

    def _due(self) -> bool:
        now = self._loop.time()
        if now < self._told + TELL_S:
            return False
        self._told = now
        return True


def letter(store: Store, lane: int, seq: int) -> DeadLetter | None:
    """The dead letter of a lane that an event is; None if it is none. Raises StoreError."""
    found = store.dead(lane, seq - 1, 1)
    return found[0] if found and found[0].seq == seq else None


def letters(store: Store, lane: int, first: int, end: int) -> Iterator[list[DeadLetter]]:
    """A lane's dead letters from the sequence `first` to `end` (exclusive), a slice at a time. Raises
    StoreError."""
    after = first - 1
    while True:
        part = store.dead(lane, after, SLICE)
        inside = [letter for letter in part if letter.seq < end]
        if inside:
            yield inside
        if len(inside) < SLICE:
            return
        after = inside[-1].seq

"""Which lanes have something to tell the journal, or something under way: no other lane is ever asked.

A cursor that belongs to a change goes into the commit of that change. One that only tells of deliveries may
wait where many lanes make progress at once, for at most `LATE_S`: a thousand busy webhooks would write a row
each for nearly every delivery.

A lane tells when it has progress to commit and when it becomes active, and leaves by itself once it has been
idle for a second. So a thousand webhooks that are quiet cost a commit nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from bridge.delivery.lane import Lane
from bridge.journal.batch import Change

FEW = 64
"""So many lanes with progress are all asked at every commit."""
LATE_S = 0.25


class Progress:
    """Gathers the lanes' progress for the journal; `touch` asks it for a commit soon. `now` tells seconds."""

    def __init__(self, touch: Callable[[], None], now: Callable[[], float] = time.monotonic) -> None:
        self.active: dict[int, Lane] = {}  # by id: lanes that have something under way
        self._touch = touch
        self._now = now
        self._dirty: dict[int, tuple[Lane, float]] = {}  # by id, with when it began, ascending
        self._pressing: list[Lane] = []  # those of them that the next commit has to take

    def watch(self, lane: Lane) -> None:
        """Look after a lane; before its start."""
        lane.on_dirty = partial(self._dirtied, lane)
        lane.on_pressing = partial(self._pressing_too, lane)
        lane.on_active = partial(self._turned, lane)
        self.active[lane.id] = lane  # until it has started, and shown that it is idle
        if lane.dirty:
            self._dirtied(lane)
        if lane.pressing:
            self._pressing_too(lane)

    def forget(self, lane: Lane) -> None:
        """Look after a lane no more: it has stopped, and its progress is committed."""
        lane.on_dirty = lane.on_pressing = lane.on_active = None
        # What it would tell now is behind what the lane in its place tells.
        self._pressing = [one for one in self._pressing if one is not lane]
        if lane.id in self._dirty and self._dirty[lane.id][0] is lane:
            del self._dirty[lane.id]
        if self.active.get(lane.id) is lane:
            del self.active[lane.id]

    def _dirtied(self, lane: Lane) -> None:
        self._dirty[lane.id] = (lane, self._now())
        self._touch()

    def _pressing_too(self, lane: Lane) -> None:
        self._pressing.append(lane)

    def _turned(self, lane: Lane, active: bool) -> None:
        if active:
            self.active[lane.id] = lane
        else:
            self.active.pop(lane.id, None)

    def cursors(self) -> Iterable[Change]:
        """The progress made since the last commit, for the next one; of many lanes what presses or is old."""
        dirty = self._dirty
        if not dirty:
            return ()
        pressing, self._pressing = self._pressing, []
        if len(dirty) <= FEW:
            self._dirty = {}
            return [lane.cursor() for lane, _ in dirty.values()]
        taken = {lane.id: lane for lane in pressing}
        since = self._now() - LATE_S
        for lane, began in dirty.values():
            if began > since:
                break
            taken[lane.id] = lane
        for number in taken:
            dirty.pop(number, None)
        if dirty:
            self._touch()
        return [lane.cursor() for lane in taken.values()]

    def low(self) -> int | None:
        """The lowest batch that one of the lanes still needs in the log; None if there is none."""
        return min(
            [low for lane in self.active.values() if (low := lane.low_batch()) is not None], default=None
        )

    def oldest_ts(self) -> int | None:
        """Unix ms of the oldest event in flight or waiting in memory for its first attempt."""
        return min([ts for lane in self.active.values() if (ts := lane.oldest_ts) is not None], default=None)

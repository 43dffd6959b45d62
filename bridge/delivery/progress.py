"""Which lanes have something to tell the journal, or something under way: no other lane is ever asked.

A lane tells when it has progress to commit and when it becomes active, and leaves by itself once it has been
idle for a second. So a thousand webhooks that are quiet cost a commit nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from bridge.delivery.lane import Lane
from bridge.journal.batch import Change


class Progress:
    """Gathers the lanes' progress for the journal; `touch` asks it for a commit soon."""

    def __init__(self, touch: Callable[[], None]) -> None:
        self.active: dict[int, Lane] = {}  # by id: lanes that have something under way
        self._touch = touch
        self._dirty: list[Lane] = []

    def watch(self, lane: Lane) -> None:
        """Look after a lane; before its start."""
        lane.on_dirty = partial(self._dirtied, lane)
        lane.on_active = partial(self._turned, lane)
        self.active[lane.id] = lane  # until it has started, and shown that it is idle
        if lane.dirty:
            self._dirtied(lane)

    def forget(self, lane: Lane) -> None:
        """Look after a lane no more: it has stopped, and its progress is committed."""
        lane.on_dirty = lane.on_active = None
        # What it would tell now is behind what the lane in its place tells.
        self._dirty = [one for one in self._dirty if one is not lane]
        if self.active.get(lane.id) is lane:
            del self.active[lane.id]

    def _dirtied(self, lane: Lane) -> None:
        self._dirty.append(lane)
        self._touch()

    def _turned(self, lane: Lane, active: bool) -> None:
        if active:
            self.active[lane.id] = lane
        else:
            self.active.pop(lane.id, None)

    def cursors(self) -> Iterable[Change]:
        """The progress made since the last commit, for the next one."""
        if not self._dirty:
            return ()
        dirty, self._dirty = self._dirty, []
        return [lane.cursor() for lane in dirty]

    def low(self) -> int | None:
        """The lowest batch that one of the lanes still needs in the log; None if there is none."""
        return min(
            [low for lane in self.active.values() if (low := lane.low_batch()) is not None], default=None
        )

    def oldest_ts(self) -> int | None:
        """Unix ms of the oldest event in flight or waiting in memory for its first attempt."""
        return min([ts for lane in self.active.values() if (ts := lane.oldest_ts) is not None], default=None)

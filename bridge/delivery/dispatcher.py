"""Committed batches go to the lanes that their events are for."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.delivery.lane import Lane
from bridge.delivery.parked import Parked
from bridge.events.event import Event
from bridge.journal.batch import INDEX_BITS, Batch


class Dispatcher:
    """Gives every lane its events of a batch, with one pass over the batch, and lets it send."""

    def __init__(self, lanes: Iterable[Lane] = ()) -> None:
        self._lanes: dict[int, Lane | Parked] = {}
        self._only: Lane | None = None
        self.set(lanes)

    def set(self, lanes: Iterable[Lane], parked: Iterable[Parked] = ()) -> None:
        """Serve these lanes from the next batch on; `parked` still have events in batches to come."""
        self._lanes = {one.id: one for one in parked}
        self._lanes.update({lane.id: lane for lane in lanes})
        self._choose()

    def add(self, lane: Lane) -> None:
        """Serve one more from the next batch on, or this one in place of the one with its id."""
        self._lanes[lane.id] = lane
        self._choose()

    def remove(self, number: int) -> None:
        """Serve the lane of that id no more."""
        self._lanes.pop(number, None)
        self._choose()

    def _choose(self) -> None:
        only = next(iter(self._lanes.values()), None) if len(self._lanes) == 1 else None
        self._only = only if isinstance(only, Lane) else None

    def committed(self, batch: Batch) -> None:
        """A batch is committed and readable; batches come in ascending order of their numbers."""
        events = batch.events
        if not events:
            return
        first = batch.number << INDEX_BITS
        only = self._only
        if only is not None:
            only.push(first, events)
            only.pump()
            return
        shares: dict[int, list[tuple[int, Event]]] = {}
        for seq, event in enumerate(events, first):
            for target in event.targets:
                share = shares.get(target)
                if share is None:
                    shares[target] = [(seq, event)]
                else:
                    share.append((seq, event))
        end = first + len(events)
        for target, share in shares.items():
            lane = self._lanes.get(target)
            if lane is not None:
                lane.take(share, end)
                lane.pump()

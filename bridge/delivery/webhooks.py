"""The endpoints: which of them are served by a lane, which only kept, and how that changes while they run.

* A new endpoint starts at the log's tail, or where it was when it was last served.
* A changed one stops, and goes on with its new settings from its cursor; meanwhile events wait in the log.
  What waits for a retry is due at once.
* A removed one gets no new events and is sent what waits for it; then it is parked.
* A disabled one, also one that is being removed, is parked at once: what waits for it is kept within its
  bounds.

Those of the file come and go together (`check`, `apply`). The managed ones, which the store has, come and go
one by one: `add`, `change`, `remove`, at a cost that does not grow with the number of all. One of them that
cannot work is parked with the reason; one that is removed leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from bridge.config.changes import Changes
from bridge.config.settings import AnyEndpoint, Settings
from bridge.delivery.connect import Network
from bridge.delivery.dispatcher import Dispatcher
from bridge.delivery.lane import Lane
from bridge.delivery.managed import Broken, Managed
from bridge.delivery.served import STALLED_S
from bridge.journal.journal import Journal
from bridge.journal.store import LaneState, StoreError

__all__ = ["Broken", "Webhooks"]

log = logging.getLogger(__name__)

LEAVING_S = 0.5
"""How often it is looked whether a removed endpoint has been sent all."""
SLICE = 10
"""Endpoints that are checked in one turn of the loop."""


def _nobody(name: str) -> bool:
    return False


class Webhooks(Managed):
    """All endpoints of one process. Raises EndpointError for one of the file that cannot work as configured.

    `rules` say who wants what; they are made anew by `apply`. For the loop's thread only.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        network: Network,
        loop: asyncio.AbstractEventLoop,
        *,
        managed: Iterable[AnyEndpoint | Broken] = (),
        orphan: Callable[[str], bool] = _nobody,
    ) -> None:
        """`orphan` says of a lane's name whether it is that of a managed endpoint that is no more."""
        super().__init__(settings, journal, network, loop)
        self._endpoints: tuple[AnyEndpoint, ...] = settings.receivers  # also those that are not enabled
        self._by_name = {endpoint.name: endpoint for endpoint in self._endpoints}
        self._changing = asyncio.Lock()
        self._looker: asyncio.TimerHandle | None = None  # while an endpoint is leaving
        self._task: asyncio.Task[None] | None = None
        for endpoint in self._enabled():
            self._take_up(endpoint)
        for one in managed:
            self._take_up_managed(one)
        self.rules = self._make_rules()
        served = {lane.id for lane in self.lanes}
        for state in self._store.lanes():
            if state.id in served:
                continue
            if orphan(state.name):
                self._gone.append(state.id)
            else:
                self._park(state)
        self.dispatcher = Dispatcher(self.lanes)
        journal.on_commit.append(self.dispatcher.committed)
        journal.cursors = self.progress.cursors

    @property
    def all_of_file(self) -> tuple[AnyEndpoint, ...]:
        """The endpoints of the file, also those that are not enabled."""
        return self._endpoints

    def in_file(self, name: str) -> AnyEndpoint | None:
        """The endpoint of the file of that name."""
        return self._by_name.get(name)

    def _enabled(self) -> list[AnyEndpoint]:
        return [endpoint for endpoint in self._endpoints if endpoint.enable]

    def _known(self, name: str) -> tuple[AnyEndpoint | None, str]:
        known = self._managed.get(name)
        return (self._by_name.get(name) if known is None else known), self._broken.get(name, "")

    async def stop(self) -> None:
        """Send nothing new, and let requests in flight end."""
        if self._looker is not None:
            self._looker.cancel()
        await super().stop()

    # -- changing --------------------------------------------------------------------------------------

    async def check(self, changes: Changes) -> None:
        """Whether the endpoints that come and change can work. Raises EndpointError and EgressError, and
        StoreError where the store takes nothing: endpoints that change would wait for it.
        """
        for number, endpoint in enumerate((*changes.added, *changes.changed)):
            if not number % SLICE:
                await asyncio.sleep(0)  # others have their turn
            state = LaneState(0, endpoint.name, self._store.head, [])
            self._lane(endpoint, state)
            if endpoint.where is not None:
                self._compile(endpoint)
        for endpoint in changes.added:
            self._store.lane(endpoint.name)  # made now, if new
        self._journal.flush()
        if not self._journal.lanes_stored:
            raise StoreError("the store refuses to write at present")

    async def apply(self, changes: Changes, settings: Settings) -> None:
        """Take up settings that `check` has let pass; `rules` are the new ones afterwards.

        Events that come meanwhile go by the rules before. Waits while the store refuses even the lanes'
        progress.
        """
        async with self._changing:
            await self._apply(changes, settings)

    async def _apply(self, changes: Changes, settings: Settings) -> None:
        before = {lane.name: lane for lane in self.lanes}
        changed = [before[endpoint.name] for endpoint in changes.changed]
        disabled = [before[endpoint.name] for endpoint in changes.disabled]
        # A removed one whose block is back, but disabled, is sent nothing more either.
        unwanted = {endpoint.name for endpoint in settings.receivers if not endpoint.enable}
        disabled += [lane for lane in self._leaving.values() if lane.name in unwanted]
        ending = [*changed, *disabled]
        # A removed endpoint that comes back before it was sent all.
        back = [lane for lane in self._leaving.values() if lane.name in {one.name for one in changes.added}]
        ending += back
        await self._stop(ending)
        while not self._stopped:
            self._journal.flush()  # the cursors, from which they go on
            # On a full disk they are stored while new events are not, and it is the new lanes that make room.
            if self._journal.lanes_stored:
                break
            await asyncio.sleep(STALLED_S)
        if self._stopped:
            return
        # Nothing from here on lets another part of the process run in between.
        self._endpoints = settings.receivers
        self._by_name = {endpoint.name: endpoint for endpoint in self._endpoints}
        gone = set(map(id, ending))
        managed = [lane for lane in self.lanes if lane.name in self._managed]
        kept = {
            lane.name: lane for lane in self.lanes if id(lane) not in gone and lane.name not in self._managed
        }
        for lane in ending:
            self._forget(lane)
        names = {endpoint.name for endpoint in self._enabled()}
        self.parked = [parked for parked in self.parked if parked.name not in names]
        fresh: list[Lane] = []
        lanes: list[Lane] = []
        for endpoint in self._enabled():
            if endpoint.name in kept:
                lane = kept.pop(endpoint.name)
            else:
                lane = self._make(endpoint, self._store.lane(endpoint.name))
                if endpoint.name in before:
                    lane.go_on_counting(before[endpoint.name])
                fresh.append(lane)
            lanes.append(lane)
        for lane in kept.values():
            lane.leaving = True
            self._leaving[lane.id] = lane
        self.lanes = [*lanes, *self._leaving.values(), *managed]
        self._park_these(disabled)
        self.rules = self._make_rules()
        self.dispatcher.set(self.lanes, self._just_parked)
        for lane in fresh:
            lane.start()
            lane.hurry()
        self._look_again()

    def _look_who_left(self) -> None:
        """Park the removed endpoints that have been sent all, and those that can be sent nothing."""
        self._looker = None
        done = [
            lane for lane in self._leaving.values() if lane.health.off or not (lane.in_flight or lane.queued)
        ]
        if done and not self._changing.locked() and not self._journal.stalled:
            self._task = self._loop.create_task(self._leave(done))
        else:
            self._look_again()

    def _look_again(self) -> None:
        if self._leaving and self._looker is None and not self._stopped:
            self._looker = self._loop.call_later(LEAVING_S, self._look_who_left)

    async def _leave(self, done: Sequence[Lane]) -> None:
        async with self._changing:
            gone = [lane for lane in done if lane.id in self._leaving]
            await self._stop(gone)
            self._journal.flush()
            if self._stopped:
                return
            if self._journal.stalled:
                gone = []  # the next look parks them
            for lane in gone:
                self.lanes.remove(lane)
                self._forget(lane)
                self._park(self._store.lane(lane.name))
                log.info("%s: removed, and no longer served", lane.endpoint.title)
            self.dispatcher.set(self.lanes, self._just_parked)
        self._look_again()

"""Managed endpoints: those that the store has, which come, change and go one by one while the rest runs.

The cost of one does not grow with the number of all. One that cannot work is parked with the reason and stops
nobody's start; one that is removed leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from bridge.config.settings import AnyEndpoint, MqttPublisher, Settings
from bridge.delivery.connect import Network
from bridge.delivery.errors import EndpointError
from bridge.delivery.lane import Lane
from bridge.delivery.mqtt.place import client_id
from bridge.delivery.parked import Parked
from bridge.delivery.served import STALLED_S, Served, Wants
from bridge.journal.batch import Settle
from bridge.journal.journal import Journal
from bridge.journal.store import LaneState

log = logging.getLogger(__name__)

DISCARD_ROWS = 200
"""Dead letters of a removed endpoint that are deleted in one turn of the loop."""
DISCARD_PAUSE_S = 0.005
"""Between two such turns, so that no commit has to take thousands."""


class Broken(NamedTuple):
    """A managed endpoint whose settings do not work any more, and why."""

    name: str
    reason: str


class Managed(Served):
    """The lanes of one process, and those among them that come and go one by one.

    `on_rules` is called where one of them has changed the rules.
    """

    def __init__(
        self, settings: Settings, journal: Journal, network: Network, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(settings, journal, network, loop)
        self.on_rules: Callable[[], None] | None = None
        self._managed: dict[str, AnyEndpoint] = {}  # by name; also those that are not enabled or cannot work
        self._broken: dict[str, str] = {}  # by name: why a managed one cannot work
        self._gone: list[int] = []  # lanes of managed ones that were removed, with rows that are left
        self._discarding: asyncio.Task[None] | None = None

    def _take_up_managed(self, one: AnyEndpoint | Broken) -> None:
        """The same for a managed one, which stops nobody's start."""
        if isinstance(one, Broken):
            self._broken[one.name] = one.reason
            self._store.lane(one.name)  # so that it is parked, and shown
            return
        self._managed[one.name] = one
        if not one.enable:
            self._store.lane(one.name)
            return
        try:
            if one.where is not None:
                self._compile(one)
            self._take_up(one)
        except EndpointError as error:
            self._break(one, error)

    def _break(self, endpoint: AnyEndpoint, error: EndpointError) -> None:
        self._broken[endpoint.name] = reason = f"{error.key}: {error.cause}"
        log.error("%s: it cannot work, nothing is sent: %s", endpoint.title, reason)

    def broken(self, name: str) -> str:
        """Why a managed endpoint cannot work; empty if it can."""
        return self._broken.get(name, "")

    def try_out(self, endpoint: AnyEndpoint) -> None:
        """Whether an endpoint can work. Raises EndpointError."""
        self._lane(endpoint, LaneState(0, endpoint.name, self._store.head, []))
        if endpoint.where is not None:
            self._compile(endpoint)

    def add(self, endpoint: AnyEndpoint) -> None:
        """Serve a new managed endpoint from now on. Raises EndpointError and StoreError; then nothing has
        changed."""
        state = self._store.lane(endpoint.name)
        try:
            lane = self._make(endpoint, state) if endpoint.enable else None
            wants = self._wants(endpoint)
        except EndpointError:
            self._store.drop_lane(state.id)
            raise
        self._managed[endpoint.name] = endpoint
        if lane is None:
            self._park(state)
            return
        self.lanes.append(lane)
        self._begin(lane, wants)

    def _begin(self, lane: Lane, wants: Wants) -> None:
        """Serve a lane that stands in `lanes`."""
        self.waiting.setdefault(lane.id, 0)
        self.rules.add(
            lane.id, wants.filters, wants.types, detailed=wants.detailed, condition=wants.condition
        )
        self.dispatcher.add(lane)
        lane.start()
        lane.hurry()
        self._tell_rules()

    def _tell_rules(self) -> None:
        if self.on_rules is not None:
            self.on_rules()

    async def change(self, endpoint: AnyEndpoint) -> None:
        """Take up new settings of a managed endpoint, which `try_out` has let pass. The caller sees to it
        that there is one change of it at a time.

        Its requests in flight may end first. Waits while the store refuses even the lanes' progress.
        """
        before = self.find(endpoint.name)
        if isinstance(before, Lane) and not await self._halt(before):
            return
        # Nothing from here on lets another part of the process run in between.
        self._managed[endpoint.name] = endpoint
        self._broken.pop(endpoint.name, None)
        if isinstance(before, Lane):
            self.rules.remove(before.id)
            self._forget(before)
        else:
            self._journal.flush()
            self.parked = [parked for parked in self.parked if parked.name != endpoint.name]
        if not endpoint.enable:
            self._put_aside(before, endpoint)
            if isinstance(before, Lane):
                self._drop(before.endpoint)
            return
        try:
            lane = self._make(endpoint, self._store.lane(endpoint.name))
            wants = self._wants(endpoint)
        except EndpointError as error:  # what it needs has gone since it was tried
            self._break(endpoint, error)
            self._put_aside(before, endpoint)
            return
        if isinstance(before, Lane):
            lane.go_on_counting(before)
            self.lanes[self.lanes.index(before)] = lane
            self._drop(before.endpoint)
        else:
            self.lanes.append(lane)
        self._begin(lane, wants)

    def _put_aside(self, before: Lane | Parked | None, endpoint: AnyEndpoint) -> None:
        """Serve it no more: what waits for it is kept."""
        if isinstance(before, Lane):
            self.lanes.remove(before)
            self._park_these([before])
        else:
            self._park(self._store.lane(endpoint.name))
        self.dispatcher.set(self.lanes, self._just_parked)
        self._tell_rules()

    async def _halt(self, lane: Lane) -> bool:
        """Stop a lane, and have its cursor stored; False where everything stops."""
        await self._stop([lane])
        while not self._stopped:
            self._journal.flush()
            if self._journal.lanes_stored:
                return True
            await asyncio.sleep(STALLED_S)
        return False

    async def remove(self, name: str) -> None:
        """Serve a managed endpoint no more, and forget what waits for it and its dead letters."""
        lane = self.find(name)
        if isinstance(lane, Lane):
            self.rules.remove(lane.id)
            self._tell_rules()
            await self._stop([lane])
            if lane in self.lanes:
                self.lanes.remove(lane)
            self._forget(lane)
            self._drop(lane.endpoint)
        elif lane is not None:
            self.parked = [parked for parked in self.parked if parked.name != name]
        self._managed.pop(name, None)
        self._broken.pop(name, None)
        self._files.pop(name, None)
        if lane is not None:
            self.dispatcher.remove(lane.id)
            self.dead_bounds.forget(lane.id)
            self.waiting.pop(lane.id, None)
            self._gone.append(lane.id)
            self._discard_soon()

    def _drop(self, endpoint: AnyEndpoint) -> None:
        """Remember a compiled `where`, and a publisher's client id, no longer that nobody has."""
        text = endpoint.where
        if text is not None and all(lane.endpoint.where != text for lane in self.lanes):
            self._conditions.pop(text, None)
        if isinstance(endpoint, MqttPublisher):
            left = {
                client_id(lane.endpoint, self._store.id)
                for lane in self.lanes
                if isinstance(lane.endpoint, MqttPublisher)
            }
            if client_id(endpoint, self._store.id) not in left:
                self._published.discard(client_id(endpoint, self._store.id))

    def start(self) -> None:
        """Begin to deliver. Raises StoreError."""
        super().start()
        self._discard_soon()

    async def stop(self) -> None:
        """Send nothing new, and let requests in flight end."""
        if self._discarding is not None:
            self._discarding.cancel()
        await super().stop()

    def _discard_soon(self) -> None:
        if self._gone and self._discarding is None and not self._stopped:
            self._discarding = self._loop.create_task(self._discard())
            self._discarding.add_done_callback(self._discarded)

    def _discarded(self, task: asyncio.Task[None]) -> None:
        self._discarding = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("what a removed endpoint leaves is deleted at the next start: %s", error)

    async def _discard(self) -> None:
        """Delete what removed endpoints have left, slice by slice: there may be millions of rows."""
        while self._gone:
            number = self._gone[0]
            after = -1
            while letters := self._store.dead(number, after, DISCARD_ROWS):
                after = letters[-1].seq
                for letter in letters:
                    self._journal.change(Settle(number, letter.seq))
                while self._journal.stalled:  # noqa: ASYNC110
                    await asyncio.sleep(STALLED_S)
                await asyncio.sleep(DISCARD_PAUSE_S)
            self._journal.flush()
            self._store.drop_lane(number)
            self._gone.pop(0)
            await asyncio.sleep(0)

"""The endpoints: which of them are served by a lane, which only kept, and how that changes while they run.

* A new endpoint starts at the log's tail, or where it was when it was last served.
* A changed one stops, and goes on with its new settings from its cursor; meanwhile events wait in the log.
  What waits for a retry is due at once.
* A removed one gets no new events and is sent what waits for it; then it is parked.
* A disabled one, also one that is being removed, is parked at once: what waits for it is kept within its
  bounds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from functools import partial

from bridge.config.changes import Changes, files_digest
from bridge.config.settings import AnyEndpoint, BacklogBound, DeadBound, MqttPublisher, Settings
from bridge.delivery.attempts import AttemptRecorder
from bridge.delivery.connect import Network
from bridge.delivery.dead_bound import DeadBounds
from bridge.delivery.dispatcher import Dispatcher
from bridge.delivery.errors import EndpointError
from bridge.delivery.lane import Lane
from bridge.delivery.mqtt.guard import not_published
from bridge.delivery.mqtt.place import client_id
from bridge.delivery.parked import Parked
from bridge.delivery.progress import Progress
from bridge.events.event import EventType
from bridge.events.expression import ExpressionError, Where, compile_where
from bridge.events.formats import is_detailed
from bridge.events.rules import Condition, Rules
from bridge.journal.journal import Journal
from bridge.journal.store import LaneState, StoreError

log = logging.getLogger(__name__)

DRAIN_S = 5.0
"""How long requests in flight may take to end before their endpoint changes or ends."""
PARKED_S = 60.0
"""How often what is kept for parked endpoints is held to its bounds."""
LEAVING_S = 0.5
"""How often it is looked whether a removed endpoint has been sent all."""
STALLED_S = 0.1
SLICE = 10
"""Endpoints that are checked in one turn of the loop."""


class Webhooks:
    """All endpoints of one process. Raises EndpointError for one that cannot work as configured.

    `rules` say who wants what; they are made anew by `apply`. For the loop's thread only.
    """

    def __init__(
        self, settings: Settings, journal: Journal, network: Network, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.lanes: list[Lane] = []  # those that are served, in the order of the settings
        self.parked: list[Parked] = []
        self.attempts: AttemptRecorder | None = None
        self.progress = Progress(journal.touch, loop.time)
        self.dead_bounds = DeadBounds(journal, loop)
        self.waiting: dict[int, int] = {}  # by lane: events from before the start
        self._node = settings.node.shown
        self._journal = journal
        self._store = journal.store
        self._network = network
        self._loop = loop
        self._endpoints: tuple[AnyEndpoint, ...] = settings.receivers  # also those that are not enabled
        self._leaving: dict[int, Lane] = {}
        self._just_parked: list[Parked] = []  # of which a batch to come may still have events
        self._conditions: dict[str, Where] = {}  # those in force, by their text
        self._published: set[str] = set()  # the client ids of publishers
        self._files: dict[str, bytes] = {}  # by endpoint: what its files held when its lane was made
        self._changing = asyncio.Lock()
        self._expirer: asyncio.TimerHandle | None = None
        self._looker: asyncio.TimerHandle | None = None  # while an endpoint is leaving
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        for endpoint in self._enabled():
            state = self._store.lane(endpoint.name)
            lane = self._make(endpoint, state)
            self.lanes.append(lane)
            self.waiting[lane.id] = lane.backlog_events + len(state.holes) + state.retries
        self.rules = self._make_rules()
        served = {lane.id for lane in self.lanes}
        for state in self._store.lanes():
            if state.id not in served:
                self._park(state)
        self.dispatcher = Dispatcher(self.lanes)
        journal.on_commit.append(self.dispatcher.committed)
        journal.cursors = self.progress.cursors

    @property
    def refusing(self) -> bool:
        """Whether an endpoint may turn publishes away (`backlog.on_full = refuse`)."""
        return any(endpoint.backlog.on_full == "refuse" for endpoint in self._enabled())

    def low_batch(self) -> int | None:
        """The lowest batch that an endpoint, served or parked, still needs in the log; None: none."""
        lows = [self.progress.low(), *[parked.low_batch() for parked in self.parked]]
        return min([low for low in lows if low is not None], default=None)

    def _enabled(self) -> list[AnyEndpoint]:
        return [endpoint for endpoint in self._endpoints if endpoint.enable]

    # -- making ----------------------------------------------------------------------------------------

    def _make(self, endpoint: AnyEndpoint, state: LaneState) -> Lane:
        lane = Lane(endpoint, state, self._journal, self._loop, network=self._network, node=self._node)
        self.progress.watch(lane)
        lane.on_full = partial(_mark, self._journal.full, lane.id)
        lane.bounds.on_overfull = partial(_mark, self._journal.overfull, lane.id)
        self.dead_bounds.watch(lane, endpoint.dead)
        self._files[endpoint.name] = files_digest(endpoint)
        if self.attempts is not None:
            self._log_attempts(lane, self.attempts)
        return lane

    def _log_attempts(self, lane: Lane, recorder: AttemptRecorder) -> None:
        lane.attempts = recorder.sink(lane.name, lane.endpoint.attempts, lane.pool.timeout, lane.target.scrub)

    def _park(self, state: LaneState) -> None:
        known = next((one for one in self._endpoints if one.name == state.name), None)
        parked = Parked(state, self._store, BacklogBound() if known is None else known.backlog)
        self.dead_bounds.watch(parked, DeadBound() if known is None else known.dead)
        self.parked.append(parked)

    def _make_rules(self) -> Rules:
        """Who wants what. Raises EndpointError for a `where` that is no condition."""
        lanes = {lane.name: lane.id for lane in self.lanes if lane.id not in self._leaving}
        rules: list[tuple[int, EventType, str | None]] = []
        types: list[tuple[int, str]] = []
        conditions: dict[int, Condition] = {}
        detailed: set[int] = set()
        texts: dict[str, Where] = {}
        self._published = {
            client_id(one, self._store.id) for one in self._enabled() if isinstance(one, MqttPublisher)
        }
        for endpoint in self._enabled():
            lane = lanes[endpoint.name]
            rules += [
                (lane, rule.event, rule.topic)
                for rule in endpoint.events
                # As in EMQX, whose receivers do not expect them.
                if endpoint.format != "emqx" or (rule.topic or "").partition("/")[0] != "$SYS"
            ]
            types += [(lane, pattern) for pattern in endpoint.types]
            plain = endpoint
            condition: Condition | None = None
            if endpoint.where is not None:
                where = texts[endpoint.where] = self._compile(endpoint)
                condition = where.condition
                if where.detailed:
                    detailed.add(lane)
                plain = endpoint.model_copy(update={"where": None})
            if is_detailed(plain):
                detailed.add(lane)
            if isinstance(endpoint, MqttPublisher):
                condition = not_published(self._published, condition)
            if condition is not None:
                conditions[lane] = condition
        self._conditions = texts
        return Rules(rules, types=types, detailed=detailed, conditions=conditions)

    def _compile(self, endpoint: AnyEndpoint) -> Where:
        text = endpoint.where or ""
        known = self._conditions.get(text)
        if known is None:
            try:
                known = self._conditions[text] = compile_where(text)
            except ExpressionError as error:
                raise EndpointError(endpoint.name, "where", str(error)) from None
        return known

    # -- running ---------------------------------------------------------------------------------------

    def log_attempts(self, recorder: AttemptRecorder) -> None:
        """Have every attempt logged; before the start."""
        self.attempts = recorder
        for lane in self.lanes:
            self._log_attempts(lane, recorder)

    def start(self) -> None:
        """Begin to deliver. Raises StoreError."""
        for lane in self.lanes:
            lane.start()
        self.dead_bounds.start()
        self._expire_parked()

    async def stop(self) -> None:
        """Send nothing new, and let requests in flight end."""
        self._stopped = True
        for timer in (self._expirer, self._looker):
            if timer is not None:
                timer.cancel()
        self.dead_bounds.stop()
        await self._stop(self.lanes)

    async def _stop(self, lanes: Iterable[Lane]) -> None:
        deadline = self._loop.time() + DRAIN_S
        await asyncio.gather(*[lane.stop(deadline) for lane in lanes])

    def _expire_parked(self) -> None:
        self._expirer = self._loop.call_later(PARKED_S, self._expire_parked)
        for parked in self.parked:
            cursor = parked.expire()
            if cursor is not None:
                self._journal.change(cursor)

    # -- changing --------------------------------------------------------------------------------------

    async def check(self, changes: Changes) -> None:
        """Whether the endpoints that come and change can work. Raises EndpointError and EgressError, and
        StoreError where the store takes nothing: endpoints that change would wait for it.
        """
        for number, endpoint in enumerate((*changes.added, *changes.changed)):
            if not number % SLICE:
                await asyncio.sleep(0)  # others have their turn
            state = LaneState(0, endpoint.name, self._store.head, [])
            Lane(endpoint, state, self._journal, self._loop, network=self._network, node=self._node)
            if endpoint.where is not None:
                self._compile(endpoint)
        for endpoint in changes.added:
            self._store.lane(endpoint.name)  # made now, if new
        self._journal.flush()
        if not self._journal.lanes_stored:
            raise StoreError("the store refuses to write at present")

    def stale(self, endpoint: AnyEndpoint) -> bool:
        """Whether a file that an endpoint names (a secret, a certificate) holds something else by now."""
        known = self._files.get(endpoint.name)
        return known is not None and known != files_digest(endpoint)

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
        gone = set(map(id, ending))
        kept = {lane.name: lane for lane in self.lanes if id(lane) not in gone}
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
        self.lanes = [*lanes, *self._leaving.values()]
        for lane in disabled:
            self._park(self._store.lane(lane.name))
        if disabled:
            parked = self.parked[-len(disabled) :]
            self._just_parked += parked
            self._journal.after(self._all_parked, parked)  # events of the open batch went by the rules before
        self.rules = self._make_rules()
        self.dispatcher.set(self.lanes, self._just_parked)
        for lane in fresh:
            lane.start()
            lane.hurry()
        self._look_again()

    def _all_parked(self, parked: Sequence[Parked]) -> None:
        self._just_parked = [one for one in self._just_parked if one not in parked]
        self.dispatcher.set(self.lanes, self._just_parked)

    def _forget(self, lane: Lane) -> None:
        """The lane has stopped, and another one, or none, comes in its place."""
        self.progress.forget(lane)
        self._journal.full.discard(lane.id)
        self._journal.overfull.discard(lane.id)
        self._leaving.pop(lane.id, None)
        if self.attempts is not None and lane.attempts is not None:
            self.attempts.retire(lane.attempts)

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


def _mark(lanes: set[int], lane: int, on: bool) -> None:
    """A lane has passed a bound, or has room again."""
    if on:
        lanes.add(lane)
    else:
        lanes.discard(lane)

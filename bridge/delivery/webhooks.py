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
from functools import partial
from typing import NamedTuple

from bridge.config.changes import Changes, files_digest
from bridge.config.settings import AnyEndpoint, BacklogBound, DeadBound, Endpoint, MqttPublisher, Settings
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
from bridge.events.rules import Condition, Filter, Rules
from bridge.journal.batch import Settle
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
DISCARD_ROWS = 200
"""Dead letters of a removed endpoint that are deleted in one turn of the loop."""
DISCARD_PAUSE_S = 0.005
"""Between two such turns, so that no commit has to take thousands."""


def _nobody(name: str) -> bool:
    return False


class _Wants(NamedTuple):
    """What a lane is sent."""

    filters: list[Filter]
    types: tuple[str, ...]
    detailed: bool
    condition: Condition | None


class Broken(NamedTuple):
    """A managed endpoint whose settings do not work any more, and why."""

    name: str
    reason: str


class Webhooks:
    """All endpoints of one process. Raises EndpointError for one that cannot work as configured.

    `rules` say who wants what; they are made anew by `apply`, and `on_rules` is called where a managed
    endpoint has changed them. For the loop's thread only.
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
        self.on_rules: Callable[[], None] | None = None
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
        self._managed: dict[str, AnyEndpoint] = {}  # by name; also those that are not enabled or cannot work
        self._broken: dict[str, str] = {}  # by name: why a managed one cannot work
        self._gone: list[int] = []  # lanes of managed ones that were removed, with rows that are left
        self._discarding: asyncio.Task[None] | None = None
        self._leaving: dict[int, Lane] = {}
        self._refusing: set[int] = set()  # lanes with `on_full = refuse`
        self._just_parked: list[Parked] = []  # of which a batch to come may still have events
        self._conditions: dict[str, Where] = {}  # those in force, by their text
        self._files: dict[str, bytes] = {}  # by endpoint: what its files held when its lane was made
        self._published: set[str] = set()  # the client ids of publishers; the conditions look into it
        self._changing = asyncio.Lock()
        self._expirer: asyncio.TimerHandle | None = None
        self._looker: asyncio.TimerHandle | None = None  # while an endpoint is leaving
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
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
    def refusing(self) -> bool:
        """Whether an endpoint may turn publishes away (`backlog.on_full = refuse`)."""
        return bool(self._refusing)

    def low_batch(self) -> int | None:
        """The lowest batch that an endpoint, served or parked, still needs in the log; None: none."""
        lows = [self.progress.low(), *[parked.low_batch() for parked in self.parked]]
        return min([low for low in lows if low is not None], default=None)

    @property
    def of_file(self) -> tuple[Endpoint, ...]:
        """The webhooks of the file, also those that are not enabled."""
        return tuple([one for one in self._endpoints if isinstance(one, Endpoint)])

    def _enabled(self) -> list[AnyEndpoint]:
        return [endpoint for endpoint in self._endpoints if endpoint.enable]

    def _take_up(self, endpoint: AnyEndpoint) -> None:
        """Serve an endpoint that was there before the start. Raises EndpointError."""
        state = self._store.lane(endpoint.name)
        lane = self._make(endpoint, state)
        self.lanes.append(lane)
        self.waiting[lane.id] = lane.backlog_events + len(state.holes) + state.retries

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

    # -- making ----------------------------------------------------------------------------------------

    def _lane(self, endpoint: AnyEndpoint, state: LaneState) -> Lane:
        return Lane(
            *(endpoint, state, self._journal, self._loop),
            network=self._network,
            trust=endpoint.trust,
            node=self._node,
        )

    def _make(self, endpoint: AnyEndpoint, state: LaneState) -> Lane:
        lane = self._lane(endpoint, state)
        self.progress.watch(lane)
        lane.on_full = partial(_mark, self._journal.full, lane.id)
        lane.bounds.on_overfull = partial(_mark, self._journal.overfull, lane.id)
        self.dead_bounds.watch(lane, endpoint.dead)
        if endpoint.backlog.on_full == "refuse":
            self._refusing.add(lane.id)
        self._files[endpoint.name] = files_digest(endpoint)
        if self.attempts is not None:
            self._log_attempts(lane, self.attempts)
        return lane

    def _log_attempts(self, lane: Lane, recorder: AttemptRecorder) -> None:
        lane.attempts = recorder.sink(lane.name, lane.endpoint.attempts, lane.pool.timeout, lane.target.scrub)

    def _park(self, state: LaneState) -> Parked:
        known = self._managed.get(state.name)
        if known is None:
            known = next((one for one in self._endpoints if one.name == state.name), None)
        parked = Parked(state, self._store, BacklogBound() if known is None else known.backlog)
        parked.note = "" if known is None else known.note
        parked.reason = self._broken.get(state.name, "")
        self.dead_bounds.watch(parked, DeadBound() if known is None else known.dead)
        self.parked.append(parked)
        return parked

    def _wants(self, endpoint: AnyEndpoint) -> _Wants:
        """Raises EndpointError for a `where` that is no condition."""
        filters = [
            (rule.event, rule.topic)
            for rule in endpoint.events
            # As in EMQX, whose receivers do not expect them.
            if endpoint.format != "emqx" or (rule.topic or "").partition("/")[0] != "$SYS"
        ]
        condition: Condition | None = None
        detailed = False
        plain = endpoint
        if endpoint.where is not None:
            where = self._compile(endpoint)
            condition, detailed = where.condition, where.detailed
            plain = endpoint.model_copy(update={"where": None})
        if isinstance(endpoint, MqttPublisher):
            self._published.add(client_id(endpoint, self._store.id))
            condition = not_published(self._published, condition)
        return _Wants(filters, endpoint.types, detailed or is_detailed(plain), condition)

    def _make_rules(self) -> Rules:
        """Who wants what. Raises EndpointError for a `where` that is no condition."""
        rules: list[tuple[int, EventType, str | None]] = []
        types: list[tuple[int, str]] = []
        conditions: dict[int, Condition] = {}
        detailed: set[int] = set()
        texts: dict[str, Where] = {}
        self._published &= {  # those that are being removed still publish
            client_id(one.endpoint, self._store.id)
            for one in self.lanes
            if isinstance(one.endpoint, MqttPublisher)
        }
        for lane in self.lanes:
            if lane.id in self._leaving:
                continue
            wants = self._wants(lane.endpoint)
            rules += [(lane.id, event, topic) for event, topic in wants.filters]
            types += [(lane.id, pattern) for pattern in wants.types]
            if wants.condition is not None:
                conditions[lane.id] = wants.condition
            if lane.endpoint.where is not None:
                texts[lane.endpoint.where] = self._conditions[lane.endpoint.where]
            if wants.detailed:
                detailed.add(lane.id)
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
        self._discard_soon()

    async def stop(self) -> None:
        """Send nothing new, and let requests in flight end."""
        self._stopped = True
        for timer in (self._expirer, self._looker):
            if timer is not None:
                timer.cancel()
        self.dead_bounds.stop()
        if self._discarding is not None:
            self._discarding.cancel()
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
            self._lane(endpoint, state)
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

    def _park_these(self, lanes: Sequence[Lane]) -> None:
        """Lanes that were stopped and are not to be served."""
        if lanes:
            parked = [self._park(self._store.lane(lane.name)) for lane in lanes]
            self._just_parked += parked
            self._journal.after(self._all_parked, parked)  # events of the open batch went by the rules before

    def _all_parked(self, parked: Sequence[Parked]) -> None:
        self._just_parked = [one for one in self._just_parked if one not in parked]
        self.dispatcher.set(self.lanes, self._just_parked)

    def _forget(self, lane: Lane) -> None:
        """The lane has stopped, and another one, or none, comes in its place."""
        self.progress.forget(lane)
        self._refusing.discard(lane.id)
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

    # -- managed endpoints, one by one -----------------------------------------------------------------

    def broken(self, name: str) -> str:
        """Why a managed endpoint cannot work; empty if it can."""
        return self._broken.get(name, "")

    def find(self, name: str) -> Lane | Parked | None:
        """The endpoint of that name, served or not."""
        for lane in self.lanes:
            if lane.name == name:
                return lane
        return next((parked for parked in self.parked if parked.name == name), None)

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

    def _begin(self, lane: Lane, wants: _Wants) -> None:
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
            if isinstance(before, Lane):
                self.lanes.remove(before)
                self._drop_condition(before.endpoint)
                self._park_these([before])
            else:
                self._park(self._store.lane(endpoint.name))
            self.dispatcher.set(self.lanes, self._just_parked)
            self._tell_rules()
            return
        try:
            lane = self._make(endpoint, self._store.lane(endpoint.name))
            wants = self._wants(endpoint)
        except EndpointError as error:  # what it needs has gone since it was tried
            self._break(endpoint, error)
            if isinstance(before, Lane):
                self.lanes.remove(before)
                self._park_these([before])
            else:
                self._park(self._store.lane(endpoint.name))
            self.dispatcher.set(self.lanes, self._just_parked)
            self._tell_rules()
            return
        if isinstance(before, Lane):
            lane.go_on_counting(before)
            self.lanes[self.lanes.index(before)] = lane
            self._drop_condition(before.endpoint)
        else:
            self.lanes.append(lane)
        self._begin(lane, wants)

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
            self._drop_condition(lane.endpoint)
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

    def _drop_condition(self, endpoint: AnyEndpoint) -> None:
        """Remember a compiled `where` no longer that nobody has."""
        text = endpoint.where
        if text is not None and all(lane.endpoint.where != text for lane in self.lanes):
            self._conditions.pop(text, None)

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


def _mark(lanes: set[int], lane: int, on: bool) -> None:
    """A lane has passed a bound, or has room again."""
    if on:
        lanes.add(lane)
    else:
        lanes.discard(lane)

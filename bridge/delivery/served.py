"""What all endpoints of one process share: lanes and parked lanes, how they are made, and the rules."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from bridge.config.changes import files_digest
from bridge.config.settings import AnyEndpoint, BacklogBound, DeadBound, MqttPublisher, Settings, Trust
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
from bridge.delivery.timings import Timings
from bridge.events.event import EventType
from bridge.events.expression import ExpressionError, Where, compile_where
from bridge.events.formats import is_detailed
from bridge.events.rules import Condition, Filter, Rules
from bridge.journal.journal import Journal
from bridge.journal.store import LaneState

log = logging.getLogger(__name__)

DRAIN_S = 5.0
"""How long requests in flight may take to end before their endpoint changes or ends."""
PARKED_S = 60.0
"""How often what is kept for parked endpoints is held to its bounds."""
STALLED_S = 0.1


class Wants(NamedTuple):
    """What a lane is sent."""

    filters: list[Filter]
    types: tuple[str, ...]
    detailed: bool
    condition: Condition | None


class Served:
    """The lanes of one process. `rules` say who wants what. For the loop's thread only."""

    rules: Rules
    dispatcher: Dispatcher

    def __init__(
        self, settings: Settings, journal: Journal, network: Network, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.lanes: list[Lane] = []  # those that are served: the file's in its order, then the managed ones
        self.parked: list[Parked] = []
        self.attempts: AttemptRecorder | None = None
        self.timings = Timings()
        self.tracing: Callable[[Lane], None] | None = None
        self.progress = Progress(journal.touch, loop.time)
        self.dead_bounds = DeadBounds(journal, loop)
        self.waiting: dict[int, int] = {}  # by lane: events from before the start
        self._node = settings.node.shown
        self._journal = journal
        self._store = journal.store
        self._network = network
        self._loop = loop
        self._leaving: dict[int, Lane] = {}
        self._refusing: set[int] = set()  # lanes with `on_full = refuse`
        self._just_parked: list[Parked] = []  # of which a batch to come may still have events
        self._conditions: dict[str, Where] = {}  # those in force, by their text
        self._files: dict[str, bytes] = {}  # by endpoint: what its files held when its lane was made
        self._published: set[str] = set()  # the client ids of publishers; the conditions look into it
        self._expirer: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def refusing(self) -> bool:
        """Whether an endpoint may turn publishes away (`backlog.on_full = refuse`)."""
        return bool(self._refusing)

    def low_batch(self) -> int | None:
        """The lowest batch that an endpoint, served or parked, still needs in the log; None: none."""
        lows = [self.progress.low(), *[parked.low_batch() for parked in self.parked]]
        return min([low for low in lows if low is not None], default=None)

    def find(self, name: str) -> Lane | Parked | None:
        """The endpoint of that name, served or not."""
        for lane in self.lanes:
            if lane.name == name:
                return lane
        return next((parked for parked in self.parked if parked.name == name), None)

    def served(self, number: int) -> Lane | None:
        """The lane of that id, which a reload may have put in another one's place."""
        return next((lane for lane in self.lanes if lane.id == number), None)

    def known(self, number: int) -> Lane | Parked | None:
        """The same, or what is kept of it while it is not served."""
        return self.served(number) or next((one for one in self.parked if one.id == number), None)

    def trust(self, name: str) -> Trust:
        """Whose an endpoint is."""
        known, _ = self._known(name)
        return "operator" if known is None else known.trust

    def stale(self, endpoint: AnyEndpoint) -> bool:
        """Whether a file that an endpoint names (a secret, a certificate) holds something else by now."""
        known = self._files.get(endpoint.name)
        return known is not None and known != files_digest(endpoint)

    def _take_up(self, endpoint: AnyEndpoint) -> None:
        """Serve an endpoint that was there before the start. Raises EndpointError."""
        state = self._store.lane(endpoint.name)
        lane = self._make(endpoint, state)
        self.lanes.append(lane)
        self.waiting[lane.id] = lane.backlog_events + len(state.holes) + state.retries

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
        lane.timings = self.timings
        if self.tracing is not None:
            self.tracing(lane)
        return lane

    def _log_attempts(self, lane: Lane, recorder: AttemptRecorder) -> None:
        lane.attempts = recorder.sink(lane.name, lane.endpoint.attempts, lane.pool.timeout, lane.target.scrub)

    def _known(self, name: str) -> tuple[AnyEndpoint | None, str]:
        """The settings of an endpoint, and why they cannot work, if they cannot. The subclass's."""
        raise NotImplementedError

    def _park(self, state: LaneState) -> Parked:
        known, reason = self._known(state.name)
        parked = Parked(state, self._store, BacklogBound() if known is None else known.backlog)
        parked.note = "" if known is None else known.note
        parked.reason = reason
        self.dead_bounds.watch(parked, DeadBound() if known is None else known.dead)
        self.parked.append(parked)
        return parked

    def _wants(self, endpoint: AnyEndpoint) -> Wants:
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
        return Wants(filters, endpoint.types, detailed or is_detailed(plain), condition)

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

    def trace(self, watch: Callable[[Lane], None]) -> None:
        """Have `watch` see to the traces of every lane; before the start."""
        self.tracing = watch
        for lane in self.lanes:
            watch(lane)

    def start(self) -> None:
        """Begin to deliver. Raises StoreError."""
        for lane in self.lanes:
            lane.start()
        self.dead_bounds.start()
        self._expire_parked()

    async def stop(self) -> None:
        """Send nothing new, and let requests in flight end."""
        self._stopped = True
        if self._expirer is not None:
            self._expirer.cancel()
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


def _mark(lanes: set[int], lane: int, on: bool) -> None:
    """A lane has passed a bound, or has room again."""
    if on:
        lanes.add(lane)
    else:
        lanes.discard(lane)

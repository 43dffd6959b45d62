"""Puts the parts together, runs them, and drains them: the one module that knows all rooms."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from bridge import __version__
from bridge.admin.api_keys import ApiKeys
from bridge.admin.endpoints import Endpoints
from bridge.admin.publishers import Publishers
from bridge.broker.auth import Authentication
from bridge.broker.auth_setup import AuthError, AuthSetup
from bridge.broker.feed import EventFeed
from bridge.broker.hooks import Hooks
from bridge.broker.lifting import LiftHooks
from bridge.broker.listeners import ListenError
from bridge.broker.own import OwnPublisher
from bridge.broker.restore import restore_steps
from bridge.broker.server import Broker
from bridge.broker.system_topics import SystemTopics
from bridge.config.changes import Reloaded, changes, server_taken_up
from bridge.config.report import Report
from bridge.config.settings import PUBLISHERS, Lift, Listener, Mqtt, MqttPublisher, Settings
from bridge.control.protocol import ControlError, socket_path
from bridge.control.server import ControlServer
from bridge.control.service import Service
from bridge.delivery.again import Jobs
from bridge.delivery.attempts import AttemptRecorder
from bridge.delivery.connect import Network
from bridge.delivery.dead_bound import DeadBounds
from bridge.delivery.egress import EgressError
from bridge.delivery.lane import Lane
from bridge.delivery.parked import Parked
from bridge.delivery.rates import Rates
from bridge.delivery.replays import Replays
from bridge.delivery.target import EndpointError
from bridge.delivery.webhooks import Webhooks
from bridge.events.event import Event
from bridge.events.names import describe
from bridge.journal.attempt_store import AttemptStore
from bridge.journal.filesystem import on_tmpfs
from bridge.journal.journal import Journal
from bridge.journal.retention import Retention
from bridge.journal.sqlite import SqliteStore
from bridge.journal.store import StoreError
from bridge.logs import LogError, configure
from bridge.notify import Notifier
from bridge.traces import TracingError

if TYPE_CHECKING:
    from bridge.admin.dashboard.live import Live
    from bridge.admin.server import AdminServer
    from bridge.sources.intake import Intake
    from bridge.sources.lift import Lifter
    from bridge.traces.exporter import Exporter

log = logging.getLogger("bridge")

OWN_FILES = 96
"""Files for no client and no webhook: the store, the log, clients that a limit refuses, some to spare."""
SHARED_CONNECTIONS = 512
"""Connections beyond one for each webhook that files are left for: not all are at their `pool_size` at once.
At least so many as the largest pool has."""
SHOWN_WEBHOOKS = 20
"""Webhooks that the start names one by one."""
WATCH_S = 0.25
SETTLE_S = 60.0
"""After an endpoint was made, changed or deleted by itself: when memory is settled as after a start."""
SETTLE_EVERY = 20
"""And after so many what is there is taken for good until then."""
FEW_CONNECTIONS = 1000
"""Below it the limit on open files is worth a word at start."""


class StartError(Exception):
    """Start-up is not possible; the text is one line with the key and the cause."""


Reread = Callable[[], Report]


class App:
    """One running HookMQ."""

    def __init__(
        self, settings: Settings, loop: asyncio.AbstractEventLoop, reread: Reread | None = None
    ) -> None:
        """`reread` reads the configuration again, for a reload."""
        self.settings = settings
        self.loop = loop
        self._reread = reread
        self._reloading = asyncio.Lock()
        self._started = asyncio.Event()
        self._reloads: set[asyncio.Task[None]] = set()
        path = settings.store_path
        self.store = SqliteStore.open(path, loop, sync_delay=settings.store.sync_delay)
        self.fatal: str | None = None
        self._closed = False
        self.stopping = asyncio.Event()
        try:
            self._build()
        except BaseException:
            self.store.close()
            raise

    def _build(self) -> None:
        settings = self.settings
        self.journal = Journal(self.store, self.loop)
        self.retention = Retention(self.journal, settings.store.retention_age, settings.store.retention_bytes)
        self.store.on_error = self._store_failed
        self.network = Network(self.loop, settings.egress)
        self.endpoints, self.publishers = Endpoints(self.journal), Publishers(self.journal)
        taken = {endpoint.name for endpoint in settings.receivers}
        self.webhooks = Webhooks(
            *(settings, self.journal, self.network, self.loop),
            managed=chain.from_iterable(kind.load(taken) for kind in self._managed),
            orphan=lambda name: any(kind.orphan(name) for kind in self._managed),
        )
        for kind in self._managed:
            kind.start(self.webhooks)
        self.webhooks.on_rules = self._endpoint_changed
        self.journal.low = self._low
        self._watching: Hooks | None = None  # of the dashboard's live tail
        self.feed = EventFeed(self.journal, self.webhooks.rules, refusing=self.webhooks.refusing)
        self.mqtt = _within_file_limit(settings, self._connections())
        self.broker = Broker(self.mqtt, self.journal, self.loop)
        self.broker.origin = self.feed.origin
        self.system = SystemTopics(
            self.broker, settings.sys_topics, node=settings.node.shown, version=__version__
        )
        self.network.local = OwnPublisher(self.broker)
        self.lifter: Lifter | None = None
        self._lift(settings.events.lift)
        self.auth = AuthSetup(self.loop)
        self._decide_by(self.auth.build(settings.auth, self.mqtt))
        self.notify = Notifier(self.loop, self._status)
        self.exporter: Exporter | None = None
        if settings.tracing.enable:
            self._trace()
        self.rates = Rates(lambda: self.lanes, self.loop)
        self.replays = Replays(self.journal, self.retention, self._served)
        self.jobs = Jobs()
        self.api_keys = ApiKeys(self.journal)
        self.admin: AdminServer | None = None
        self.control: ControlServer | None = None
        self._opened: list[str] = []
        self._watcher: asyncio.TimerHandle | None = None
        self._watched = 0.0  # time.perf_counter() of the last look
        self._settler: asyncio.TimerHandle | None = None
        self._unsettled = 0

    def _set_hooks(self) -> None:
        self.system.hook(self.webhooks.rules.system)
        hooks: list[Hooks] = [self.feed, self.authentication, self.system]
        if self._watching is not None:
            hooks.append(self._watching)
        if self.lifter is not None and self.settings.events.lift:
            hooks.append(LiftHooks(self.lifter))  # the last one: nobody refuses what it has taken
        self.broker.set_hooks(hooks)

    def listen(self, hooks: Hooks | None, tap: Callable[[Event], None] | None) -> None:
        """Have these hooks called, and `tap` with business events, while somebody watches; None: nobody
        does."""
        self._watching = hooks
        self.intake.tap = tap
        self._set_hooks()

    def _endpoint_changed(self) -> None:
        """An endpoint has come, changed or gone by itself."""
        self._set_rules()
        self._set_hooks()
        # A full collection for every fourth part that comes on top would hold all up, again and again.
        self._unsettled += 1
        if self._unsettled % SETTLE_EVERY == 0:
            gc.freeze()
        if self._settler is None:
            self._settler = self.loop.call_later(SETTLE_S, self._settle)

    def _settle(self) -> None:
        self._settler = None
        gc.unfreeze()  # what has ended is to be found
        _settle_memory()

    def _set_rules(self) -> None:
        """Somebody else wants events, or nobody any more; the hooks are set anew then."""
        self.feed.refusing = self.webhooks.refusing
        self.feed.set_rules(self.webhooks.rules)

    def _decide_by(self, authentication: Authentication) -> None:
        """From now on this one says who may do what."""
        self.authentication = authentication
        self._set_hooks()
        self.auth.apply(authentication, self.settings.auth, self.broker)

    def _connections(self) -> list[int]:
        """How many each endpoint may have open."""
        return [
            1 if isinstance(lane.endpoint, MqttPublisher) else lane.endpoint.pool_size for lane in self.lanes
        ]

    @property
    def _managed(self) -> tuple[Endpoints, Publishers]:
        """What is made over the API."""
        return self.endpoints, self.publishers

    @property
    def lanes(self) -> list[Lane]:
        """The endpoints that are served."""
        return self.webhooks.lanes

    def _served(self, number: int) -> Lane | None:
        """The lane of that id, which a reload may have put in another one's place."""
        return next((lane for lane in self.lanes if lane.id == number), None)

    @property
    def parked(self) -> list[Parked]:
        """Those that are not, and for which something may be kept."""
        return self.webhooks.parked

    @property
    def attempts(self) -> AttemptRecorder | None:
        """The attempt log, if it could be opened."""
        return self.webhooks.attempts

    @property
    def dead_bounds(self) -> DeadBounds:
        """What holds dead letters to their bounds."""
        return self.webhooks.dead_bounds

    def _low(self) -> int | None:
        lows = (self.webhooks.low_batch(), self.retention.low())
        low = min((low for low in lows if low is not None), default=None)
        self.retention.forget(self.store.next_batch if low is None else low)
        return low

    def _store_failed(self, error: StoreError) -> None:
        """What the disk holds is unknown (a sync failed, a file is gone): no more may be promised."""
        self.fatal = str(error)
        self.journal.end()
        log.critical("the store has failed, HookMQ ends: %s", error)
        self.stopping.set()

    async def start(self) -> list[str]:
        """Restore, open the listeners, start delivery; returns the lines that say what runs.

        Raises ListenError, StoreError and StartError.
        """
        self.retention.start()
        lost = await self._restore()
        self.journal.flush()
        opened = await self.broker.open(self.settings.listeners)
        self._opened = [_url(one, address) for one, address in opened]
        await self._open_http()
        self._log_attempts()
        self.webhooks.start()
        self.replays.resume(self.lanes, self.parked)
        await self.broker.serve()
        if self.admin is not None:
            await self.admin.serve()
        await self._serve_commands()
        self._watch()
        self._warn()
        _settle_memory()
        self._started.set()
        self.notify.ready()
        return self._lines(lost)

    def _lines(self, lost: int) -> list[str]:
        """What runs, for the start; `lost` connections had not ended properly."""
        lines = [f"HookMQ {__version__}"]
        lines += [f"  listening  {address}" for address in self._opened]
        if self.admin is not None:
            lines.append(f"  http api   {self.admin.address}")
        for lane in self.lanes[:SHOWN_WEBHOOKS]:
            name = lane.endpoint.name
            kind, name = (
                ("publisher ", name.removeprefix(PUBLISHERS)) if "." in name else ("webhook   ", name)
            )
            lines.append(f"  {kind} {name}: {lane.target.label}")
            sent = [(rule.event, rule.topic) for rule in lane.endpoint.events]
            lines.append(f"  events     {describe(sent, lane.endpoint.types) or 'none'}")
            waiting = self.webhooks.waiting[lane.id]
            if waiting:
                lines.append(f"  waiting    {waiting:,} events from before the start")
        others = self.lanes[SHOWN_WEBHOOKS:]
        if others:
            waiting = sum(self.webhooks.waiting[lane.id] for lane in others)
            more = f", for which {waiting:,} events wait from before the start" if waiting else ""
            lines.append(f"  webhooks   {len(others):,} more (hookmq endpoints){more}")
        for parked in self.parked:
            kept = parked.waiting + parked.retrying
            if kept:
                lines.append(
                    f"  kept       {kept:,} events for {parked.name}, which is not served at present"
                )
        if not self.lanes:
            lines.append("  webhook    none: events go nowhere")
        lines.append(f"  store      {self.settings.store_path}")
        if lost:
            lines.append(f"  restored   {lost:,} connections had not ended properly; their ends were told")
        return lines

    def _warn(self) -> None:
        """Tell what the machine does not allow, or would lose."""
        if self.mqtt.max_connections < self.settings.mqtt.max_connections:
            log.log(
                logging.WARNING if self.mqtt.max_connections < FEW_CONNECTIONS else logging.DEBUG,
                "mqtt.max_connections: %d, more open files are not allowed here (ulimit -n)",
                self.mqtt.max_connections,
            )
        if on_tmpfs(self.settings.store_path):
            log.warning(
                "sqlite.mounted_file_path: %s is in memory (tmpfs), a power cut loses it", self.store.path
            )

    def _log_attempts(self) -> None:
        """Open the attempt log; without it delivery goes on, and a warning says so."""
        path = self.store.path
        try:
            store = AttemptStore.open(path.with_name(f"{path.stem}-attempts.db"), self.loop)
        except StoreError as error:
            log.warning("no attempts are logged: %s", error)
            return
        recorder = AttemptRecorder(store, self.loop)
        self.webhooks.log_attempts(recorder)
        recorder.start()

    async def _open_http(self) -> None:
        """Bind the HTTP API's port, if there is to be one. Raises StartError."""
        if self.settings.http_server is None:
            return
        # A fifth of a second, for those who want it.
        from bridge.admin.api import open_api  # noqa: PLC0415
        from bridge.admin.server import AdminError  # noqa: PLC0415

        catalogue = self.intake.catalogue  # read now, not at the first request
        if self.settings.events.unknown != "pass":
            for kind in self._managed:
                kind.known = lambda: tuple(catalogue or ())
        try:
            self.admin = await open_api(self.settings.http_server, self.api_keys, self)
        except AdminError as error:
            raise StartError(str(error)) from None
        self.live.start()

    @cached_property
    def live(self) -> Live:
        """What the dashboard looks at; there is one where there is an HTTP API."""
        from bridge.admin.dashboard.live import Live  # noqa: PLC0415  as above

        return Live(self, self.loop)

    @cached_property
    def intake(self) -> Intake:
        """The way in for business events; made where somebody needs it. Raises StartError."""
        # Its libraries, and the catalogue, take a tenth of a second.
        from bridge.events.catalogue import CatalogueError, load  # noqa: PLC0415
        from bridge.sources.intake import Intake  # noqa: PLC0415

        events = self.settings.events
        try:
            catalogue = load(events.catalogue)
        except CatalogueError as error:
            raise StartError(f"events.catalogue: {error}") from None
        return Intake(
            self.journal,
            lambda: self.webhooks.rules,
            catalogue=catalogue,
            unknown=events.unknown,
            validate=events.check,
        )

    def _lift(self, rules: Sequence[Lift]) -> None:
        """Make business events of MQTT messages by these rules. Raises StartError."""
        if self.lifter is not None:
            self.lifter.set_rules(rules)
        elif rules:
            from bridge.sources.lift import Lifter  # noqa: PLC0415  as above

            self.lifter = Lifter(rules, self.intake, strict=self.settings.events.check == "refuse")

    def message_id(self, number: int) -> str:
        """The id of the message of that number, as events show it."""
        return self.feed.message_id(number)

    async def _serve_commands(self) -> None:
        """Open the control socket; without it everything goes on, and a warning says so."""
        self.rates.start()
        try:
            self.control = await ControlServer.open(
                socket_path(self.store.path), Service(self, self.rates).answer
            )
        except ControlError as error:
            log.warning("`hookmq status` and its like cannot reach this process: %s", error)

    def _trace(self) -> None:
        """Make spans. Raises TracingError."""
        # Half a second, for those who want it.
        from bridge.traces.exporter import Exporter  # noqa: PLC0415
        from bridge.traces.tracer import Tracer  # noqa: PLC0415

        self.exporter = Exporter(self.settings.tracing, self.settings.node.shown)
        self.webhooks.trace(Tracer(self.settings.tracing, self.journal, self.exporter).watch)

    @property
    def spans(self) -> Mapping[str, int]:
        """Spans by what became of them: exported, failed, dropped. Empty: none are made."""
        return {} if self.exporter is None else self.exporter.counts

    @property
    def spans_waiting(self) -> int:
        """Spans that wait for their endpoint."""
        return 0 if self.exporter is None else self.exporter.waiting

    @property
    def longest_checkpoint(self) -> float:
        """The longest that the loop stood still for a checkpoint of the store, in seconds."""
        return self.store.checkpointer.longest_stop

    def not_ready(self) -> list[str]:
        """Why clients should not come at present; empty: they may."""
        found: list[str] = []
        if self.fatal is not None or self._closed:
            found.append("the store is not open")
        elif self.journal.stalled:
            found.append("the store refuses to write")
        if self.stopping.is_set():
            found.append("HookMQ is about to end")
        elif not self._started.is_set():
            found.append("HookMQ has not started yet")
        elif not self.broker.listening:
            found.append("no listener is bound")
        return found

    def _status(self) -> str:
        """A line for `systemctl status`."""
        clients = len(self.broker.sessions) - len(self.broker.away)
        waiting = sum(lane.queued for lane in self.lanes)
        troubled = sum(lane.state != "on" for lane in self.lanes)
        stalled = ", the store refuses to write" if self.journal.stalled else ""
        return (
            f"{clients:,} clients, {waiting:,} events wait, {troubled:,} of {len(self.lanes):,} webhooks "
            f"in trouble{stalled}"
        )

    def facts(self) -> dict[str, Any]:
        """What `hookmq status` tells of the process as a whole."""
        broker = self.broker
        stats = broker.stats
        return {
            "store": {"path": str(self.store.path)},
            "listeners": [*self._opened, *([self.admin.address] if self.admin is not None else [])],
            "clients": len(broker.sessions) - len(broker.away),
            "sessions": len(broker.sessions),
            "messages": {
                "received": stats.received,
                "rejected": stats.rejected,
                "sent": stats.sent,
                "dropped": stats.dropped,
            },
            "lifted": self.lifter.counts if self.lifter is not None and self.settings.events.lift else None,
        }

    async def _restore(self) -> int:
        """Take up the broker's state; how many connections the last process left open."""
        gc.disable()  # it would look through all that was read, again and again
        try:
            steps = restore_steps(self.broker)
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    return int(end.value)
                await asyncio.sleep(0)
        except (msgspec.MsgspecError, ValueError, LookupError) as error:
            raise StoreError(
                f"{self.store.path}: the broker's state in it is damaged ({error}): "
                f"restore a copy, or move it away and a new store is made"
            ) from error
        finally:
            gc.freeze()
            gc.enable()

    def _watch(self) -> None:
        """Let publishers wait while delivery lags more than `mqtt.max_lag`; see how long turns are."""
        now = time.perf_counter()
        if self._watched:
            self.journal.turns.note(now - self._watched - WATCH_S)  # how much later than asked for
        self.journal.turns.roll(now)
        self._watched = now
        self._watcher = self.loop.call_later(WATCH_S, self._watch)
        max_lag = self.settings.mqtt.max_lag
        if max_lag is not None:
            now_ms = self.broker.now_ms()
            oldest = self.webhooks.progress.oldest_ts()
            self.broker.turn.hold("lag", oldest is not None and now_ms - oldest > max_lag * 1000)

    async def reload(self) -> Reloaded:
        """Read the configuration again and take up what has changed, without dropping a client or an event.

        A configuration with an error changes nothing.
        """
        if self._reread is None:
            return Reloaded(False, ["this HookMQ was not started from a file"], [], [])
        async with self._reloading:
            self.notify.reloading()
            try:
                return await self._take_up(self._reread)
            finally:
                self.notify.ready()

    async def _take_up(self, reread: Reread) -> Reloaded:
        # In a thread: a large file takes seconds to read.
        report = await asyncio.to_thread(reread)
        warnings = [str(message) for message in report.warnings]
        settings = report.settings
        if report.errors or settings is None:
            return Reloaded(False, [str(message) for message in report.errors], warnings, [])
        taken = [
            f"{one.block}: {kind.indefinite} that was made over the API has that id, expected another name"
            for one in settings.receivers
            for kind in self._managed
            if one.name in kind
        ]
        if taken:
            return Reloaded(False, taken, warnings, [])
        found = changes(self.settings, settings, self.webhooks.stale)
        try:
            await self.webhooks.check(found)
            authentication = self.auth.build(settings.auth, self.mqtt)
            others = self._api_taken_up(settings)
            if settings.events.lift:
                _ = self.intake  # which reads the catalogue where nothing has needed it so far
        except (EndpointError, EgressError, StoreError, AuthError, StartError) as error:
            return Reloaded(False, [str(error)], warnings, [])
        await self.webhooks.apply(found, settings)
        self.settings = self.settings.model_copy(
            update={
                "webhooks": settings.webhooks,
                "mqtt_publishers": settings.mqtt_publishers,
                "auth": settings.auth,
                "http_server": server_taken_up(self.settings.http_server, settings.http_server),
                "events": self.settings.events.model_copy(update={"lift": settings.events.lift}),
            }
        )
        if found.lift:
            self._lift(settings.events.lift)
        self._set_rules()
        self._decide_by(authentication)
        await self.auth.close(leaving=True)
        taken_up = [f"{kind.noun} {one}" for kind in self._managed for one in await kind.refresh()]
        gc.unfreeze()  # what has ended is to be found
        _settle_memory()
        more = [*others, *self.broker.reload_certificates()]
        more += [f"{one}: its files have changed, or it works again" for one in taken_up]
        return Reloaded(True, [], warnings, found.lines(more))

    def _api_taken_up(self, settings: Settings) -> list[str]:
        """Let those use the HTTP API who may now; a line if they are others. Raises StartError."""
        if self.admin is None or settings.http_server is None:
            return []
        from bridge.admin.api import take_up  # noqa: PLC0415  as in _open_http
        from bridge.admin.server import AdminError  # noqa: PLC0415

        try:
            if not take_up(self.admin, settings.http_server):
                return []
        except AdminError as error:
            raise StartError(str(error)) from None
        return ["http_server: who may use it has changed; those who had signed in have to do so again"]

    def reload_soon(self) -> None:
        """The same on SIGHUP, once the start is done: the log tells what came of it."""
        task = self.loop.create_task(self._reload_and_tell())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_and_tell(self) -> None:
        await self._started.wait()
        done = await self.reload()
        for line in done.warnings:
            log.warning("%s", line)
        for line in done.errors:
            log.error("not reloaded: %s", line)
        for line in done.changes:
            log.info("reloaded: %s", line)

    async def stop(self) -> None:
        """Stop accepting, tell the clients, commit, let requests in flight end, close the store."""
        self.notify.stopping()
        for timer in (self._watcher, self._settler):
            if timer is not None:
                timer.cancel()
        self.rates.stop()
        for kind in self._managed:
            kind.stop()
        self.replays.close()
        self.jobs.close()
        if self.control is not None:
            self.control.close()
        if self.admin is not None:
            self.live.close()
            self.admin.stop_accepting()
        self.broker.shut_down()
        self.system.stop()
        if self.fatal is None:
            self.journal.flush()
        if self.admin is not None:
            await self.admin.close()
        await self.webhooks.stop()
        await self.auth.close()
        self.network.close()
        if self.attempts is not None:
            await self.attempts.stop()
        if self.fatal is None:
            self.retention.close()
            self.journal.flush()
        self.close()
        if self.exporter is not None:
            await asyncio.to_thread(self.exporter.close)
        # Let the goodbyes and the last acknowledgements leave the process.
        await asyncio.sleep(0)

    def close(self) -> None:
        """Close the store, once; nothing can be stored any more."""
        if self.fatal is None and not self._closed:
            self._closed = True
            self.journal.close()


def _url(listener: Listener, address: str) -> str:
    """What a client is told to connect to."""
    if listener.web:
        return f"{listener.kind}://{address}{listener.path}"
    return f"mqtt{'s' if listener.tls else ''}://{address}"


def _settle_memory() -> None:
    """What is there after a start stays: the garbage collector need not look through it again and again.

    With a thousand webhooks that was a twentieth of the time under load.
    """
    gc.collect()
    gc.freeze()


def _loop_factory() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415  not on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _raise_file_limit() -> int | None:
    """As many open files as the system allows: each connection is one, and a login's limit is often 1,024.

    Returns how many that are, None where it cannot be told.
    """
    try:
        import resource  # noqa: PLC0415  not on Windows
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS has its own maximum below an unlimited hard limit; the soft limit stays as it is then.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return None if soft == resource.RLIM_INFINITY else soft


def _within_file_limit(settings: Settings, sizes: Sequence[int]) -> Mqtt:
    """The `mqtt` block with no more connections than leave files for the webhooks, the store and the log.

    `sizes` are the webhooks' `pool_size`.
    """
    limit = _raise_file_limit()
    if limit is None:
        return settings.mqtt
    shared = max(SHARED_CONNECTIONS, *sizes) if sizes else 0
    own = OWN_FILES + len(sizes) + min(sum(sizes) - len(sizes), shared)
    if settings.http_server is not None:
        own += settings.http_server.max_connections
    room = max(limit - own, limit // 2)
    if room >= settings.mqtt.max_connections:
        return settings.mqtt
    return settings.mqtt.model_copy(update={"max_connections": room})


async def _main(settings: Settings, reread: Reread | None) -> int:
    loop = asyncio.get_running_loop()
    try:
        app = App(settings, loop, reread)
    except (StoreError, EndpointError, EgressError, AuthError, TracingError) as error:
        raise StartError(str(error)) from None
    signals = 0

    def on_signal(number: signal.Signals) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            log.warning("%s again: ending at once", number.name)
            os._exit(1)
        log.info("%s: stopping", number.name)
        app.stopping.set()

    if hasattr(signal, "SIGHUP"):
        # On a terminal it says that the terminal has been closed: the end, as ever.
        hang_up = app.stopping.set if sys.stdin is not None and sys.stdin.isatty() else app.reload_soon
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(signal.SIGHUP, hang_up)
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, on_signal, number)
    try:
        try:
            lines = await app.start()
        except (ListenError, StoreError) as error:
            raise StartError(str(error)) from None
        print("\n".join(lines), flush=True)
        log.info("ready")
        await app.stopping.wait()
        await app.stop()
        log.info("stopped")
        return 1 if app.fatal else 0
    finally:
        app.close()


def run(settings: Settings, reread: Reread | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code. Raises StartError with one line.

    `reread` reads the configuration again, for SIGHUP and `hookmq reload`.
    """
    try:
        configure(settings.log)
    except LogError as error:
        raise StartError(str(error)) from None
    if sys.version_info >= (3, 12):
        return asyncio.run(_main(settings, reread), loop_factory=_loop_factory)
    with asyncio.Runner(loop_factory=_loop_factory) as runner:
        return runner.run(_main(settings, reread))

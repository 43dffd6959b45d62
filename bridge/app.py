"""Puts the parts together, runs them, and drains them: the one module that knows all rooms."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from bridge import __version__
from bridge.broker.auth import PasswordAuth
from bridge.broker.feed import EventFeed
from bridge.broker.listeners import ListenError
from bridge.broker.restore import restore
from bridge.broker.server import Broker
from bridge.config.settings import BacklogBound, DeadBound, Endpoint, Mqtt, Settings
from bridge.control.protocol import ControlError, socket_path
from bridge.control.rates import Rates
from bridge.control.server import ControlServer
from bridge.control.service import Service
from bridge.delivery.attempts import AttemptRecorder
from bridge.delivery.connect import Network
from bridge.delivery.dead_bound import DeadBounds
from bridge.delivery.dispatcher import Dispatcher
from bridge.delivery.egress import EgressError
from bridge.delivery.lane import Lane
from bridge.delivery.parked import Parked
from bridge.delivery.progress import Progress
from bridge.delivery.target import EndpointError
from bridge.events.event import EventType
from bridge.events.rules import Rules
from bridge.journal.attempt_store import AttemptStore
from bridge.journal.filesystem import on_tmpfs
from bridge.journal.journal import Journal
from bridge.journal.retention import Retention
from bridge.journal.sqlite import SqliteStore
from bridge.journal.store import StoreError
from bridge.logs import LogError, configure

log = logging.getLogger("bridge")

DRAIN_S = 5.0
"""How long requests in flight may take to end after a signal to stop."""
OWN_FILES = 64
"""Files that are neither a client nor a webhook's connection, with some to spare."""
SHARED_CONNECTIONS = 512
"""Connections beyond one for each webhook that files are left for: not all are at their `pool_size` at once.
At least so many as the largest pool has."""
WATCH_S = 0.25
PARKED_S = 60.0
FEW_CONNECTIONS = 1000
"""Below it the limit on open files is worth a word at start."""


class StartError(Exception):
    """Start-up is not possible; the text is one line with the key and the cause."""


class App:
    """One running HookMQ."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.loop = loop
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
        self.attempts: AttemptRecorder | None = None
        endpoints = [endpoint for endpoint in settings.webhooks if endpoint.enable]
        self.lanes: list[Lane] = []
        self.network = Network(self.loop, settings.egress)
        self.waiting: dict[int, int] = {}  # by lane: events from before the start
        for endpoint in endpoints:
            state = self.store.lane(endpoint.name)
            lane = Lane(endpoint, state, self.journal, self.loop, network=self.network)
            self.lanes.append(lane)
            # Before anything is sent, or added by `restore`.
            self.waiting[lane.id] = lane.backlog_events + len(state.holes) + state.retries
        self.parked = self._park()
        self.dead_bounds = self._bound_dead()
        self.dispatcher = Dispatcher(self.lanes)
        self.progress = Progress(self.journal.touch)
        for lane in self.lanes:
            self.progress.watch(lane)
            lane.on_full = functools.partial(_mark, self.journal.full, lane.id)
            lane.bounds.on_overfull = functools.partial(_mark, self.journal.overfull, lane.id)
        self.journal.on_commit.append(self.dispatcher.committed)
        self.journal.cursors = self.progress.cursors
        self.journal.low = self._low
        refusing = any(endpoint.backlog.on_full == "refuse" for endpoint in endpoints)
        self.feed = EventFeed(self.journal, self._rules(endpoints), refusing=refusing)
        self.mqtt = _within_file_limit(settings)
        self.broker = Broker(self.mqtt, self.journal, self.loop)
        users = {user: secret.get_secret_value().encode() for user, secret in settings.auth.password}
        self.broker.set_hooks([self.feed, PasswordAuth(users, allow_anonymous=settings.auth.allow_anonymous)])
        self.rates = Rates(lambda: self.lanes, self.loop)
        self.control: ControlServer | None = None
        self._opened: list[str] = []
        self._watcher: asyncio.TimerHandle | None = None
        self._parker: asyncio.TimerHandle | None = None

    def _park(self) -> list[Parked]:
        """The lanes of endpoints that are disabled or gone: kept within bounds, not served."""
        served = {lane.id for lane in self.lanes}
        bounds = {endpoint.name: endpoint.backlog for endpoint in self.settings.webhooks}
        return [
            Parked(state, self.store, bounds.get(state.name, BacklogBound()))
            for state in self.store.lanes()
            if state.id not in served
        ]

    def _bound_dead(self) -> DeadBounds:
        """Dead letters are kept within bounds, those of endpoints that are not served too."""
        bounds = DeadBounds(self.journal, self.loop)
        settings = {endpoint.name: endpoint.dead for endpoint in self.settings.webhooks}
        owners: list[Lane | Parked] = [*self.lanes, *self.parked]
        for owner in owners:
            bounds.watch(owner, settings.get(owner.name, DeadBound()))
        return bounds

    def _rules(self, endpoints: Iterable[Endpoint]) -> Rules:
        lanes = {lane.endpoint.name: lane.id for lane in self.lanes}
        return Rules(
            (lanes[endpoint.name], rule.event, rule.topic)
            for endpoint in endpoints
            for rule in endpoint.events
        )

    def _low(self) -> int | None:
        lows = [self.progress.low(), self.retention.low(), *[parked.low_batch() for parked in self.parked]]
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

        Raises ListenError and StoreError.
        """
        self.retention.start()
        lost = self._restore()
        self.journal.flush()
        opened = await self.broker.open(self.settings.listeners)
        self._opened = [f"mqtt{'s' if one.kind == 'ssl' else ''}://{address}" for one, address in opened]
        self._log_attempts()
        for lane in self.lanes:
            lane.start()
        await self.broker.serve()
        await self._serve_commands()
        self._watch()
        self._expire_parked()
        self.dead_bounds.start()
        self._warn()
        return self._lines(lost)

    def _lines(self, lost: int) -> list[str]:
        """What runs, for the start; `lost` connections had not ended properly."""
        lines = [f"HookMQ {__version__}"]
        lines += [f"  listening  {address}" for address in self._opened]
        for lane in self.lanes:
            lines.append(f"  webhook    {lane.endpoint.name}: {lane.target.label}")
            lines.append(f"  events     {_events(lane.endpoint)}")
            waiting = self.waiting[lane.id]
            if waiting:
                lines.append(f"  waiting    {waiting:,} events from before the start")
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
        self.attempts = AttemptRecorder(store, self.loop)
        for lane in self.lanes:
            lane.attempts = self.attempts.sink(
                lane.name, lane.endpoint.attempts, lane.pool.timeout, lane.target.scrub
            )
        self.attempts.start()

    async def _serve_commands(self) -> None:
        """Open the control socket; without it everything goes on, and a warning says so."""
        self.rates.start()
        try:
            self.control = await ControlServer.open(
                socket_path(self.store.path), Service(self, self.rates).answer
            )
        except ControlError as error:
            log.warning("`hookmq status` and its like cannot reach this process: %s", error)

    def facts(self) -> dict[str, Any]:
        """What `hookmq status` tells of the process as a whole."""
        broker = self.broker
        stats = broker.stats
        return {
            "store": {"path": str(self.store.path)},
            "listeners": self._opened,
            "clients": len(broker.sessions) - len(broker.away),
            "sessions": len(broker.sessions),
            "messages": {
                "received": stats.received,
                "rejected": stats.rejected,
                "sent": stats.sent,
                "dropped": stats.dropped,
            },
        }

    def _restore(self) -> int:
        """Take up the broker's state; how many connections the last process left open."""
        try:
            return restore(self.broker)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StoreError(
                f"{self.store.path}: the broker's state in it is damaged ({error}): "
                f"restore a copy, or move it away and a new store is made"
            ) from error

    def _watch(self) -> None:
        """Let publishers wait while delivery lags more than `mqtt.max_lag`."""
        self._watcher = self.loop.call_later(WATCH_S, self._watch)
        max_lag = self.settings.mqtt.max_lag
        if max_lag is not None:
            now_ms = self.broker.now_ms()
            oldest = self.progress.oldest_ts()
            self.broker.turn.hold("lag", oldest is not None and now_ms - oldest > max_lag * 1000)

    def _expire_parked(self) -> None:
        self._parker = self.loop.call_later(PARKED_S, self._expire_parked)
        for parked in self.parked:
            cursor = parked.expire()
            if cursor is not None:
                self.journal.change(cursor)

    async def stop(self) -> None:
        """Stop accepting, tell the clients, commit, let requests in flight end, close the store."""
        for timer in (self._watcher, self._parker):
            if timer is not None:
                timer.cancel()
        self.rates.stop()
        self.dead_bounds.stop()
        if self.control is not None:
            self.control.close()
        self.broker.shut_down()
        if self.fatal is None:
            self.journal.flush()
        await asyncio.gather(*(lane.stop(self.loop.time() + DRAIN_S) for lane in self.lanes))
        self.network.close()
        if self.attempts is not None:
            await self.attempts.stop()
        if self.fatal is None:
            self.retention.close()
            self.journal.flush()
        self.close()
        # Let the goodbyes and the last acknowledgements leave the process.
        await asyncio.sleep(0)

    def close(self) -> None:
        """Close the store, once; nothing can be stored any more."""
        if self.fatal is None and not self._closed:
            self._closed = True
            self.journal.close()


def _mark(lanes: set[int], lane: int, on: bool) -> None:
    """A lane has passed a bound, or has room again."""
    if on:
        lanes.add(lane)
    else:
        lanes.discard(lane)


def _events(endpoint: Endpoint) -> str:
    topics: dict[EventType, list[str]] = {}
    for rule in endpoint.events:
        topics.setdefault(rule.event, []).append(rule.topic or "")
    return ", ".join(
        f"on_{kind.action}" + (f" ({', '.join(filter(None, found))})" if all(found) else "")
        for kind, found in topics.items()
    )


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


def _within_file_limit(settings: Settings) -> Mqtt:
    """The `mqtt` block with no more connections than leave files for the webhooks, the store and the log."""
    limit = _raise_file_limit()
    if limit is None:
        return settings.mqtt
    sizes = [endpoint.pool_size for endpoint in settings.webhooks if endpoint.enable]
    shared = max(SHARED_CONNECTIONS, *sizes) if sizes else 0
    own = OWN_FILES + len(sizes) + min(sum(sizes) - len(sizes), shared)
    room = max(limit - own, limit // 2)
    if room >= settings.mqtt.max_connections:
        return settings.mqtt
    return settings.mqtt.model_copy(update={"max_connections": room})


async def _main(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    try:
        app = App(settings, loop)
    except (StoreError, EndpointError, EgressError) as error:
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


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code. Raises StartError with one line."""
    try:
        configure(settings.log)
    except LogError as error:
        raise StartError(str(error)) from None
    if sys.version_info >= (3, 12):
        return asyncio.run(_main(settings), loop_factory=_loop_factory)
    with asyncio.Runner(loop_factory=_loop_factory) as runner:
        return runner.run(_main(settings))

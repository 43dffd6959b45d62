"""What the running process answers: a method for each command, an asynchronous generator of reply lines.

Whatever may be long is done in slices of a few milliseconds, with the loop free in between.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Protocol

import msgspec

from bridge import __version__
from bridge.config.changes import Reloaded
from bridge.config.settings import Settings
from bridge.control import arguments, keys
from bridge.control.arguments import read
from bridge.delivery import dead_letters as dead
from bridge.delivery import lookup
from bridge.delivery.account import attempt, connection, counters
from bridge.delivery.attempts import AttemptRecorder
from bridge.delivery.dead_bound import DeadBounds
from bridge.delivery.errors import Refused
from bridge.delivery.lane import Lane
from bridge.delivery.lookup import sequence
from bridge.delivery.parked import Parked
from bridge.delivery.rates import Rates
from bridge.delivery.replay import NotServed, Progress, Replay
from bridge.delivery.sample import send_test
from bridge.events.event import Event
from bridge.events.names import describe
from bridge.journal.attempt_store import PAGE_ROWS
from bridge.journal.journal import Journal
from bridge.journal.retention import Retention
from bridge.journal.store import StoreError
from bridge.mqtt.topics import matches, valid_topic_filter

Lines = AsyncGenerator[dict[str, Any], None]
DAY_MS = 86_400_000
MAX_NAMES = 20
"""Endpoints that an error names."""


class Plant(Protocol):
    """What the service needs to know of the process."""

    journal: Journal
    retention: Retention
    settings: Settings

    @property
    def api_keys(self) -> keys.Keys:
        """The keys of the HTTP API."""

    @property
    def lanes(self) -> list[Lane]:
        """The endpoints that are served."""

    @property
    def parked(self) -> list[Parked]:
        """Those that are not, and for which something may be kept."""

    @property
    def attempts(self) -> AttemptRecorder | None:
        """The attempt log, if there is one."""

    @property
    def dead_bounds(self) -> DeadBounds:
        """What holds dead letters to their bounds."""

    async def reload(self) -> Reloaded:
        """Read the configuration again and take up what has changed."""

    def facts(self) -> dict[str, Any]:
        """What only the whole knows: `store` (path), `listeners`, `clients`, `sessions`, `messages` and so
        on, as JSON."""


class Service:
    """Answers the commands of one process."""

    def __init__(self, plant: Plant, rates: Rates, *, clock: Callable[[], float] = time.time) -> None:
        self._plant = plant
        self._rates = rates
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._commands: dict[str, Callable[[dict[str, Any]], Lines]] = {
            "status": self._status,
            "endpoints": self._endpoints,
            "log": self._log,
            "dead": self._dead,
            "dead.list": self._dead_list,
            "dead.show": self._dead_show,
            "dead.replay": self._dead_replay,
            "dead.purge": self._dead_purge,
            "replay": self._replay,
            "send-test": self._send_test,
            "enable": self._enable,
            "disable": self._disable,
            "reload": self._reload,
            "api-key.create": self._key_create,
            "api-key.list": self._key_list,
            "api-key.revoke": self._key_revoke,
        }

    async def answer(self, command: str, args: dict[str, Any]) -> Lines:
        """The lines of a command's answer. Raises Refused."""
        found = self._commands.get(command)
        if found is None:
            raise Refused(f"this HookMQ ({__version__}) has no command {command!r}")
        try:
            async for line in found(args):
                yield line
        except StoreError as error:
            raise Refused(f"the store cannot be used now: {error}") from None
        except NotServed as error:
            raise Refused(str(error)) from None

    # -- which endpoint --------------------------------------------------------------------------------

    def _names(self) -> str:
        names = [lane.name for lane in self._plant.lanes]
        more = f", and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
        return ", ".join(names[:MAX_NAMES]) + more or "none"

    def _lane(self, name: str | None) -> Lane:
        lanes = self._plant.lanes
        if name is None:
            if len(lanes) == 1:
                return lanes[0]
            raise Refused(f"name one endpoint (--endpoint); there are: {self._names()}")
        known = self._named(name)
        for one in known:
            if isinstance(one, Lane):
                return one
            why = one.reason or "it is disabled, or no more in the configuration"
            raise Refused(f"the endpoint {name!r} is not served: {why}")
        raise Refused(f"no endpoint is called {name!r}; there are: {self._names()}")

    def _named(self, name: str) -> list[Lane | Parked]:
        """The endpoint of that name or id, or else of that description. Raises Refused where several are."""
        known: list[Lane | Parked] = [*self._plant.lanes, *self._plant.parked]
        found = [one for one in known if one.name == name]
        if found:
            return found[:1]
        found = [
            one for one in known if name and (one.endpoint if isinstance(one, Lane) else one).note == name
        ]
        if len(found) > 1:
            names = ", ".join(one.name for one in found[:10])
            raise Refused(f"{len(found)} endpoints have the description {name!r}: {names}")
        return found

    def _served(self, number: int) -> Lane | None:
        """The lane of that id, which a reload may have put in another one's place."""
        return next((lane for lane in self._plant.lanes if lane.id == number), None)

    def _known(self, number: int) -> Lane | Parked | None:
        return self._served(number) or next((one for one in self._plant.parked if one.id == number), None)

    def _ready(self, lane: Lane) -> Lane:
        if lane.health.off:
            raise Refused(f"{lane.name} is switched off ({lane.health.off}); hookmq enable switches it on")
        return lane

    def _some(self, name: str | None) -> Sequence[Lane | Parked]:
        """One endpoint, served or not, or all of them."""
        if name is None:
            return [*self._plant.lanes, *self._plant.parked]
        found = self._named(name)
        if not found:
            raise Refused(f"no endpoint is called {name!r}; there are: {self._names()}")
        return found

    def _store_all(self) -> None:
        """What has happened so far is in the store: before it is read, and before a command says `done`."""
        if not self._plant.journal.stalled:
            self._plant.journal.flush()

    # -- seeing ----------------------------------------------------------------------------------------

    async def _status(self, args: dict[str, Any]) -> Lines:
        read(arguments.NoArgs, args)
        plant = self._plant
        facts = plant.facts()
        attempts = plant.attempts
        yield {
            "result": {
                "version": __version__,
                "pid": os.getpid(),
                "uptime_s": round(self._loop.time() - self._started, 3),
                **facts,
                "store": {
                    **facts["store"],
                    "id": plant.journal.store.id,
                    "bytes": plant.journal.store.size(),
                    "stalled": plant.journal.stalled,
                    "replay_since": plant.retention.since,
                },
                "attempts_lost": attempts.lost if attempts is not None else None,
                "endpoints": [self._endpoint(lane) for lane in plant.lanes],
                "not_served": [
                    {
                        "name": parked.name,
                        "backlog_events": parked.waiting,
                        "retrying": parked.retrying,
                        "oldest_ms": self._age(parked.oldest_ts()),
                        **self._letters(parked),
                    }
                    for parked in plant.parked
                ],
            }
        }

    def _age(self, ts: int | None) -> int | None:
        return None if ts is None else max(int(self._clock() * 1000) - ts, 0)

    def _letters(self, lane: Lane | Parked) -> dict[str, Any]:
        return {
            "dead": lane.dead,
            "dead_bytes": self._plant.journal.store.dead_totals(lane.id).bytes,
            "dead_given_up": self._plant.dead_bounds.given_up(lane.id),
        }

    def _endpoint(self, lane: Lane) -> dict[str, Any]:
        delivered_s, failed_s = self._rates.of(lane)
        return {
            "name": lane.name,
            "url": lane.target.label,
            "state": lane.state,
            "reason": lane.reason,
            **_connection(lane),
            "backlog_events": lane.backlog_events,
            "backlog_bytes": lane.backlog_bytes,
            "oldest_ms": self._age(lane.oldest_waiting()),
            "retrying": lane.retrying,
            "shown_failed": lane.shown_failed,
            **counters(lane),
            **self._letters(lane),
            "expired": lane.expired,
            "delivered_per_s": round(delivered_s, 2),
            "failed_per_s": round(failed_s, 2),
        }

    async def _endpoints(self, args: dict[str, Any]) -> Lines:
        read(arguments.NoArgs, args)
        found: list[dict[str, Any]] = []
        for lane in self._plant.lanes:
            endpoint = lane.endpoint
            found.append(
                {
                    "name": lane.name,
                    "url": lane.target.label,
                    "note": endpoint.note,
                    "state": lane.state,
                    "reason": lane.reason,
                    **_connection(lane),
                    "method": endpoint.method,
                    "format": endpoint.format,
                    "events": [
                        {"event": "on_" + rule.event.action, "topic": rule.topic} for rule in endpoint.events
                    ],
                    "types": list(endpoint.types),
                    "sent": describe(  # on one line
                        ((rule.event, rule.topic) for rule in endpoint.events), endpoint.types
                    ),
                    "pool_size": endpoint.pool_size,
                    "timeout_ms": endpoint.cancel_timeout,
                    "ordering": endpoint.ordering,
                    "signature": [signature.scheme for signature in endpoint.signature],
                    "counters": counters(lane),
                }
            )
        for parked in self._plant.parked:
            shown = {"name": parked.name, "state": "off" if parked.reason else "not served"}
            found.append({**shown, "note": parked.note, "reason": parked.reason})
        yield {"result": found}

    async def _log(self, args: dict[str, Any]) -> Lines:
        wanted = read(arguments.LogArgs, args)
        attempts = self._plant.attempts
        if attempts is None:
            raise Refused("no attempts are logged: HookMQ's own log says why")
        if wanted.endpoint is not None:
            wanted.endpoint = self._some(wanted.endpoint)[0].name
        store_id = self._plant.journal.store.id
        condition = arguments.log_filter(wanted, store_id)
        left = min(max(wanted.limit, 0), arguments.MAX_LIMIT)
        await attempts.flush()
        below: tuple[int, int] | None = None
        while left > 0:
            rows = await attempts.query(condition, min(left, PAGE_ROWS), below=below, full=wanted.full)
            if not rows:
                break
            below = rows[-1]["at"], rows[-1]["id"]
            left -= len(rows)
            yield {"rows": [attempt(row, store_id) for row in rows]}
        yield {"result": {"lost": attempts.lost}}

    # -- dead letters ----------------------------------------------------------------------------------

    async def _dead(self, args: dict[str, Any]) -> Lines:
        wanted = read(arguments.DeadArgs, args)
        self._store_all()
        async for line in dead.groups(self._plant.journal.store, self._some(wanted.endpoint)):
            yield line

    async def _dead_list(self, args: dict[str, Any]) -> Lines:
        wanted = read(arguments.DeadArgs, args)
        store = self._plant.journal.store
        limit = min(max(wanted.limit, 0), arguments.MAX_LIMIT)
        self._store_all()
        async for line in dead.rows(store, self._some(wanted.endpoint), limit):
            yield line

    async def _dead_show(self, args: dict[str, Any]) -> Lines:
        wanted = read(arguments.DeadArgs, args)
        if not wanted.ids or len(wanted.ids) != 1:
            raise Refused("name one dead letter by its webhook-id")
        store = self._plant.journal.store
        seq = sequence(wanted.ids[0], store.id)
        self._store_all()
        shown = dead.show(store, self._some(wanted.endpoint), seq)
        attempts = self._plant.attempts
        if attempts is not None:
            await attempts.flush()
            name = None if wanted.endpoint is None else self._some(wanted.endpoint)[0].name
            condition = arguments.log_filter(arguments.LogArgs(endpoint=name, id=wanted.ids[0]), store.id)
            rows = await attempts.query(condition, PAGE_ROWS, full=True)
            shown["attempts"] = [attempt(row, store.id) for row in rows]
        yield {"result": shown}

    async def _dead_replay(self, args: dict[str, Any]) -> Lines:
        wanted = read(arguments.DeadArgs, args)
        store = self._plant.journal.store
        self._store_all()
        if wanted.ids is None:
            lanes = [self._lane(wanted.endpoint)] if wanted.endpoint is not None else self._plant.lanes
            chosen: list[tuple[Lane, list[int] | None]] = [(lane, None) for lane in lanes if lane.dead]
        else:
            lanes = [self._lane(wanted.endpoint)] if wanted.endpoint is not None else self._plant.lanes
            chosen = [(lane, seqs) for lane, seqs in dead.find(store, lanes, wanted.ids) if seqs]
        sums = Progress()
        for lane, _ in chosen:
            self._ready(lane)
        for lane, seqs in chosen:
            replay = Replay(lane, self._plant.journal, self._served)
            async for progress in replay.dead(seqs):
                yield {"progress": {"endpoint": lane.name, **_added(sums, progress)}}
            sums = Progress(**_added(sums, replay.progress))
        self._store_all()
        yield {"result": msgspec.to_builtins(sums)}

    async def _dead_purge(self, args: dict[str, Any]) -> Lines:
        wanted = read(arguments.DeadArgs, args)
        some = self._some(wanted.endpoint)
        journal = self._plant.journal
        self._store_all()
        chosen: list[tuple[Lane | Parked, list[int] | None]] = (
            [(lane, None) for lane in some]
            if wanted.ids is None
            else [(lane, seqs) for lane, seqs in dead.find(journal.store, some, wanted.ids) if seqs]
        )
        count = 0
        total = sum(lane.dead if seqs is None else len(seqs) for lane, seqs in chosen)
        for lane, seqs in chosen:
            async for purged in dead.purge(journal, lane, seqs, self._known):
                count += purged
                yield {"progress": {"endpoint": lane.name, "done": count, "total": total}}
        self._store_all()
        yield {"result": {"purged": count}}

    # -- mending ---------------------------------------------------------------------------------------

    async def _replay(self, args: dict[str, Any]) -> Lines:
        wanted = read(arguments.ReplayArgs, args)
        lane = self._ready(self._lane(wanted.endpoint))
        topic_filter = wanted.filter
        if topic_filter is not None and not valid_topic_filter(topic_filter):
            raise Refused(f"{topic_filter!r} is not a topic filter")
        now = int(self._clock() * 1000)
        until = now + DAY_MS if wanted.until is None else wanted.until
        if until <= wanted.since:
            raise Refused("nothing lies between --since and --until")

        def fits(event: Event) -> bool:
            return topic_filter is None or bool(event.topic and matches(topic_filter, event.topic))

        self._store_all()
        replay = Replay(lane, self._plant.journal, self._served)
        reaches = self._plant.retention.since
        async for progress in replay.log(self._plant.retention, wanted.since, until, fits):
            yield {"progress": {"endpoint": lane.name, **msgspec.to_builtins(progress)}}
        self._store_all()
        yield {
            "result": {
                "endpoint": lane.name,
                **msgspec.to_builtins(replay.progress),
                "kept_since": reaches if reaches > wanted.since else None,
            }
        }

    async def _enable(self, args: dict[str, Any]) -> Lines:
        lane = self._lane(read(arguments.EndpointArgs, args).endpoint)
        yield {"result": {"endpoint": lane.name, "changed": lane.switch_on(), "state": lane.state}}

    async def _disable(self, args: dict[str, Any]) -> Lines:
        lane = self._lane(read(arguments.EndpointArgs, args).endpoint)
        changed = lane.switch_off("by hand (hookmq disable)")
        yield {"result": {"endpoint": lane.name, "changed": changed, "state": lane.state}}

    async def _reload(self, args: dict[str, Any]) -> Lines:
        read(arguments.NoArgs, args)
        done = await self._plant.reload()
        yield {"result": done._asdict()}

    async def _key_create(self, args: dict[str, Any]) -> Lines:
        plant = self._plant
        yield {"result": keys.create(plant.api_keys, plant.journal, read(keys.CreateArgs, args))}

    async def _key_list(self, args: dict[str, Any]) -> Lines:
        read(arguments.NoArgs, args)
        yield {"result": self._plant.api_keys.rows()}

    async def _key_revoke(self, args: dict[str, Any]) -> Lines:
        plant = self._plant
        yield {"result": keys.revoke(plant.api_keys, plant.journal, read(keys.RevokeArgs, args))}

    async def _send_test(self, args: dict[str, Any]) -> Lines:
        wanted = read(arguments.SendTestArgs, args)
        lane = self._lane(wanted.endpoint)
        types = self._plant.settings.events.catalogue
        what = lookup.sample(wanted.event, types, lane.id, int(time.time() * 1000))
        store_id = self._plant.journal.store.id
        try:
            found = await send_test(lane, what)
        except Exception as error:
            raise Refused(f"no request can be made for {lane.name}: {error}") from error
        shown = msgspec.to_builtins(found)
        yield {"result": {"endpoint": lane.name, **shown, "id": f"msg_{store_id}_{found.id}"}}


def _connection(lane: Lane) -> dict[str, Any]:
    """The connection of a publisher at another broker; times are Unix ms."""
    found = connection(lane)
    return {} if found is None else {"connection": found._asdict()}


def _added(sums: Progress, progress: Progress) -> dict[str, Any]:
    return {
        "done": sums.done + progress.done,
        "total": sums.total + progress.total,
        "taken": sums.taken + progress.taken,
        "under_way": sums.under_way + progress.under_way,
        "gone": sums.gone + progress.gone,
        "waiting": progress.waiting,
    }

"""Replays that go on by themselves, for callers that cannot wait for the end: one for each endpoint.

They go on after a restart too. How far one has come is a row of the store's state that goes with its lane,
committed with the rows of the events that it has handed over: none of them is handed over twice, and none is
left out. It is deleted when the replay ends. One whose endpoint is not served any more ends there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from bridge.delivery.errors import Refused
from bridge.delivery.lane import Lane
from bridge.delivery.parked import Parked
from bridge.delivery.replay import Extent, NotServed, Progress, Replay
from bridge.events.cloudevents import timestamp
from bridge.events.event import Event
from bridge.journal.batch import Put
from bridge.journal.journal import Journal
from bridge.journal.retention import Retention
from bridge.journal.store import StoreError, lane_space

log = logging.getLogger(__name__)

MAX_RUNNING = 16
MAX_KEPT = 1000
"""Ended replays that are remembered."""
PATIENCE_S = 2.0
"""How long a caller waits for the end of one."""
STORE_EVERY_S = 1.0
"""How often it is stored how far one has come that hands nothing over."""
DAY_MS = 86_400_000
SPACE = "replay"
"""The state row's space goes with the lane (`lane_space`), and has this one key."""
KEY = "log"


class Record(msgspec.Struct, array_like=True):
    """The state row. Times are Unix ms; the rest is of `Extent` and `Progress`."""

    since: int
    until: int
    kept_since: int | None
    position: int
    end: int
    done: int
    taken: int
    under_way: int
    gone: int


_record = msgspec.msgpack.Decoder(Record)


def _any(event: Event) -> bool:
    return True


class Job:
    """One replay, running or ended. `error` is why it ended early, if it did."""

    def __init__(self, lane: int, replay: Replay, record: Record) -> None:
        self.error = ""
        self.stopped = False
        self.lane = lane
        self.replay = replay
        self.record = record
        self.task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()

    async def wait(self) -> bool:
        """Wait for its end, but not long; whether it has come."""
        if self.task is not None:
            await asyncio.wait([self.task], timeout=PATIENCE_S)
        return not self.running

    def shown(self) -> dict[str, Any]:
        """How far it has come, as JSON."""
        state = (
            "running" if self.running else "failed" if self.error else "stopped" if self.stopped else "done"
        )
        kept_since = self.record.kept_since
        return {
            "state": state,
            "error": self.error,
            **msgspec.to_builtins(self.replay.progress),
            "kept_since": None if kept_since is None else timestamp(kept_since),
        }


class Replays:
    """All of them. `current` gives the lane that has come in the place of the one with an id, or None."""

    def __init__(self, journal: Journal, retention: Retention, current: Callable[[int], Lane | None]) -> None:
        self._journal = journal
        self._retention = retention
        self._current = current
        self._jobs: dict[str, Job] = {}  # by the endpoint's name, the latest last

    def of(self, name: str) -> Job | None:
        """The latest replay of an endpoint."""
        return self._jobs.get(name)

    def begin(self, lane: Lane, since: int, until: int | None) -> Job:
        """Send the events of a time again, Unix ms, `until` exclusive. Raises Refused."""
        known = self._jobs.pop(lane.name, None)
        if known is not None and known.running:
            self._jobs[lane.name] = known
            raise Refused("a replay of this endpoint is running already: wait for its end, or stop it")
        if sum(1 for job in self._jobs.values() if job.running) >= MAX_RUNNING:
            raise Refused(f"{MAX_RUNNING} replays are running already, wait for the end of one")
        for name in [name for name, job in self._jobs.items() if not job.running][: -MAX_KEPT or None]:
            del self._jobs[name]
        if not self._journal.stalled:
            self._journal.flush()  # so that the store knows all dead letters
        reaches = self._retention.since
        behind = int(time.time() * 1000) + DAY_MS if until is None else until
        replay = Replay(lane, self._journal, self._current)
        position, end, done = replay.extent(self._retention, since, behind)
        kept_since = reaches if reaches > since else None
        record = Record(since, behind, kept_since, position, end, done, 0, 0, 0)
        self._store(lane.id, record)
        return self._start(lane, replay, record)

    def resume(self, lanes: Iterable[Lane], parked: Iterable[Parked]) -> None:
        """Go on with what the last process has left; after the start of `lanes`. Raises StoreError."""
        known: list[Lane | Parked] = [*lanes, *parked]
        for one in known:
            found = dict(self._journal.store.load(lane_space(SPACE, one.id))).get(KEY)
            if found is None:
                continue
            try:
                record = _record.decode(found)
            except msgspec.MsgspecError as error:
                log.warning(
                    "the replay of %s does not go on, its row in the store is damaged: %s", one.name, error
                )
                self._store(one.id, None)
                continue
            if isinstance(one, Parked):
                log.warning("the replay of %s does not go on, it is not served", one.name)
                self._store(one.id, None)
                continue
            replay = Replay(one, self._journal, self._current)
            replay.progress = Progress(
                record.done, taken=record.taken, under_way=record.under_way, gone=record.gone
            )
            log.info("the replay of %s goes on", one.name)
            self._start(one, replay, record)

    def _start(self, lane: Lane, replay: Replay, record: Record) -> Job:
        job = Job(lane.id, replay, record)
        job.task = asyncio.get_running_loop().create_task(self._run(job))
        self._jobs[lane.name] = job
        return job

    async def _run(self, job: Job) -> None:
        record, replay, now = job.record, job.replay, asyncio.get_running_loop().time
        stored = now()

        def reached(position: int) -> None:
            nonlocal stored
            progress = replay.progress
            handed = (progress.taken, progress.under_way, progress.gone)
            if (record.taken, record.under_way, record.gone) == handed and now() < stored + STORE_EVERY_S:
                return
            stored = now()
            record.position, record.done = position, progress.done
            record.taken, record.under_way, record.gone = handed
            self._store(job.lane, record)

        replay.on_position = reached
        extent = Extent(record.position, record.end, record.done)
        try:
            async for _ in replay.log(self._retention, record.since, record.until, _any, extent):
                pass
        except (StoreError, NotServed) as error:
            job.error = str(error)
        except asyncio.CancelledError:
            job.stopped = True
            raise
        except Exception as error:
            log.exception("a replay failed")
            job.error = f"a fault of HookMQ's own: {type(error).__name__}"
        self._store(job.lane, None)

    def _store(self, lane: int, record: Record | None) -> None:
        value = None if record is None else msgspec.msgpack.encode(record)
        self._journal.change(Put(lane_space(SPACE, lane), KEY, value))

    async def stop(self, name: str) -> None:
        """Hand over no more of an endpoint's replay."""
        job = self._jobs.get(name)
        if job is not None and job.task is not None and job.running:
            job.task.cancel()
            await asyncio.wait([job.task])
            self._store(job.lane, None)

    def close(self) -> None:
        """End all of them; at the next start they go on."""
        for job in self._jobs.values():
            if job.task is not None:
                job.task.cancel()

"""Replays that go on by themselves, for callers that cannot wait for the end: one for each endpoint.

What a replay has handed to its endpoint survives a restart; the rest is forgotten, and can be asked for
again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec

from bridge.delivery.errors import Refused
from bridge.delivery.lane import Lane
from bridge.delivery.replay import NotServed, Replay
from bridge.events.cloudevents import timestamp
from bridge.events.event import Event
from bridge.journal.journal import Journal
from bridge.journal.retention import Retention
from bridge.journal.store import StoreError

log = logging.getLogger(__name__)

MAX_RUNNING = 16
MAX_KEPT = 1000
"""Ended replays that are remembered."""
PATIENCE_S = 2.0
"""How long a caller waits for the end of one."""
DAY_MS = 86_400_000


def _any(event: Event) -> bool:
    return True


class Job:
    """One replay, running or ended. `error` is why it ended early, if it did."""

    def __init__(self, replay: Replay, kept_since: int | None) -> None:
        self.error = ""
        self.stopped = False
        self._replay = replay
        self._kept_since = kept_since
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
        return {
            "state": state,
            "error": self.error,
            **msgspec.to_builtins(self._replay.progress),
            "kept_since": None if self._kept_since is None else timestamp(self._kept_since),
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
        replay = Replay(lane, self._journal, self._current)
        job = Job(replay, reaches if reaches > since else None)
        end = int(time.time() * 1000) + DAY_MS if until is None else until
        job.task = asyncio.get_running_loop().create_task(self._run(job, replay, since, end))
        self._jobs[lane.name] = job
        return job

    async def _run(self, job: Job, replay: Replay, since: int, until: int) -> None:
        try:
            async for _ in replay.log(self._retention, since, until, _any):
                pass
        except (StoreError, NotServed) as error:
            job.error = str(error)
        except asyncio.CancelledError:
            job.stopped = True
            raise
        except Exception as error:
            log.exception("a replay failed")
            job.error = f"a fault of HookMQ's own: {type(error).__name__}"

    async def stop(self, name: str) -> None:
        """Hand over no more of an endpoint's replay."""
        job = self._jobs.get(name)
        if job is not None and job.task is not None and job.running:
            job.task.cancel()
            await asyncio.wait([job.task])

    def close(self) -> None:
        """End all of them."""
        for job in self._jobs.values():
            if job.task is not None:
                job.task.cancel()

"""Work on many events that goes on by itself, for callers that cannot wait for the end: dead letters replayed
or purged, all attempts that match sent again.

What has been handed over is in the store; the rest is as it was, and can be asked for again. So a job does
not go on after a restart.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import msgspec

from bridge.delivery.errors import Refused
from bridge.delivery.replay import NotServed
from bridge.events.cloudevents import timestamp
from bridge.journal.store import StoreError

log = logging.getLogger(__name__)

MAX_RUNNING = 8
MAX_KEPT = 200
"""Jobs that are remembered."""
PATIENCE_S = 2.0
"""How long a caller waits for the end of one."""

Kind = Literal["replay", "purge", "retry"]


class Counts(msgspec.Struct):
    """How far a job has come. `total` is None where nobody knows before the end."""

    done: int = 0  # events that were looked at
    total: int | None = None
    affected: int = 0  # that are sent again, or are purged
    skipped: int = 0  # that are being sent anyway, have gone, or whose endpoint takes none
    more: bool = False  # the bound was reached: there may be more


Work = Callable[[Counts], AsyncIterator[None]]
"""Does it, telling in the counts how far it has come; yields now and then. Raises StoreError, NotServed."""


class Job:
    """One of them."""

    def __init__(self, kind: Kind, endpoint: str) -> None:
        self.id = f"job_{secrets.token_hex(8)}"
        self.kind = kind
        self.endpoint = endpoint  # empty: several
        self.began = int(time.time() * 1000)
        self.counts = Counts()
        self.error = ""
        self.stopped = False
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
        """As JSON."""
        state = "running" if self.running else "failed" if self.error else "done"
        return {
            "id": self.id,
            "kind": self.kind,
            "endpoint": self.endpoint,
            "began": timestamp(self.began),
            "state": "stopped" if self.stopped else state,
            "error": self.error,
            **msgspec.to_builtins(self.counts),
        }


class Jobs:
    """All of them, the latest last. For the loop's thread only."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def of(self, identifier: str) -> Job | None:
        """The one with that id."""
        return self._jobs.get(identifier)

    def begin(self, kind: Kind, endpoint: str, work: Work) -> Job:
        """Start one. Raises Refused where too many run, or one of that kind for that endpoint."""
        running = [job for job in self._jobs.values() if job.running]
        if any(job.endpoint == endpoint and job.kind == kind for job in running):
            raise Refused(f"a {kind} of this is running already: wait for its end, or stop it")
        if len(running) >= MAX_RUNNING:
            raise Refused(f"{MAX_RUNNING} jobs are running already, wait for the end of one")
        for old in [job for job in self._jobs.values() if not job.running]:
            if len(self._jobs) >= MAX_KEPT:
                del self._jobs[old.id]
        job = Job(kind, endpoint)
        job.task = asyncio.get_running_loop().create_task(self._run(job, work))
        self._jobs[job.id] = job
        return job

    async def _run(self, job: Job, work: Work) -> None:
        try:
            async for _ in work(job.counts):
                pass
        except (StoreError, NotServed, Refused) as error:
            job.error = str(error)
        except asyncio.CancelledError:
            job.stopped = True
            raise
        except Exception as error:
            log.exception("a %s failed", job.kind)
            job.error = f"a fault of HookMQ's own: {type(error).__name__}"

    async def stop(self, identifier: str) -> None:
        """End one; what it has done stays done."""
        job = self._jobs.get(identifier)
        if job is not None and job.task is not None and job.running:
            job.task.cancel()
            await asyncio.wait([job.task])

    def close(self) -> None:
        """End all of them."""
        for job in self._jobs.values():
            if job.task is not None:
                job.task.cancel()

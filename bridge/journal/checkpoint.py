"""Keeps the write-ahead log short without stopping the loop for it.

* At `SOFT_BYTES` a helper thread copies the log into the database on a connection of its own (a PASSIVE
  checkpoint: commits go on beside it, and syncs move to their thread for as long). Where nothing was
  committed meanwhile the next commit starts the log from its beginning.
* Where commits never pause, the loop itself copies the little that came meanwhile: at once where the disk is
  fast, and on a slow disk not before `HARD_BYTES`, since it costs two syncs.
* At `STOP_BYTES` (the disk takes less than the loop writes) a commit waits for the checkpoint.

The file keeps its length, since overwriting it makes a sync about twice as fast as growing it; past
`STOP_BYTES` (another program read the file for long) it is cut. On a disk so small that these bounds would be
a 16th, an 8th or a quarter of it, that part is the bound.
"""

from __future__ import annotations

import _thread
import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable

from bridge.journal.syncer import Syncer
from bridge.journal.wal import WalFile

SOFT_BYTES = 8 << 20
HARD_BYTES = 64 << 20
STOP_BYTES = 128 << 20
_LOOK_BYTES = SOFT_BYTES // 8

# A checkpoint that failed so leaves everything as it was and is tried again. After any other failure, a
# sync's above all, the database may hold less than SQLite believes.
_HARMLESS = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_NOMEM"})


def harmless(error: sqlite3.Error) -> bool:
    """Whether a checkpoint, or a write, that failed so has left everything as it was."""
    return getattr(error, "sqlite_errorname", "") in _HARMLESS


logger = logging.getLogger("hookmq.journal")


class Checkpointer:
    """Watches the log's length after each commit. `longest_stop` is the longest time in seconds that the loop
    stood still for a checkpoint."""

    def __init__(
        self,
        database: sqlite3.Connection,
        helper: sqlite3.Connection,
        wal: WalFile,
        loop: asyncio.AbstractEventLoop,
        syncer: Syncer,
        failed: Callable[[sqlite3.Error], None],
        disk_bytes: int | None = None,
    ) -> None:
        disk = STOP_BYTES * 16 if disk_bytes is None else disk_bytes
        self.soft = min(SOFT_BYTES, disk // 16)
        self._hard = min(HARD_BYTES, disk // 8)
        self._stop = min(STOP_BYTES, disk // 4)
        self._look = min(_LOOK_BYTES, self.soft // 8)
        self.longest_stop = 0.0
        self._database = database
        self._helper = helper
        self._wal = wal
        self._loop = loop
        self._syncer = syncer
        self._failed = failed
        self._written = 0
        self._next = self.soft
        self._running: threading.Lock | None = None  # held by the helper's thread until its part is done
        self._stopped = False
        self._copied = 0
        self._failure: sqlite3.Error | None = None

    def wrote(self, size: int) -> bool:
        """A commit wrote about that many bytes. True about once a mebibyte (on a small disk more often), when
        the log was looked at."""
        self._written += size
        if self._written < self._look:
            return False
        self._written = 0
        if not self._stopped:
            length = self.length()
            if self._running is None:
                if length >= self._next:
                    self._begin()
            elif length >= self._stop:
                self._wait()
        return True

    def _begin(self) -> None:
        running = self._running = threading.Lock()
        running.acquire()
        self._syncer.aside = True
        # Not `Thread.start`: it waits until the thread runs, which on a busy machine holds the loop.
        _thread.start_new_thread(self._work, (running,))

    def _wait(self) -> None:
        start = time.perf_counter()
        self._end()
        self.longest_stop = max(self.longest_stop, time.perf_counter() - start)

    def length(self) -> int:
        """Bytes of the log that hold pages not yet overwritten."""
        return self._wal.frames() * self._wal.frame_size

    def _work(self, running: threading.Lock) -> None:
        self._copied, self._failure = 0, None
        try:
            for _ in range(2):  # the second copies what came during the first, and leaves less to the loop
                self._copied = self._helper.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[2]
        except sqlite3.Error as error:
            self._failure = error
        finally:
            running.release()
        try:
            self._loop.call_soon_threadsafe(self._returned, running)
        except RuntimeError:  # the loop is closed
            return

    def _returned(self, running: threading.Lock) -> None:
        if running is self._running and not self._stopped:
            self._end()

    def _join(self) -> None:
        """Wait for a helper that is at work."""
        if self._running is not None:
            self._running.acquire()
            self._running = None

    def _end(self) -> None:
        """The helper's part is done, or all but done."""
        self._join()
        self._syncer.aside = False
        self._next = self.soft
        failure = self._failure
        if failure is None and self._wal.frames() > self._copied:
            length = self.length()
            if self._syncer.pace.threaded and length < self._hard:
                self._next = length + self.soft
            else:
                failure = self._finish()
        if failure is not None:
            if harmless(failure):
                logger.warning("the store's checkpoint has to wait: %s", failure)
                self._next = self.length() + self.soft
            else:
                self._failed(failure)

    def now(self) -> bool:
        """Copy the whole log in the loop's thread, so that the next commit starts it from its beginning and
        needs no room on the disk; whether all of it was copied."""
        if self._stopped:
            return False
        self._join()
        self._syncer.aside = False
        self._next = self.soft
        failure, self._failure = self._failure, None
        if failure is None or harmless(failure):
            failure = self._finish()
        if failure is None:
            return self._next == self.soft
        if not harmless(failure):
            self._failed(failure)
        self._next = self.length() + self.soft
        return False

    def _finish(self) -> sqlite3.Error | None:
        start = time.perf_counter()
        try:
            _, frames, copied = self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if copied < frames:  # another program reads the file: what it sees has to stay
                self._next = self.length() + self.soft
            elif self._wal.size() > self._stop:
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            return error
        finally:
            self.longest_stop = max(self.longest_stop, time.perf_counter() - start)
        return None

    def stop(self) -> None:
        """Wait for a checkpoint that is under way, and begin no other."""
        self._stopped = True
        self._join()

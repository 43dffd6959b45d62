"""Keeps the write-ahead log short without stopping the loop for it.

At `SOFT_BYTES` a helper thread copies the log into the database on a connection of its own (a PASSIVE
checkpoint: commits go on beside it, and syncs move to their thread for as long). Where nothing was committed
meanwhile the next commit starts the log from its beginning. Where commits never pause, the loop itself copies
the little that came meanwhile: at once where the disk is fast, and on a slow disk not before `HARD_BYTES`,
since it costs two syncs. The file keeps its length, since overwriting it makes a sync about twice as fast as
growing it; past `TRUNCATE_BYTES` (a program that read the file for long) it is cut.
"""

from __future__ import annotations

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
TRUNCATE_BYTES = 128 << 20
_LOOK_BYTES = SOFT_BYTES // 8

# A checkpoint that failed so leaves everything as it was and is tried again. After any other failure, a
# sync's above all, the database may hold less than SQLite believes.
_HARMLESS = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_NOMEM"})

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
    ) -> None:
        self.longest_stop = 0.0
        self._database = database
        self._helper = helper
        self._wal = wal
        self._loop = loop
        self._syncer = syncer
        self._failed = failed
        self._written = 0
        self._next = SOFT_BYTES
        self._thread: threading.Thread | None = None
        self._stopped = False

    def wrote(self, size: int) -> bool:
        """A commit wrote about that many bytes. True about once a mebibyte, when the log was looked at."""
        self._written += size
        if self._written < _LOOK_BYTES:
            return False
        self._written = 0
        if self._thread is None and not self._stopped and self.length() >= self._next:
            self._thread = threading.Thread(target=self._work, name="hookmq-checkpoint", daemon=True)
            self._syncer.aside = True
            self._thread.start()
        return True

    def length(self) -> int:
        """Bytes of the log that hold pages not yet overwritten."""
        return self._wal.frames() * self._wal.frame_size

    def _work(self) -> None:
        copied, failure = 0, None
        try:
            for _ in range(2):
                copied = self._helper.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[2]
        except sqlite3.Error as error:
            failure = error
        try:
            self._loop.call_soon_threadsafe(self._returned, copied, failure)
        except RuntimeError:  # the loop is closed
            return

    def _returned(self, copied: int, failure: sqlite3.Error | None) -> None:
        if self._stopped:
            return
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._syncer.aside = False
        self._next = SOFT_BYTES
        if failure is None and self._wal.frames() > copied:
            length = self.length()
            if self._syncer.pace.threaded and length < HARD_BYTES:
                self._next = length + SOFT_BYTES
            else:
                failure = self._finish()
        if failure is not None:
            if getattr(failure, "sqlite_errorname", "") in _HARMLESS:
                logger.warning("the store's checkpoint has to wait: %s", failure)
                self._next = self.length() + SOFT_BYTES
            else:
                self._failed(failure)

    def _finish(self) -> sqlite3.Error | None:
        start = time.perf_counter()
        try:
            _, frames, copied = self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if copied < frames:  # another program reads the file: what it sees has to stay
                self._next = self.length() + SOFT_BYTES
            elif self._wal.size() > TRUNCATE_BYTES:
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            return error
        finally:
            self.longest_stop = max(self.longest_stop, time.perf_counter() - start)
        return None

    def stop(self) -> None:
        """Wait for a checkpoint that is under way, and begin no other."""
        self._stopped = True
        if self._thread is not None:
            self._thread.join()
            self._thread = None

"""How much room the SQLite store has, and how it stays able to mend itself where there is none.

* Pages that a commit adds reach the file only with a checkpoint. So the file may grow by no more pages than
  its disk has room for beside the write-ahead log (`PRAGMA max_page_count`, set anew at every look): a commit
  that wants more is refused whole, and a checkpoint never waits for room because of what we have promised.
* What the write-ahead log has taken it keeps, and overwrites after a checkpoint. So once all of it is copied
  there is room for small commits whatever the disk says.
* Where that is not enough the reserve (reserve.py) is given up for the lanes' progress and for trimming.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from bridge.journal.filesystem import Disk
from bridge.journal.reserve import ReserveFile
from bridge.journal.sqlite_schema import PAGE_SIZE
from bridge.journal.store import Room
from bridge.journal.wal import WalFile

_KEEP_PARTS = 16
_PLENTY = 4 << 30  # far more than a second brings, and than anybody reserves
_MOST_PAGES = 1 << 30  # below what any SQLite takes as the limit of a file's pages


class Space:
    """Looks after the room of one store. `log_bytes` is what its write-ahead log takes in the normal course;
    `room` is what the last look found, None where the disk does not tell."""

    def __init__(
        self,
        path: Path,
        database: sqlite3.Connection,
        wal: WalFile,
        reserve: ReserveFile,
        disk: Callable[[Path], Disk | None],
        log_bytes: int,
    ) -> None:
        self._path = path
        self._execute = database.execute
        self._wal = wal
        self._reserve = reserve
        self._disk = disk
        self._log_bytes = log_bytes
        self._next = 0.0  # when to look again where there is plenty of room (monotonic seconds)
        self.room: Room | None = None
        self.keep_pages = _MOST_PAGES  # that may be free in the file; the disk is not ours alone

    def glance(self) -> None:
        """`look`, but where there is plenty of room no more than once a second."""
        now = time.monotonic()
        if self.room is None or self.room.free < _PLENTY or now >= self._next:
            self._next = now + 1.0
            self.look()

    def look(self) -> None:
        """Set `room` to what there is now, and limit the file by it. Raises sqlite3.Error and OSError."""
        disk = self._disk(self._path.parent)
        if disk is None:
            self.room = None
            self._limit(_MOST_PAGES)
            return
        self.keep_pages = disk.total // _KEEP_PARTS // PAGE_SIZE
        pages: int = self._execute("PRAGMA page_count").fetchone()[0]
        unused: int = self._execute("PRAGMA freelist_count").fetchone()[0]
        size = os.stat(self._path).st_size
        # What the file will be longer (or shorter) after the next checkpoint.
        growth = pages * PAGE_SIZE - size
        free = disk.free
        reserve = self._reserve
        if not reserve.held and free - max(growth, 0) >= 2 * reserve.size and reserve.hold():
            free -= reserve.size
        spare = free - max(self._log_bytes - self._wal.size(), 0) - (0 if reserve.held else reserve.size)
        self._limit(min((size + max(spare, 0)) // PAGE_SIZE, _MOST_PAGES))
        oldest = self._execute("SELECT min(batch) FROM log").fetchone()[0]
        self.room = Room(max(free - growth, 0) + unused * PAGE_SIZE, disk.total, oldest)

    @property
    def wanted(self) -> int:
        """Bytes that the file should give back to its disk for the reserve."""
        return 0 if self._reserve.held else 2 * self._reserve.size

    def release(self) -> bool:
        """Give the reserve up; False if there was none."""
        if not self._reserve.release():
            return False
        # Half of it for pages of the file, the other half for the log.
        pages: int = self._execute("PRAGMA max_page_count").fetchone()[0]
        self._limit(pages + self._reserve.size // 2 // PAGE_SIZE)
        return True

    def _limit(self, pages: int) -> None:
        self._execute(f"PRAGMA max_page_count={pages}").fetchall()

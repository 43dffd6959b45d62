"""The `-wal` file seen from beside SQLite: synced by us, and measured without a checkpoint.

SQLite keeps the file from the first write to the close, restarts it from its beginning or truncates it, and
never replaces it. It sets no POSIX lock on it (those are on the database and the `-shm` file, and any close()
of ours on those would drop them), so that a descriptor of our own is safe on this file alone.
https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import os
from pathlib import Path

from bridge.journal.filesystem import read_at, sync_data

_HEADER = 32
_FRAME_HEADER = 24


class WalFile:
    """An open write-ahead log of pages of `page_size` bytes."""

    def __init__(self, database: Path, page_size: int) -> None:
        """Open the log beside that database, after its first write; OSError where there is none."""
        self.path = database.with_name(database.name + "-wal")
        self.frame_size = page_size + _FRAME_HEADER
        self.fd = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        self._salts = b""
        self._frames = 0

    def sync(self) -> None:
        """Bring all that was committed to the medium. OSError where that failed: the data may be gone then,
        even if a later sync succeeds (the kernel forgets the pages that it could not write)."""
        sync_data(self.fd)

    def frames(self) -> int:
        """How many pages the log holds since it was last restarted.

        The frames of the present round are a prefix that carries the header's salts: found by steps that
        double, then by halves, from the number that was last known.
        """
        salts = read_at(self.fd, 8, 16)
        if len(salts) < 8:
            self._salts, self._frames = b"", 0
            return 0
        if salts != self._salts:
            self._salts, self._frames = salts, 0
        low, step = self._frames, 16
        while self._holds(low + step, salts):
            low += step
            step *= 2
        high = low + step  # frame number `high` is not of this round, number `low` is
        while high - low > 1:
            middle = (low + high) // 2
            if self._holds(middle, salts):
                low = middle
            else:
                high = middle
        self._frames = low
        return low

    def _holds(self, number: int, salts: bytes) -> bool:
        offset = _HEADER + (number - 1) * self.frame_size + 8
        return read_at(self.fd, 8, offset) == salts

    def size(self) -> int:
        """The file's length in bytes; it stays when the log restarts."""
        return os.fstat(self.fd).st_size

    def gone(self) -> bool:
        """Whether somebody removed the file while it is in use."""
        return os.fstat(self.fd).st_nlink == 0

    def close(self) -> None:
        """Close our descriptor."""
        os.close(self.fd)

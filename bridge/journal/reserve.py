"""A file beside the store that holds some room on the disk, so that a full store can still mend itself.

It is deleted when SQLite finds no room: what it held takes the lanes' progress, the trimming of the log and a
checkpoint. The database may not grow into it (sqlite_space.py). It is made again once there is room for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from bridge.journal.filesystem import Disk

logger = logging.getLogger("hookmq.journal")

MAX_BYTES = 4 << 20
DISK_PARTS = 16
"""On a small disk it is this part of it."""
AGAIN_S = 60.0
"""Pause between two attempts to make it: flash memory wears out."""
_BLOCK = 1 << 16


class ReserveFile:
    """The file `<store>.reserve`. `disk` is the store's file system; without it there is no reserve."""

    def __init__(
        self, store: Path, disk: Disk | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = store.with_name(store.name + ".reserve")
        self.size = 0 if disk is None else min(MAX_BYTES, disk.total // DISK_PARTS)
        self._clock = clock
        self._again = clock()
        self._told = False  # that it was given up
        try:
            self.held = 0 < self.size <= self.path.stat().st_size
        except OSError:
            self.held = False

    def hold(self) -> bool:
        """Make the file where it is missing, at most once in `AGAIN_S`; whether it was made."""
        now = self._clock()
        if self.held or self.size == 0 or now < self._again:
            return False
        self._again = now + AGAIN_S
        try:
            self._make()
        except OSError:
            with contextlib.suppress(OSError):
                self.path.unlink()
            return False
        self.held = True
        if self._told:
            self._told = False
            logger.info("%s: there is room for the store's reserve again", self.path)
        return True

    def _make(self) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
        try:
            left = self.size
            while left > 0:
                # Random, so that a file system that compresses holds as much room as it seems.
                left -= os.write(fd, os.urandom(min(left, _BLOCK)))
        finally:
            os.close(fd)

    def release(self) -> bool:
        """Delete the file; whether that has given room."""
        held, self.held = self.held, False
        self._again = self._clock() + AGAIN_S
        try:
            self.path.unlink()
        except OSError:
            return False
        if held and not self._told:
            self._told = True
            logger.warning(
                "%s: the disk is full and the store's reserve is given up: free some space there", self.path
            )
        return held

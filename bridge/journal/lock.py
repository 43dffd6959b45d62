"""One store, one process: a lock file beside the store, held as long as the store is open.

The operating system lets go of the lock when the process ends, however it ends, so that a lock is never
stale. The file stays, since removing it would let two processes lock two files of the same name.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from bridge.journal.filesystem import read_at, remedy
from bridge.journal.store import StoreError

if sys.platform == "win32":
    import msvcrt

    # Windows refuses to read a locked byte, so the locked one lies far behind the number that others read.
    _LOCKED_BYTE = 1 << 30

    def _lock(fd: int) -> None:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(fd: int) -> None:
        # flock and not lockf: it holds between two stores of one process too, and no other close() drops it.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


_TAKEN = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK})


class FileLock:
    """An exclusive lock on `<store>.lock`, which holds the owner's process id as a decimal line."""

    def __init__(self, store: Path) -> None:
        """Take the lock of the store at that path; StoreError names the process that has it."""
        path = store.with_name(store.name + ".lock")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as error:
            raise StoreError(f"{path}: cannot be opened ({error.strerror}): {remedy(error)}") from error
        try:
            _lock(fd)
        except OSError as error:
            owner = read_at(fd, 32, 0).strip()
            os.close(fd)
            if error.errno not in _TAKEN:
                raise StoreError(
                    f"{path}: cannot be locked ({error.strerror}): use a file system with locks"
                ) from error
            who = f"process {owner.decode()}" if owner.isdigit() else "another process"
            raise StoreError(
                f"{store}: in use by {who}: stop it, or set sqlite.mounted_file_path to another place"
            ) from error
        try:
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, b"%d\n" % os.getpid())
        except OSError as error:
            os.close(fd)
            raise StoreError(f"{path}: cannot be written ({error.strerror}): {remedy(error)}") from error
        self._fd: int | None = fd

    def release(self) -> None:
        """Let go of the lock."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

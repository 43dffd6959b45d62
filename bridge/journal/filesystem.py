"""What the store needs of a file system: a sync that reaches the medium, and whether there is a medium at
all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

_NO_SPACE = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_VOLATILE = frozenset({"tmpfs", "ramfs", "devtmpfs"})


if sys.platform == "darwin":
    import fcntl

    def sync_data(fd: int) -> None:
        """Bring a file's data to the medium; OSError where that failed."""
        # fsync of macOS leaves the data in the drive's cache; a file system without F_FULLFSYNC has no more.
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        except OSError:
            os.fsync(fd)

elif sys.platform == "win32":

    def sync_data(fd: int) -> None:
        """Bring a file's data to the medium; OSError where that failed."""
        os.fsync(fd)

else:

    def sync_data(fd: int) -> None:
        """Bring a file's data to the medium; OSError where that failed."""
        os.fdatasync(fd)


if sys.platform == "win32":

    def sync_folder(folder: Path) -> None:
        """Bring a folder's entries to the medium (NTFS journals them itself)."""

    def read_at(fd: int, length: int, offset: int) -> bytes:
        """Read from an offset; shorter at the end of the file."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, length)

else:

    def sync_folder(folder: Path) -> None:
        """Bring a folder's entries to the medium, so that a new file is found after a power cut."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    read_at = os.pread


class Disk(NamedTuple):
    """A file system: the bytes that are free on it for this user, and all of them."""

    free: int
    total: int


def disk_of(folder: Path) -> Disk | None:
    """The file system that a folder lies on; None where it does not tell."""
    try:
        if sys.platform == "win32":
            usage = shutil.disk_usage(folder)
            found = Disk(usage.free, usage.total)
        else:
            stat = os.statvfs(folder)
            found = Disk(stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize)
    except OSError:
        return None
    return found if found.total > 0 else None


def remedy(error: OSError) -> str:
    """What the user can do where the store's files cannot be opened, made or written."""
    if error.errno in _NO_SPACE:
        return "free some space there, or set sqlite.mounted_file_path to another place"
    if error.errno == errno.EROFS:
        return "mount it for writing, or set sqlite.mounted_file_path to another place"
    return "give this user the right to write there, or set sqlite.mounted_file_path to another place"


def on_tmpfs(path: Path) -> bool:
    """Whether a file at `path` would lie in memory and be gone after a restart of the machine.

    Known on Linux alone (from /proc/self/mounts); False elsewhere, and where it cannot be told.
    """
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape")
        place = path.resolve()
    except (OSError, RuntimeError):
        return False
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[1]))
        # The longest mount point holds the file, and of several on one point the last hides the others.
        if (place == point or point in place.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind in _VOLATILE

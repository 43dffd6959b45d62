"""A copy of a store while its process runs, and the way back.

The copy is SQLite's online backup within one read transaction: what was committed when it began, and nothing
later, however long it takes. It runs in a process of its own, in small steps with pauses, and takes no lock
that the store's process waits for; that one only keeps its write-ahead log until the copy is done.

A store that goes back in time must not give its old sequence numbers to new events: a receiver that
remembers ids would take them for repeats. `restore` therefore lets the numbers leap far ahead.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from bridge.journal.filesystem import sync_folder
from bridge.journal.lock import FileLock
from bridge.journal.sqlite_schema import APPLICATION_ID, MIGRATIONS, store_error
from bridge.journal.store import StoreError

STEP_PAGES = 256
"""Pages of 4 KiB that are copied between two pauses."""
MAX_PAUSE_S = 0.05
_BUSY_S = 5.0
_LEAP = 1 << 20
_LEAPS = 1 << 20
"""Of these a restored store makes a random number: no other copy of it makes the same."""

Told = Callable[[int, int], None]
"""Pages done, and pages in all."""


class Copied(NamedTuple):
    """What was copied: bytes, the store's id, and where the old store is now (a restore that found one)."""

    size: int
    store_id: str
    aside: Path | None = None


def backup(store: Path, target: Path, *, replace: bool = False, told: Told | None = None) -> Copied:
    """Copy the store at `store` to a new file, mode 0600, and check the copy. Raises StoreError.

    Whatever was acknowledged before the call is in it.
    """
    if not store.is_file():
        raise StoreError(f"{store}: there is no store")
    if target.exists() and not replace:
        raise StoreError(f"{target}: is there already: name another file, or say --force")
    if target.resolve() == store.resolve():
        raise StoreError(f"{target}: is the store itself")
    with _opened(store) as source:
        store_id = _check_kind(source, store)
        made = _copy(source, store, target, told)
        try:
            size = made.stat().st_size
            os.replace(made, target)
            sync_folder(target.parent)
        except OSError as error:
            made.unlink(missing_ok=True)
            raise _refused(target, error) from error
    return Copied(size, store_id)


def restore(copy: Path, store: Path, *, told: Told | None = None) -> Copied:
    """Put a copy in the place of the store, which no process may have open. Raises StoreError.

    The store that is there is kept beside it under another name.
    """
    if not copy.is_file():
        raise StoreError(f"{copy}: there is no such file")
    if copy.resolve() == store.resolve():
        raise StoreError(f"{copy}: is the store itself")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(store, error) from error
    lock = FileLock(store)
    try:
        with _opened(copy) as source:
            store_id = _check_kind(source, copy)
            made = _copy(source, copy, store, told)
        try:
            _leap(made, max(_next_batch(made), _next_batch(store)))
            size = made.stat().st_size
            aside = _put_aside(store)
            os.replace(made, store)
            sync_folder(store.parent)
        except (OSError, sqlite3.Error) as error:
            made.unlink(missing_ok=True)
            raise _refused(store, error) from error
        return Copied(size, store_id, aside)
    finally:
        lock.release()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, in one read transaction."""
    try:
        database = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S, isolation_level=None
        )
    except sqlite3.Error as error:
        raise store_error(path, error) from error
    try:
        database.execute("BEGIN")
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield database
    except sqlite3.Error as error:
        raise store_error(path, error) from error
    finally:
        database.close()


def _check_kind(database: sqlite3.Connection, path: Path) -> str:
    """The store's id. Raises StoreError where it is no store, or one of a newer HookMQ."""
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreError(f"{path}: not a HookMQ store")
    meta = dict(database.execute("SELECT key, value FROM meta"))
    version = meta.get("version")
    if not isinstance(version, int) or not isinstance(meta.get("store"), str):
        raise StoreError(f"{path}: the file is damaged (no schema version)")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: written by a newer HookMQ (schema version {version}, this one knows up to "
            f"{len(MIGRATIONS)}): use that version"
        )
    found: str = meta["store"]
    return found


def _copy(source: sqlite3.Connection, path: Path, target: Path, told: Told | None) -> Path:
    """Copy into a file beside `target`, synced and checked; its path."""
    made = target.with_name(target.name + ".partial")
    pages = source.execute("PRAGMA page_count").fetchone()[0]
    size = pages * source.execute("PRAGMA page_size").fetchone()[0]
    try:
        free = shutil.disk_usage(target.parent).free
        if free < size:
            raise StoreError(f"{target}: needs {size >> 20} MB, and {free >> 20} MB are free there")
        made.unlink(missing_ok=True)
        os.close(os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise _refused(target, error) from error
    try:
        with contextlib.closing(sqlite3.connect(made, isolation_level=None)) as database:
            # Nobody reads it before it is complete, and it is synced then.
            for pragma in ("journal_mode=OFF", "synchronous=OFF"):
                database.execute(f"PRAGMA {pragma}").fetchall()
            source.backup(database, pages=STEP_PAGES, progress=_pacer(told))
            database.execute("PRAGMA journal_mode=DELETE").fetchall()  # all of it is in this one file
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreError(f"{path}: the file is damaged ({found}): there is nothing that can be copied")
        _sync(made)
    except (sqlite3.Error, OSError) as error:
        made.unlink(missing_ok=True)
        raise _refused(target, error) from error
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    return made


def _pacer(told: Told | None) -> Callable[[int, int, int], None]:
    """Called after each step: pauses as long as the step took, so that the disk is not ours alone."""
    since = time.monotonic()

    def pause(status: int, remaining: int, total: int) -> None:
        nonlocal since
        if told is not None:
            told(total - remaining, total)
        if remaining:
            time.sleep(min(time.monotonic() - since, MAX_PAUSE_S))
        since = time.monotonic()

    return pause


def _next_batch(path: Path) -> int:
    """The number that the store's next batch would have, roughly; 0 where nobody can tell."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)
        ) as database:
            saved = database.execute("SELECT value FROM meta WHERE key = 'next_batch'").fetchone()[0]
            last = database.execute("SELECT max(batch) FROM log").fetchone()[0]
            return max(int(saved), -1 if last is None else int(last) + 1)
    except (sqlite3.Error, TypeError, ValueError):
        return 0


def _leap(path: Path, batch: int) -> None:
    ahead = batch + (1 + secrets.randbelow(_LEAPS)) * _LEAP
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE meta SET value = ? WHERE key = 'next_batch'", (ahead,))
    _sync(path)


def _put_aside(store: Path) -> Path | None:
    """Rename the store with its write-ahead log, so that it can still be opened; where to."""
    if not store.exists():
        return None
    stamp = datetime.now().astimezone().strftime("%Y%m%dT%H%M%S")
    aside = store.with_name(f"{store.stem}-before-restore-{stamp}-{secrets.token_hex(2)}{store.suffix}")
    for suffix in ("-wal", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{store}{suffix}", f"{aside}{suffix}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{store}-shm")  # an index of the log, made anew
    return aside


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(path: Path, error: Exception) -> StoreError:
    if isinstance(error, sqlite3.Error):
        return store_error(path, error)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StoreError(f"{path}: cannot be written: {text}")

"""The tables of the SQLite store, their version, and how a file is opened, recognised and brought up to date.

* `log`: one row per batch that has events; `bytes` is the body's length, `lanes` and `body` are of codec.py.
  `lanes` stands before `body`, so that reading it touches none of the pages of a long body.
* `lanes`: a cursor per endpoint. Ids are never used twice, since events name them.
* `retries`, `dead`: rows for what does not go smoothly. `pinned` holds a copy of their events, so that
  trimming never waits for them; the index on `seq` tells when nothing refers to a copy any more.
  Each dead letter's `size` is what it takes roughly; `dead_totals` sums them up, kept by triggers.
* `queued`: chunks of messages that wait for the broker's subscribers, opaque here. They never hold the log.
* `state`: the broker's rows, opaque here but for those that go with a lane (`lane_space`).
* `meta`: `version`, `store` (the store's id), `next_batch` (see `Store.next_batch`).
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bridge.journal.filesystem import remedy, sync_folder
from bridge.journal.store import StoreError, StoreFull

APPLICATION_ID = 0x486B4D51  # "HkMQ", in the file's header: tells our store from any other SQLite database
PAGE_SIZE = 4096
BUSY_SECONDS = 0.5  # how long a commit waits for another program that writes to the file

MIGRATIONS: list[str] = [
    """
    CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE log(batch INTEGER PRIMARY KEY, at INTEGER NOT NULL, bytes INTEGER NOT NULL,
                     lanes BLOB NOT NULL, body BLOB NOT NULL);
    CREATE TABLE lanes(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
                       position INTEGER NOT NULL, holes BLOB NOT NULL);
    CREATE TABLE retries(lane INTEGER, seq INTEGER, attempt INTEGER NOT NULL, due INTEGER NOT NULL,
                         wait INTEGER NOT NULL, first INTEGER NOT NULL, key TEXT NOT NULL, error TEXT NOT
                         NULL, PRIMARY KEY(lane, seq)) WITHOUT ROWID; CREATE INDEX retries_by_seq ON
                         retries(seq); CREATE TABLE dead(lane INTEGER, seq INTEGER, attempt INTEGER NOT NULL,
                         at INTEGER NOT NULL, error TEXT NOT NULL, PRIMARY KEY(lane, seq)) WITHOUT ROWID;
                         CREATE INDEX dead_by_seq ON dead(seq); CREATE TABLE pinned(seq INTEGER PRIMARY KEY,
                         event BLOB NOT NULL); CREATE TABLE state(space TEXT, key TEXT, value BLOB NOT NULL,
                         PRIMARY KEY(space, key)) WITHOUT ROWID;
    """,
    # What dead letters take, and which are the oldest. The health of an endpoint goes with its lane.
    """
    ALTER TABLE dead ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
    UPDATE dead SET size = 192 + length(error) + coalesce(
        (SELECT length(event) FROM pinned WHERE pinned.seq = dead.seq), 0);
    CREATE INDEX dead_by_at ON dead(lane, at, seq, size);
    CREATE TABLE dead_totals(lane INTEGER PRIMARY KEY, letters INTEGER NOT NULL, bytes INTEGER NOT NULL);
    INSERT INTO dead_totals SELECT lane, count(*), sum(size) FROM dead GROUP BY lane;
    CREATE TRIGGER dead_comes AFTER INSERT ON dead BEGIN
        INSERT INTO dead_totals VALUES (new.lane, 1, new.size) ON CONFLICT(lane)
            DO UPDATE SET letters = letters + 1, bytes = bytes + new.size;
    END;
    CREATE TRIGGER dead_goes AFTER DELETE ON dead BEGIN
        UPDATE dead_totals SET letters = letters - 1, bytes = bytes - old.size WHERE lane = old.lane;
    END;
    UPDATE state SET space = 'endpoint/' || key, key = 'health' WHERE space = 'endpoint';
    """,
    # The messages that wait for subscribers.
    """
    CREATE TABLE queued(number INTEGER PRIMARY KEY, body BLOB NOT NULL);
    """,
]
"""Statements that bring a store from version i to i + 1, by i. Each runs once, in one transaction with the
new version's number. Released ones never change."""

_HINTS = {
    "SQLITE_NOTADB": "not a HookMQ store: move it away, or set sqlite.mounted_file_path to another place",
    "SQLITE_CORRUPT": "the file is damaged: restore a copy, or move it away and a new store is made",
    "SQLITE_FULL": "free some space there",
    "SQLITE_READONLY": "give this user the right to write to the file and its folder",
    "SQLITE_CANTOPEN": "give this user the right to write to the file and its folder",
    "SQLITE_PERM": "give this user the right to write to the file and its folder",
    "SQLITE_AUTH": "give this user the right to write to the file and its folder",
    "SQLITE_IOERR_SHMSIZE": "free some space there",
    "SQLITE_BUSY": "another program is writing to it: stop that program",
    "SQLITE_IOERR": "the disk reports an error: see the system's log",
}


def is_full(error: Exception) -> bool:
    """Whether this error of SQLite means that there was no room."""
    return getattr(error, "sqlite_errorname", "") in {"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"}


def store_error(path: Path, error: Exception) -> StoreError:
    """The one-line StoreError of an error of SQLite (or of a damaged body): path, cause, and what to do."""
    name = getattr(
        error, "sqlite_errorname", "SQLITE_CORRUPT" if not isinstance(error, sqlite3.Error) else ""
    )
    for prefix, hint in _HINTS.items():
        if name.startswith(prefix):
            return (StoreFull if is_full(error) else StoreError)(f"{path}: {error}: {hint}")
    return StoreError(f"{path}: {error}")


def connect(path: Path) -> sqlite3.Connection:
    """A connection to an existing or empty file, with the settings that the store relies on.

    sqlite3.Error where it is no database; StoreError where it can have no write-ahead log (a network's disk).
    """
    # Transactions are ours (isolation_level None). The second connection works in threads, one at a time.
    # URI with mode=rw: a file that was taken away is not made anew behind our back.
    database = sqlite3.connect(
        path.as_uri() + "?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for pragma in (
            f"page_size={PAGE_SIZE}",
            # Trimmed pages are reused, and given back in small steps once many are free (SqliteStore.trim).
            # This costs a page more per commit; VACUUM instead would stop everything for as long as it
            # copies.
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            "wal_autocheckpoint=0",  # checkpoint.py does it
            "synchronous=NORMAL",  # no sync at a commit (syncer.py does it), but syncs around a checkpoint
            "fullfsync=ON",  # macOS: those syncs reach the medium
            "checkpoint_fullfsync=ON",
            # Debian's SQLite overwrites what it deletes, unless told: a trim would cost as much as writing.
            "secure_delete=OFF",
            "cache_size=-4096",  # KiB
            "temp_store=MEMORY",
            "trusted_schema=OFF",
        ):
            database.execute(f"PRAGMA {pragma}").fetchall()
        mode = database.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":
            raise StoreError(
                f"{path}: no write-ahead log is possible there (journal mode {mode}): "
                f"set sqlite.mounted_file_path to a local disk"
            )
    except BaseException:
        database.close()
        raise
    return database


def prepare_folder(path: Path) -> None:
    """Make the folder of a store where it is missing; StoreError where that cannot be."""
    try:
        if path.is_dir():
            raise StoreError(f"{path}: a folder: name a file in it")
        missing = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)
    except FileExistsError as error:
        raise StoreError(f"{path}: {error.filename} is a file, not a folder: name another place") from error
    except OSError as error:
        raise _no_access(path, error) from error


def prepare_file(path: Path) -> None:
    """Make an empty file (mode 0600) where it is missing; StoreError where it cannot be opened for writing.

    Only under the store's lock: closing a descriptor of the file drops every POSIX lock that SQLite has on it
    in this process.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise _no_access(path, error) from error


def _no_access(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path}: cannot be opened or made ({error.filename or path}: {error.strerror}): {remedy(error)}"
    )


def migrate(database: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest version, making its tables if it is empty.

    StoreError for another program's database and for a version newer than ours.
    """
    version = 0
    if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(
                f"{path}: a database of another program: move it away, "
                f"or set sqlite.mounted_file_path to another place"
            )
        version = _version(database, path)
    newest = len(MIGRATIONS)
    if version > newest:
        raise StoreError(
            f"{path}: written by a newer HookMQ (schema version {version}, this one knows up to {newest}): "
            f"start that version, or set sqlite.mounted_file_path to another place"
        )
    if version == newest:
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        for script in MIGRATIONS[version:]:
            for statement in _statements(script):
                database.execute(statement)
        if version == 0:
            database.execute(f"PRAGMA application_id={APPLICATION_ID}")
            database.executemany(
                "INSERT INTO meta VALUES (?, ?)", [("store", secrets.token_hex(6)), ("next_batch", 0)]
            )
        database.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", (newest,))
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; those of a trigger are one with it."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _version(database: sqlite3.Connection, path: Path) -> int:
    row = database.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    if row is None or type(row[0]) is not int or row[0] < 1:
        raise StoreError(f"{path}: the file is damaged (no schema version): restore a copy, or move it away")
    return row[0]

"""The attempt log in a SQLite file of its own beside the store.

It tells people what happened and promises nothing: a file that is damaged is put aside and a new one made,
and where the disk refuses, rows are missing and delivery goes on. So all of it happens in one thread of its
own. Beside a busy loop a thread must not run Python for each row (the interpreter lock would cut it to some
hundred rows/s and hold the loop up), so rows go in, and come out, as one JSON text by one statement, during
which SQLite holds no lock of the interpreter.

A row is a list in the order of `COLUMNS`:

* `endpoint`, `ok` (1 or 0), `at` (Unix ms of its beginning), `seq`, `attempt` (1 is the first), `status` or
  None, `kind` of a failure without one, or None; `took` in microseconds; `address` of the peer;
* `event` (its type's number), `topic`, `clientid`; of a request with several events (`events` is their
  number, and `seq` that of the group) those of the first;
* `request` and `response`: start line and headers, secrets masked, a line each; `body`: how the response's
  body begins; `error`: the failure in words. Texts are empty where there is nothing.

A row of several events has one list more behind these: the sequence of the first event, that of the last, and
a list of how far each lies behind the first. It is kept once for all attempts of a group, so that an event's
attempts are found in whatever group they were made.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bridge.journal.attempt_search import INDEXES, Filter, Found, Place, Search
from bridge.journal.store import StoreError

__all__ = ["AttemptStore", "Filter", "Found", "Keep", "Row"]

logger = logging.getLogger("hookmq.journal")

APPLICATION_ID = 0x486B4D41  # "HkMA"
VERSION = 1
COLUMNS = (
    "endpoint",
    "ok",
    "at",
    "seq",
    "attempt",
    "status",
    "kind",
    "took",
    "address",
    "event",
    "events",
    "topic",
    "clientid",
    "request",
    "response",
    "body",
    "error",
)
SUMMARY = ("id", *COLUMNS[:13], "error")
"""The columns of a query that does not ask for all."""
PAGE_ROWS = 100
TRIM_ROWS = 5000
"""Rows that one trim deletes at most."""
KEEP_PAGES = 1024
"""Free pages that are kept for the next rows."""
SHRINK_PAGES = 512
"""Free pages that one trim gives back to the disk."""

Row = Sequence[str | int | Sequence[Any] | None]
T = TypeVar("T")

_SCHEMA = """
    CREATE TABLE attempts(
        id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, ok INTEGER NOT NULL, at INTEGER NOT NULL,
        seq INTEGER NOT NULL, attempt INTEGER NOT NULL, status INTEGER, kind TEXT, took INTEGER NOT NULL,
        address TEXT NOT NULL, event INTEGER NOT NULL, events INTEGER NOT NULL, topic TEXT NOT NULL,
        clientid TEXT NOT NULL, request TEXT NOT NULL, response TEXT NOT NULL, body TEXT NOT NULL,
        error TEXT NOT NULL);
    CREATE INDEX attempts_by_endpoint ON attempts(endpoint, ok);
    CREATE INDEX attempts_by_seq ON attempts(seq);
    CREATE INDEX attempts_by_at ON attempts(at)
"""
# Also for a file of a version that did not have it.
_GROUPS = """
    CREATE TABLE IF NOT EXISTS groups(
        number INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, members TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS groups_by_last ON groups(last, first)
"""
_MEMBERS = len(COLUMNS)
_INSERT_GROUPS = (
    f"INSERT OR IGNORE INTO groups SELECT json_extract(value, '$[{COLUMNS.index('seq')}]'), "  # noqa: S608
    + ", ".join(f"json_extract(value, '$[{_MEMBERS}][{i}]')" for i in range(3))
    + f" FROM json_each(?) WHERE json_array_length(value) > {_MEMBERS}"
)
_INSERT = (
    f"INSERT INTO attempts({', '.join(COLUMNS)}) SELECT "  # noqa: S608  names of our own
    + ", ".join(f"json_extract(value, '$[{i}]')" for i in range(len(COLUMNS)))
    + " FROM json_each(?)"
)
_OF_ENDPOINT = "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE endpoint = ?1"


class Keep(msgspec.Struct, frozen=True):
    """What is kept of one endpoint: how many of its last successes and failures, and none from before
    `before` (Unix ms)."""

    successes: int
    failures: int
    before: int


class AttemptStore:
    """Made by `open`. Its methods are for the loop's thread; what they start runs in the store's own."""

    def __init__(self, path: Path, database: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        """For `open`."""
        self.path = path
        self._database = database
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, "hookmq-attempts")
        self._closed = False
        # In a file of a version that did not have them this takes a while: rows wait for it, nothing else.
        self._indexed = False
        self._thread.submit(self._index, database)

    def _index(self, database: sqlite3.Connection) -> None:
        try:
            for name, what in INDEXES:
                database.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {what}")
            self._indexed = True
        except sqlite3.Error as error:  # a full disk
            logger.debug("the attempt log has no index for searches, which are slow: %s", error)

    @classmethod
    def open(cls, path: Path, loop: asyncio.AbstractEventLoop) -> AttemptStore:
        """Open the log at `path` or make it (mode 0600). Raises StoreError where it cannot be written."""
        try:
            try:
                database = _connect(path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                aside = _put_aside(path)
                logger.warning("%s: no readable attempt log (%s): a new one is made", aside, error)
                database = _connect(path)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: the attempt log cannot be opened: {error}") from error
        return cls(path, database, loop)

    async def write(self, rows: Sequence[Row]) -> None:
        """Add rows. Raises StoreError; then none of them is there."""
        text = msgspec.json.encode(rows).decode()
        groups = any(len(row) > _MEMBERS for row in rows)
        await self._run(lambda database: self._insert(database, text, groups))

    @staticmethod
    def _insert(database: sqlite3.Connection, text: str, groups: bool) -> None:
        if groups:
            database.execute(_INSERT_GROUPS, (text,))
        database.execute(_INSERT, (text,))

    async def trim(self, keep: Mapping[str, Keep], before: int) -> None:
        """Delete what is not to be kept of these endpoints, and of all others what began before `before`
        (Unix ms); at most `TRIM_ROWS` rows for each reason. Raises StoreError."""
        await self._run(lambda database: self._trim(database, dict(keep), before))

    @staticmethod
    def _trim(database: sqlite3.Connection, keep: dict[str, Keep], before: int) -> None:
        execute = database.execute
        for endpoint, kept in keep.items():
            for ok, count in ((1, kept.successes), (0, kept.failures)):
                execute(
                    f"{_OF_ENDPOINT} AND ok = {ok} ORDER BY id DESC LIMIT {TRIM_ROWS} OFFSET ?2)",
                    (endpoint, count),
                )
            execute(f"{_OF_ENDPOINT} AND at < ?2 LIMIT {TRIM_ROWS})", (endpoint, kept.before))
        execute(
            f"DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE at < ?1"  # noqa: S608
            f" AND endpoint NOT IN (SELECT value FROM json_each(?2)) LIMIT {TRIM_ROWS})",
            (before, msgspec.json.encode(list(keep)).decode()),
        )
        execute(
            "DELETE FROM groups WHERE number IN (SELECT number FROM groups WHERE NOT EXISTS"  # noqa: S608
            f" (SELECT 1 FROM attempts WHERE seq = number) LIMIT {TRIM_ROWS})"
        )
        if execute("PRAGMA freelist_count").fetchone()[0] > KEEP_PAGES:
            # executescript, since execute() stops after the first page.
            database.executescript(f"PRAGMA incremental_vacuum({SHRINK_PAGES})")

    async def query(
        self, wanted: Filter, limit: int, *, below: tuple[int, int] | None = None, full: bool = False
    ) -> list[dict[str, Any]]:
        """The latest rows first, at most `limit`; `below` is `at` and `id` of the last row of the page
        before. With `full` all columns, otherwise those of `SUMMARY`. Raises StoreError."""
        found: list[dict[str, Any]] = msgspec.json.decode(
            (await self.search(wanted, limit, below=below, full=full)).rows
        )
        return found

    async def members(self, numbers: Sequence[int]) -> dict[int, list[int]]:
        """The events of these groups, by the group's number. Raises StoreError."""
        wanted = msgspec.json.encode(list(numbers)).decode()
        sql = (
            "SELECT json_group_array(json_array(number, first, json(members))) FROM groups"
            " WHERE number IN (SELECT value FROM json_each(?))"
        )
        text = await self._run(lambda database: database.execute(sql, (wanted,)).fetchone()[0])
        found: list[tuple[int, int, list[int]]] = msgspec.json.decode(text)
        return {number: [first + offset for offset in offsets] for number, first, offsets in found}

    async def search(
        self,
        wanted: Filter,
        limit: int,
        *,
        below: Place | None = None,
        full: bool = False,
        seconds: float | None = None,
    ) -> Found:
        """The same as JSON, with where to go on: also where the search has taken longer than `seconds`, and
        there may be more. Raises StoreError."""
        columns = ("id", *COLUMNS) if full else SUMMARY

        def search(database: sqlite3.Connection) -> Found:
            return Search(database, wanted, indexed=self._indexed).rows(columns, limit, below, seconds)

        return await self._run(search)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise StoreError(f"{self.path}: closed")
        try:
            return await self._loop.run_in_executor(self._thread, work, self._database)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Wait for what was begun, and close the file."""
        if not self._closed:
            self._closed = True
            self._thread.shutdown()
            self._database.close()


def _connect(path: Path) -> sqlite3.Connection:
    """sqlite3.OperationalError where the file cannot be written; another DatabaseError where it is damaged
    or somebody else's."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        for pragma in (
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "secure_delete=OFF",
            "cache_size=-1024",  # KiB
            "temp_store=MEMORY",
            "trusted_schema=OFF",
        ):
            database.execute(f"PRAGMA {pragma}").fetchall()
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            database.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id={APPLICATION_ID}")
            database.execute(f"PRAGMA user_version={VERSION}")
            database.execute("COMMIT")
        found = (
            database.execute("PRAGMA application_id").fetchone()[0],
            database.execute("PRAGMA user_version").fetchone()[0],
        )
        if found != (APPLICATION_ID, VERSION):
            raise sqlite3.DatabaseError(f"version {found[1]} of application {found[0]:#x}")
        for statement in _GROUPS.split(";"):
            database.execute(statement)
        # JSON is what everything here relies on; SQLite before 3.38 may be built without it.
        database.execute("SELECT json_group_array(value) FROM json_each('[]')").fetchone()
        database.execute("SELECT max(id) FROM attempts").fetchone()
        database.execute("SELECT max(number) FROM groups").fetchone()
    except BaseException:
        database.close()
        raise
    return database


def _put_aside(path: Path) -> Path:
    """Rename the file, and remove the write-ahead log that belongs to it."""
    aside = path.with_name(path.name + ".damaged")
    os.replace(path, aside)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path.with_name(path.name + suffix))
    return aside

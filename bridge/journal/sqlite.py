"""The store in one SQLite file.

A commit is one transaction in the loop's thread with no sync of its own; `sync` brings the write-ahead log to
the medium (syncer.py), and checkpoint.py keeps that log short. All calls belong into the loop's thread.
Tables: sqlite_schema.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from bridge.events.event import Event
from bridge.journal import sqlite_schema as schema
from bridge.journal.batch import INDEX_BITS, MAX_BATCH_EVENTS, Batch, Change, Chunk, Put, Retry
from bridge.journal.checkpoint import Checkpointer, harmless
from bridge.journal.codec import (
    decode_holes,
    encode_events,
    encode_holes,
    encode_totals,
    lane_totals,
)
from bridge.journal.filesystem import Disk, disk_of, on_tmpfs, sync_folder
from bridge.journal.lock import FileLock
from bridge.journal.reserve import ReserveFile
from bridge.journal.sqlite_changes import UNPIN, apply_changes
from bridge.journal.sqlite_log import SqliteLog
from bridge.journal.sqlite_schema import is_full, store_error
from bridge.journal.sqlite_space import Space
from bridge.journal.store import (
    Backlog,
    DeadCause,
    DeadLetter,
    DeadTotals,
    LaneState,
    OldDead,
    Room,
    StoreError,
    lane_space,
)
from bridge.journal.syncer import Syncer
from bridge.journal.wal import WalFile

logger = logging.getLogger("hookmq.journal")

__all__ = ["LEAP", "SqliteStore", "on_tmpfs"]

LEAP = 1 << 20
"""How far batch numbers leap at every opening."""
_RENEW = LEAP // 4  # after so many batches the number kept in `meta` follows

_STATE_ROWS = 512
_CHUNK_ROWS = 16
_TRIM_BYTES = 4 << 20  # bodies deleted in one step
_SHRINK_PAGES = 128  # free pages given back in one step
_KEEP_PAGES = 4096  # free pages kept for the next wave
_PROBES = 3

# What a commit writes to the log beside its bodies, roughly, in bytes.
_COMMIT_COST = 4 * schema.PAGE_SIZE
_CHANGE_COST = 128

_DEAD_WINDOW = "SELECT * FROM dead WHERE lane = :lane AND seq > :after ORDER BY seq LIMIT :limit"
_CAUSE = "CASE instr(error, ': ') WHEN 0 THEN error ELSE substr(error, 1, instr(error, ': ') - 1) END"
_INSERT = "INSERT INTO log VALUES (?, ?, ?, ?, ?)"
_LANES = (
    "SELECT id, name, position, holes, (SELECT count(*) FROM retries WHERE lane = id),"
    " coalesce((SELECT letters FROM dead_totals WHERE lane = id), 0) FROM lanes"
)

P = ParamSpec("P")
T = TypeVar("T")

_BROKEN = (sqlite3.Error, msgspec.DecodeError)


def _translated(method: Callable[Concatenate[SqliteStore, P], T]) -> Callable[Concatenate[SqliteStore, P], T]:
    """Errors of SQLite, and of damaged rows, become a StoreError."""

    @functools.wraps(method)
    def translated(self: SqliteStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except _BROKEN as error:
            raise store_error(self.path, error) from error

    return translated


class SqliteStore:
    """The `Store` of one process on one machine. Made by `open`."""

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        sync_delay: float,
        lock: FileLock,
        reserve: ReserveFile,
        disk: Callable[[Path], Disk | None],
        stack: contextlib.ExitStack,
    ) -> None:
        """For `open`, which holds the lock; `stack` closes what was opened if this raises."""
        self.path = path
        self.durable = 0
        self.on_durable: Callable[[int], None] | None = None
        self.on_error: Callable[[StoreError], None] | None = None
        self._lock = lock
        self._failed: StoreError | None = None
        self._closed = False

        database = self._db = schema.connect(path)
        stack.callback(database.close)
        schema.migrate(database, path)
        meta: dict[str, Any] = dict(database.execute("SELECT key, value FROM meta"))
        last = database.execute("SELECT max(batch) FROM log").fetchone()[0]
        self.id: str = meta["store"]
        self.next_batch: int = max(meta["next_batch"], -1 if last is None else last + 1) + LEAP
        self._saved = self.next_batch
        self._committed: int = self.next_batch - 1
        self._lane_ids = {row[0] for row in database.execute("SELECT id FROM lanes")}
        self._log = SqliteLog(database)

        probes = _PROBES if not sync_delay else 0
        self._save_next(self.next_batch + probes)
        self._wal = WalFile(path, database.execute("PRAGMA page_size").fetchone()[0])
        stack.callback(self._wal.close)
        self._wal.sync()
        sync_folder(path.parent)
        self._syncer = Syncer(self._wal, loop, sync_delay, self._synced, self._sync_failed)
        self.sync_times = self._syncer.times
        self._ticket = self._covered = 0  # writes so far, and those that a sync covers
        for left in reversed(range(probes)):
            # A slow disk is known before the first event and stops the loop at none. Each probe writes
            # another number, since SQLite writes nothing for a row that stays as it was.
            self._save_next(self.next_batch + left)
            start = time.perf_counter()
            self._wal.sync()
            end = time.perf_counter()
            self._syncer.pace.record(end - start, end)
        self.durable = self._committed

        self._helper = schema.connect(path)
        stack.callback(self._helper.close)
        found_disk = disk(path.parent)
        self.checkpointer = Checkpointer(
            database,
            self._helper,
            self._wal,
            loop,
            self._syncer,
            self._sqlite_failed,
            None if found_disk is None else found_disk.total,
        )
        self._space = Space(path, database, self._wal, reserve, disk, 2 * self.checkpointer.soft)
        self._space.look()
        found = os.stat(path)
        self._inode = (found.st_dev, found.st_ino)

    @classmethod
    def open(
        cls,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        *,
        sync_delay: float = 0.0,
        disk: Callable[[Path], Disk | None] = disk_of,
    ) -> SqliteStore:
        """Open the store at `path`, or make it with its folder.

        `sync_delay` (seconds) is added to every sync, to rehearse a slow disk; `disk` tells the room on the
        file system of a folder. Raises StoreError where the file is in use (naming the process), cannot be
        written, is damaged, newer than this program, or no store.
        """
        with contextlib.ExitStack() as stack:
            try:
                path = path.resolve()  # one store has one lock, whatever the way to it
                schema.prepare_folder(path)
                lock = FileLock(path)
                stack.callback(lock.release)
                schema.prepare_file(path)
                reserve = ReserveFile(path, disk(path.parent))

                def attempt() -> SqliteStore:
                    with contextlib.ExitStack() as opened:
                        store = cls(path, loop, sync_delay, lock, reserve, disk, opened)
                        opened.pop_all()
                        return store

                try:
                    store = attempt()
                except sqlite3.Error as error:
                    if not is_full(error) or not reserve.release():
                        raise
                    store = attempt()
            except (*_BROKEN, KeyError, TypeError) as error:
                raise store_error(path, error) from error
            except OSError as error:
                raise StoreError(f"{path}: {error.strerror or error}: see the system's log") from error
            except RuntimeError as error:
                raise StoreError(f"{path}: not a usable path: {error}") from error
            stack.pop_all()
            return store

    @property
    def head(self) -> int:
        """See `Store.head`."""
        return (self._committed + 1) << INDEX_BITS

    def commit(self, batches: Sequence[Batch]) -> None:
        """See `Store.commit`."""
        if self._failed is not None:
            raise self._failed
        last = self._committed
        rows: list[tuple[int, int, int, bytes, bytes]] = []
        changes: list[Change] = []
        cost = _COMMIT_COST
        for batch in batches:
            if batch.number <= last:
                raise ValueError(f"batch {batch.number} is not above {last}, the last one committed")
            last = batch.number
            events = batch.events
            if events:
                if len(events) > MAX_BATCH_EVENTS:
                    raise ValueError(f"batch {last} has {len(events)} events, more than {MAX_BATCH_EVENTS}")
                body = encode_events(events)
                cost += len(body)
                rows.append((last, batch.at, len(body), encode_totals(lane_totals(events)), body))
            if batch.changes:
                changes += batch.changes
        renew = last - self._saved >= _RENEW
        try:
            if len(rows) == 1 and not changes and not renew:
                self._db.execute(_INSERT, rows[0])  # a transaction of its own
            elif rows or changes or renew:
                cost += sum(map(_cost, changes))
                with self._transaction():
                    if rows:
                        self._db.executemany(_INSERT, rows)
                    if changes:
                        apply_changes(self._db, self._log, self._lane_ids, changes, batches)
                    if renew:
                        self._save_next(last + 1)
        except _BROKEN as error:
            raise store_error(self.path, error) from error
        if renew:
            self._saved = last + 1
        self._committed = last
        if last >= self.next_batch:
            self.next_batch = last + 1
        self._ticket += 1
        if self.checkpointer.wrote(cost):
            self._check_files()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        database = self._db
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:  # a full disk has rolled it back already
                database.execute("ROLLBACK")
            raise

    def _save_next(self, number: int) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE key = 'next_batch'", (number,))

    @_translated
    def trim(self, before: int, limit: int = 256) -> int:
        """See `Store.trim`. One call deletes some MiB at most, and gives a few free pages back."""
        if self._failed is not None:
            raise self._failed
        rows = self._db.execute(
            "SELECT batch, bytes FROM log WHERE batch < ? ORDER BY batch LIMIT ?", (before, limit)
        ).fetchall()
        count = size = 0
        for _, length in rows:
            count += 1
            size += length
            if size >= _TRIM_BYTES:
                break
        if count:
            last = rows[count - 1][0]
            self._spare(lambda: self._db.execute("DELETE FROM log WHERE batch <= ?", (last,)))
            self._log.forget_before(last + 1)
        pages = self._shrink()
        if count or pages:
            self._ticket += 1
            self.checkpointer.wrote(
                _COMMIT_COST + count * schema.PAGE_SIZE // 4 + 2 * pages * schema.PAGE_SIZE
            )
        self._check_files()
        with contextlib.suppress(OSError):  # the file is gone: `_check_files` tells it
            self._space.glance()
        return count

    def _shrink(self) -> int:
        """Give a few free pages back where they are more than a quarter of the file; how many."""
        free: int = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        wanted = self._space.wanted
        if not (0 < wanted < free * schema.PAGE_SIZE) and (
            free <= min(_KEEP_PAGES, self._space.keep_pages)
            or free * 4 <= self._db.execute("PRAGMA page_count").fetchone()[0]
        ):
            return 0
        try:
            # executescript, since execute() stops after the first page: the statement's rows have no columns.
            self._db.executescript(f"PRAGMA incremental_vacuum({_SHRINK_PAGES})")
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            return 0
        return _SHRINK_PAGES

    def room(self) -> Room | None:
        """See `Store.room`."""
        return self._space.room

    @_translated
    def mend(self, changes: Sequence[Change]) -> None:
        """See `Store.mend`. The loop stands still for a checkpoint, since nothing else can go on."""
        if self._failed is not None:
            raise self._failed
        if not self.checkpointer.now() and self._space.release():
            self.checkpointer.now()
        if self._failed is not None:
            raise self._failed
        with contextlib.suppress(OSError):
            self._space.look()
        if changes:
            self._spare(lambda: self._apply(changes))
            self._ticket += 1

    def _apply(self, changes: Sequence[Change]) -> None:
        with self._transaction():
            apply_changes(self._db, self._log, self._lane_ids, changes, ())

    def _spare(self, work: Callable[[], object]) -> None:
        """Do what makes room in the end; if need be from the reserve."""
        try:
            work()
        except sqlite3.Error as error:
            if not is_full(error) or not self._space.release():
                raise
            self.checkpointer.now()
            work()

    def sync(self) -> None:
        """See `Store.sync`. A failure is told by `on_error`."""
        if self._failed is None and self._ticket != self._covered:
            self._covered = self._ticket
            self._syncer.request(self._committed)

    @property
    def threaded(self) -> bool:
        """Whether the disk is slow, so that syncs run in the helper thread."""
        return self._syncer.pace.threaded

    def _synced(self, number: int) -> None:
        if number > self.durable:
            self.durable = number
            if self.on_durable is not None:
                self.on_durable(number)

    def _sync_failed(self, error: OSError) -> None:
        self._fail(
            StoreError(
                f"{self.path}: cannot be synced ({error.strerror}): what was not yet acknowledged may be "
                f"lost: check the disk, then start again"
            )
        )

    def _sqlite_failed(self, error: sqlite3.Error) -> None:
        self._fail(store_error(self.path, error))

    def _check_files(self) -> None:
        """Notice that somebody removed or replaced the files: what we write would be gone at the end."""
        try:
            found = os.stat(self.path)
            there = (found.st_dev, found.st_ino) == self._inode and not self._wal.gone()
        except OSError:
            there = False
        if not there:
            self._fail(
                StoreError(
                    f"{self.path}: the file or its -wal file was removed or replaced while in use: "
                    f"put it back, then start again"
                )
            )

    def _fail(self, error: StoreError) -> None:
        if self._failed is not None:
            return
        self._failed = error
        if self.on_error is None:
            logger.critical("%s", error)
        else:
            self.on_error(error)

    @_translated
    def lane(self, name: str) -> LaneState:
        """See `Store.lane`."""
        row = self._db.execute(_LANES + " WHERE name = ?", (name,)).fetchone()
        if row is not None:
            return _lane_state(row)
        if self._failed is not None:
            raise self._failed
        cursor = self._db.execute(
            "INSERT INTO lanes(name, position, holes) VALUES (?, ?, ?)",
            (name, self.head, encode_holes([])),
        )
        self._ticket += 1
        lane = cursor.lastrowid
        assert lane is not None  # noqa: S101
        self._lane_ids.add(lane)
        return LaneState(lane, name, self.head, [])

    @_translated
    def lanes(self) -> list[LaneState]:
        """See `Store.lanes`."""
        return [_lane_state(row) for row in self._db.execute(_LANES + " ORDER BY id").fetchall()]

    @_translated
    def drop_lane(self, lane: int) -> None:
        """See `Store.drop_lane`."""
        if self._failed is not None:
            raise self._failed
        execute = self._db.execute
        with self._transaction():
            seqs = execute(
                "SELECT seq FROM retries WHERE lane = ?1 UNION SELECT seq FROM dead WHERE lane = ?1",
                (lane,),
            ).fetchall()
            execute("DELETE FROM lanes WHERE id = ?", (lane,))
            execute("DELETE FROM retries WHERE lane = ?", (lane,))
            execute("DELETE FROM dead WHERE lane = ?", (lane,))
            execute("DELETE FROM dead_totals WHERE lane = ?", (lane,))
            execute("DELETE FROM state WHERE space LIKE ?", (lane_space("%", lane),))
            self._db.executemany(UNPIN, seqs)
        self._lane_ids.discard(lane)
        self._ticket += 1

    @_translated
    def retries(self, lane: int) -> list[Retry]:
        """See `Store.retries`."""
        rows = self._db.execute("SELECT * FROM retries WHERE lane = ? ORDER BY seq", (lane,)).fetchall()
        return [Retry(*row) for row in rows]

    @_translated
    def row_sizes(self, lane: int) -> dict[int, int]:
        """See `Store.row_sizes`."""
        query = "SELECT seq, length(event) FROM retries JOIN pinned USING (seq) WHERE lane = ?"
        return dict(self._db.execute(query, (lane,)).fetchall())

    @_translated
    def dead(self, lane: int, after: int = -1, limit: int | None = None) -> list[DeadLetter]:
        """See `Store.dead`."""
        rows = self._db.execute(
            "SELECT lane, seq, attempt, at, error FROM dead WHERE lane = ? AND seq > ? ORDER BY seq LIMIT ?",
            (lane, after, -1 if limit is None else limit),
        ).fetchall()
        return [DeadLetter(*row) for row in rows]

    @_translated
    def dead_totals(self, lane: int) -> DeadTotals:
        """See `Store.dead_totals`."""
        query = "SELECT letters, bytes FROM dead_totals WHERE lane = ?"
        return DeadTotals(*(self._db.execute(query, (lane,)).fetchone() or (0, 0)))

    @_translated
    def dead_of(self, lane: int, cause: str, after: int, limit: int) -> tuple[list[DeadLetter], int | None]:
        """See `Store.dead_of`."""
        rows = self._db.execute(
            f"SELECT lane, seq, attempt, at, error FROM ({_DEAD_WINDOW}) WHERE {_CAUSE} = :cause",  # noqa: S608
            {"lane": lane, "after": after, "limit": limit, "cause": cause},
        ).fetchall()
        return [DeadLetter(*row) for row in rows], self._dead_end(lane, after, limit)

    @_translated
    def dead_causes(self, lane: int, after: int, limit: int) -> tuple[list[DeadCause], int | None]:
        """See `Store.dead_causes`."""
        rows = self._db.execute(
            f"SELECT {_CAUSE}, count(*), min(at), max(at) FROM ({_DEAD_WINDOW}) GROUP BY 1",  # noqa: S608
            {"lane": lane, "after": after, "limit": limit},
        ).fetchall()
        return [DeadCause(*row) for row in rows], self._dead_end(lane, after, limit)

    def _dead_end(self, lane: int, after: int, limit: int) -> int | None:
        row = self._db.execute(
            "SELECT seq FROM dead WHERE lane = ? AND seq > ? ORDER BY seq LIMIT 1 OFFSET ?",
            (lane, after, limit - 1),
        ).fetchone()
        return None if row is None else int(row[0])

    @_translated
    def oldest_dead(self, lane: int, limit: int) -> list[OldDead]:
        """See `Store.oldest_dead`."""
        query = "SELECT at, seq, size FROM dead WHERE lane = ? ORDER BY at, seq LIMIT ?"
        return [OldDead(*row) for row in self._db.execute(query, (lane, limit)).fetchall()]

    @_translated
    def read(self, lane: int, position: int, max_bytes: int) -> tuple[list[tuple[int, Event]], int]:
        """See `Store.read`."""
        return self._log.read(lane, position, self.head, max_bytes)

    @_translated
    def fetch(self, seqs: Sequence[int]) -> dict[int, Event]:
        """See `Store.fetch`."""
        return self._log.fetch(seqs)

    @_translated
    def backlog(self, lane: int, position: int) -> Backlog:
        """See `Store.backlog`."""
        return self._log.backlog(lane, position)

    @_translated
    def seek_bytes(self, lane: int, position: int, drop_bytes: int) -> tuple[int, Backlog]:
        """See `Store.seek_bytes`."""
        return self._log.seek_bytes(lane, position, self.head, drop_bytes)

    @_translated
    def seek_age(self, lane: int, position: int, before: int) -> tuple[int, Backlog]:
        """See `Store.seek_age`."""
        return self._log.seek_age(lane, position, self.head, before)

    def load(self, space: str) -> Iterator[tuple[str, bytes]]:
        """See `Store.load`. Rows that are written meanwhile may be in it or not."""
        after, operator = "", ">="
        while True:
            try:
                rows = self._db.execute(
                    f"SELECT key, value FROM state WHERE space = ? AND key {operator} ? ORDER BY key LIMIT ?",  # noqa: S608
                    (space, after, _STATE_ROWS),
                ).fetchall()
            except sqlite3.Error as error:
                raise store_error(self.path, error) from error
            yield from rows
            if len(rows) < _STATE_ROWS:
                return
            after, operator = rows[-1][0], ">"

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """See `Store.chunks`."""
        after = -1
        while rows := self._chunk_rows(after):
            yield from rows
            after = rows[-1][0]

    @_translated
    def _chunk_rows(self, after: int) -> list[tuple[int, bytes]]:
        query = "SELECT number, body FROM queued WHERE number > ? ORDER BY number LIMIT ?"
        return self._db.execute(query, (after, _CHUNK_ROWS)).fetchall()

    @_translated
    def chunk(self, number: int) -> bytes | None:
        """See `Store.chunk`."""
        row = self._db.execute("SELECT body FROM queued WHERE number = ?", (number,)).fetchone()
        return None if row is None else bytes(row[0])

    def size(self) -> int:
        """See `Store.size`: the file and its write-ahead log."""
        try:
            return os.stat(self.path).st_size + self._wal.size()
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from error

    def close(self) -> None:
        """See `Store.close`. Reports by `on_durable` what the last sync covers."""
        if self._closed:
            return
        self._closed = True
        self._syncer.stop()
        self.checkpointer.stop()
        try:
            if self._failed is None:
                # On a disk that is full the log stays as it is, and the next opening leaps a little further.
                self._try(lambda: self._save_next(self._committed + 1))
                self._wal.sync()
                self._try(lambda: self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
                self._synced(self._committed)
        except sqlite3.Error as error:
            self._sqlite_failed(error)
        except OSError as error:
            self._sync_failed(error)
        finally:
            self._wal.close()
            self._helper.close()
            self._db.close()
            self._lock.release()

    def _try(self, work: Callable[[], object]) -> None:
        """Do what may be left out if the disk has no room for it."""
        try:
            work()
        except sqlite3.Error as error:
            if not harmless(error):
                raise


def _cost(change: Change) -> int:
    """What a change writes to the log, roughly, in bytes."""
    if isinstance(change, Put):
        return _CHANGE_COST + len(change.value or b"")
    if isinstance(change, Chunk):
        return _CHANGE_COST + len(change.body or b"")
    return _CHANGE_COST


def _lane_state(row: tuple[int, str, int, bytes, int, int]) -> LaneState:
    lane, name, position, holes, retries, dead = row
    return LaneState(lane, name, position, decode_holes(holes), retries, dead)

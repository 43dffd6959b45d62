"""How the changes of a commit become rows: progress of lanes, what does not go smoothly, and the broker's
state."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence

from bridge.journal.batch import Batch, Change, Chunk, Cursor, Dead, Put, Retry, Settle
from bridge.journal.codec import DEAD_OVERHEAD, encode_event, encode_holes
from bridge.journal.sqlite_log import SqliteLog
from bridge.journal.store import lane_of_space

UNPIN = (
    "DELETE FROM pinned WHERE seq = ?1 AND NOT EXISTS (SELECT 1 FROM retries WHERE seq = ?1)"
    " AND NOT EXISTS (SELECT 1 FROM dead WHERE seq = ?1)"
)
"""Deletes an event's copy if nothing refers to it any more."""
_BURY = (
    f"INSERT INTO dead VALUES (?1, ?2, ?3, ?4, ?5, {DEAD_OVERHEAD} + length(?5)"  # noqa: S608
    " + coalesce((SELECT length(event) FROM pinned WHERE seq = ?2), 0))"
)


def apply_changes(
    database: sqlite3.Connection,
    log: SqliteLog,
    lanes: Collection[int],
    changes: Iterable[Change],
    batches: Sequence[Batch],
) -> None:
    """Apply the changes of these batches, whose events are in the log already, in the open transaction.

    Changes of a lane that is not among `lanes` are left out: it was dropped.
    """
    # The last change of a row decides, whatever came before it in the same commit.
    puts: dict[tuple[str, str], bytes | None] = {}
    chunks: dict[int, bytes | None] = {}
    cursors: dict[int, Cursor] = {}
    outcomes: dict[tuple[int, int], Retry | Settle | Dead] = {}
    for change in changes:
        if isinstance(change, Put):
            owner = lane_of_space(change.space)
            if owner is not None and owner not in lanes:
                continue
            puts[change.space, change.key] = change.value
        elif isinstance(change, Chunk):
            chunks[change.number] = change.body
        elif isinstance(change, Cursor):
            cursors[change.lane] = change
        elif change.lane in lanes:
            outcomes[change.lane, change.seq] = change
    many = database.executemany
    if cursors:
        many(
            "UPDATE lanes SET position = ?, holes = ? WHERE id = ?",
            [(c.position, encode_holes(c.holes), c.lane) for c in cursors.values()],
        )
    if chunks:
        gone = [(number,) for number, body in chunks.items() if body is None]
        if gone:  # first: its pages take what comes
            many("DELETE FROM queued WHERE number = ?", gone)
        if len(gone) < len(chunks):
            many(
                "INSERT OR REPLACE INTO queued VALUES (?, ?)",
                [(number, body) for number, body in chunks.items() if body is not None],
            )
    if puts:
        kept = [(*place, value) for place, value in puts.items() if value is not None]
        if kept:
            many("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", kept)
        if len(kept) < len(puts):
            many(
                "DELETE FROM state WHERE space = ? AND key = ?",
                [place for place, value in puts.items() if value is None],
            )
    if outcomes:
        _apply_outcomes(database, log, outcomes.values(), batches)


def _apply_outcomes(
    database: sqlite3.Connection,
    log: SqliteLog,
    outcomes: Collection[Retry | Settle | Dead],
    batches: Sequence[Batch],
) -> None:
    fresh = {batch.number: batch.events for batch in batches}
    retries: list[Retry] = []
    dead: list[Dead] = []
    settled: list[tuple[int]] = []
    for outcome in outcomes:
        if isinstance(outcome, Settle):
            settled.append((outcome.seq,))
            continue
        if isinstance(outcome, Retry):
            retries.append(outcome)
        else:
            dead.append(outcome)
        if not log.is_pinned(outcome.seq):
            event = log.find(outcome.seq, fresh)
            # A row whose event is gone has no copy: `fetch` leaves it out, and the lane gives it up.
            if event is not None:
                database.execute("INSERT INTO pinned VALUES (?, ?)", (outcome.seq, encode_event(event)))
    many = database.executemany
    many(
        "DELETE FROM retries WHERE lane = ? AND seq = ?",
        [(o.lane, o.seq) for o in outcomes if not isinstance(o, Retry)],
    )
    # INSERT OR REPLACE would not run the trigger that takes the replaced row off the total.
    many("DELETE FROM dead WHERE lane = ? AND seq = ?", [(o.lane, o.seq) for o in outcomes])
    many(
        "INSERT OR REPLACE INTO retries VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(r.lane, r.seq, r.attempt, r.due, r.wait, r.first, r.key, r.error) for r in retries],
    )
    many(_BURY, [(d.lane, d.seq, d.attempt, d.at, d.error) for d in dead])
    many(UNPIN, settled)

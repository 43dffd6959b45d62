"""How a lane takes up after a restart what its last process had begun: what was in flight, rows, groups."""

from __future__ import annotations

import heapq

import msgspec

from bridge.delivery.retries import FETCH, Retries
from bridge.delivery.rows import Row, decode_seqs, group_space
from bridge.events.event import Event
from bridge.journal.batch import Put, Retry
from bridge.journal.store import LaneState, StoreError


def restore(retries: Retries, state: LaneState, *, recovered_at: int, reordered: bool) -> None:
    """Take up what the store knows. Raises StoreError.

    What had failed before `recovered_at` (Unix ms) is due at once: the endpoint has come back since.
    `reordered`: the rows were parked by another order than today's, so that their keys are made anew.
    """
    retries.held.clear()
    store = retries.store
    rows = {row.seq: row for row in store.retries(retries.lane)}
    sizes = store.row_sizes(retries.lane) if rows else {}
    if reordered:
        _rekey(retries, rows)
    events = store.fetch([seq for seq in state.holes if seq not in rows])
    grouped = _restore_groups(retries, rows, sizes, events, recovered_at)
    for seq in sorted({*rows, *events} - grouped):  # ascending: the first unsettled event of a key blocks it
        stored = rows.get(seq)
        if stored is None:
            _restore_cut_off(retries, seq, events[seq])
            continue
        size = sizes.get(seq, 0)
        first = stored.first if stored.attempt else 0
        row = Row(seq, stored.attempt, first, (seq,), (stored.key,), (seq,), size, size)
        _count(retries, row)
        if stored.key and not retries.order.admit(stored.key):
            retries.order.queue(stored.key).items.append((seq, None))
            retries.parked += 1
        else:
            _wait(retries, row, stored, recovered_at)
    retries.take_due()


def _restore_cut_off(retries: Retries, seq: int, event: Event) -> None:
    """An event that was in flight, or parked in memory."""
    key = retries.key_of(event)
    if not key or retries.order.admit(key):
        retries.ready.append((seq, event, None))
    else:
        retries.hold(retries.order.queue(key), seq, event)
        retries.parked += 1


def _count(retries: Retries, row: Row) -> None:
    retries.rows[row.seq] = row
    retries.count += len(row.rowed)
    retries.bytes += row.pinned


def _wait(retries: Retries, row: Row, stored: Retry, recovered_at: int) -> None:
    """Have a row wait for what is left of its step of the schedule."""
    wall = retries.clock() * 1000
    wait = min(max(stored.due - wall, 0), stored.wait)
    if stored.attempt and stored.due - stored.wait <= recovered_at:
        wait = 0
    for key in row.blocked():
        retries.order.queue(key).waiting = True
    heapq.heappush(retries.heap, (retries.loop.time() + wait / 1000, row.seq))


def _rekey(retries: Retries, rows: dict[int, Retry]) -> None:
    seqs = list(rows)
    for start in range(0, len(seqs), FETCH):
        for seq, event in retries.store.fetch(seqs[start : start + FETCH]).items():
            key = retries.key_of(event)
            if rows[seq].key != key:
                rows[seq] = msgspec.structs.replace(rows[seq], key=key)
                retries.outbox.change(rows[seq])


def _restore_groups(
    retries: Retries,
    rows: dict[int, Retry],
    sizes: dict[int, int],
    events: dict[int, Event],
    recovered_at: int,
) -> set[int]:
    """Take up the frozen groups; returns the sequences of their events.

    Where requests carry one event each today, the groups are dissolved, and nothing is returned.
    """
    space = group_space(retries.lane)
    found: set[int] = set()
    for name, value in list(retries.store.load(space)):
        try:
            number, seqs = int(name, 16), decode_seqs(value)
        except (ValueError, msgspec.MsgspecError) as error:
            raise StoreError(
                f"a group of webhook {retries.name} in the store is damaged ({error}): "
                f"restore a copy, or move the store away and a new one is made"
            ) from error
        members = tuple([seq for seq in seqs if seq in rows or seq in events])
        if not members or not retries.groups:
            retries.outbox.change(Put(space, name, None))
            continue
        found.update(members)
        _restore_group(retries, number, members, rows, sizes, events, recovered_at)
    return found


def _restore_group(
    retries: Retries,
    number: int,
    seqs: tuple[int, ...],
    rows: dict[int, Retry],
    sizes: dict[int, int],
    events: dict[int, Event],
    recovered_at: int,
) -> None:
    stored = [rows[seq] for seq in seqs if seq in rows]
    failed = [each for each in stored if each.attempt]
    keys = tuple([rows[seq].key if seq in rows else retries.key_of(events[seq]) for seq in seqs])
    pinned = sum([sizes.get(each.seq, 0) for each in stored])
    row = Row(
        number,
        max((each.attempt for each in failed), default=0),
        min((each.first for each in failed), default=0),
        seqs,
        keys,
        tuple([each.seq for each in stored]),
        pinned,
        pinned + sum([len(events[seq].payload) for seq in seqs if seq in events]),
    )
    for key in row.blocked():
        retries.order.admit(key)
    if failed and len(stored) == len(seqs):
        _count(retries, row)
        _wait(retries, row, failed[0], recovered_at)
        return
    retries.frozen[number] = row  # it was in flight for the first time
    retries.count += len(row.rowed)
    retries.bytes += pinned
    missing = [seq for seq in seqs if seq not in events]
    found = retries.store.fetch(missing) if missing else {}
    present = retries.present(row, {**found, **{seq: events[seq] for seq in seqs if seq in events}})
    if present:
        retries.due.append((row, present))
